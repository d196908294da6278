//! The embeddable library: Primary, Replica and Replay assembled from the parts.
