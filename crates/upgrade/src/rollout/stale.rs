//! Troubles that are older than our change. A revision that failed once comes back with
//! the very pods that failed, and the kubelet lets them wait for minutes before it tries
//! again: what they suffered then says nothing about now.

use std::collections::BTreeMap;

use crate::pods::{PodView, Trouble};

/// Troubles of pods that existed when the rollout began, until they change.
#[derive(Debug, Default)]
pub(crate) struct Stale(Option<BTreeMap<(String, String), (String, i32)>>);

impl Stale {
    /// The first look notes what is there; each later one drops what has moved on: a new
    /// attempt shows as another reason or another start of the container.
    pub(crate) fn see(&mut self, pods: &[&PodView]) {
        let now = || {
            pods.iter()
                .flat_map(|pod| pod.troubles.iter().map(move |trouble| entry(pod, trouble)))
        };
        match &mut self.0 {
            None => self.0 = Some(now().collect()),
            Some(known) => {
                let current: BTreeMap<_, _> = now().collect();
                known.retain(|key, then| current.get(key) == Some(then));
            }
        }
    }

    /// True when this trouble was there before.
    pub(crate) fn covers(&self, pod: &PodView, trouble: &Trouble) -> bool {
        let (key, state) = entry(pod, trouble);
        self.0
            .as_ref()
            .is_some_and(|known| known.get(&key) == Some(&state))
    }
}

fn entry(pod: &PodView, trouble: &Trouble) -> ((String, String), (String, i32)) {
    (
        (pod.uid.clone(), trouble.container.clone()),
        (trouble.reason.clone(), trouble.restarts),
    )
}
