//! The records that travel between castlink's processes: JSON Lines on stdout with
//! `-o json`, read back from stdin. These are the only serialised types.
//!
//! Each line is self-describing: `{"castlink":1,"kind":"mirrored",…}`. Readers
//! ignore unknown fields, pass unknown kinds through, and refuse a higher major.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Failure, Result, exit::Exit};

/// The major version of the record format.
pub const VERSION: u32 = 1;

/// One record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Record {
    /// An image somebody uses.
    Image(Image),
    /// An image that was (or could not be) copied to its target.
    Mirrored(Mirrored),
    /// One field of one resource that is or would be changed.
    Change(Change),
    /// The outcome of a check.
    Check(Check),
    /// An endpoint service of the catalogue.
    Service(Service),
    /// A Helm value that keeps an image private.
    HelmValue(HelmValue),
    /// The last record of a command.
    Summary(Summary),
}

/// An image reference and who uses it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The reference, literally as it is written in the manifest.
    pub source: String,
    /// The digest it stands for, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Platforms it is needed for (`linux/amd64`), when known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<String>,
    /// Where it is used: `Deployment/castai-agent container agent`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub used_by: Vec<String>,
    /// Who manages the workloads that use it: `Deployment/castai-agent` is of
    /// `helm:castai-agent`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub owners: BTreeMap<String, String>,
    /// The newest release of it, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available: Option<Box<Available>>,
}

/// The newest release of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Available {
    /// The reference to copy: the public name, with the tag of that release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Whether it is newer than the image in use; absent when the two have no order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newer: Option<bool>,
    /// Who says so: `chart castai-agent 0.161.1`, `tags of ghcr.io/castai/images/agent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why there is no answer, or none about which of the two is newer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Why nobody could be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorInfo>,
}

/// What became of one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mirrored {
    /// The reference it came from, as it was given.
    pub source: String,
    /// The reference it can be pulled by now.
    pub target: String,
    /// The digest of the manifest or index at the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Platforms in it (`linux/arm64`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<String>,
    /// Present when only some platforms were taken: the target has a filtered index then,
    /// under `digest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filtered: Option<Box<Filtered>>,
    /// What is attached to it, where there is something and it was looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attachments: Option<Box<Attachments>>,
    /// How it ended.
    pub status: MirrorStatus,
    /// Bytes that were sent to the target for it.
    #[serde(default)]
    pub bytes: u64,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorInfo>,
}

/// What a filtered index was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filtered {
    /// The digest of the whole index, at the source.
    pub source_digest: String,
    /// The platforms in it that were not taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

/// Signatures, attestations and other artifacts attached to an image, copied best effort.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachments {
    /// Found at the source.
    pub found: u64,
    /// Copied by this run.
    pub copied: u64,
    /// At the target already.
    pub present: u64,
    /// What stays behind, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<LeftBehind>,
}

/// Something attached to an image that could not be copied, or not be looked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftBehind {
    /// A tag or digest.
    pub what: String,
    /// What went wrong.
    pub why: String,
}

impl Mirrored {
    /// An image that ended so, and nothing more to say about it.
    #[must_use]
    pub fn new(source: impl Into<String>, target: impl Into<String>, status: MirrorStatus) -> Self {
        Self {
            source: source.into(),
            target: target.into(),
            digest: None,
            platforms: Vec::new(),
            filtered: None,
            attachments: None,
            status,
            bytes: 0,
            error: None,
        }
    }
}

/// How mirroring one image ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MirrorStatus {
    /// Copied by this run.
    Copied,
    /// Was there already, with the same digest.
    Present,
    /// Would be copied (`plan`).
    Planned,
    /// Could not be copied.
    Failed,
    /// The target has another digest under an immutable tag.
    Conflict,
}

impl MirrorStatus {
    /// True when the image can be pulled from the target.
    #[must_use]
    pub fn usable(self) -> bool {
        matches!(self, Self::Copied | Self::Present)
    }
}

/// One field of one resource, before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The resource: `subnet/subnet-0a1`, `Deployment/castai-agent`.
    pub resource: String,
    /// The field: `tag cast.ai/routable`, `container agent image`.
    pub field: String,
    /// The value before; absent when the field or the resource did not exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The value after; absent when it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Who else manages the field (`helm:castai-agent`), when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What became of it.
    pub status: ChangeStatus,
    /// Why it was not applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorInfo>,
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeStatus {
    /// Would be made.
    Planned,
    /// Made.
    Applied,
    /// Was so already.
    Unchanged,
    /// Left alone on purpose; `error` says why.
    Skipped,
    /// Tried, and failed.
    Failed,
    /// Made, and taken back.
    RolledBack,
}

/// The outcome of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Stable identifier: `endpoints.available`.
    pub id: String,
    /// The verdict.
    pub status: CheckStatus,
    /// What was checked: `vpce-0a1`, `Deployment/castai-agent`.
    pub subject: String,
    /// What was found.
    pub detail: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// The verdict of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckStatus {
    /// As it should be.
    Ok,
    /// Works, but deserves a look.
    Warn,
    /// Not as it should be.
    Fail,
}

/// An endpoint service of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// The region where it is.
    pub region: String,
    /// The role: `rest-api`.
    pub role: String,
    /// The full service name: `com.amazonaws.vpce.us-east-1.vpce-svc-0f6…`.
    pub service: String,
    /// What it is for.
    pub title: String,
    /// Where the entry is from: `built-in 2025-10-15`, or the file.
    pub origin: String,
}

/// A Helm value that makes the next release keep an image private; without `key`, why there
/// is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HelmValue {
    /// The release; absent for workloads that no release installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// Its namespace.
    pub namespace: String,
    /// Its chart: `castai-agent 0.161.1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chart: Option<String>,
    /// Who installs it: `helm`, `castware-operator`, `argocd:platform`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The image, as it is now.
    pub image: String,
    /// The key: `image.repository`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// What else is to be known; why there is no value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// The last record of every command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The command: `castlink-mirror copy`.
    pub command: String,
    /// How it ended.
    pub exit: Exit,
    /// Wall-clock seconds.
    pub seconds: f64,
    /// What it counted: `copied`, `present`, `bytes`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<String, u64>,
    /// Why it ended so, when it failed as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorInfo>,
}

/// An error in a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorInfo {
    /// The name of the exit code it belongs to (`docs/exit-codes.md`).
    pub code: String,
    /// What went wrong, with its causes, on one line.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// One line of input, understood or passed through.
#[derive(Debug, Clone, PartialEq)]
pub enum Line {
    /// A record of a known kind.
    Record(Record),
    /// A record of a kind this version does not know.
    Unknown(String),
}

#[derive(Serialize)]
struct Tagged<'a> {
    castlink: u32,
    #[serde(flatten)]
    record: &'a Record,
}

#[derive(Deserialize)]
struct Head {
    castlink: u32,
    kind: String,
}

const KINDS: [&str; 7] = [
    "image",
    "mirrored",
    "change",
    "check",
    "service",
    "helm_value",
    "summary",
];

impl Record {
    /// The record as one line of JSON, without the newline.
    #[must_use]
    pub fn to_line(&self) -> String {
        let tagged = Tagged {
            castlink: VERSION,
            record: self,
        };
        serde_json::to_string(&tagged)
            .expect("records hold only strings, numbers and maps with string keys")
    }

    /// Reads one line of JSON.
    ///
    /// # Errors
    /// Exit 2 when it is not JSON, not a castlink record, or of a newer major version.
    pub fn from_line(line: &str) -> Result<Line> {
        let head: Head = serde_json::from_str(line).map_err(|err| {
            Failure::usage(format!("not a castlink record: {}", excerpt(line)))
                .because(err)
                .hint("records come from a castlink command with `-o json`")
        })?;
        if head.castlink > VERSION {
            return Err(Failure::usage(format!(
                "record of version {}, this binary reads up to {VERSION}",
                head.castlink
            ))
            .hint("use the same castlink version on both sides of the pipe"));
        }
        if !KINDS.contains(&head.kind.as_str()) {
            return Ok(Line::Unknown(line.to_owned()));
        }
        serde_json::from_str(line)
            .map(Line::Record)
            .map_err(|err| Failure::usage(format!("malformed {} record", head.kind)).because(err))
    }
}

fn excerpt(line: &str) -> String {
    let mut out: String = line.chars().take(60).collect();
    if out.len() < line.len() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Record {
        Record::Image(Image {
            source: "busybox:1".into(),
            used_by: vec!["Pod/x".into()],
            ..Image::default()
        })
    }

    #[test]
    fn a_record_reads_back() {
        let line = image().to_line();
        assert!(
            line.starts_with(r#"{"castlink":1,"kind":"image","source":"busybox:1""#),
            "{line}"
        );
        assert_eq!(Record::from_line(&line).unwrap(), Line::Record(image()));
    }

    #[test]
    fn readers_are_lenient_and_refuse_only_a_newer_major() {
        let extra = r#"{"castlink":1,"kind":"image","source":"a","new":{"x":1}}"#;
        assert!(matches!(
            Record::from_line(extra).unwrap(),
            Line::Record(Record::Image(_))
        ));
        let unknown = r#"{"castlink":1,"kind":"moon"}"#;
        assert_eq!(
            Record::from_line(unknown).unwrap(),
            Line::Unknown(unknown.into())
        );
        for bad in [
            r#"{"castlink":2,"kind":"image","source":"a"}"#,
            "<html>",
            r#"{"kind":"image"}"#,
        ] {
            assert_eq!(
                Record::from_line(bad).unwrap_err().exit(),
                Exit::Usage,
                "{bad}"
            );
        }
    }
}
