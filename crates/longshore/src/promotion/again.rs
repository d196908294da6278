//! A log that changes hands is closed for a moment, at any node; whoever asks for it meanwhile asks again.

use std::time::Duration;

use longshore_format::ErrorKind;
use tokio::time::{Instant, sleep, timeout};

/// A node that answers takes a round trip or two; one that does not is not waited for longer.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);

/// Asks until something else than `Unavailable` is answered, or that still after [`PATIENCE`].
///
/// Dropping it ends it at whatever it asks.
pub(super) async fn again<T, E, Asked>(mut ask: impl FnMut() -> Asked, kind: impl Fn(&E) -> ErrorKind) -> Result<T, E>
where
    Asked: Future<Output = Result<T, E>>,
{
    let begun = Instant::now();
    loop {
        match ask().await {
            Err(error) if kind(&error) == ErrorKind::Unavailable && begun.elapsed() < PATIENCE => sleep(PAUSE).await,
            answer => return answer,
        }
    }
}

/// What is answered within [`PATIENCE`]: else `Unavailable`.
pub(super) async fn within<T>(
    asked: impl Future<Output = Result<T, longshore_transport::Error>>,
) -> Result<T, longshore_transport::Error> {
    let silent = || {
        let message = format!("no answer within {} s", PATIENCE.as_secs());
        longshore_transport::Error::new(ErrorKind::Unavailable, message, "is it running, and reachable from here?")
    };
    timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err(silent()))
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    /// What comes of answers of these kinds, of which `None` is a good one, and after how long.
    async fn asked(answers: &[Option<ErrorKind>]) -> (Result<(), ErrorKind>, Duration) {
        let begun = Instant::now();
        let mut answers = answers.iter().copied().chain(std::iter::repeat(Some(ErrorKind::Unavailable)));
        let mut ask = || answers.next().expect("there is always one").map_or(Ok(()), Err);
        (again(|| ready(ask()), |kind| *kind).await, begun.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_that_is_closed_for_a_moment_is_asked_for_again() {
        let closed = Some(ErrorKind::Unavailable);
        assert_eq!(asked(&[None]).await, (Ok(()), Duration::ZERO));
        assert_eq!(asked(&[closed, closed, None]).await, (Ok(()), 2 * PAUSE));
        let fenced = (Err(ErrorKind::Fenced), PAUSE);
        assert_eq!(asked(&[closed, Some(ErrorKind::Fenced), None]).await, fenced, "an answer is an answer");
        assert_eq!(asked(&[]).await, (Err(ErrorKind::Unavailable), PATIENCE), "and for no longer");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_says_nothing_is_not_waited_for_twice() {
        let begun = Instant::now();
        let silent = || within(std::future::pending::<Result<(), _>>());
        let error = again(silent, longshore_transport::Error::kind).await.unwrap_err();
        assert_eq!((error.kind(), begun.elapsed()), (ErrorKind::Unavailable, PATIENCE));
    }
}
