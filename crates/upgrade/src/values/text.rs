//! Advice as text: YAML that Helm and the others take as it is, with what no value can say
//! in comments.

use crate::values::advice::{Advice, Manager, Setting};

/// A map of values in the making.
#[derive(Default)]
struct Tree(Vec<(String, Node)>);

enum Node {
    Map(Tree),
    Leaf(String, Option<String>),
}

/// The advice for one release, line by line.
pub(crate) fn lines(advice: &Advice) -> Vec<String> {
    let mut lines = head(advice);
    let mut tree = Tree::default();
    if advice.global {
        let note = "it would be put in front of the repositories below".to_owned();
        tree.set("global.registry", String::new(), Some(note));
    }
    for Setting {
        key, value, note, ..
    } in &advice.settings
    {
        tree.set(key, value.clone(), note.clone());
    }
    let place = place(&advice.manager);
    if !advice.settings.is_empty() {
        for (depth, key) in place.iter().enumerate() {
            lines.push(format!("{}{key}:", indent(depth)));
        }
        tree.write(place.len(), &mut lines);
    }
    if advice.manager == Manager::Terraform {
        lines.extend(terraform(&advice.settings));
    }
    for left in &advice.left {
        lines.push(format!("# {}: {}", left.image, left.why));
    }
    lines
}

fn head(advice: &Advice) -> Vec<String> {
    let chart = advice.chart.as_deref().unwrap_or("chart not known");
    let name = advice.release.as_deref().unwrap_or_default();
    let namespace = &advice.namespace;
    let first = match advice.manager {
        Manager::Manifest => format!("# namespace {namespace}, installed without a release"),
        _ => format!("# release {name} in namespace {namespace} ({chart})"),
    };
    let how = match &advice.manager {
        Manager::Helm => Some(format!(
            "# helm upgrade {name} REPOSITORY/{} -n {namespace} --reset-then-reuse-values -f THIS-FILE",
            chart.split(' ').next().unwrap_or_default()
        )),
        Manager::Operator(component) => Some(format!(
            "# installed by castware-operator: kubectl patch components.castware.cast.ai {component} -n {namespace} --type merge --patch-file THIS-FILE"
        )),
        Manager::Argo(application) => Some(format!(
            "# installed by Argo CD: merge this into the manifest of Application {application}"
        )),
        Manager::Flux(name) => Some(format!(
            "# installed by Flux: merge this into the manifest of HelmRelease {name}"
        )),
        Manager::Terraform => Some(
            "# installed by Terraform: values = [file(\"THIS-FILE\")], or the set blocks below"
                .into(),
        ),
        Manager::Manifest => None,
    };
    std::iter::once(first).chain(how).collect()
}

/// Where the manager wants values.
fn place(manager: &Manager) -> &'static [&'static str] {
    match manager {
        Manager::Operator(_) | Manager::Flux(_) => &["spec", "values"],
        Manager::Argo(_) => &["spec", "source", "helm", "valuesObject"],
        Manager::Helm | Manager::Terraform | Manager::Manifest => &[],
    }
}

fn terraform(settings: &[Setting]) -> Vec<String> {
    let block = |setting: &Setting| {
        [
            "# set {".to_owned(),
            format!("#   name  = {}", quoted(&setting.key)),
            format!("#   value = {}", quoted(&setting.value)),
            "# }".to_owned(),
        ]
    };
    settings.iter().flat_map(block).collect()
}

impl Tree {
    /// Puts a value at a dotted key.
    fn set(&mut self, key: &str, value: String, note: Option<String>) {
        let Some((first, rest)) = key.split_once('.') else {
            self.0.push((key.to_owned(), Node::Leaf(value, note)));
            return;
        };
        let known = self.0.iter().position(|(name, _)| name == first);
        let at = known.unwrap_or_else(|| {
            self.0.push((first.to_owned(), Node::Map(Self::default())));
            self.0.len() - 1
        });
        if let Node::Map(inner) = &mut self.0[at].1 {
            inner.set(rest, value, note);
        }
    }

    fn write(&self, depth: usize, lines: &mut Vec<String>) {
        for (key, node) in &self.0 {
            let head = format!("{}{key}:", indent(depth));
            match node {
                Node::Map(inner) => {
                    lines.push(head);
                    inner.write(depth + 1, lines);
                }
                Node::Leaf(value, None) => lines.push(format!("{head} {}", quoted(value))),
                Node::Leaf(value, Some(note)) => {
                    lines.push(format!("{head} {} # {note}", quoted(value)));
                }
            }
        }
    }
}

fn indent(depth: usize) -> String {
    "  ".repeat(depth)
}

/// A string as JSON, YAML and HCL write it alike: references have no `$` and no `%`.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
