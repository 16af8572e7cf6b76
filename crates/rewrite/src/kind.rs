//! The kinds of objects that have pods.
//!
//! Never here: objects.

/// Kinds whose pods or templates are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "they are Kubernetes' own")]
pub enum Kind {
    Deployment,
    DaemonSet,
    StatefulSet,
    ReplicaSet,
    ReplicationController,
    CronJob,
    Job,
    Pod,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Deployment,
        Self::DaemonSet,
        Self::StatefulSet,
        Self::ReplicaSet,
        Self::ReplicationController,
        Self::CronJob,
        Self::Job,
        Self::Pod,
    ];

    /// As objects name it: `Deployment`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::DaemonSet => "DaemonSet",
            Self::StatefulSet => "StatefulSet",
            Self::ReplicaSet => "ReplicaSet",
            Self::ReplicationController => "ReplicationController",
            Self::CronJob => "CronJob",
            Self::Job => "Job",
            Self::Pod => "Pod",
        }
    }

    /// As the API names its resource: `deployments`.
    #[must_use]
    pub fn plural(self) -> &'static str {
        match self {
            Self::Deployment => "deployments",
            Self::DaemonSet => "daemonsets",
            Self::StatefulSet => "statefulsets",
            Self::ReplicaSet => "replicasets",
            Self::ReplicationController => "replicationcontrollers",
            Self::CronJob => "cronjobs",
            Self::Job => "jobs",
            Self::Pod => "pods",
        }
    }

    /// The group of its API; empty for the core.
    #[must_use]
    pub fn group(self) -> &'static str {
        match self {
            Self::Deployment | Self::DaemonSet | Self::StatefulSet | Self::ReplicaSet => "apps",
            Self::CronJob | Self::Job => "batch",
            Self::Pod | Self::ReplicationController => "",
        }
    }

    /// True when a changed template starts a rollout.
    #[must_use]
    pub fn rolls(self) -> bool {
        matches!(self, Self::Deployment | Self::DaemonSet | Self::StatefulSet)
    }

    /// True when its pods tell what becomes of a change.
    #[must_use]
    pub fn is_followed(self) -> bool {
        self.rolls() || self == Self::Pod
    }

    /// When pods of a kind that is not followed run what its template says.
    #[must_use]
    pub fn follows(self) -> &'static str {
        match self {
            Self::ReplicaSet | Self::ReplicationController => {
                "it does not replace its pods: they change when they are deleted"
            }
            _ => "from its next run on",
        }
    }

    /// Where its pods are specified, as a JSON pointer.
    #[must_use]
    pub fn pod_spec(self) -> &'static str {
        match self {
            Self::CronJob => "/spec/jobTemplate/spec/template/spec",
            Self::Pod => "/spec",
            _ => "/spec/template/spec",
        }
    }
}
