//! Which seeds a test runs with: what the environment says, so that a run that failed can be had again.

/// A number in the environment; a test that is told something else must not run with what it was not told.
pub fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {text}")))
}

/// The seed of a test of which one run takes one: `LONGSHORE_SEED`, or 1. Prints how to run it again, with what is to
/// follow `cargo test`.
pub fn seed(test: &str) -> u64 {
    let seed = number("LONGSHORE_SEED").unwrap_or(1);
    println!("seed {seed}; again with: LONGSHORE_SEED={seed} cargo test {test}");
    seed
}
