//! Has a pod that was changed in place taken up the change? It has no controller and no
//! revision, and older kubelets do not report a generation; the name of a running image may
//! be any that the runtime knows it by. What tells is that its containers have started
//! once more.

use serde_json::Value;

use super::{
    cause::{self, Pulls},
    stale::Stale,
    verdict::{Blame, Look, Verdict},
};
use crate::{json::text, pods::PodView, workload::Slot};

/// How often the containers of `pod`, as it is when its patch is made, will have started
/// again when those in `slots` have. One that never ran starts for the first time.
pub(crate) fn starts<'a>(pod: &Value, slots: impl Iterator<Item = &'a Slot>) -> i64 {
    let changed: Vec<&str> = slots
        .filter_map(|slot| match slot {
            Slot::Container(name) => Some(name.as_str()),
            _ => None,
        })
        .collect();
    let statuses = |list: &str| {
        let all = pod.pointer(&format!("/status/{list}"));
        all.and_then(Value::as_array).into_iter().flatten()
    };
    let so_far: i64 = statuses("initContainerStatuses")
        .chain(statuses("containerStatuses"))
        .filter_map(|status| status["restartCount"].as_i64())
        .sum();
    let again = statuses("containerStatuses").filter(|status| {
        let name = text(status, "/name").unwrap_or_default();
        changed.contains(&name) && text(status, "/containerID").is_some_and(|id| !id.is_empty())
    });
    so_far + i64::try_from(again.count()).unwrap_or(0)
}

/// Judges the one pod of `look`; its generation is what [`starts`] said.
pub(crate) fn judge(look: &Look<'_>, stale: &Stale) -> Verdict {
    let Some(pod) = look.pods.first().filter(|pod| !pod.terminating) else {
        return Verdict::Overruled(format!("{} was deleted, or has ended", look.id));
    };
    let troubles = pod.troubles.iter();
    let fresh = troubles.filter(|one| look.pulls == Pulls::Any || !stale.covers(pod, one));
    let cause = fresh
        .filter_map(|one| cause::of_container(pod, one, look.nodes, look.pulls))
        .max_by_key(|cause| cause.certain);
    match (cause, missing(look, pod)) {
        (Some(cause), _) => Verdict::Failing(cause),
        (None, Some(missing)) => Verdict::Progress {
            missing: missing.into(),
            blame: Blame::Rollout,
        },
        (None, None) => Verdict::Done(None),
    }
}

fn missing(look: &Look<'_>, pod: &PodView) -> Option<&'static str> {
    if !pod.runs(look.wanted) || i64::from(pod.restarts) < look.generation {
        return Some("its containers have not restarted yet");
    }
    (!pod.ready).then_some("it is not ready")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::pods::Trouble;
    use serde_json::json;

    #[test]
    fn containers_that_ran_start_again_and_others_for_the_first_time() {
        let status = |name: &str, restarts: i64, id: &str| json!({"name": name, "restartCount": restarts, "containerID": id});
        let pod = json!({"status": {
            "initContainerStatuses": [status("init", 1, "containerd://1")],
            "containerStatuses": [status("app", 2, "containerd://2"), status("side", 0, "containerd://3"), status("never", 0, "")],
        }});
        let slot = |name: &str| Slot::Container(name.into());
        for (slots, want) in [
            (vec![], 3),
            (vec![slot("app")], 4),
            (vec![slot("app"), slot("side")], 5),
            (vec![slot("never"), Slot::Init("init".into())], 3),
        ] {
            assert_eq!(starts(&pod, slots.iter()), want, "{slots:?}");
        }
        assert_eq!(starts(&json!({}), [slot("app")].iter()), 0);
    }

    fn told(pod: Option<&PodView>) -> String {
        let wanted = [(Slot::Container("app".into()), "r/a:1".to_owned())];
        let look = Look {
            id: &"Pod/p".parse().unwrap(),
            object: None,
            generation: 1,
            older: &BTreeSet::new(),
            wanted: &wanted,
            pulls: Pulls::Refused,
            not_ready: castlink_core::config::NotReadyNodes::default(),
            pods: pod.into_iter().collect(),
            nodes: &None,
        };
        match judge(&look, &Stale::default()) {
            Verdict::Done(_) => "done".into(),
            Verdict::Progress { missing, .. } => missing,
            Verdict::Failing(cause) => format!("failing: {cause}"),
            Verdict::Overruled(text) => text,
        }
    }

    #[test]
    fn a_restart_on_the_new_image_is_what_counts() {
        let pod = |image: &str, restarts: i32, ready: bool| PodView {
            name: "p".into(),
            images: vec![(Slot::Container("app".into()), image.into())],
            restarts,
            ready,
            ..PodView::default()
        };
        for (pod, want) in [
            (pod("a:1", 0, true), "its containers have not restarted yet"),
            (
                pod("r/a:1", 0, true),
                "its containers have not restarted yet",
            ),
            (pod("r/a:1", 1, false), "it is not ready"),
            (pod("r/a:1", 1, true), "done"),
        ] {
            assert_eq!(told(Some(&pod)), want);
        }
        let trouble = Trouble {
            container: "app".into(),
            image: "r/a:1".into(),
            reason: "ImagePullBackOff".into(),
            message: "r/a:1: not found".into(),
            ..Trouble::default()
        };
        let broken = PodView {
            troubles: vec![trouble],
            ..pod("r/a:1", 0, false)
        };
        assert!(
            told(Some(&broken)).starts_with("failing: pod p"),
            "{}",
            told(Some(&broken))
        );
        assert_eq!(told(None), "Pod/p was deleted, or has ended");
    }
}
