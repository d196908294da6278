//! The code generated from `proto/longshore/v1`, private to this crate.

#![expect(unreachable_pub, reason = "generated")]
#![allow(clippy::all, reason = "generated")]

tonic::include_proto!("longshore.v1");

/// The compiled descriptors, for server reflection.
pub(crate) const DESCRIPTORS: &[u8] = tonic::include_file_descriptor_set!("descriptors");
