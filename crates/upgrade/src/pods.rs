//! Pods as far as rollouts care: whose they are, what they run, and what keeps a
//! container from starting.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};

use crate::workload::{Id, Kind, Slot};

/// What is needed to know about a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PodView {
    pub(crate) name: String,
    pub(crate) uid: String,
    /// Kind and name of the controlling object.
    pub(crate) maker: Option<(String, String)>,
    pub(crate) template_hash: Option<String>,
    pub(crate) revision: Option<String>,
    pub(crate) node: Option<String>,
    pub(crate) phase: String,
    pub(crate) ready: bool,
    pub(crate) terminating: bool,
    /// Container starts beyond the first, over all containers.
    pub(crate) restarts: i32,
    /// The references its spec holds.
    pub(crate) images: Vec<(Slot, String)>,
    /// What its containers were started from, as far as the runtime tells:
    /// `REPOSITORY@DIGEST`.
    pub(crate) started_from: Vec<(Slot, String)>,
    pub(crate) troubles: Vec<Trouble>,
    /// Why the scheduler finds no node for it.
    pub(crate) unschedulable: Option<String>,
    /// What its kubelet says of its not being ready.
    pub(crate) unready: Option<String>,
}

/// A container that does not run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) container: String,
    pub(crate) image: String,
    /// As the kubelet says it: `ImagePullBackOff`, `CrashLoopBackOff`.
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) restarts: i32,
}

impl PodView {
    pub(crate) fn new(pod: &Pod) -> Self {
        let metadata = &pod.metadata;
        let label = |key: &str| metadata.labels.as_ref()?.get(key).cloned();
        let maker = metadata
            .owner_references
            .iter()
            .flatten()
            .find(|owner| owner.controller == Some(true));
        let status = pod.status.clone().unwrap_or_default();
        let statuses = || {
            status
                .init_container_statuses
                .iter()
                .chain(&status.container_statuses)
                .flatten()
        };
        Self {
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
            maker: maker.map(|owner| (owner.kind.clone(), owner.name.clone())),
            template_hash: label("pod-template-hash"),
            revision: label("controller-revision-hash"),
            node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            phase: status.phase.clone().unwrap_or_default(),
            ready: condition(pod, "Ready", "True").is_some(),
            terminating: metadata.deletion_timestamp.is_some(),
            restarts: statuses().map(|status| status.restart_count).sum(),
            images: images(pod),
            started_from: started_from(&status),
            troubles: statuses().filter_map(trouble).collect(),
            unschedulable: condition(pod, "PodScheduled", "False"),
            unready: condition(pod, "Ready", "False").filter(|message| !message.is_empty()),
        }
    }

    /// True when it runs no more and will not again.
    pub(crate) fn finished(&self) -> bool {
        matches!(self.phase.as_str(), "Succeeded" | "Failed")
    }

    /// True when the workload's controller made this pod. A ReplicaSet is named after its
    /// Deployment and the template hash that its pods carry.
    pub(crate) fn belongs_to(&self, id: &Id) -> bool {
        let Some((kind, name)) = &self.maker else {
            return id.kind == Kind::Pod && self.name == id.name;
        };
        match id.kind {
            Kind::Deployment => {
                let hash = self.template_hash.as_deref().unwrap_or_default();
                kind == "ReplicaSet"
                    && name
                        .strip_suffix(hash)
                        .and_then(|rest| rest.strip_suffix('-'))
                        == Some(&id.name)
            }
            Kind::CronJob => {
                let run = name
                    .rsplit_once('-')
                    .filter(|(_, time)| time.bytes().all(|b| b.is_ascii_digit()));
                kind == "Job" && run.map(|(stem, _)| stem) == Some(&id.name)
            }
            _ => kind == id.kind.name() && *name == id.name,
        }
    }

    /// The revision of the template that it was made from.
    pub(crate) fn made_from(&self) -> Option<&str> {
        let hash = self.template_hash.as_deref();
        hash.or(self.revision.as_deref())
    }

    /// True when each of `wanted` that a pod can show is what it runs. Variables are
    /// compared as well, so a pod of the old template is never taken for a new one.
    pub(crate) fn runs(&self, wanted: &[(Slot, String)]) -> bool {
        let have: BTreeMap<&Slot, &String> = self
            .images
            .iter()
            .map(|(slot, image)| (slot, image))
            .collect();
        wanted
            .iter()
            .all(|(slot, image)| have.get(slot).is_none_or(|have| *have == image))
    }

    /// Keeps the registry's message: older kubelets drop it when a pull goes from
    /// `ErrImagePull` to `ImagePullBackOff`.
    pub(crate) fn inherit(&mut self, before: &Self) {
        for trouble in self
            .troubles
            .iter_mut()
            .filter(|trouble| trouble.reason == "ImagePullBackOff")
        {
            let earlier = before
                .troubles
                .iter()
                .find(|old| old.container == trouble.container && old.image == trouble.image);
            if let Some(old) = earlier.filter(|old| old.message.len() > trouble.message.len()) {
                trouble.message.clone_from(&old.message);
            }
        }
    }
}

/// The message of a condition that has `status`.
fn condition(pod: &Pod, kind: &str, status: &str) -> Option<String> {
    let all = pod.status.as_ref()?.conditions.as_ref()?;
    let found = all
        .iter()
        .find(|condition| condition.type_ == kind && condition.status == status)?;
    Some(found.message.clone().unwrap_or_default())
}

fn images(pod: &Pod) -> Vec<(Slot, String)> {
    serde_json::to_value(pod).map_or_else(
        |_| Vec::new(),
        |value| {
            let fields = crate::workload::image_fields(Kind::Pod, &value);
            fields
                .into_iter()
                .map(|field| (field.slot, field.literal))
                .collect()
        },
    )
}

/// `REPOSITORY@DIGEST` is what a runtime shows of an image that was pulled.
fn started_from(status: &PodStatus) -> Vec<(Slot, String)> {
    let of = |all: &Option<Vec<ContainerStatus>>, slot: fn(String) -> Slot| -> Vec<_> {
        let all = all.iter().flatten();
        all.filter(|one| one.image_id.contains('@'))
            .map(|one| (slot(one.name.clone()), one.image_id.clone()))
            .collect()
    };
    let mut all = of(&status.init_container_statuses, Slot::Init);
    all.extend(of(&status.container_statuses, Slot::Container));
    all
}

/// Waiting for anything but its turn, or ended with an error.
fn trouble(status: &ContainerStatus) -> Option<Trouble> {
    let state = status.state.as_ref()?;
    let (reason, message) = if let Some(waiting) = &state.waiting {
        let reason = waiting.reason.clone().unwrap_or_default();
        if matches!(
            reason.as_str(),
            "" | "ContainerCreating" | "PodInitializing"
        ) {
            return None;
        }
        (reason, waiting.message.clone())
    } else {
        let ended = state
            .terminated
            .as_ref()
            .filter(|ended| ended.exit_code != 0)?;
        let message = ended
            .message
            .clone()
            .unwrap_or_else(|| format!("exit code {}", ended.exit_code));
        (
            ended.reason.clone().unwrap_or_else(|| "Error".into()),
            Some(message),
        )
    };
    Some(Trouble {
        container: status.name.clone(),
        image: status.image.clone(),
        reason,
        message: message.unwrap_or_default(),
        restarts: status.restart_count,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(maker: (&str, &str), hash: &str) -> PodView {
        let pod = json!({
            "metadata": {
                "name": "p", "uid": "u",
                "labels": {"pod-template-hash": hash},
                "ownerReferences": [{"apiVersion": "v1", "kind": maker.0, "name": maker.1, "uid": "1", "controller": true}],
            },
            "spec": {"nodeName": "n", "containers": [{"name": "app", "image": "r/app:1"}]},
            "status": {
                "phase": "Pending",
                "conditions": [{"type": "Ready", "status": "False"}],
                "containerStatuses": [{
                    "name": "app", "image": "r/app:1", "imageID": "", "ready": false, "restartCount": 2,
                    "state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off"}},
                }],
            },
        });
        PodView::new(&serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn pods_know_their_workload() {
        let id = |text: &str| text.parse::<Id>().unwrap();
        for (maker, hash, owner, belongs) in [
            (("ReplicaSet", "web-5d4f"), "5d4f", "Deployment/web", true),
            (
                ("ReplicaSet", "web-5d4f"),
                "5d4f",
                "Deployment/web-5d4f",
                false,
            ),
            (
                ("ReplicaSet", "web-api-5d4f"),
                "5d4f",
                "Deployment/web",
                false,
            ),
            (("DaemonSet", "web"), "", "DaemonSet/web", true),
            (("StatefulSet", "web"), "", "DaemonSet/web", false),
            (("Job", "pause-29000000"), "", "CronJob/pause", true),
            (("Job", "pause"), "", "CronJob/pause", false),
        ] {
            assert_eq!(
                pod(maker, hash).belongs_to(&id(owner)),
                belongs,
                "{maker:?} {owner}"
            );
        }
    }

    #[test]
    fn what_a_pod_runs_and_why_it_does_not() {
        let view = pod(("DaemonSet", "web"), "");
        let want = |image: &str| vec![(Slot::Container("app".into()), image.to_owned())];
        assert!(view.runs(&want("r/app:1")) && !view.runs(&want("r/app:2")));
        assert!(!view.ready && view.restarts == 2);
        assert_eq!(view.troubles[0].reason, "ImagePullBackOff");
    }

    #[test]
    fn the_registrys_message_outlives_the_back_off() {
        let mut earlier = pod(("DaemonSet", "web"), "");
        earlier.troubles[0].message = "failed to resolve reference: not found".into();
        let mut later = pod(("DaemonSet", "web"), "");
        later.inherit(&earlier);
        assert!(later.troubles[0].message.ends_with("not found"));
    }
}
