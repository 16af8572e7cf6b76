//! The scan Jobs of kvisor, whose image no template shows: the controller makes it up from its
//! own by replacing the first `-controller`, unless `SCANNERS_IMAGE` names it.
//!
//! Never here: workloads, requests, and what follows from a trouble.

use std::sync::LazyLock;

use castlink_core::ImageRef;
use memchr::memmem::Finder;

use crate::{
    answers::Answer,
    mapping::{Mapping, Target},
};

/// What sets the image instead.
pub const REMEDY: &str =
    "set SCANNERS_IMAGE on this container (Helm: controller.additionalEnv.SCANNERS_IMAGE)";

/// Why the Jobs of a controller cannot start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What, and what helps.
    pub text: String,
    /// It is known, and comes with the new name of the controller.
    pub certain: bool,
}

/// What the controller's image is called, in whatever registry.
static CONTROLLER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("kvisor-controller"));

/// Whether `image` may be the controller's; [`trouble`] looks more closely.
pub(crate) fn may_start(image: &str) -> bool {
    CONTROLLER.find(image.as_bytes()).is_some()
}

/// The image of the Jobs that a controller of this image starts.
#[must_use]
pub fn started(controller: &str) -> String {
    controller.replacen("-controller", "-scanners", 1)
}

/// What keeps the Jobs from starting once the controller `literal` is called `becomes`.
#[must_use]
pub fn trouble(literal: &str, becomes: &str, mapping: &Mapping) -> Option<Trouble> {
    let controller: ImageRef = literal.parse().ok()?;
    if !controller.literal_name().ends_with("kvisor-controller") {
        return None;
    }
    let started = started(becomes);
    let (why, certain) = match controller.kvisor_scanners() {
        _ if becomes.contains('@') => (
            "which no registry has: the digest is the controller's".to_owned(),
            false,
        ),
        Some(scanners) => missing(&scanners, &started, mapping)?,
        None => return None,
    };
    Some(Trouble {
        text: format!("kvisor will start its scan Jobs with {started}, {why}; {REMEDY}"),
        certain,
    })
}

/// Why `scanners` cannot be pulled as `started`, and whether that is certain.
fn missing(scanners: &ImageRef, started: &str, mapping: &Mapping) -> Option<(String, bool)> {
    match mapping.answer(started) {
        Some(Answer::There { .. }) => return None,
        Some(Answer::Missing(reason)) => {
            return Some((format!("which is not there: {reason}"), true));
        }
        None => {}
    }
    match mapping.target(scanners.literal()) {
        Target::Mirrored { to, .. } | Target::Planned { to } => {
            (without_digest(&to) != started).then(|| (format!("but it was mirrored to {to}"), true))
        }
        // A step from one private name to another: nothing is known about the new one's.
        Target::Private => {
            (scanners.literal() != started).then(|| (format!("but it is {scanners}"), false))
        }
        Target::Failed { reason } => Some((format!("which is not there: {reason}"), true)),
        Target::Unknown => Some((
            format!("which is not mirrored: {}", mapping.unknown()),
            false,
        )),
        Target::Invalid => None,
    }
}

fn without_digest(reference: &str) -> &str {
    reference.split('@').next().unwrap_or(reference)
}

#[cfg(test)]
mod tests {
    use castlink_core::input;
    use serde_json::json;

    use super::*;

    const ECR: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
    const CONTROLLER: &str = "ghcr.io/castai/kvisor/kvisor-controller:v1";
    const SCANNERS: &str = "ghcr.io/castai/kvisor/kvisor-scanners:v1";

    /// Records as source, target and status.
    fn mapping(records: &[(&str, String, &str)]) -> Mapping {
        let line = |(source, target, status): &(&str, String, &str)| {
            json!({"castlink": 1, "kind": "mirrored", "source": source, "target": target,
                "status": status, "platforms": ["linux/amd64"]})
            .to_string()
        };
        let lines: Vec<String> = records.iter().map(line).collect();
        Mapping::of_records(input::read(lines.join("\n").as_bytes()).unwrap(), None).unwrap()
    }

    #[test]
    fn jobs_start_when_their_image_is_where_the_controller_looks() {
        let at = |prefix: &str, image: &str| format!("{ECR}/{prefix}{image}");
        let controller = |prefix: &str| (CONTROLLER, at(prefix, CONTROLLER), "copied");
        for (records, want) in [
            (
                vec![controller(""), (SCANNERS, at("", SCANNERS), "present")],
                None,
            ),
            (
                vec![controller(""), (SCANNERS, at("", SCANNERS), "failed")],
                Some(("was not mirrored", true)),
            ),
            (vec![controller("")], Some(("no record says where", false))),
            (
                vec![
                    controller("x-controller/"),
                    (SCANNERS, at("x-controller/", SCANNERS), "copied"),
                ],
                Some(("but it was mirrored to", true)),
            ),
            (
                vec![controller(""), (SCANNERS, at("moved/", SCANNERS), "copied")],
                Some(("but it was mirrored to", true)),
            ),
        ] {
            let (mapping, becomes) = (mapping(&records), &records[0].1);
            let got = trouble(CONTROLLER, becomes, &mapping);
            match (&got, want) {
                (None, None) => {}
                (Some(trouble), Some((part, certain))) => {
                    let named = trouble.text.contains(&started(becomes));
                    assert!(named && trouble.text.contains(part), "{trouble:?}");
                    assert_eq!(trouble.certain, certain, "{trouble:?}");
                }
                _ => panic!("{records:?}: {got:?}"),
            }
        }
        let step = |tag: &str| at("", CONTROLLER).replace(":v1", tag);
        let private = mapping(&[(&step(":v1"), step(":v2"), "present")]);
        let found = trouble(&step(":v1"), &step(":v2"), &private).unwrap();
        assert!(
            !found.certain,
            "another version of private images: {found:?}"
        );
        let other = "ghcr.io/castai/kvisor/kvisor-agent:v1";
        let mapping = mapping(&[controller("")]);
        assert_eq!(trouble(other, &at("", other), &mapping), None);
    }

    #[test]
    fn a_digest_is_the_controllers() {
        let digest = format!("@sha256:{}", "a".repeat(64));
        let pinned = format!("{CONTROLLER}{digest}");
        let becomes = format!("{ECR}/{pinned}");
        let scanners = (SCANNERS, format!("{ECR}/{SCANNERS}"), "copied");
        let found = trouble(&pinned, &becomes, &mapping(&[scanners])).unwrap();
        assert!(found.text.contains("which no registry has") && !found.certain);
    }
}
