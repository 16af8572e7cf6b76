//! The text of Roles and their bindings. Written by hand: the shape never changes, and
//! people read it before they apply it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use crate::rights::On;

/// The verbs for each resource.
pub(super) type Verbs = BTreeMap<On, BTreeSet<&'static str>>;

/// A Role in `namespace` and a ClusterRole for what is outside, bound to `subjects`, which
/// are lines of YAML.
pub(super) fn manifests(name: &str, namespace: &str, verbs: Verbs, subjects: &[String]) -> String {
    let (outside, inside): (Vec<_>, Vec<_>) =
        verbs.into_iter().partition(|(on, _)| *on == On::Nodes);
    let role = Object {
        kind: "Role",
        name: name.to_owned(),
        namespace: Some(namespace),
    };
    let cluster = Object {
        kind: "ClusterRole",
        name: format!("{name}-{namespace}"),
        namespace: None,
    };
    let mut text = String::new();
    for (object, rules) in [(role, inside), (cluster, outside)] {
        text.push_str(&object.role(&rules, namespace));
        if !subjects.is_empty() {
            text.push_str(&object.binding(subjects));
        }
    }
    text
}

/// A Role or ClusterRole.
struct Object<'a> {
    kind: &'static str,
    name: String,
    namespace: Option<&'a str>,
}

impl Object<'_> {
    fn head(&self, kind: &str) -> String {
        let mut text = format!(
            "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata:\n  name: {}\n",
            quoted(&self.name)
        );
        if let Some(namespace) = self.namespace {
            let _never_fails = writeln!(text, "  namespace: {}", quoted(namespace));
        }
        text
    }

    fn role(&self, rules: &[(On, BTreeSet<&str>)], namespace: &str) -> String {
        let mut text = self.head(self.kind);
        text.push_str("rules:\n");
        for rule in merged(rules, namespace) {
            text.push_str(&rule.yaml());
        }
        text
    }

    fn binding(&self, subjects: &[String]) -> String {
        let mut text = self.head(&format!("{}Binding", self.kind));
        let _never_fails = write!(
            text,
            "roleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: {}\n  name: {}\nsubjects:\n",
            self.kind,
            quoted(&self.name)
        );
        for subject in subjects {
            let _never_fails = writeln!(text, "- {subject}");
        }
        text
    }
}

/// Resources of one group with the same verbs, or one object.
struct Rule {
    group: &'static str,
    resources: Vec<&'static str>,
    name: Option<String>,
    verbs: Vec<String>,
}

fn merged(rules: &[(On, BTreeSet<&str>)], namespace: &str) -> Vec<Rule> {
    let mut all: Vec<Rule> = Vec::new();
    for (on, verbs) in rules {
        let verbs: Vec<String> = verbs.iter().map(|verb| (*verb).to_owned()).collect();
        let name = on.name(namespace).map(str::to_owned);
        let same = all.iter_mut().find(|rule| {
            name.is_none() && rule.name.is_none() && rule.group == on.group() && rule.verbs == verbs
        });
        match same {
            Some(rule) => rule.resources.push(on.plural()),
            None => all.push(Rule {
                group: on.group(),
                resources: vec![on.plural()],
                name,
                verbs,
            }),
        }
    }
    all
}

impl Rule {
    fn yaml(&self) -> String {
        let name = self.name.as_deref();
        let names = name.map(|name| format!("  resourceNames: [{}]\n", quoted(name)));
        let names = names.unwrap_or_default();
        format!(
            "- apiGroups: [{}]\n  resources: [{}]\n{names}  verbs: [{}]\n",
            quoted(self.group),
            self.resources.join(", "),
            self.verbs.join(", ")
        )
    }
}

/// A string of JSON is one of YAML as well.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
