//! `rbac`: the least rights that the commands need in a cluster, from the table of
//! rights.rs, as manifests for `kubectl apply -f -`. Asks nobody anything.

use castlink_core::{Context, Exit, Failure, Result, app::Outcome};

mod manifests;

use manifests::{Verbs, manifests, quoted};

use crate::{
    args::{RbacArgs, Use, is_label},
    rights::{GRANTS, Grant, On, Stage},
    workload::Kind,
};

/// The stages of a run that a use goes through.
fn stages(uses: Use) -> &'static [Stage] {
    match uses {
        Use::Read => &[Stage::Look, Stage::Recall],
        Use::Apply | Use::Rollback => &[
            Stage::Look,
            Stage::Patch,
            Stage::Follow,
            Stage::Unblock,
            Stage::Recall,
            Stage::Note,
        ],
    }
}

/// Prints the manifests; why each right is in them with `-v`.
pub(crate) fn run(args: &RbacArgs, context: &Context) -> Result<Outcome> {
    let namespace = &context.config.kube.namespace;
    if !is_label(&args.name) {
        return Err(
            Failure::usage(format!("`{}` cannot be the name of a Role", args.name))
                .hint("use lower-case letters, digits and dashes"),
        );
    }
    for grant in grants(args) {
        let on: Vec<String> = grant.on.iter().map(|on| on.full_name()).collect();
        context
            .printer
            .detail(format!("{} {}: {}", grant.verb, on.join(", "), grant.why));
    }
    let subjects = subjects(args, namespace);
    if subjects.is_empty() {
        context.printer.note(
            "nobody is bound to it: add --service-account, --user or --group, or bind it yourself",
        );
    }
    let text = manifests(&args.name, namespace, verbs(args), &subjects);
    context.printer.raw(text.trim_end());
    Ok(Exit::Done.into())
}

fn grants(args: &RbacArgs) -> impl Iterator<Item = &'static Grant> {
    let wanted = |stage| args.uses.iter().any(|one| stages(*one).contains(&stage));
    GRANTS.iter().filter(move |grant| wanted(grant.stage))
}

fn verbs(args: &RbacArgs) -> Verbs {
    let mut all = Verbs::new();
    for grant in grants(args) {
        for on in grant.on {
            let bare_pod = grant.stage == Stage::Patch && *on == On::Workload(Kind::Pod);
            if !bare_pod || args.bare_pods {
                all.entry(*on).or_default().insert(grant.verb);
            }
        }
    }
    all
}

/// The subjects of a binding, each as a line of YAML.
fn subjects(args: &RbacArgs, here: &str) -> Vec<String> {
    let accounts = args.service_account.iter().map(|account| {
        let namespace = account.namespace.as_deref().unwrap_or(here);
        format!(
            "{{kind: ServiceAccount, name: {}, namespace: {}}}",
            quoted(&account.name),
            quoted(namespace)
        )
    });
    let named = |kind: &'static str, names: &[String]| -> Vec<String> {
        let one = |name: &String| {
            format!(
                "{{apiGroup: rbac.authorization.k8s.io, kind: {kind}, name: {}}}",
                quoted(name)
            )
        };
        names.iter().map(one).collect()
    };
    accounts
        .chain(named("User", &args.user))
        .chain(named("Group", &args.group))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        rbac: RbacArgs,
    }

    fn print(flags: &str) -> String {
        let words = std::iter::once("rbac").chain(flags.split_whitespace());
        let args = Line::try_parse_from(words).unwrap().rbac;
        let subjects = subjects(&args, "castai-agent");
        manifests(&args.name, "castai-agent", verbs(&args), &subjects)
    }

    #[test]
    fn reading_needs_nothing_but_lists() {
        assert_eq!(
            print("--for read --user jane"),
            r#"---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: "castlink-upgrade"
  namespace: "castai-agent"
rules:
- apiGroups: ["apps"]
  resources: [deployments, daemonsets, statefulsets, replicasets]
  verbs: [list]
- apiGroups: [""]
  resources: [replicationcontrollers, pods]
  verbs: [list]
- apiGroups: ["batch"]
  resources: [cronjobs, jobs]
  verbs: [list]
- apiGroups: [""]
  resources: [namespaces]
  resourceNames: ["castai-agent"]
  verbs: [get]
- apiGroups: ["castware.cast.ai"]
  resources: [components]
  verbs: [list]
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: ["castlink-runs"]
  verbs: [get]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: "castlink-upgrade"
  namespace: "castai-agent"
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: "castlink-upgrade"
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: "jane"}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: "castlink-upgrade-castai-agent"
rules:
- apiGroups: [""]
  resources: [nodes]
  verbs: [list]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: "castlink-upgrade-castai-agent"
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: "castlink-upgrade-castai-agent"
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: "jane"}
"#
        );
    }

    #[test]
    fn bare_pods_are_patched_only_on_request() {
        let pods = |flags: &str| {
            let text = print(flags);
            let rule = text.split("- apiGroups").find(|rule| rule.contains("pods"));
            rule.unwrap().lines().last().unwrap().to_owned()
        };
        assert_eq!(pods(""), "  verbs: [delete, list, watch]");
        assert_eq!(
            pods("--bare-pods"),
            "  verbs: [delete, get, list, patch, watch]"
        );
        assert!(!print("").contains("Binding"));
    }

    #[test]
    fn accounts_are_written_as_kubectl_writes_them() {
        let text = print("--service-account ci --service-account tools:bot --group ops");
        for line in [
            r#"- {kind: ServiceAccount, name: "ci", namespace: "castai-agent"}"#,
            r#"- {kind: ServiceAccount, name: "bot", namespace: "tools"}"#,
            r#"- {apiGroup: rbac.authorization.k8s.io, kind: Group, name: "ops"}"#,
        ] {
            assert_eq!(text.matches(line).count(), 2, "{line}: {text}");
        }
        for wrong in ["", "a:", "a b", "A", "a:b:c"] {
            assert!(wrong.parse::<crate::args::Account>().is_err(), "{wrong}");
        }
    }
}
