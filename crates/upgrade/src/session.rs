//! What every verb begins with: a connection, and a look at the namespace.

use castlink_core::{Context, Printer, Result};

use crate::{client::Cluster, cluster::Observed};

/// A connected command: the cluster, what was seen in it, and where output goes.
pub(crate) struct Session<'a> {
    pub(crate) context: &'a Context,
    pub(crate) cluster: Cluster,
    pub(crate) seen: Observed,
}

impl<'a> Session<'a> {
    /// Connects and looks.
    pub(crate) async fn open(context: &'a Context) -> Result<Self> {
        let cluster = Cluster::connect(&context.config.kube, &context.printer).await?;
        Self::with(context, cluster).await
    }

    /// Looks at the namespace of a cluster that is connected.
    pub(crate) async fn with(context: &'a Context, cluster: Cluster) -> Result<Self> {
        let seen = cluster.observe(&context.printer).await?;
        Ok(Self {
            context,
            cluster,
            seen,
        })
    }

    pub(crate) fn printer(&self) -> &Printer {
        &self.context.printer
    }
}
