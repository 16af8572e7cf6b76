//! What cannot be changed where it is: Jobs, objects that others make, pods. Pure; says why,
//! and what to do instead.

use castlink_core::Exit;
use kube::api::DynamicObject;
use serde_json::Value;

use crate::workload::{Kind, Slot, Workload};

/// Why `workload` cannot be patched, and what that asks the process to return; none when it
/// can be.
pub(crate) fn reason<'a>(
    workload: &Workload,
    slots: impl Iterator<Item = &'a Slot>,
    bare_pods: bool,
) -> Option<(String, Exit)> {
    match (workload.id.kind, &workload.controller) {
        (Kind::Pod, _) if workload.is_static() => Some((of_static_pod(workload), Exit::Done)),
        (_, Some(maker)) => {
            let reason = format!("made by {maker}, which would put a change back: change it there");
            Some((reason, Exit::Partial))
        }
        (Kind::Job, None) => Some((of_job(&workload.object).into(), Exit::Done)),
        (Kind::Pod, None) if bare_pods => Some((of_pod(slots)?, Exit::Partial)),
        (Kind::Pod, None) => Some((
            "a bare pod: make it anew from a changed manifest, or change it in place with --bare-pods".into(),
            Exit::Done,
        )),
        _ => None,
    }
}

/// True when some run could patch `workload`.
pub(crate) fn is_patchable(workload: &Workload) -> bool {
    let slots = workload.fields.iter().map(|field| &field.slot);
    reason(workload, slots, true).is_none()
}

fn of_static_pod(pod: &Workload) -> String {
    let node = pod.controller.as_deref().unwrap_or("its node");
    format!("a static pod: change its manifest on {node}")
}

/// A Job's template is immutable, so all that can be said is what its image means now.
fn of_job(job: &DynamicObject) -> &'static str {
    let annotations = job.metadata.annotations.as_ref();
    if annotations.is_some_and(|all| all.contains_key("helm.sh/hook")) {
        return "a Job is immutable: this is a Helm hook, made anew at the next release; set its image in the chart's values";
    }
    if is_finished(job) {
        return "a Job is immutable: it has ended, and its image is not pulled again";
    }
    "a Job is immutable: it still runs; delete it, and make it anew from a changed manifest"
}

/// True for a Job that is complete, or has failed.
pub(crate) fn is_finished(job: &DynamicObject) -> bool {
    let conditions = job.data.pointer("/status/conditions");
    let ended = |one: &Value| {
        matches!(one["type"].as_str(), Some("Complete" | "Failed")) && one["status"] == "True"
    };
    conditions
        .and_then(Value::as_array)
        .is_some_and(|all| all.iter().any(ended))
}

/// The first field of a pod that no patch may change.
fn of_pod<'a>(mut slots: impl Iterator<Item = &'a Slot>) -> Option<String> {
    let fixed = slots.find(|slot| !matches!(slot, Slot::Container(_) | Slot::Init(_)))?;
    Some(format!(
        "{fixed} of a pod is immutable: make the pod anew from a changed manifest"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn workload(kind: Kind, metadata: Value, status: Value) -> Workload {
        let object = json!({"metadata": metadata, "status": status});
        Workload::new(kind, serde_json::from_value(object).unwrap())
    }

    fn check(workload: &Workload, slot: Slot, bare_pods: bool, want: Option<(&str, Exit)>) {
        let got = reason(workload, [&slot].into_iter(), bare_pods);
        match (got, want) {
            (None, None) => {}
            (Some((text, exit)), Some((part, code))) => {
                assert!(text.contains(part) && exit == code, "{text} {exit:?}");
            }
            other => panic!("{other:?}"),
        }
    }

    fn app() -> Slot {
        Slot::Container("app".into())
    }

    #[test]
    fn jobs_are_told_apart() {
        let done =
            |kind: &str, status: &str| json!({"conditions": [{"type": kind, "status": status}]});
        let hook = json!({"annotations": {"helm.sh/hook": "pre-upgrade"}});
        for (metadata, status, want) in [
            (hook, done("Complete", "True"), "Helm hook"),
            (json!({}), done("Complete", "True"), "has ended"),
            (json!({}), done("Failed", "True"), "has ended"),
            (json!({}), done("Complete", "False"), "still runs"),
            (json!({}), json!({"active": 1}), "still runs"),
        ] {
            let job = workload(Kind::Job, metadata, status);
            check(&job, app(), false, Some((want, Exit::Done)));
        }
    }

    #[test]
    fn pods_are_changed_on_request_where_they_can_be() {
        let owner = json!([{"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "1", "controller": true}]);
        let mirror =
            json!({"annotations": {"kubernetes.io/config.mirror": "x"}, "ownerReferences": owner});
        let bare = workload(Kind::Pod, json!({}), json!({}));
        check(&bare, app(), false, Some(("--bare-pods", Exit::Done)));
        check(&bare, app(), true, None);
        check(&bare, Slot::Init("i".into()), true, None);
        let volume = Slot::Volume("model".into());
        check(
            &bare,
            volume,
            true,
            Some(("volume model of a pod", Exit::Partial)),
        );
        let stat = workload(Kind::Pod, mirror, json!({}));
        for bare_pods in [false, true] {
            check(
                &stat,
                app(),
                bare_pods,
                Some(("manifest on Node/n1", Exit::Done)),
            );
        }
        let made = json!({"ownerReferences": [{"apiVersion": "castware.cast.ai/v1alpha1", "kind": "Component", "name": "agent", "uid": "1", "controller": true}]});
        let made = workload(Kind::Deployment, made, json!({}));
        check(
            &made,
            app(),
            false,
            Some(("made by Component/agent", Exit::Partial)),
        );
    }
}
