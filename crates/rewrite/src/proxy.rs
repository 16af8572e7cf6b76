//! Proxy variables for the containers of CAST AI: what they say, and where they are put.
//!
//! Never here: other variables, and what a container has already.

use std::ops::Range;

use castlink_core::{Failure, ImageRef, Result, reference::EcrHost};
use castlink_manifest::tree::{Cursor, Id, Tree, Value};
use http::Uri;

use super::edit::{Edit, quoted};
use crate::{
    object::Object,
    places::{Container, text_at},
};

/// What pods on EKS reach without a proxy: themselves, addresses within the VPC (the API
/// server and services have one), cluster names, the instance's and the pod identity
/// agent's metadata, the API server by name, and VPC endpoints by their own names.
const DIRECT: [&str; 17] = [
    "localhost",
    "127.0.0.1",
    "::1",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "169.254.169.254",
    "169.254.170.23",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "fc00::/7",
    ".svc",
    ".cluster.local",
    ".eks.amazonaws.com",
    ".vpce.amazonaws.com",
    ".internal",
];

/// The variables to add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    url: String,
    direct: String,
}

impl Proxy {
    /// The proxy at `url`; `direct` are further hosts to reach without it.
    ///
    /// # Errors
    /// Exit 2 when `url` is no proxy, or holds a password: it would stand in the manifest, in
    /// the process list and in the shell's history.
    pub fn new(url: &str, direct: &[String]) -> Result<Self> {
        let uri: Option<Uri> = url.parse().ok();
        let authority = uri.as_ref().and_then(Uri::authority);
        let scheme = uri.as_ref().and_then(Uri::scheme_str);
        let known = matches!(scheme, Some("http" | "https" | "socks5"));
        let (Some(authority), true) = (authority, known) else {
            // Not repeated: whoever mistypes a URL may have a password in it.
            return Err(Failure::usage("--proxy is no URL of a proxy")
                .hint("write scheme, host and port: --proxy http://proxy.corp:3128"));
        };
        if authority.as_str().contains('@') {
            return Err(Failure::usage("the URL of --proxy holds a password").hint(
                "keep it out of the manifest: let the proxy trust the nodes' addresses, or put \
                 HTTPS_PROXY into a Secret and refer to it with `envFrom` in the chart's values",
            ));
        }
        let mut hosts: Vec<&str> = DIRECT.to_vec();
        let more = direct.iter().map(|host| host.trim());
        for host in more.filter(|host| !host.is_empty()) {
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
        Ok(Self {
            url: url.to_owned(),
            direct: hosts.join(","),
        })
    }

    /// The edit that gives `container` the variables it lacks, and their names; an error says
    /// why the place to put them cannot be found.
    pub fn insert(
        &self,
        source: &str,
        tree: &Tree<'_>,
        container: &Container<Cursor<'_, '_>>,
    ) -> Result<Option<(Edit, String)>, &'static str> {
        let lists: Vec<_> = container.node.under("env").collect();
        let missing = self.missing(&lists);
        if missing.is_empty() {
            return Ok(None);
        }
        let target = Target { source, tree };
        let edit = match lists.last() {
            Some(list) => target.in_list(list.id(), container.node.id(), &missing),
            None => target.in_container(container.node.id(), &missing),
        };
        let names: Vec<&str> = missing.iter().map(|(name, _)| *name).collect();
        Ok(Some((edit.ok_or(NO_PLACE)?, names.join(", "))))
    }

    fn missing(&self, lists: &[Cursor<'_, '_>]) -> Vec<(&'static str, &str)> {
        let entries = lists.iter().flat_map(|list| list.items());
        let present: Vec<&str> = entries
            .filter_map(|entry| text_at(entry, "/name"))
            .collect();
        let wanted = [
            ("HTTP_PROXY", self.url.as_str()),
            ("HTTPS_PROXY", &self.url),
            ("NO_PROXY", &self.direct),
        ];
        let is_missing = |(name, _): &(&str, &str)| {
            !present
                .iter()
                .any(|present| present.eq_ignore_ascii_case(name))
        };
        wanted.into_iter().filter(is_missing).collect()
    }
}

/// What to know of a container that takes variables from elsewhere too: the proxy may be
/// there already, and what is written in `env` counts more.
#[must_use]
pub fn hidden_variables(container: &Container<Cursor<'_, '_>>) -> Option<String> {
    let mut lists = container.node.under("envFrom").flat_map(Cursor::items);
    let source = lists.next()?;
    let of = |path, kind| Some(format!("{kind}/{}", text_at(source, path)?));
    let name = of("/secretRef/name", "Secret").or_else(|| of("/configMapRef/name", "ConfigMap"))?;
    Some(format!(
        "this container takes variables from {name} as well (envFrom): a proxy that is set \
         there does not count any more"
    ))
}

const NO_PLACE: &str =
    "the proxy variables cannot be put here: write the container with one key in a line";

/// Whether a container of `object` runs an image of CAST AI.
pub fn is_castai(container: &Container<Cursor<'_, '_>>, object: &Object<'_, '_>) -> bool {
    let image = text_at(container.node, "/image").and_then(|text| text.parse::<ImageRef>().ok());
    let Some(image) = image else {
        return false;
    };
    let theirs = |part: &str| matches!(part, "castai" | "castai-hub");
    let named = ["castai-", "castware-"]
        .iter()
        .any(|start| object.name.starts_with(start));
    image.literal_name().split('/').any(theirs)
        || (named && EcrHost::parse(image.registry()).is_some())
}

struct Target<'s, 'a> {
    source: &'s str,
    tree: &'s Tree<'a>,
}

impl Target<'_, '_> {
    /// In front of the entries that `env` has.
    fn in_list(&self, list: Id, container: Id, missing: &[(&str, &str)]) -> Option<Edit> {
        let span = self.tree.span(list);
        let first = self.tree.items(list).next();
        match self.tree.value(list) {
            Value::List { flow: true } => {
                let more = if first.is_none() { "" } else { ", " };
                let text = format!("{}{more}", flow(missing));
                Some(insert(span.start + 1, text))
            }
            Value::List { flow: false } => {
                let dash = self.dash(first?)?;
                let indent = self.indent(dash, " ")?;
                let text = self.block(missing, &indent);
                Some(insert(dash, text.trim_start().to_owned() + &indent))
            }
            Value::Scalar { .. } => self.in_nothing(&span, container, missing),
            _ => None,
        }
    }

    /// Where `env` is null.
    fn in_nothing(
        &self,
        null: &Range<usize>,
        container: Id,
        missing: &[(&str, &str)],
    ) -> Option<Edit> {
        let text = format!("[{}]", flow(missing));
        if !null.is_empty() {
            let span = null.clone();
            return Some(Edit { span, text });
        }
        let mut pairs = self.tree.pairs(container);
        let (key, _) = pairs.find(|(key, _)| self.tree.text(*key) == Some("env"))?;
        let end = self.tree.span(key).end;
        let colon = self.source[end..].starts_with(':');
        colon.then(|| insert(end + 1, format!(" {text}")))
    }

    /// Where there is no `env`: in front of `image`, or of another key on a line of its own.
    fn in_container(&self, container: Id, missing: &[(&str, &str)]) -> Option<Edit> {
        let Value::Map { flow: is_flow } = self.tree.value(container) else {
            return None;
        };
        let keys = || self.tree.pairs(container).map(|(key, _)| key);
        let start = |id: Id| self.tree.span(id).start;
        if is_flow {
            let more = if keys().next().is_none() { "" } else { ", " };
            let text = format!("\"env\": [{}]{more}", flow(missing));
            return Some(insert(start(container) + 1, text));
        }
        let is_image = |key: &Id| self.tree.text(*key) == Some("image");
        let own_line = |key: &Id| self.indent(start(*key), " ").is_some();
        let key = keys()
            .filter(is_image)
            .find(own_line)
            .or_else(|| keys().find(own_line))
            .or_else(|| keys().next())?;
        let indent = self.indent(start(key), " -")?;
        let items = self.block(missing, &format!("{indent}  "));
        let text = format!("env:{}{items}{indent}", self.line_end());
        Some(insert(start(key), text))
    }

    /// The dash before an entry.
    fn dash(&self, item: Id) -> Option<usize> {
        let start = self.tree.span(item).start;
        let before = self.source[..start].trim_end_matches([' ', '\n', '\r']);
        before.ends_with('-').then(|| before.len() - 1)
    }

    /// Blanks up to the column of `at`, when nothing but `allowed` is before it on its line.
    fn indent(&self, at: usize, allowed: &str) -> Option<String> {
        let line = self.source[..at].rfind('\n').map_or(0, |end| end + 1);
        let before = &self.source[line..at];
        let fits = before.chars().all(|char| allowed.contains(char));
        fits.then(|| " ".repeat(before.len()))
    }

    /// Entries of a list in block style, each line with its end.
    fn block(&self, missing: &[(&str, &str)], indent: &str) -> String {
        let end = self.line_end();
        let entry = |(name, value): &(&str, &str)| {
            let value = quoted(value);
            format!("{indent}- name: {name}{end}{indent}  value: {value}{end}")
        };
        missing.iter().map(entry).collect()
    }

    fn line_end(&self) -> &'static str {
        match self.source.find('\n') {
            Some(at) if self.source[..at].ends_with('\r') => "\r\n",
            _ => "\n",
        }
    }
}

fn insert(at: usize, text: String) -> Edit {
    Edit { span: at..at, text }
}

/// Entries of a list in flow style, which is JSON too.
fn flow(missing: &[(&str, &str)]) -> String {
    let entry = |(name, value): &(&str, &str)| {
        format!(
            "{{\"name\": {}, \"value\": {}}}",
            quoted(name),
            quoted(value)
        )
    };
    let entries: Vec<String> = missing.iter().map(entry).collect();
    entries.join(", ")
}
