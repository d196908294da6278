//! Faults on demand: simulated disk, links and store, seeded workloads, whole-system tests.
