//! How far a replay is.

use longshore::Stage;

use crate::progress::{Progress, Unit};

/// The phases of a replay, told one after the other.
pub(crate) struct Phases {
    progress: Progress,
    begin: u64,
    total: u64,
}

impl Phases {
    pub(crate) fn new(progress: Progress) -> Self {
        Self { progress, begin: 0, total: 0 }
    }

    pub(crate) fn fetching(&mut self, done: u64, total: u64) {
        self.progress.at("fetching", Unit::Bytes, done, total);
    }

    pub(crate) fn show(&mut self, stage: &Stage<'_>) {
        match stage {
            Stage::Planning { position, end } => self.say("planning", position.get(), end.get()),
            Stage::Planned { plan, .. } => {
                (self.begin, self.total) = (plan.plan.from.get(), plan.plan.log_bytes);
                self.say("applying", 0, self.total);
            }
            Stage::Seeding { done, of } => self.say("snapshot", *done, *of),
            Stage::Applying(progress) => {
                let done = progress.position.get().saturating_sub(self.begin);
                self.say("applying", done, self.total.max(done));
            }
            Stage::Checking => self.say("checking", self.total, self.total),
            Stage::Following(progress) => {
                let done = progress.position.get().saturating_sub(self.begin);
                self.say("following", done, done);
            }
            _ => {}
        }
    }

    /// Talk between two lines; where a program reads stderr, nothing.
    pub(crate) fn talk(&self, text: &impl std::fmt::Display) {
        self.progress.talk(text);
    }

    fn say(&mut self, phase: &'static str, done: u64, total: u64) {
        self.progress.at(phase, Unit::Bytes, done, total);
    }

    pub(crate) fn finish(&mut self) {
        self.progress.finish();
    }
}
