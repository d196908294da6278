//! A store in memory, which does what it is told to.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use longshore::Result;
use longshore::lease::{Found, LeaseObject, LeaseStore, Swap, Version};
use longshore::transport::async_trait;

/// What is there, and how the store treats those who ask. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    object: Option<Bytes>,
    writes: u64,
    manner: Manner,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Manner {
    #[default]
    Answers,
    /// It does what it is asked, and the answer comes so late.
    Late(Duration),
    /// It does what it is asked, and nobody hears of it.
    LosesAnswers,
    /// Nothing arrives.
    IsSilent,
}

impl Memory {
    pub(crate) fn be(&self, manner: Manner) {
        self.0.lock().unwrap().manner = manner;
    }

    pub(crate) fn object(&self) -> Option<Bytes> {
        self.0.lock().unwrap().object.clone()
    }

    /// What an operator puts there by hand.
    pub(crate) fn put(&self, object: Option<Bytes>) {
        let inner = &mut *self.0.lock().unwrap();
        inner.object = object;
        inner.writes += 1;
    }

    async fn ask<T>(&self, does: impl FnOnce(&mut Inner) -> T) -> T {
        let manner = self.0.lock().unwrap().manner;
        if manner == Manner::IsSilent {
            std::future::pending::<()>().await;
        }
        let answer = does(&mut self.0.lock().unwrap());
        match manner {
            Manner::Late(by) => tokio::time::sleep(by).await,
            Manner::LosesAnswers => std::future::pending().await,
            Manner::Answers | Manner::IsSilent => {}
        }
        answer
    }
}

impl Inner {
    fn found(&self) -> Found {
        let version = if self.object.is_some() { Version::Number(self.writes) } else { Version::Absent };
        let short = |object: &Bytes| object.slice(..object.len().min(LeaseObject::MAX_LEN + 1));
        Found { object: self.object.as_ref().map(short), version }
    }
}

#[async_trait]
impl LeaseStore for Memory {
    fn label(&self) -> &str {
        "memory"
    }

    async fn read(&self) -> Result<Found> {
        Ok(self.ask(|inner| inner.found()).await)
    }

    async fn swap(&self, expected: &Version, object: Bytes) -> Result<Swap> {
        let swap = |inner: &mut Inner| {
            let as_seen = match (expected, &inner.object) {
                (Version::Absent, None) => true,
                (Version::Number(seen), Some(_)) => *seen == inner.writes,
                _ => false,
            };
            if !as_seen {
                return Swap::Conflict(inner.found());
            }
            inner.object = Some(object);
            inner.writes += 1;
            Swap::Swapped(Version::Number(inner.writes))
        };
        Ok(self.ask(swap).await)
    }
}
