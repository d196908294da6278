//! Faults on demand: simulated disk, links and store, seeded workloads, whole-system tests.
#![forbid(unsafe_code)]

pub mod bad_disk;
pub mod conformance;
pub mod crash_sim;
pub mod failover_sim;
pub mod network;
pub mod process;
pub mod proxy;
pub mod seed_run;
pub mod seeds;
pub mod sim_disk;
pub mod sim_env;
pub mod sim_rng;
pub mod site;
