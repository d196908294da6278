//! The messages of `proto/longshore/v1/sql.proto`.
#![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]

include!(concat!(env!("OUT_DIR"), "/longshore.v1.rs"));
