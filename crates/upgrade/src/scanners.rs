//! The scan Jobs of kvisor, whose image no template shows: the controller makes it up from its
//! own by replacing the first `-controller`, unless `SCANNERS_IMAGE` names it.
//!
//! Never here: requests, and what follows from a trouble.

use castlink_core::ImageRef;

use crate::{
    answers::Answer,
    fixed,
    mapping::{Mapping, Target},
    workload::{ImageField, Slot, Workload},
};

/// What sets the image instead.
pub(crate) const REMEDY: &str =
    "set SCANNERS_IMAGE on this container (Helm: controller.additionalEnv.SCANNERS_IMAGE)";

/// Why the Jobs of a controller cannot start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) text: String,
    /// It is known, and comes with the new name of the controller.
    pub(crate) certain: bool,
}

/// The image that is published with the controller in `field`; none where that holds
/// something else, or where a variable says what to scan with.
pub(crate) fn published(workload: &Workload, field: &ImageField) -> Option<ImageRef> {
    let told = workload
        .fields
        .iter()
        .any(|other| matches!(&other.slot, Slot::Env { name, .. } if name == "SCANNERS_IMAGE"));
    if told || !matches!(field.slot, Slot::Container(_)) {
        return None;
    }
    let image: ImageRef = field.literal.parse().ok()?;
    image.kvisor_scanners()
}

/// The image of the Jobs that a controller of this image starts.
pub(crate) fn started(controller: &str) -> String {
    controller.replacen("-controller", "-scanners", 1)
}

/// What keeps the Jobs from starting once the controller `literal` is called `becomes`.
pub(crate) fn trouble(literal: &str, becomes: &str, mapping: &Mapping) -> Option<Trouble> {
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
        Target::Private => {
            (scanners.literal() != started).then(|| (format!("but it is {scanners}"), true))
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

/// What a registry is to be asked before the controller in `field` is relied on: the image of
/// its Jobs, where no record vouches for it.
pub(crate) fn open_question(
    workload: &Workload,
    field: &ImageField,
    mapping: &Mapping,
) -> Option<String> {
    let scanners = published(workload, field)?;
    let started = started(&becomes(field, mapping)?);
    let question = match mapping.target(scanners.literal()) {
        Target::Private => Some(scanners.literal().to_owned()),
        _ => mapping.open_question(scanners.literal()),
    };
    question.filter(|question| *question == started)
}

/// What the planner does not tell by leaving a controller alone: troubles that are there
/// already, and those that are not certain.
pub(crate) fn warnings(workloads: &[Workload], mapping: &Mapping) -> Vec<String> {
    let patchable = workloads.iter().filter(|one| fixed::is_patchable(one));
    let of_workload = |workload: &Workload| -> Vec<String> {
        let fields = workload.fields.iter();
        fields
            .filter_map(|field| warning(workload, field, mapping))
            .collect()
    };
    patchable.flat_map(of_workload).collect()
}

fn warning(workload: &Workload, field: &ImageField, mapping: &Mapping) -> Option<String> {
    published(workload, field)?;
    let becomes = becomes(field, mapping)?;
    let trouble = trouble(&field.literal, &becomes, mapping)?;
    let told = trouble.certain && becomes != field.literal;
    (!told).then(|| format!("{}: {}", workload.id, trouble.text))
}

/// What the reference in `field` will be; none where it stays for want of a target.
fn becomes(field: &ImageField, mapping: &Mapping) -> Option<String> {
    match mapping.target(&field.literal) {
        Target::Mirrored { to, .. } | Target::Planned { to } => Some(to),
        Target::Private => Some(field.literal.clone()),
        Target::Failed { .. } | Target::Unknown | Target::Invalid => None,
    }
}

#[cfg(test)]
mod tests {
    use castlink_core::input;
    use serde_json::{Value, json};

    use super::*;
    use crate::workload::Kind;

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
        Mapping::from_items(input::read(lines.join("\n").as_bytes()).unwrap())
    }

    fn kvisor(image: &str, env: Value) -> Workload {
        let object = json!({"metadata": {"name": "kvisor"}, "spec": {"template": {"spec": {"containers": [
            {"name": "controller", "image": image, "env": env}]}}}});
        Workload::new(Kind::Deployment, serde_json::from_value(object).unwrap())
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

    #[test]
    fn a_registry_is_asked_about_what_no_record_vouches_for() {
        let mine = format!("{ECR}/{SCANNERS}");
        let controller = (CONTROLLER, format!("{ECR}/{CONTROLLER}"), "copied");
        let scanners = (SCANNERS, mine.clone(), "copied");
        let (some, both) = (
            mapping(std::slice::from_ref(&controller)),
            mapping(&[controller, scanners]),
        );
        let private = format!("{ECR}/{CONTROLLER}");
        let told = json!([{"name": "SCANNERS_IMAGE", "value": SCANNERS}]);
        for (image, env, mapping, want) in [
            (&*private, json!([]), &some, Some(mine)),
            (&*private, told.clone(), &some, None),
            (CONTROLLER, json!([]), &both, None),
            (CONTROLLER, told, &some, None),
        ] {
            let workload = kvisor(image, env);
            let asked = open_question(&workload, &workload.fields[0], mapping);
            assert_eq!(asked, want, "{image}");
        }
    }

    #[test]
    fn what_is_missing_already_is_a_warning() {
        let private = format!("{ECR}/{CONTROLLER}");
        let mine = format!("{ECR}/{SCANNERS}");
        let mut mapping = mapping(&[(CONTROLLER, private.clone(), "copied")]);
        let of = |mapping: &Mapping| warnings(&[kvisor(&private, json!([]))], mapping);
        assert_eq!(of(&mapping), [""; 0]);
        let missing = Answer::Missing(format!("{mine}: not found"));
        mapping.learn([(mine, missing)].into());
        let said = of(&mapping);
        assert!(said[0].contains("Deployment/kvisor") && said[0].contains("not found"));
    }
}
