//! A log that changes hands is closed for a moment, at any node; whoever asks for it meanwhile asks again.

use std::time::Duration;

use longshore_format::ErrorKind;
use longshore_transport::{Client, Error};
use tokio::time::{Instant, sleep, timeout};

/// A node that answers takes a round trip or two; one that does not is not waited for longer.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);

/// Asks until what is answered is no error that `passes`, or [`PATIENCE`] is over: then it is the last such error.
///
/// How long one question takes is not limited here. Dropping it ends it at whatever it asks.
pub(super) async fn again<T, E, Asked>(mut ask: impl FnMut() -> Asked, passes: impl Fn(&E) -> bool) -> Result<T, E>
where
    Asked: Future<Output = Result<T, E>>,
{
    let begun = Instant::now();
    loop {
        match ask().await {
            Err(error) if passes(&error) && begun.elapsed() + PAUSE < PATIENCE => sleep(PAUSE).await,
            answer => return answer,
        }
    }
}

/// Whether a node may answer otherwise soon, over the same connection: what it is asked for is not there now, and the connection
/// is, which never comes back.
pub(super) fn may_pass(peer: &Client, kind: ErrorKind) -> bool {
    kind == ErrorKind::Unavailable && !peer.is_closed()
}

/// What is answered within [`PATIENCE`]: else `Unavailable`.
pub(super) async fn within<T>(asked: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let silent = || {
        let message = format!("no answer within {} s", PATIENCE.as_secs());
        Error::new(ErrorKind::Unavailable, message, "is it running, and reachable from here?")
    };
    timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err(silent()))
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    /// What comes of these answers, after which all are `Unavailable`, and after how long.
    async fn asked(answers: &[Result<(), ErrorKind>]) -> (Result<(), ErrorKind>, Duration) {
        let begun = Instant::now();
        let mut answers = answers.iter().copied().chain(std::iter::repeat(CLOSED));
        let ask = || ready(answers.next().expect("there is always one"));
        (again(ask, |kind| *kind == ErrorKind::Unavailable).await, begun.elapsed())
    }

    const CLOSED: Result<(), ErrorKind> = Err(ErrorKind::Unavailable);

    #[tokio::test(start_paused = true)]
    async fn a_log_that_is_closed_for_a_moment_is_asked_for_again() {
        assert_eq!(asked(&[Ok(())]).await, (Ok(()), Duration::ZERO));
        assert_eq!(asked(&[CLOSED, CLOSED, Ok(())]).await, (Ok(()), 2 * PAUSE));
        let fenced = Err(ErrorKind::Fenced);
        assert_eq!(asked(&[CLOSED, fenced, Ok(())]).await, (fenced, PAUSE), "an answer is an answer");
        let (answer, after) = asked(&[]).await;
        assert!(
            answer == CLOSED && after < PATIENCE,
            "why it is not answered is known before it is too late: {after:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_says_nothing_is_waited_for_once() {
        let begun = Instant::now();
        let silent = again(std::future::pending::<Result<(), Error>>, |_| true);
        assert_eq!(within(silent).await.unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(begun.elapsed(), PATIENCE);
    }
}
