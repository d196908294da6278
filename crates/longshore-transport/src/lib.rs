//! The replication protocol over gRPC and TLS.
