//! Reads which instances are nodes from what kubectl prints, so that this binary needs
//! no Kubernetes client. Pure, but for the reading of the file.

use std::{
    fs,
    io::{self, IsTerminal, Read},
    path::Path,
};

use castlink_core::{Failure, Result};
use serde_json::Value;

/// What was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Nodes {
    /// Instance ids, sorted, each once.
    pub(crate) instances: Vec<String>,
    /// Provider ids that name no instance: Fargate, hybrid nodes.
    pub(crate) others: Vec<String>,
}

const HINT: &str = "give what `kubectl get nodes -o json` prints, or instance ids: `kubectl get nodes -o json | castlink-tag plan --nodes -`";

/// Reads `path`, or standard input for `-`.
///
/// # Errors
/// Exit 2 when it cannot be read, or names no node.
pub(crate) fn read(path: &Path) -> Result<Nodes> {
    let name = path.display();
    if path != Path::new("-") {
        let text = fs::read_to_string(path)
            .map_err(|err| Failure::usage(format!("reading nodes from {name}")).because(err))?;
        return parse(&text).map_err(|err| err.context(format!("reading nodes from {name}")));
    }
    let mut stdin = io::stdin();
    if stdin.is_terminal() {
        return Err(Failure::usage("`--nodes -` reads stdin, but stdin is a terminal").hint(HINT));
    }
    let mut text = String::new();
    stdin
        .read_to_string(&mut text)
        .map_err(|err| Failure::usage("reading nodes from stdin").because(err))?;
    parse(&text).map_err(|err| err.context("reading nodes from stdin"))
}

/// A list of nodes or one node as JSON, or provider ids and instance ids between blanks.
///
/// # Errors
/// Exit 2 when it names no node.
pub(crate) fn parse(text: &str) -> Result<Nodes> {
    let ids = match text.trim_start().starts_with('{') {
        true => provider_ids(text)?,
        false => text.split_whitespace().map(ToOwned::to_owned).collect(),
    };
    if ids.is_empty() {
        return Err(Failure::usage("no nodes in it").hint(HINT));
    }
    let mut nodes = Nodes::default();
    for id in ids {
        match instance(&id) {
            Some(instance) => nodes.instances.push(instance.to_owned()),
            None if id.contains("://") => nodes.others.push(id),
            None => {
                return Err(Failure::usage(format!("`{id}` is no instance id")).hint(HINT));
            }
        }
    }
    for list in [&mut nodes.instances, &mut nodes.others] {
        list.sort_unstable();
        list.dedup();
    }
    Ok(nodes)
}

fn provider_ids(text: &str) -> Result<Vec<String>> {
    let json: Value = serde_json::from_str(text)
        .map_err(|err| Failure::usage("not JSON").because(err).hint(HINT))?;
    let nodes = match json["kind"].as_str() {
        Some("Node") => vec![json],
        Some("List" | "NodeList") => json["items"].as_array().cloned().unwrap_or_default(),
        kind => {
            let kind = kind.unwrap_or("nothing that has a kind");
            return Err(Failure::usage(format!("{kind} is no list of nodes")).hint(HINT));
        }
    };
    nodes.iter().map(provider_id).collect()
}

fn provider_id(node: &Value) -> Result<String> {
    let name = node["metadata"]["name"]
        .as_str()
        .unwrap_or("without a name");
    if node["kind"].as_str().is_some_and(|kind| kind != "Node") {
        return Err(Failure::usage(format!("{name} is no node")).hint(HINT));
    }
    let id = node["spec"]["providerID"]
        .as_str()
        .filter(|id| !id.is_empty());
    id.map(ToOwned::to_owned).ok_or_else(|| {
        Failure::usage(format!("node {name} has no provider id"))
            .hint("the cloud controller sets it within a minute of the node's start: try again")
    })
}

/// The instance id in `aws:///us-east-1a/i-0abc`, or the id itself.
fn instance(id: &str) -> Option<&str> {
    let last = id.rsplit('/').next()?;
    let hex = last.strip_prefix("i-")?;
    let is_id = !hex.is_empty() && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then_some(last)
}

#[cfg(test)]
mod tests {
    use castlink_core::Exit;

    use super::*;

    fn check(text: &str, instances: &[&str], others: usize) {
        let nodes = parse(text).unwrap();
        assert_eq!(nodes.instances, instances, "{text}");
        assert_eq!(nodes.others.len(), others, "{text}");
    }

    #[test]
    fn lists_single_nodes_and_plain_ids() {
        let node = |id: &str| {
            format!(r#"{{"kind":"Node","metadata":{{"name":"n"}},"spec":{{"providerID":"{id}"}}}}"#)
        };
        let list = |nodes: &[String]| format!(r#"{{"kind":"List","items":[{}]}}"#, nodes.join(","));
        let (b, a) = (
            node("aws:///us-east-1a/i-0b"),
            node("aws:///us-east-1b/i-0a"),
        );
        check(&b, &["i-0b"], 0);
        check(&list(&[b.clone(), a, b]), &["i-0a", "i-0b"], 0);
        let fargate = node("aws:///us-east-1a/24a1/fargate-ip-10-0-1-2.ec2.internal");
        check(
            &list(&[fargate, node("eks-hybrid:///us-east-1/c/mi-1")]),
            &[],
            2,
        );
        check("i-0b\naws:///us-east-1a/i-0a  i-0b\n", &["i-0a", "i-0b"], 0);
    }

    #[test]
    fn what_names_no_node_is_a_usage_error() {
        for text in [
            "",
            " \n",
            "{",
            "{\"kind\":\"List\",\"items\":[]}",
            "{\"kind\":\"Pod\"}",
            r#"{"kind":"List","items":[{"kind":"Pod","metadata":{"name":"p"}}]}"#,
            r#"{"kind":"Node","metadata":{"name":"n"},"spec":{}}"#,
            "NAME STATUS",
            "i-",
        ] {
            let err = parse(text).unwrap_err();
            assert_eq!(err.exit(), Exit::Usage, "{text}");
            assert!(err.hint_text().is_some(), "{text}");
        }
    }
}
