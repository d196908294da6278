//! The code generated from `proto`, private to this crate.

#![expect(unreachable_pub, reason = "generated")]
#![allow(clippy::all, reason = "generated")]

tonic::include_proto!("longshore.v1");

/// The compiled descriptors, for server reflection.
pub(crate) const DESCRIPTORS: &[u8] = tonic::include_file_descriptor_set!("descriptors");

/// The part of etcd's API that is asked for.
pub(crate) mod etcd {
    tonic::include_proto!("etcdserverpb");
}
