//! The life of one pod: which container's turn it is, and what the API shows of the whole.
//!
//! Pure like the containers it is made of. Init containers run one after the other,
//! sidecars among them stay, then all the others start together; the pod's phase and
//! conditions follow from theirs.

use std::collections::BTreeMap;
use std::time::Instant;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container as Spec, ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodSpec, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::container::{Container, Effect, Now, Role, Wanted};
use super::faults::Faults;
use super::pull::PullError;

/// The conditions a kubelet owns; all others are carried along untouched.
const OWN_CONDITIONS: [&str; 4] = [
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
];

/// Where a pod is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PodPhase {
    Pending,
    Running,
    Succeeded,
    Failed,
}

impl PodPhase {
    fn name(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
        }
    }
}

/// One pod on one node.
#[derive(Debug)]
pub(crate) struct SimPod {
    uid: String,
    ip: String,
    host_ip: String,
    started: Timestamp,
    containers: BTreeMap<String, Container>,
    conditions: BTreeMap<&'static str, (bool, Timestamp)>,
}

impl SimPod {
    /// A pod that has just been bound to the node with the address `host_ip`.
    #[must_use]
    pub(crate) fn new(pod: &Pod, ip: String, host_ip: String, now: Now) -> Self {
        Self {
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            ip,
            host_ip,
            started: now.time,
            containers: BTreeMap::new(),
            conditions: BTreeMap::new(),
        }
    }

    /// Moves every container on whose turn it is.
    pub(crate) fn advance(&mut self, spec: &PodSpec, now: Now, faults: &Faults) -> Vec<Effect> {
        let mut effects = Vec::new();
        let begun = self.main_begun(spec);
        let mut open = true; // whether the next init container may start
        for wanted in init_containers(spec) {
            if !open && !begun {
                break;
            }
            effects.extend(self.container(&wanted).advance(&wanted, now, faults));
            let container = &self.containers[&wanted.name];
            open = match wanted.role {
                Role::Sidecar => container.running(),
                _ => container.exit_code() == Some(0),
            };
        }
        if open || begun {
            for wanted in later_containers(spec) {
                effects.extend(self.container(&wanted).advance(&wanted, now, faults));
            }
        }
        if matches!(self.phase(spec), PodPhase::Succeeded | PodPhase::Failed) {
            self.containers
                .values_mut()
                .for_each(|container| container.stop(now));
        }
        effects
    }

    /// Hands the outcome of a pull to its container.
    pub(crate) fn pulled(
        &mut self,
        wanted: &Wanted,
        outcome: Result<String, PullError>,
        now: Now,
        faults: &Faults,
    ) -> Vec<Effect> {
        match self.containers.get_mut(&wanted.name) {
            Some(container) => container.pulled(&wanted.image, outcome, now, faults),
            None => Vec::new(),
        }
    }

    /// When [`Self::advance`] or the status has something new; none while waiting.
    #[must_use]
    pub(crate) fn next_due(&self, now: Instant) -> Option<Instant> {
        self.containers
            .values()
            .filter_map(|container| container.next_due(now))
            .min()
    }

    /// Whether nothing will change any more.
    #[must_use]
    pub(crate) fn finished(&self, spec: &PodSpec) -> bool {
        matches!(self.phase(spec), PodPhase::Succeeded | PodPhase::Failed)
    }

    /// The status to show, given the pod as last read.
    pub(crate) fn status(&mut self, pod: &Pod, now: Now, faults: &Faults) -> PodStatus {
        let spec = pod.spec.clone().unwrap_or_default();
        let phase = self.phase(&spec);
        let initialised = self.initialised(&spec);
        let show = |wanted: Wanted| match self.containers.get(&wanted.name) {
            Some(container) => container.status(now, faults, initialised),
            None => Container::new(wanted, &self.uid).status(now, faults, false),
        };
        let list = |wanted: Vec<Wanted>| wanted.into_iter().map(show).collect::<Vec<_>>();
        let inits = list(init_containers(&spec));
        let mains = list(main_containers(&spec));
        let ephemeral = list(ephemeral_containers(&spec));
        let conditions = self.conditions(pod, phase, initialised, (&inits, &mains), now);
        PodStatus {
            phase: Some(phase.name().to_owned()),
            conditions: Some(conditions),
            container_statuses: Some(mains),
            init_container_statuses: (!inits.is_empty()).then_some(inits),
            ephemeral_container_statuses: (!ephemeral.is_empty()).then_some(ephemeral),
            host_ip: Some(self.host_ip.clone()),
            host_ips: Some(vec![HostIP {
                ip: self.host_ip.clone(),
            }]),
            pod_ip: Some(self.ip.clone()),
            pod_ips: Some(vec![PodIP {
                ip: self.ip.clone(),
            }]),
            start_time: Some(Time(self.started)),
            observed_generation: pod.metadata.generation,
            ..PodStatus::default()
        }
    }

    fn container(&mut self, wanted: &Wanted) -> &mut Container {
        let uid = &self.uid;
        let fresh = || Container::new(wanted.clone(), uid);
        self.containers
            .entry(wanted.name.clone())
            .or_insert_with(fresh)
    }

    fn initialised(&self, spec: &PodSpec) -> bool {
        init_containers(spec).iter().all(|wanted| {
            let container = self.containers.get(&wanted.name);
            container.is_some_and(|container| match wanted.role {
                Role::Sidecar => container.begun(),
                _ => container.exit_code() == Some(0),
            })
        })
    }

    fn main_begun(&self, spec: &PodSpec) -> bool {
        spec.containers
            .iter()
            .any(|main| self.containers.contains_key(&main.name))
    }

    fn phase(&self, spec: &PodSpec) -> PodPhase {
        let code = |name: &str| self.containers.get(name).and_then(Container::exit_code);
        let init_failed = init_containers(spec)
            .iter()
            .any(|init| init.role == Role::Init && code(&init.name).is_some_and(|code| code != 0));
        if init_failed {
            return PodPhase::Failed;
        }
        let ends: Vec<_> = spec
            .containers
            .iter()
            .map(|main| code(&main.name))
            .collect();
        if ends.iter().all(|code| *code == Some(0)) {
            return PodPhase::Succeeded;
        }
        if ends.iter().all(Option::is_some) {
            return PodPhase::Failed;
        }
        let begun = |main: &Spec| {
            self.containers
                .get(&main.name)
                .is_some_and(Container::begun)
        };
        // One container that never started keeps the whole pod pending, as in the kubelet.
        if spec.containers.iter().all(begun) {
            PodPhase::Running
        } else {
            PodPhase::Pending
        }
    }

    fn conditions(
        &mut self,
        pod: &Pod,
        phase: PodPhase,
        initialised: bool,
        (inits, mains): (&[ContainerStatus], &[ContainerStatus]),
        now: Now,
    ) -> Vec<PodCondition> {
        let spec = pod.spec.clone().unwrap_or_default();
        let shown: Vec<_> = pod
            .status
            .iter()
            .flat_map(|status| &status.conditions)
            .flatten()
            .collect();
        let sidecars = init_containers(&spec)
            .into_iter()
            .filter(|init| init.role == Role::Sidecar);
        let sidecars: Vec<_> = sidecars.map(|sidecar| sidecar.name).collect();
        let unready: Vec<&str> = inits
            .iter()
            .filter(|status| sidecars.contains(&status.name))
            .chain(mains)
            .filter(|status| !status.ready)
            .map(|status| status.name.as_str())
            .collect();
        let ready = phase == PodPhase::Running && unready.is_empty();
        let gates = spec.readiness_gates.unwrap_or_default().iter().all(|gate| {
            shown
                .iter()
                .any(|c| c.type_ == gate.condition_type && c.status == "True")
        });
        let why = unready_reason(phase, &unready);
        let gate_why = if ready && !gates {
            ("ReadinessGatesNotReady", None)
        } else {
            why.clone()
        };
        let init_why = ("ContainersNotInitialized", None);
        let own = [
            (OWN_CONDITIONS[0], true, why.clone()),
            (
                OWN_CONDITIONS[1],
                initialised || phase == PodPhase::Succeeded,
                init_why,
            ),
            (OWN_CONDITIONS[2], ready && gates, gate_why),
            (OWN_CONDITIONS[3], ready, why),
        ];
        let own: Vec<_> = own
            .map(|(name, holds, why)| self.condition(name, holds, why, now))
            .into();
        let others = shown
            .into_iter()
            .filter(|c| !OWN_CONDITIONS.contains(&c.type_.as_str()));
        own.into_iter().chain(others.cloned()).collect()
    }

    /// One condition, whose transition time is when it last changed.
    fn condition(
        &mut self,
        name: &'static str,
        holds: bool,
        (reason, message): (&'static str, Option<String>),
        now: Now,
    ) -> PodCondition {
        let entry = self.conditions.entry(name).or_insert((holds, now.time));
        if entry.0 != holds {
            *entry = (holds, now.time);
        }
        PodCondition {
            type_: name.to_owned(),
            status: if holds { "True" } else { "False" }.to_owned(),
            last_transition_time: Some(Time(entry.1)),
            reason: (!holds).then(|| reason.to_owned()),
            message: message.filter(|_| !holds),
            ..PodCondition::default()
        }
    }
}

fn unready_reason(phase: PodPhase, unready: &[&str]) -> (&'static str, Option<String>) {
    match phase {
        PodPhase::Succeeded => ("PodCompleted", None),
        PodPhase::Failed => ("PodFailed", None),
        PodPhase::Pending | PodPhase::Running => {
            let names = unready.join(" ");
            (
                "ContainersNotReady",
                Some(format!("containers with unready status: [{names}]")),
            )
        }
    }
}

fn init_containers(spec: &PodSpec) -> Vec<Wanted> {
    let inits = spec.init_containers.iter().flatten();
    let role = |init: &Spec| match init.restart_policy.as_deref() {
        Some("Always") => Role::Sidecar,
        _ => Role::Init,
    };
    inits.map(|init| wanted(init, role(init), spec)).collect()
}

fn main_containers(spec: &PodSpec) -> Vec<Wanted> {
    let role = match spec.restart_policy.as_deref() {
        None | Some("Always") => Role::Main,
        Some(_) => Role::Job,
    };
    spec.containers
        .iter()
        .map(|main| wanted(main, role, spec))
        .collect()
}

fn ephemeral_containers(spec: &PodSpec) -> Vec<Wanted> {
    let added = spec.ephemeral_containers.iter().flatten();
    let wanted = added.map(|extra| Wanted {
        name: extra.name.clone(),
        image: extra.image.clone().unwrap_or_default(),
        policy: policy(extra.image_pull_policy.as_deref()),
        role: Role::Ephemeral,
        once: true,
    });
    wanted.collect()
}

/// Everything that starts when initialisation is over.
fn later_containers(spec: &PodSpec) -> Vec<Wanted> {
    let mut all = main_containers(spec);
    all.extend(ephemeral_containers(spec));
    all
}

fn wanted(container: &Spec, role: Role, spec: &PodSpec) -> Wanted {
    Wanted {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        policy: policy(container.image_pull_policy.as_deref()),
        role,
        once: spec.restart_policy.as_deref() == Some("Never") && role != Role::Sidecar,
    }
}

/// The API server has filled in the default by the time a pod is bound.
fn policy(policy: Option<&str>) -> String {
    policy.unwrap_or("IfNotPresent").to_owned()
}
