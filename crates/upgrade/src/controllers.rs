//! Workloads that run kvisor's controller: what to ask and to tell about the scan Jobs that it
//! starts.
//!
//! Never here: what the image of the Jobs is called, and what is wrong with it: scanners.rs.

use castlink_core::ImageRef;

use crate::{
    fixed,
    mapping::{Mapping, Target},
    scanners::{started, trouble},
    workload::{ImageField, Slot, Workload},
};

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
    use crate::{answers::Answer, workload::Kind};

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

    fn kvisor(image: &str, env: Value) -> Workload {
        let object = json!({"metadata": {"name": "kvisor"}, "spec": {"template": {"spec": {"containers": [
            {"name": "controller", "image": image, "env": env}]}}}});
        Workload::new(Kind::Deployment, serde_json::from_value(object).unwrap())
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
