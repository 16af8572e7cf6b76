//! What the API shows of a container: its `ContainerStatus`, in the kubelet's words.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Container, Now, Phase, Role};
use crate::kubelet::faults::Faults;

impl Container {
    /// What the API shows; `initialised` says whether all init containers are through.
    #[must_use]
    pub(crate) fn status(&self, now: Now, faults: &Faults, initialised: bool) -> ContainerStatus {
        let running = self.running();
        ContainerStatus {
            name: self.wanted.name.clone(),
            image: self.wanted.image.clone(),
            image_id: self.shown_id(faults),
            container_id: (self.starts > 0).then(|| self.container_id()),
            ready: self.is_ready(now, faults),
            started: Some(running),
            restart_count: i32::try_from(self.starts.saturating_sub(1)).unwrap_or(i32::MAX),
            state: Some(self.state(initialised)),
            last_state: self.last.clone().map(|ended| ContainerState {
                terminated: Some(ended),
                ..ContainerState::default()
            }),
            ..ContainerStatus::default()
        }
    }

    /// Nothing before it is pulled.
    fn shown_id(&self, faults: &Faults) -> String {
        let other = faults.other_id(&self.wanted.image);
        let other = other.filter(|_| !self.image_id.is_empty());
        other.unwrap_or(&self.image_id).to_owned()
    }

    fn is_ready(&self, now: Now, faults: &Faults) -> bool {
        match (&self.phase, self.wanted.role) {
            (Phase::Ended(ended), Role::Init) => ended.exit_code == 0,
            (Phase::Running { ready, .. }, Role::Sidecar | Role::Main | Role::Job) => {
                now.instant >= *ready && !faults.never_ready(&self.wanted.image)
            }
            _ => false,
        }
    }

    fn state(&self, initialised: bool) -> ContainerState {
        let image = &self.wanted.image;
        match (&self.phase, &self.failure) {
            (Phase::Running { since, .. }, _) => ContainerState {
                running: Some(ContainerStateRunning {
                    started_at: Some(Time(*since)),
                }),
                ..ContainerState::default()
            },
            (Phase::Ended(ended), _) => ContainerState {
                terminated: Some(ended.clone()),
                ..ContainerState::default()
            },
            (Phase::CrashLoop { until: _ }, _) => waiting(
                "CrashLoopBackOff",
                Some(format!(
                    "back-off restarting failed container={}",
                    self.wanted.name
                )),
            ),
            (Phase::PullFailed { .. }, Some(error)) => {
                waiting(error.reason(), Some(error.to_string()))
            }
            (_, Some(error)) if error.reason() == "ErrImagePull" => waiting(
                "ImagePullBackOff",
                Some(format!(
                    "Back-off pulling image \"{image}\": ErrImagePull: {error}"
                )),
            ),
            (_, Some(error)) => waiting(error.reason(), Some(error.to_string())),
            (_, None) if initialised || self.wanted.role == Role::Ephemeral => {
                waiting("ContainerCreating", None)
            }
            (_, None) => waiting("PodInitializing", None),
        }
    }

    pub(super) fn terminated(
        &self,
        since: Timestamp,
        code: i32,
        now: Now,
    ) -> ContainerStateTerminated {
        ContainerStateTerminated {
            container_id: Some(self.container_id()),
            exit_code: code,
            reason: Some(if code == 0 { "Completed" } else { "Error" }.to_owned()),
            started_at: Some(Time(since)),
            finished_at: Some(Time(now.time)),
            ..ContainerStateTerminated::default()
        }
    }
}

fn waiting(reason: &str, message: Option<String>) -> ContainerState {
    ContainerState {
        waiting: Some(ContainerStateWaiting {
            reason: Some(reason.to_owned()),
            message,
        }),
        ..ContainerState::default()
    }
}
