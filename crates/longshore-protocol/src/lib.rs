//! How a primary and a replica agree: state machines without I/O, clocks or async.
