//! How far a replay is, on stderr; nothing where stderr is no terminal.

use indicatif::{ProgressBar, ProgressStyle};
use longshore::Stage;

pub(super) struct Bar {
    bar: ProgressBar,
    begin: u64,
}

impl Bar {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::new(0);
        let style = "{msg:>10} {bar:40} {bytes} of {total_bytes} of log, {bytes_per_sec}, {eta} left";
        bar.set_style(ProgressStyle::with_template(style).expect("the template is right"));
        Self { bar, begin: 0 }
    }

    pub(super) fn show(&mut self, stage: &Stage<'_>) {
        match stage {
            Stage::Planning { position, end } => self.set("planning", position.get(), end.get()),
            Stage::Planned { plan, .. } => {
                self.begin = plan.plan.from.get();
                self.bar.set_length(plan.plan.log_bytes);
                self.bar.reset_eta();
            }
            Stage::Seeding => self.bar.set_message("snapshot"),
            Stage::Applying(progress) => {
                self.bar.set_message("applying");
                self.bar.set_position(progress.position.get().saturating_sub(self.begin));
            }
            Stage::Checking => self.bar.set_message("checking"),
            Stage::Following(_) => self.bar.set_message("following"),
            _ => {}
        }
    }

    fn set(&self, what: &'static str, position: u64, end: u64) {
        self.bar.set_message(what);
        self.bar.set_length(end);
        self.bar.set_position(position);
    }

    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
