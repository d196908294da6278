//! The segmented log: append, group commit, read in order, recover, retain.
