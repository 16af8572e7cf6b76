//! The one table of the calls to ECR that are made: which, why, when, and on what.

/// A permission, and the calls it is for.
pub(super) struct Grant {
    /// The action, without its prefix.
    pub(super) action: &'static str,
    /// What it is needed for.
    pub(super) why: &'static str,
    /// What it is needed on.
    pub(super) on: On,
    /// When it is needed.
    pub(super) when: fn(&Needs) -> bool,
}

/// What a statement of the policy is about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum On {
    /// The registry as a whole: IAM knows no resource for it.
    Registry,
    /// The repositories below the target: their content.
    Content,
    /// The repositories below the target: what they are like.
    Settings,
}

/// What a run may do beyond copying.
pub(super) struct Needs {
    /// Repositories are created.
    pub(super) create: bool,
    /// Settings are repaired.
    pub(super) reconcile: bool,
    /// Configured: which tags can be moved.
    pub(super) mutability: bool,
    /// Configured: scanning on push.
    pub(super) scanning: bool,
    /// Configured: a lifecycle policy.
    pub(super) lifecycle: bool,
    /// Configured: a repository policy.
    pub(super) policy: bool,
    /// Configured: tags.
    pub(super) tags: bool,
}

impl Needs {
    /// True when settings are written at all.
    fn writes(&self) -> bool {
        self.create || self.reconcile
    }
}

/// Every call to ECR, of its API and of its data plane.
pub(super) const GRANTS: &[Grant] = &[
    always(
        "GetAuthorizationToken",
        On::Registry,
        "the token of the data plane",
    ),
    always(
        "GetAccountSetting",
        On::Registry,
        "whether layers may be mounted",
    ),
    always(
        "DescribeRepositoryCreationTemplates",
        On::Registry,
        "whether a push creates a missing repository",
    ),
    always(
        "BatchGetImage",
        On::Content,
        "which images are there, and their manifests",
    ),
    always(
        "BatchCheckLayerAvailability",
        On::Content,
        "which layers are there",
    ),
    always(
        "InitiateLayerUpload",
        On::Content,
        "to begin the upload of a layer, or mount it",
    ),
    always("UploadLayerPart", On::Content, "to send a layer"),
    always("CompleteLayerUpload", On::Content, "to end its upload"),
    always(
        "GetDownloadUrlForLayer",
        On::Content,
        "to mount a layer out of another repository",
    ),
    always("PutImage", On::Content, "to write manifests and tags"),
    always(
        "DescribeRepositories",
        On::Settings,
        "which tags can be moved, and what differs from the configuration",
    ),
    Grant {
        action: "CreateRepository",
        why: "to create missing repositories",
        on: On::Settings,
        when: |needs| needs.create,
    },
    Grant {
        action: "TagResource",
        why: "to tag repositories, also on creation",
        on: On::Settings,
        when: |needs| needs.tags && needs.writes(),
    },
    Grant {
        action: "PutLifecyclePolicy",
        why: "to set the lifecycle policy",
        on: On::Settings,
        when: |needs| needs.lifecycle && needs.writes(),
    },
    Grant {
        action: "SetRepositoryPolicy",
        why: "to set the repository policy",
        on: On::Settings,
        when: |needs| needs.policy && needs.writes(),
    },
    Grant {
        action: "PutImageTagMutability",
        why: "to repair which tags can be moved",
        on: On::Settings,
        when: |needs| needs.mutability && needs.reconcile,
    },
    Grant {
        action: "PutImageScanningConfiguration",
        why: "to repair scanning on push",
        on: On::Settings,
        when: |needs| needs.scanning && needs.reconcile,
    },
    Grant {
        action: "GetLifecyclePolicy",
        why: "to compare the lifecycle policy",
        on: On::Settings,
        when: |needs| needs.lifecycle,
    },
    Grant {
        action: "GetRepositoryPolicy",
        why: "to compare the repository policy",
        on: On::Settings,
        when: |needs| needs.policy,
    },
    Grant {
        action: "ListTagsForResource",
        why: "to compare the tags",
        on: On::Settings,
        when: |needs| needs.tags,
    },
];

const fn always(action: &'static str, on: On, why: &'static str) -> Grant {
    Grant {
        action,
        why,
        on,
        when: |_| true,
    }
}
