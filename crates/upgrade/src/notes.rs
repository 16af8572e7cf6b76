//! What a run notes of itself, in both places: the journal on this host and the entry in
//! the cluster. Opened before the first patch, closed after the last.

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use castlink_core::{
    Result,
    record::{Change, ChangeStatus, ErrorInfo},
};

use crate::{
    args::RolloutArgs,
    ended::Ended,
    journal::{Header, Journal},
    lock::{self, Held},
    plan::Step,
    runs,
    session::Session,
};

/// The open notes of one run.
#[derive(Debug)]
pub(crate) struct Notes {
    run: String,
    dir: PathBuf,
    journal: Mutex<Journal>,
    held: Option<Held>,
}

impl Notes {
    /// Takes the lock of the namespace and writes down what `steps` are going to change.
    ///
    /// # Errors
    /// Exit 6 when another run is at work, 2 when the journal cannot be written: then
    /// nothing is to be changed.
    pub(crate) async fn open(
        session: &Session<'_>,
        verb: &str,
        steps: &[Step],
        args: &RolloutArgs,
    ) -> Result<Self> {
        let (cluster, printer) = (&session.cluster, session.printer());
        let keep = session.context.config.upgrade.keep_runs;
        let header = Header::now(cluster, verb);
        let planned = |step: &Step| step.changes(ChangeStatus::Planned, None);
        let changes: Vec<Change> = steps.iter().flat_map(planned).collect();
        let held = lock::take(cluster, &header, changes.clone(), keep, printer).await?;
        let opened = Journal::create(args.run_dir.as_deref(), &header)
            .and_then(|mut journal| journal.write(changes).map(|()| journal));
        let journal = match opened {
            Ok(journal) => journal,
            Err(failure) => {
                if let Some(held) = held {
                    held.abandon().await;
                }
                return Err(failure);
            }
        };
        runs::prune(keep);
        printer.detail(format!("journal: {}", journal.dir.display()));
        Ok(Self {
            run: header.run,
            dir: journal.dir.clone(),
            journal: Mutex::new(journal),
            held,
        })
    }

    /// Notes what became of `step` so far. A disk that does not take it is told at the end,
    /// when all endings are written again.
    pub(crate) fn add(&self, step: &Step, status: ChangeStatus, error: Option<&ErrorInfo>) {
        if !step.is_watch() {
            let _told_at_the_end = self.write(step.changes(status, error));
        }
    }

    /// Notes all endings and gives the lock back.
    ///
    /// # Errors
    /// Exit 1 when the disk does not take them.
    pub(crate) async fn close(mut self, ended: &[Ended]) -> Result<()> {
        let ours = ended.iter().filter(|one| !one.step.is_watch());
        let endings: Vec<Change> = ours
            .flat_map(|one| one.step.changes(one.status, one.error.as_ref()))
            .collect();
        if let Some(held) = self.held.take() {
            held.close(endings.clone()).await;
        }
        self.write(endings)
    }

    /// What `rollback` is to be called with.
    pub(crate) fn handle(&self) -> String {
        match self.held {
            Some(_) => self.run.clone(),
            None => self.dir.display().to_string(),
        }
    }

    fn write(&self, changes: Vec<Change>) -> Result<()> {
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.write(changes)
    }
}
