//! Ctrl-C and SIGTERM while something is being changed: the first one ends the work in
//! order (journal closed, lock given back), the second one at once.

use castlink_core::{Exit, Failure, Result, app};
use tokio::sync::watch;

/// Whether somebody asked the command to end.
#[derive(Debug, Default)]
pub(crate) struct Stop(watch::Sender<bool>);

impl Stop {
    /// Resolves as soon as the command is asked to end.
    pub(crate) async fn asked(&self) {
        let mut asked = self.0.subscribe();
        // The sender lives as long as `self`: this cannot fail.
        let _asked = asked.wait_for(|asked| *asked).await;
    }

    /// `work`, which may be dropped anywhere because nothing is changed yet.
    ///
    /// # Errors
    /// What `work` returns; exit 130 when it was interrupted.
    pub(crate) async fn or<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            result = work => result,
            () = self.asked() => Err(failure("nothing was changed; run it again")),
        }
    }
}

/// Runs `work`, which looks at the [`Stop`] it is given. A second signal drops it.
///
/// # Errors
/// What `work` returns; exit 130 when it was interrupted twice.
pub(crate) async fn heeding<T>(work: impl AsyncFnOnce(&Stop) -> Result<T>) -> Result<T> {
    let stop = Stop::default();
    let twice = async {
        app::interrupted().await;
        stop.0.send_replace(true);
        app::interrupted().await;
    };
    tokio::select! {
        result = work(&stop) => result,
        () = twice => Err(failure(RESUME)),
    }
}

/// What to do after an interruption, whenever it came.
pub(crate) const RESUME: &str =
    "run it again to complete it, or `castlink-upgrade rollback last` to put back what it changed";

/// The failure of a command that was interrupted.
pub(crate) fn failure(hint: &str) -> Failure {
    Failure::new(Exit::Interrupted, "interrupted").hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_ends_where_it_was_asked_to() {
        let stop = Stop::default();
        assert_eq!(stop.or(async { Ok(1) }).await.unwrap(), 1);
        stop.0.send_replace(true);
        let never = stop.or(std::future::pending::<Result<()>>()).await;
        assert_eq!(never.unwrap_err().exit(), Exit::Interrupted);
    }
}
