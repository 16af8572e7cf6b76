//! Pods that were given other references than their template has: admission of pods is
//! asked again for each of them, after everything that a dry run of our patch can show.

use std::collections::BTreeSet;

use super::{cause::Cause, verdict::Look};
use crate::pods::PodView;

/// The revisions that have pods.
pub(crate) fn revisions(look: &Look<'_>) -> BTreeSet<String> {
    let all = look.pods.iter().filter_map(|pod| pod.made_from());
    all.map(str::to_owned).collect()
}

/// True for a pod that was made after our change and does not run what we wrote. Its
/// revision tells, where those from before are known.
pub(super) fn is(look: &Look<'_>, pod: &PodView) -> bool {
    let later = |revision: &str| !look.older.contains(revision);
    !look.older.is_empty() && pod.made_from().is_some_and(later) && !pod.runs(look.wanted)
}

/// What the first such pod runs.
pub(super) fn told(look: &Look<'_>) -> Option<String> {
    let mut pods = look.pods.iter().filter(|pod| !pod.terminating);
    pods.find_map(|pod| of_pod(look, pod))
}

/// `cause`, with what its pod runs in place of what was asked for.
pub(super) fn explain(look: &Look<'_>, pod: &PodView, cause: Cause) -> Cause {
    let text = match of_pod(look, pod) {
        Some(rewritten) => format!("{}; {rewritten}", cause.text),
        None => cause.text,
    };
    Cause { text, ..cause }
}

fn of_pod(look: &Look<'_>, pod: &PodView) -> Option<String> {
    if !is(look, pod) {
        return None;
    }
    look.wanted.iter().find_map(|(slot, image)| {
        let (_, have) = pod.images.iter().find(|(of, _)| of == slot)?;
        (have != image).then(|| {
            format!(
                "admission rewrote {slot} of pod {} to {have}, where its template says {image}: exempt it in the webhook or policy that rewrites pods",
                pod.name
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::{
        cause::Pulls,
        stale::Stale,
        verdict::{Look, Verdict, judge},
        verdict_tests::{Case, NEW, OLD, complete, deployment, pod, troubled},
    };
    use crate::pods::PodView;
    use serde_json::json;

    const ELSEWHERE: &str = "elsewhere/app:1";

    /// A Deployment whose pods were of revision `a` before our change.
    fn after(pods: Vec<PodView>) -> Case {
        let mut case = deployment(json!({"replicas": 1}), complete(), pods);
        case.older = [String::from("a")].into();
        case
    }

    fn of(revision: &str, pod: PodView) -> PodView {
        PodView {
            template_hash: Some(revision.into()),
            ..pod
        }
    }

    #[test]
    fn a_pod_of_a_later_revision_with_another_reference_was_rewritten() {
        let rewrote = "admission rewrote container app of pod p to elsewhere/app:1, where its template says r/ghcr.io/x/app:1";
        let unreachable = |image| troubled("p", image, "ErrImagePull", "dial tcp: i/o timeout");
        for (pod, word, text) in [
            (of("b", pod("p", NEW, true)), "done", ""),
            (of("b", pod("p", ELSEWHERE, true)), "overruled", rewrote),
            (
                of("b", pod("p", OLD, true)),
                "overruled",
                "to ghcr.io/x/app:1",
            ),
            (
                of("a", pod("p", OLD, true)),
                "progress",
                "0 of 1 pods seen ready",
            ),
            (of("b", pod("p", ELSEWHERE, false)), "progress", rewrote),
            // What was rewritten is not waited for as a registry of ours would be.
            (of("b", unreachable(ELSEWHERE)), "failing", rewrote),
            (of("b", unreachable(NEW)), "progress", "i/o timeout"),
            (
                of("a", unreachable(OLD)),
                "progress",
                "0 of 1 pods seen ready",
            ),
        ] {
            let case = after(vec![pod]);
            let got = case.verdict();
            assert!(
                got.0 == word && got.1.contains(text),
                "wanted {word} `{text}`, got {got:?}"
            );
        }
    }

    #[test]
    fn on_the_way_back_it_is_a_note() {
        let case = after(vec![of("b", pod("p", ELSEWHERE, true))]);
        let verdict = case.with(|look| {
            let back = Look {
                pulls: Pulls::Any,
                pods: look.pods.clone(),
                ..*look
            };
            judge(&back, &Stale::default())
        });
        assert!(
            matches!(&verdict, Verdict::Done(Some(note)) if note.contains("admission rewrote")),
            "{verdict:?}"
        );
    }
}
