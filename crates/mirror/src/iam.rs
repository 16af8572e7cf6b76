//! `iam-policy`: the permissions that the target needs, from the table of
//! iam/grants.rs. Asks nobody anything.
//!
//! The table is held against what a registry sees of whole runs (tests/suites/mirror/iam.rs):
//! nothing is missing, nothing is there for nothing.

use castlink_core::{Context, Exit, Failure, Result, app::Outcome, reference::EcrHost};
use serde_json::{Value, json};

mod grants;

use self::grants::{GRANTS, Needs, On};
use crate::{apply::destinations, ecr::Settings};

/// The statements of the policy, in their order.
const STATEMENTS: [(On, &str); 3] = [
    (On::Registry, "CastlinkRegistry"),
    (On::Content, "CastlinkContent"),
    (On::Settings, "CastlinkSettings"),
];

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
