//! `iam-policy`: the permissions that the target needs, from one table of the calls that are
//! made: which, why, when, and on what. Asks nobody anything.
//!
//! The table is held against what a registry sees of whole runs (tests/suites/mirror/iam.rs):
//! nothing is missing, nothing is there for nothing.

use castlink_core::{Context, Exit, Failure, Result, app::Outcome, reference::EcrHost};
use serde_json::{Value, json};

use crate::{apply::destinations, ecr::Settings};

/// A permission, and the calls it is for.
struct Grant {
    /// The action, without its prefix.
    action: &'static str,
    /// What it is needed for.
    why: &'static str,
    /// What it is needed on.
    on: On,
    /// When it is needed.
    when: fn(&Needs) -> bool,
}

/// What a statement of the policy is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum On {
    /// The registry as a whole: IAM knows no resource for it.
    Registry,
    /// The repositories below the target: their content.
    Content,
    /// The repositories below the target: what they are like.
    Settings,
}

/// What a run may do beyond copying.
struct Needs {
    create: bool,
    reconcile: bool,
    mutability: bool,
    scanning: bool,
    lifecycle: bool,
    policy: bool,
    tags: bool,
}

impl Needs {
    /// True when settings are written at all.
    fn writes(&self) -> bool {
        self.create || self.reconcile
    }
}

/// Every call to ECR, of its API and of its data plane.
const GRANTS: &[Grant] = &[
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

/// The statements of the policy, in their order.
const STATEMENTS: [(On, &str); 3] = [
    (On::Registry, "CastlinkRegistry"),
    (On::Content, "CastlinkContent"),
    (On::Settings, "CastlinkSettings"),
];

const fn always(action: &'static str, on: On, why: &'static str) -> Grant {
    Grant {
        action,
        why,
        on,
        when: |_| true,
    }
}

/// Prints the policy for what the configuration and the flags allow; why each permission is
/// in it with `-v`.
///
/// # Errors
/// Exit 2: no target, one that is not ECR, or unusable settings.
pub(crate) fn run(reconcile: bool, context: &Context) -> Result<Outcome> {
    let mirror = &context.config.mirror;
    let settings = Settings::load(&mirror.repository)?;
    let to = destinations(mirror)?;
    let to: Vec<&str> = to.iter().map(crate::observe::Destination::name).collect();
    let needs = Needs {
        create: mirror.create_repos,
        reconcile,
        mutability: settings.mutability.is_some(),
        scanning: settings.scan_on_push.is_some(),
        lifecycle: settings.lifecycle.is_some(),
        policy: settings.policy.is_some(),
        tags: !settings.tags.is_empty(),
    };
    for grant in GRANTS.iter().filter(|grant| (grant.when)(&needs)) {
        context
            .printer
            .detail(format!("ecr:{}: {}", grant.action, grant.why));
    }
    let policy = policy(&to, &needs, &settings)?;
    context.printer.raw(format!("{policy:#}"));
    Ok(Exit::Done.into())
}

fn policy(to: &[&str], needs: &Needs, settings: &Settings) -> Result<Value> {
    let hosts: Vec<EcrHost> = to.iter().map(|to| host(to)).collect::<Result<_>>()?;
    let repositories = hosts.iter().zip(to);
    let repositories: Vec<String> = repositories.map(|(host, to)| below(host, to)).collect();
    let ecr = STATEMENTS.iter().map(|(on, id)| {
        let wanted = GRANTS
            .iter()
            .filter(|grant| grant.on == *on && (grant.when)(needs));
        let resources = match on {
            On::Registry => json!(["*"]),
            On::Content | On::Settings => json!(repositories),
        };
        json!({
            "Sid": id,
            "Effect": "Allow",
            "Action": wanted.map(|grant| format!("ecr:{}", grant.action)).collect::<Vec<_>>(),
            "Resource": resources,
        })
    });
    let key = settings.encryption.as_ref().filter(|_| needs.create);
    let key = key.and_then(|encryption| encryption.key.as_deref());
    let kms = key.map(|key| key_statement(&hosts, key));
    Ok(json!({
        "Version": "2012-10-17",
        "Statement": ecr.chain(kms).collect::<Vec<_>>(),
    }))
}

fn host(to: &str) -> Result<EcrHost> {
    EcrHost::parse(to).ok_or_else(|| {
        Failure::usage(format!("{to} is not an ECR registry"))
            .hint("IAM policies are for targets like ACCOUNT.dkr.ecr.REGION.amazonaws.com")
    })
}

/// The ARN of every repository that can be below the target.
fn below(host: &EcrHost, to: &str) -> String {
    let prefix = to
        .split_once('/')
        .map_or_else(String::new, |(_, path)| format!("{path}/"));
    let EcrHost {
        account, region, ..
    } = host;
    format!(
        "arn:{}:ecr:{region}:{account}:repository/{prefix}*",
        host.partition()
    )
}

/// Creating a repository with a key of one's own hands ECR a grant on it. An alias is no
/// resource of the key's actions: it becomes a condition on them.
fn key_statement(hosts: &[EcrHost], key: &str) -> Value {
    let arns = |rest: &str| -> Vec<String> {
        let arn = |host: &EcrHost| {
            let EcrHost {
                account, region, ..
            } = host;
            format!("arn:{}:kms:{region}:{account}:{rest}", host.partition())
        };
        hosts.iter().map(arn).collect()
    };
    let alias = key.find("alias/").map(|at| &key[at..]);
    let resources = match alias {
        Some(_) => arns("key/*"),
        None if key.starts_with("arn:") => vec![key.to_owned()],
        None => arns(&format!("key/{key}")),
    };
    let mut statement = json!({
        "Sid": "CastlinkKey",
        "Effect": "Allow",
        "Action": ["kms:CreateGrant", "kms:DescribeKey"],
        "Resource": resources,
    });
    if let Some(alias) = alias {
        statement["Condition"] =
            json!({"ForAnyValue:StringEquals": {"kms:ResourceAliases": alias}});
    }
    statement
}

#[cfg(test)]
mod tests {
    use castlink_core::config;

    use super::*;

    const HOST: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";

    fn needs(create: bool, reconcile: bool) -> Needs {
        Needs {
            create,
            reconcile,
            mutability: false,
            scanning: false,
            lifecycle: false,
            policy: false,
            tags: false,
        }
    }

    fn print(to: &str, needs: &Needs) -> Value {
        policy(&[to], needs, &Settings::default()).unwrap()
    }

    fn actions(policy: &Value) -> Vec<&str> {
        let statements = policy["Statement"].as_array().unwrap().iter();
        let actions = statements.flat_map(|one| one["Action"].as_array().unwrap());
        actions.map(|action| action.as_str().unwrap()).collect()
    }

    #[test]
    fn flags_and_settings_decide_what_may_be_written() {
        let create = print(HOST, &needs(true, false));
        assert!(actions(&create).contains(&"ecr:CreateRepository"));
        let never = print(HOST, &needs(false, false));
        assert!(!actions(&never).contains(&"ecr:CreateRepository"));
        let all = Needs {
            mutability: true,
            scanning: true,
            lifecycle: true,
            policy: true,
            tags: true,
            ..needs(false, false)
        };
        let reads = print(HOST, &all);
        let reconcile = print(
            HOST,
            &Needs {
                reconcile: true,
                ..all
            },
        );
        for write in [
            "PutLifecyclePolicy",
            "SetRepositoryPolicy",
            "TagResource",
            "PutImageTagMutability",
        ] {
            let action = format!("ecr:{write}");
            assert!(!actions(&reads).contains(&action.as_str()), "{action}");
            assert!(actions(&reconcile).contains(&action.as_str()), "{action}");
        }
    }

    #[test]
    fn resources_are_the_targets_own() {
        for (to, want) in [
            (
                HOST.to_owned(),
                "arn:aws:ecr:us-east-1:123456789012:repository/*",
            ),
            (
                format!("{HOST}/team/mirror"),
                "arn:aws:ecr:us-east-1:123456789012:repository/team/mirror/*",
            ),
            (
                "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com".into(),
                "arn:aws-us-gov:ecr:us-gov-west-1:123456789012:repository/*",
            ),
            (
                "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn".into(),
                "arn:aws-cn:ecr:cn-north-1:123456789012:repository/*",
            ),
        ] {
            let policy = print(&to, &needs(true, true));
            let statements = policy["Statement"].as_array().unwrap();
            let resources: Vec<_> = statements.iter().map(|one| &one["Resource"]).collect();
            assert_eq!(
                resources,
                [&json!(["*"]), &json!([want]), &json!([want])],
                "{to}"
            );
        }
        let err = policy(
            &[HOST, "ghcr.io/x"],
            &needs(true, true),
            &Settings::default(),
        )
        .unwrap_err();
        assert_eq!(err.exit(), Exit::Usage);
    }

    #[test]
    fn a_key_of_ones_own_is_granted_to_ecr() {
        let arn = "arn:aws:kms:us-east-1:123456789012:key/1234";
        for (key, resource, condition) in [
            (arn, arn, false),
            ("1234", arn, false),
            (
                "alias/mirror",
                "arn:aws:kms:us-east-1:123456789012:key/*",
                true,
            ),
        ] {
            let given = config::Repository {
                kms_key: Some(key.into()),
                ..config::Repository::default()
            };
            let settings = Settings::load(&given).unwrap();
            let with = policy(&[HOST], &needs(true, false), &settings).unwrap();
            let statement = with["Statement"].as_array().unwrap().last().unwrap();
            assert_eq!(statement["Resource"], json!([resource]), "{key}");
            assert_eq!(statement.get("Condition").is_some(), condition, "{key}");
            let never = policy(&[HOST], &needs(false, false), &settings).unwrap();
            assert_eq!(never["Statement"].as_array().unwrap().len(), 3);
        }
    }
}
