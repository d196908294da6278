//! What is being measured just now, on stderr: a line that is overwritten on a terminal, a line a row elsewhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Tells of the runs of each row.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed} so far)");
        bar.set_style(style.expect("the template is right"));
        bar.enable_steady_tick(TICK);
        Self { bar }
    }

    /// Something that takes a while and is not itself a run.
    pub(crate) fn say(&self, what: &str) {
        match self.bar.is_hidden() {
            true => eprintln!("bench: {what}"),
            false => self.bar.set_message(what.to_owned()),
        }
    }

    /// Counts to `runs`, telling.
    pub(crate) fn runs<'p>(&'p self, what: &'p str, runs: usize) -> impl Iterator<Item = usize> + 'p {
        (0..runs).inspect(move |run| {
            let line = format!("{what}, run {} of {runs}", run + 1);
            match self.bar.is_hidden() {
                true if *run == 0 => eprintln!("bench: {what}, {runs} runs"),
                true => {}
                false => self.bar.set_message(line),
            }
        })
    }

    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// Slow, so that the measurement does not measure this.
const TICK: Duration = Duration::from_millis(500);
