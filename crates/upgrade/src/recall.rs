//! Runs by their names, as this host and the cluster remember them together.

use castlink_core::{Failure, Printer, Result};

use crate::{
    client::Cluster,
    lock,
    runs::{Place, Run},
};

/// The run of that name, remembered by this host or by the namespace.
pub(crate) async fn find(name: &str, here: &Cluster, printer: &Printer) -> Result<Run> {
    match Run::in_directory(name) {
        Some(run) => run,
        None => Run::find(&known(here, printer).await?, name, here),
    }
}

/// The runs that this host or the namespace remembers, oldest first.
pub(crate) async fn known(here: &Cluster, printer: &Printer) -> Result<Vec<Run>> {
    let noted = match lock::runs(here).await {
        Ok(noted) => noted,
        Err(failure) => {
            not_asked(&failure, printer);
            Vec::new()
        }
    };
    Ok(Run::merged(Run::all()?, noted))
}

/// Says that the namespace does not tell which runs it remembers.
pub(crate) fn not_asked(failure: &Failure, printer: &Printer) {
    printer.warn(format!(
        "only the runs of this host are known: {}",
        failure.one_line()
    ));
}

/// Journals name workloads, and other clusters have workloads of the same names. What the
/// cluster itself remembers is of this cluster, by whatever name it was reached.
pub(crate) fn same_cluster(run: &Run, here: &Cluster) -> Result<()> {
    if run.place != Place::Host || run.header.server == here.server {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "run {} was made on {}, but context {} is {}",
        run.name, run.header.server, here.context, here.server
    ))
    .hint(format!(
        "choose the cluster with --context (it was {} then)",
        run.header.context
    )))
}
