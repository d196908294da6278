//! A replay from object stores: the log is fetched first, and gone on with afterwards where that was asked for.

use std::cell::OnceCell;
use std::time::Duration;

use longshore::apply::Target;
use longshore::archive::{Archive, Sample};
use longshore::{ErrorKind, Lsn, Replay as Library};
use tokio::runtime::Runtime;

use super::continued::{Continued, GoOn};
use super::pending::Pending;
use super::{Phases, Replay, archived, pending};
use crate::cli::Global;
use crate::failure::Failure;
use crate::interrupt::Interruptible;
use crate::{runtime, stores};

impl Replay {
    /// Fetches what the target needs, restores from that, and removes it again, or goes on with it.
    pub(super) fn run_from_archive(self, target: Target, global: &Global) -> Result<(), Failure> {
        if self.follow {
            return Err(
                Failure::invalid("--follow is for directories").next("a replica follows a log: `longshore replica`")
            );
        }
        let stores = stores::open(&self.from)?;
        let name = self.log.parse();
        let name = name.map_err(|_| Failure::invalid("--log must match [a-z0-9][a-z0-9_-]{0,62}"))?;
        let scratch = self.scratch()?;
        let go_on = GoOn {
            log: &name,
            scratch: &scratch,
            from: &self.from,
            stores: stores.clone(),
            keys: &self.keys,
            tls: &global.tls,
            target: &target,
            alone: OnceCell::new(),
        };
        let mut phases = Phases::new(self.progress.start());
        let (runtime, interrupted) = (runtime::for_agents()?, Interruptible::listen()?);
        let restored = |stop| Pending::new(&self.from, target.to_string(), &self.into, stop);
        if let Some(pending) = self.go_on.pending(&self.log) {
            pending.must_be(&restored(None), &self.into, &scratch)?;
            return self.finish(pending, runtime, &go_on, &mut phases, &interrupted);
        }
        if !self.plan {
            self.go_on.check(&go_on, &self.into)?;
        }
        // Before anything is fetched: a file that is there is nobody's to replace.
        self.into.output().check_free()?;
        if !self.plan {
            self.into.output().check_writable()?;
        }
        let (mut seen, mut end) = (None, None);
        let fetched = loop {
            let fetching = self.fetch(&go_on, &mut phases, &mut end);
            let Some(fetched) = runtime.block_on(interrupted.unless_asked(fetching)) else {
                // A store that does not answer is not waited for.
                runtime.shutdown_background();
                return Err(archived::interrupted(&scratch));
            };
            match fetched {
                // An archive that goes on puts what it has together: what is gone has another name by now, or is gone.
                Err(failure) if failure.kind() == ErrorKind::Gap && !self.plan && seen != end => seen = end,
                fetched => break fetched?,
            }
        };
        let Some((replay, all)) = fetched else { return Ok(()) };
        let done = self.run_with(&replay.to(target.clone()), &mut phases, &interrupted);
        let done = done.map_err(|failure| match failure.kind() {
            ErrorKind::NotFound | ErrorKind::TooOld | ErrorKind::Unreachable => {
                let next = "name a target that is there, or a store that reaches further; `longshore archive ls` shows how far each reaches";
                failure.after(all).next(next)
            }
            _ => failure,
        })?;
        if let Some(mut done) = done {
            if self.go_on.is_asked() {
                restored(done.stop()).write(&scratch)?;
            }
            done.continued = self.promote(runtime, &go_on, done.stop(), &interrupted)?;
            self.tell_done(&done, &mut phases)?;
            if !self.json {
                self.tell_continued(&go_on, done.continued.as_ref(), &mut phases)?;
            }
        }
        archived::leave(&scratch, &phases);
        Ok(())
    }

    /// Promotes what an earlier run has restored.
    fn finish(
        &self,
        pending: Pending,
        runtime: Runtime,
        go_on: &GoOn<'_>,
        phases: &mut Phases,
        interrupted: &Interruptible,
    ) -> Result<(), Failure> {
        if self.plan {
            return self.tell(&pending::Plan { goes_on: self.go_on.planned(go_on, None), restored: pending });
        }
        self.go_on.claim(go_on)?;
        // Another run may have done it meanwhile.
        let pending = self.go_on.pending(&self.log).ok_or_else(|| go_on.taken())?;
        if !self.go_on.is_done(go_on.log) {
            let continued = self.promote(runtime, go_on, pending.stop.map(Lsn::new), interrupted)?;
            self.tell_continued(go_on, continued.as_ref(), phases)?;
        }
        archived::leave(go_on.scratch, phases);
        Ok(())
    }

    fn promote(
        &self,
        runtime: Runtime,
        go_on: &GoOn<'_>,
        stop: Option<Lsn>,
        interrupted: &Interruptible,
    ) -> Result<Option<Continued>, Failure> {
        let promoted = runtime.block_on(self.go_on.run(go_on, stop, interrupted));
        if interrupted.was() {
            // An epoch that is just beginning is written to its end, and nobody who does not answer is waited for.
            runtime.shutdown_timeout(LAST);
        }
        promoted
    }

    /// Plans, and fetches what was planned: the log, and what there is of it. `None` if this is a plan; `end` is where the
    /// archive ended then.
    async fn fetch(
        &self,
        go_on: &GoOn<'_>,
        phases: &mut Phases,
        end: &mut Option<Lsn>,
    ) -> Result<Option<(Library, String)>, Failure> {
        let mut archive = Archive::open(&go_on.stores, go_on.log, self.keys.open()?).await?;
        if let Some(epoch) = self.epoch {
            archive = archive.branch(epoch).await?;
        }
        *end = Some(archive.end());
        let until = Library::needs(&archive, go_on.target);
        let mut archive = archive.reaching(until).await?;
        loop {
            match self.fetch_from(go_on, &archive, phases).await {
                Err(Unfetched { snapshot: Some(position), failure }) if archive.leave_out_snapshot(position) => {
                    phases.talk(&format!("the snapshot at {position} is left out: {failure}\n"));
                }
                fetched => return fetched.map_err(|unfetched| unfetched.failure),
            }
        }
    }

    async fn fetch_from(
        &self,
        go_on: &GoOn<'_>,
        archive: &Archive,
        phases: &mut Phases,
    ) -> Result<Option<(Library, String)>, Unfetched> {
        let GoOn { target, scratch, stores, .. } = go_on;
        let until = Library::needs(archive, target);
        let begin = Library::begins(archive, target, &self.into.output());
        self.into.output().check_content(archive.facts().content)?;
        if self.go_on.is_asked() {
            stores::must_all_be_read(archive)?;
        }
        let plan = archive.plan(until, begin)?;
        let glimpse = match self.plan || archived::is_worth_a_look(target) {
            true => Library::glimpse(archive, target).await?,
            false => (None, Sample::default()),
        };
        let known = archived::look(archive, &plan, glimpse, scratch, &self.into).await?;
        let refusal = plan.refusal(known.holes.as_deref().unwrap_or_default());
        let mut told = archived::Plan::new(known, target, &self.into, scratch, stores);
        told.goes_on = self.go_on.planned(go_on, told.behind());
        if self.plan {
            self.tell(&told)?;
            return refusal.map_or(Ok(None), |refusal| Err(refusal.into()));
        }
        phases.talk(&told);
        if let Some(refusal) = refusal {
            return Err(refusal.into());
        }
        self.go_on.claim(go_on)?;
        if self.go_on.is_done(go_on.log) || self.go_on.pending(&self.log).is_some() {
            return Err(go_on.taken().into());
        }
        archived::claim(scratch, &self.into)?;
        match Library::fetch(archive, &plan, scratch, |bytes| phases.fetching(bytes, plan.bytes)).await {
            Ok(replay) => Ok(Some((replay, all_of_it(archive, &plan.store)))),
            Err(error) => {
                let of_snapshot = matches!(&error, longshore::Error::Archive(error) if error.is_of_snapshot());
                let snapshot = plan.snapshot.as_ref().filter(|_| of_snapshot).map(|entry| entry.position);
                Err(Unfetched { snapshot, failure: error.into() })
            }
        }
    }
}

/// What a target that is not in it was looked for in.
fn all_of_it(archive: &Archive, store: &str) -> String {
    match archive.gap_before() {
        Some((start, end)) => format!(
            "that is all of it in {store} behind the gap from {start} to {end}; what lies before the gap is found by its \
             position or its time, and no mark is"
        ),
        None => format!("that is all of it in {store}"),
    }
}

/// How long a promotion that is interrupted may take to end.
const LAST: Duration = Duration::from_secs(2);

/// Why nothing was fetched, and the snapshot that is to blame, if one is.
struct Unfetched {
    snapshot: Option<u64>,
    failure: Failure,
}

impl<E: Into<Failure>> From<E> for Unfetched {
    fn from(error: E) -> Self {
        Unfetched { snapshot: None, failure: error.into() }
    }
}
