//! Any manifest in any style: only references change, the rest stays byte for byte, what is
//! read from the result is what was meant, and a second run changes nothing.
//!
//! The reader that judges is another one than the reader under test.

use castlink_core::{config::Config, reference::Layout};
use castlink_manifest::stream::{Pieces, Source};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    edit,
    finding::What,
    plan::{self, Depth, Planned},
    rules::Rules,
};
use crate::mapping::Mapping;

const REGISTRY: &str = "registry.example:5000/mirror";

const IMAGES: [&str; 7] = [
    "busybox",
    "rancher/kubectl:v1.35.6",
    "us-docker.pkg.dev/castai-hub/library/agent:v0.161.1",
    "ghcr.io/castai/images/evictor:0123456789abcdef0123456789abcdef01234567",
    "clickhouse/clickhouse-server:25.2@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "bitnami/kubectl:latest",
    "registry.k8s.io/cpa/cpvpa:v0.8.4",
];

/// Text that looks like references and markers, and is none.
const NOISE: [&str; 12] = [
    "busybox:1",
    "image: busybox",
    "---",
    "--- x",
    "# image",
    "v0.21.0",
    "it's",
    "\"quoted\"",
    "ünïcödé 😀",
    " padded ",
    "null",
    "",
];

/// Numbers to choose by, from the test's input, so that cases can be made smaller.
struct Choices(std::vec::IntoIter<u8>);

impl Choices {
    fn below(&mut self, end: usize) -> usize {
        usize::from(self.0.next().unwrap_or_default()) % end
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 1
    }
}

/// An object with pods, its images as they are or as they should become.
fn object(pick: &mut Choices, image: &impl Fn(&str) -> String) -> Value {
    let kinds = [
        "Deployment",
        "Pod",
        "CronJob",
        "Rollout",
        "ConfigMap",
        "StatefulSet",
    ];
    let kind = pick.one(&kinds);
    let spec = pod_spec(pick, image, kind != "ConfigMap");
    let name = format!("n{}", pick.below(9));
    let mut object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}});
    if pick.once_in(2) {
        object["metadata"]["annotations"] =
            json!({"image": pick.one(&NOISE), "b": pick.one(&NOISE)});
    }
    match kind {
        "Pod" => object["spec"] = spec,
        "ConfigMap" => object["data"] = json!({"spec": "containers", "deep": spec}),
        "CronJob" => {
            object["spec"] = json!({"jobTemplate": {"spec": {"template": {"spec": spec}}}})
        }
        "Rollout" => {
            object["apiVersion"] = json!("argoproj.io/v1alpha1");
            object["spec"] = json!({"strategy": {}, "template": {"spec": spec}});
        }
        _ => object["spec"] = json!({"replicas": 1, "template": {"spec": spec}}),
    }
    object
}

fn pod_spec(pick: &mut Choices, image: &impl Fn(&str) -> String, real: bool) -> Value {
    let picked = |pick: &mut Choices| {
        let literal = pick.one(&IMAGES);
        if real {
            image(literal)
        } else {
            literal.to_owned()
        }
    };
    let mut containers = Vec::new();
    for index in 0..=pick.below(2) {
        let mut container = json!({"name": format!("c{index}"), "image": picked(pick)});
        if pick.once_in(2) {
            container["env"] = json!([
                {"name": "AGENT_IMAGE", "value": "v0.21.0"},
                {"name": "SCANNERS_IMAGE", "value": picked(pick)},
                {"name": "X", "value": pick.one(&NOISE)},
            ]);
        }
        if pick.once_in(3) {
            container["args"] = json!(["--image", pick.one(&IMAGES), pick.one(&NOISE)]);
        }
        containers.push(container);
    }
    let mut spec = json!({"containers": containers});
    if pick.once_in(3) {
        spec["initContainers"] = json!([{"image": picked(pick), "name": "init"}]);
    }
    if pick.once_in(3) {
        spec["volumes"] = json!([{"name": "v", "image": {"reference": picked(pick)}}, {"name": "e", "emptyDir": {}}]);
    }
    spec
}

/// Writes values in styles of its choice.
struct Emitter<'c> {
    pick: &'c mut Choices,
    /// Styles in which every text stands as it is.
    literal: bool,
    out: String,
}

impl Emitter<'_> {
    fn document(&mut self, value: &Value) {
        match self.pick.below(8) {
            0 => self.out.push_str(&value.to_string()),
            1 => self
                .out
                .push_str(&serde_json::to_string_pretty(value).expect("JSON")),
            2 => self.flow(value),
            _ => self.block(value, 0),
        }
        if !self.out.ends_with('\n') {
            self.out.push('\n');
        }
    }

    fn block(&mut self, value: &Value, indent: usize) {
        match value {
            Value::Object(map) => {
                for (index, (key, value)) in map.iter().enumerate() {
                    if index > 0 {
                        self.line(indent);
                    }
                    self.key(key);
                    self.out.push(':');
                    self.nested(value, indent);
                }
            }
            Value::Array(list) => {
                for (index, value) in list.iter().enumerate() {
                    if index > 0 {
                        self.line(indent);
                    }
                    self.out.push('-');
                    match value {
                        Value::Object(map) if !map.is_empty() && !self.pick.once_in(4) => {
                            self.out.push(' ');
                            self.block(value, indent + 2);
                        }
                        value => self.nested(value, indent),
                    }
                }
            }
            value => self.scalar(value, false, indent),
        }
    }

    /// A value behind a key or a dash.
    fn nested(&mut self, value: &Value, indent: usize) {
        let empty = match value {
            Value::Object(map) => map.is_empty(),
            Value::Array(list) => list.is_empty(),
            _ => true,
        };
        if empty || self.pick.once_in(6) {
            self.out.push(' ');
            return self.flow_in(value, indent, !empty);
        }
        if self.pick.once_in(8) {
            self.out.push_str("  # image: busybox:1");
        }
        // A list may stand in the column of its key.
        let deeper = match value {
            Value::Array(_) if self.out.ends_with(':') && self.pick.once_in(2) => 0,
            _ => 1 + self.pick.below(3),
        };
        self.line(indent + deeper);
        self.block(value, indent + deeper);
    }

    fn line(&mut self, indent: usize) {
        self.out.push('\n');
        match self.pick.below(12) {
            0 => self.out.push_str("# image: busybox:1\n"),
            1 => self.out.push('\n'),
            _ => {}
        }
        self.out.push_str(&" ".repeat(indent));
    }

    fn flow(&mut self, value: &Value) {
        self.flow_in(value, 0, true);
    }

    fn flow_in(&mut self, value: &Value, indent: usize, flow: bool) {
        let space = ["", " "][self.pick.below(2)];
        match value {
            Value::Object(map) => {
                self.out.push('{');
                for (index, (key, value)) in map.iter().enumerate() {
                    self.out.push_str(if index > 0 { ", " } else { space });
                    self.key(key);
                    self.out.push_str(": ");
                    self.flow_in(value, indent, true);
                }
                self.out.push_str(space);
                self.out.push('}');
            }
            Value::Array(list) => {
                self.out.push('[');
                for (index, value) in list.iter().enumerate() {
                    self.out.push_str(if index > 0 { " , " } else { space });
                    self.flow_in(value, indent, true);
                }
                self.out.push_str(space);
                self.out.push(']');
            }
            value => self.scalar(value, flow, indent),
        }
    }

    fn key(&mut self, key: &str) {
        match self.pick.below(8) {
            0 => self.double(key),
            1 => self.out.push_str(&format!("'{key}'")),
            _ => self.out.push_str(key),
        }
    }

    fn scalar(&mut self, value: &Value, flow: bool, indent: usize) {
        let Value::String(text) = value else {
            return self.out.push_str(&value.to_string());
        };
        let word = |c: char| c.is_ascii_alphanumeric() || "./:@-_".contains(c);
        let plain = text.chars().all(word)
            && text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text != "null";
        match self.pick.below(6) {
            0 => self.double(text),
            1 if !flow && plain => {
                let header = ["|-", ">-", "|", ">+"][self.pick.below(2)];
                let inner = " ".repeat(indent + 1 + self.pick.below(3));
                self.out.push_str(&format!("{header}\n{inner}{text}"));
            }
            2..5 if plain => self.out.push_str(text),
            _ => self
                .out
                .push_str(&format!("'{}'", text.replace('\'', "''"))),
        }
    }

    fn double(&mut self, text: &str) {
        if self.literal || self.pick.once_in(2) {
            return self.out.push_str(&Value::from(text).to_string());
        }
        self.out.push('"');
        for char in text.chars() {
            match self.pick.below(4) {
                0 if char.is_ascii() => self.out.push_str(&format!("\\x{:02x}", u32::from(char))),
                1 if u32::from(char) < 0x1_0000 => {
                    self.out.push_str(&format!("\\u{:04x}", u32::from(char)));
                }
                _ if char == '"' || char == '\\' => self.out.extend(['\\', char]),
                _ => self.out.push(char),
            }
        }
        self.out.push('"');
    }
}

/// A stream and the objects that are to be read from what becomes of it.
fn stream(bytes: Vec<u8>, literal: bool) -> (String, Vec<Value>) {
    let target = |literal: &str| {
        let image: castlink_core::ImageRef = literal.parse().expect("a reference");
        image
            .at(REGISTRY, Layout::Full)
            .expect("a target")
            .literal()
            .to_owned()
    };
    let mut pick = Choices(bytes.into_iter());
    let mut text = String::new();
    let mut wanted = Vec::new();
    for index in 0..=pick.below(4) {
        let rest = pick.0.clone();
        let meant = object(&mut pick, &|literal| target(literal));
        let written = object(&mut Choices(rest), &str::to_owned);
        if index > 0 || pick.once_in(2) {
            text.push_str(pick.one(&["---\n", "--- # x\n", "---\n# image: x\n", "---\n---\n"]));
        }
        let mut emitter = Emitter {
            pick: &mut pick,
            literal,
            out: String::new(),
        };
        emitter.document(&written);
        text.push_str(&emitter.out);
        wanted.push(meant);
    }
    if pick.once_in(3) {
        text = text.replace('\n', "\r\n");
    }
    if pick.once_in(5) {
        text.insert(0, '\u{feff}');
    }
    (text, wanted)
}

fn rules() -> Rules {
    let mapping = Mapping::of_file(None, Some(REGISTRY), None, &Config::default());
    Rules {
        mapping: mapping.expect("a rule"),
        pins: None,
        configmaps: false,
        tell_changes: true,
        proxy: None,
    }
}

fn run(text: &str) -> (Vec<Planned>, String) {
    let source = Source::new("x", std::io::Cursor::new(text.to_owned()));
    let mut out = String::new();
    let mut all = Vec::new();
    for piece in Pieces::new(vec![source]) {
        let piece = piece.expect("UTF-8");
        let mut planned = plan::plan(&piece, &rules(), Depth::Stream);
        edit::apply(&piece.text, &mut planned.edits, &mut out);
        all.push(planned);
    }
    (all, out)
}

fn read(text: &str) -> Vec<Value> {
    use serde::Deserialize as _;
    let text = text.trim_start_matches('\u{feff}');
    let documents = serde_yaml_ng::Deserializer::from_str(text);
    let values = documents.map(|one| Value::deserialize(one).expect("YAML"));
    values.filter(|value| !value.is_null()).collect()
}

fn trimmed(text: &str) -> String {
    text.replace(&format!("{REGISTRY}/"), "")
}

proptest! {
    #[test]
    fn what_is_read_is_what_was_meant(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let (text, wanted) = stream(bytes, false);
        let (planned, out) = run(&text);
        for finding in planned.iter().flat_map(|one| &one.findings) {
            let changed = matches!(&finding.what, What::Changed { .. });
            prop_assert!(changed, "{finding}\n{text}");
        }
        prop_assert_eq!(read(&out), wanted, "{}", text);
        let (again, same) = run(&out);
        prop_assert!(again.iter().all(|one| one.findings.is_empty()));
        prop_assert_eq!(same, out);
    }

    #[test]
    fn nothing_else_changes(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let (text, _) = stream(bytes, true);
        let (_, out) = run(&text);
        // `busybox` says no tag, its target does: the only text that is more than a prefix.
        prop_assert_eq!(trimmed(&out).replace("busybox:latest", "busybox"), text);
    }

    #[test]
    fn any_text_is_taken_without_a_panic(text in any_text()) {
        let (_, out) = run(&text);
        prop_assert!(out.len() >= text.len() / 2);
    }

    #[test]
    fn without_edits_the_stream_is_itself(text in any_text()) {
        let source = Source::new("x", std::io::Cursor::new(text.clone()));
        let pieces = Pieces::new(vec![source]).map(|piece| piece.expect("UTF-8").text);
        prop_assert_eq!(pieces.collect::<String>(), text);
    }
}

/// Words that manifests are made of, in any order.
fn any_text() -> impl Strategy<Value = String> {
    let words = [
        "---",
        "\n",
        "\n---",
        "kind",
        ":",
        " ",
        "  ",
        "- ",
        "containers",
        "image",
        "busybox",
        "\"",
        "'",
        "{",
        "}",
        "[",
        "]",
        ",",
        "|",
        ">-",
        "&a",
        "*a",
        "<<",
        "#",
        "\\",
        "\t",
        "\r\n",
        "...",
        "%YAML 1.2",
        "Pod",
        "spec",
        "!!binary",
        "\u{feff}",
        "😀",
        "? ",
        "apiVersion",
        "kind: Pod\n",
        "spec:\n",
    ];
    let word = prop::sample::select(words.to_vec());
    prop::collection::vec(word, 0..60).prop_map(|words| words.concat())
}
