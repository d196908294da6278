//! Records into a sink, each once and in order, up to a target.
