//! Pods without a cluster: the state machines driven by hand, with a clock of our own.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodSpec, PodStatus};
use serde_json::{Value, json};

use super::container::{Effect, Now, Wanted};
use super::faults::Faults;
use super::pod::SimPod;
use super::pull::{Name, PullError};

/// A pod, its clock, and the pulls it is waiting for.
struct Bench {
    pod: Pod,
    sim: SimPod,
    now: Now,
    faults: Faults,
    pulls: Vec<Wanted>,
    events: Vec<String>,
}

impl Bench {
    fn new(spec: Value) -> Self {
        let pod = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": spec});
        let pod: Pod = serde_json::from_value(pod).expect("a pod");
        let now = Now::read();
        let sim = SimPod::new(&pod, "100.64.0.1".into(), "10.0.0.1".into(), now);
        let (faults, pulls, events) = (Faults::default(), Vec::new(), Vec::new());
        Self {
            pod,
            sim,
            now,
            faults,
            pulls,
            events,
        }
    }

    fn spec(&self) -> PodSpec {
        self.pod.spec.clone().expect("a spec")
    }

    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Pull(wanted) => self.pulls.push(wanted),
                Effect::Event { reason, .. } => self.events.push(reason.to_owned()),
            }
        }
    }

    /// Lets `seconds` pass, falling due included.
    fn pass(&mut self, seconds: f64) {
        self.now.instant += Duration::from_secs_f64(seconds);
        let spec = self.spec();
        let effects = self.sim.advance(&spec, self.now, &self.faults);
        self.take(effects);
    }

    /// Answers the pulls that are asked for.
    fn answer(&mut self, outcome: &Result<String, PullError>) -> usize {
        let pulls = std::mem::take(&mut self.pulls);
        for wanted in &pulls {
            let effects = self
                .sim
                .pulled(wanted, outcome.clone(), self.now, &self.faults);
            self.take(effects);
        }
        pulls.len()
    }

    fn pull_well(&mut self) -> usize {
        self.answer(&Ok("r.test/a@sha256:1".into()))
    }

    fn pull_badly(&mut self) -> usize {
        let name = Name::parse("r.test/a:1").expect("a name");
        self.answer(&Err(PullError::NotFound(name)))
    }

    fn status(&mut self) -> PodStatus {
        self.sim.status(&self.pod, self.now, &self.faults)
    }

    fn phase(&mut self) -> String {
        self.status().phase.expect("a phase")
    }

    fn ready(&mut self) -> bool {
        let conditions = self.status().conditions.expect("conditions");
        conditions
            .iter()
            .any(|c| c.type_ == "Ready" && c.status == "True")
    }

    fn main(&mut self) -> ContainerStatus {
        self.status()
            .container_statuses
            .expect("statuses")
            .remove(0)
    }

    fn waiting(&mut self) -> String {
        let waiting = self.main().state.and_then(|state| state.waiting);
        waiting
            .and_then(|waiting| waiting.reason)
            .unwrap_or_default()
    }
}

fn container(name: &str) -> Value {
    json!({"name": name, "image": format!("r.test/{name}:1")})
}

#[test]
fn a_pod_becomes_ready_after_its_pull() {
    let mut bench = Bench::new(json!({"containers": [container("a")]}));
    bench.pass(0.0);
    assert_eq!(
        (bench.waiting(), bench.phase()),
        ("ContainerCreating".into(), "Pending".into())
    );
    assert_eq!(bench.pull_well(), 1);
    assert_eq!((bench.phase(), bench.ready()), ("Running".into(), false));
    bench.pass(1.0);
    assert!(bench.ready());
    assert_eq!(bench.main().image_id, "r.test/a@sha256:1");
    assert_eq!(bench.events, ["Pulling", "Pulled", "Created", "Started"]);
}

#[test]
fn a_runtime_may_know_an_image_by_another_id() {
    let mut bench = Bench::new(json!({"containers": [container("a")]}));
    let other = "r.test/elsewhere@sha256:2";
    bench.faults.image_id = [("test/a".to_owned(), other.to_owned())].into();
    bench.pass(0.0);
    assert_eq!(bench.main().image_id, "", "it is not pulled yet");
    bench.pull_well();
    assert_eq!(bench.main().image_id, other);
}

#[test]
fn a_failed_pull_alternates_between_error_and_back_off() {
    let mut bench = Bench::new(json!({"containers": [container("a")]}));
    bench.pass(0.0);
    for _ in 0..3 {
        assert_eq!(bench.pull_badly(), 1);
        assert_eq!(bench.waiting(), "ErrImagePull");
        bench.pass(1.5);
        assert_eq!(bench.waiting(), "ImagePullBackOff");
        bench.pass(10.0);
        assert_eq!(
            bench.waiting(),
            "ImagePullBackOff",
            "while it is pulled again"
        );
    }
    assert_eq!(bench.phase(), "Pending");
    bench.pull_well();
    assert_eq!(bench.phase(), "Running");
}

#[test]
fn init_containers_run_one_by_one_and_sidecars_stay() {
    let mut sidecar = container("side");
    sidecar["restartPolicy"] = "Always".into();
    let inits = json!([container("first"), sidecar]);
    let mut bench = Bench::new(json!({"initContainers": inits, "containers": [container("a")]}));
    for name in ["first", "side", "a"] {
        bench.pass(1.0);
        let asked: Vec<_> = bench
            .pulls
            .iter()
            .map(|wanted| wanted.name.as_str())
            .collect();
        assert_eq!(asked, [name]);
        assert!(!bench.ready());
        bench.pull_well();
    }
    bench.pass(1.0);
    assert!(bench.ready());
    let inits = bench.status().init_container_statuses.expect("statuses");
    assert!(
        inits[0]
            .state
            .as_ref()
            .is_some_and(|state| state.terminated.is_some())
    );
    assert!(
        inits[1]
            .state
            .as_ref()
            .is_some_and(|state| state.running.is_some())
    );
}

#[test]
fn a_crash_restarts_once_at_once_and_then_backs_off() {
    let mut bench = Bench::new(json!({"containers": [container("a")]}));
    bench.pass(0.0);
    bench.pull_well();
    bench.pass(1.0);
    bench.faults.crash = vec!["r.test/a".into()];
    bench.pass(0.0);
    bench.pass(0.6);
    assert_eq!(
        (bench.main().restart_count, bench.waiting()),
        (1, String::new())
    );
    bench.pass(0.6);
    assert_eq!(bench.waiting(), "CrashLoopBackOff");
    assert!(
        bench
            .main()
            .last_state
            .is_some_and(|last| last.terminated.is_some())
    );
    bench.faults = Faults::default();
    bench.pass(10.0);
    bench.pass(1.0);
    assert!(bench.ready());
    assert_eq!(bench.main().restart_count, 2);
}

#[test]
fn a_job_ends_as_its_restart_policy_says() {
    for (crash, phase) in [(false, "Succeeded"), (true, "Failed")] {
        let spec = json!({"restartPolicy": "Never", "containers": [container("a")]});
        let mut bench = Bench::new(spec);
        bench.faults.crash = if crash {
            vec!["r.test/".into()]
        } else {
            Vec::new()
        };
        bench.pass(0.0);
        bench.pull_well();
        bench.pass(2.0);
        assert_eq!(bench.phase(), phase);
    }
}

#[test]
fn a_changed_image_restarts_the_container_in_place() {
    let mut bench = Bench::new(json!({"containers": [container("a")]}));
    bench.pass(0.0);
    bench.pull_well();
    bench.pass(1.0);
    bench.pod.spec.as_mut().expect("a spec").containers[0].image = Some("r.test/a:2".into());
    bench.pass(0.0);
    assert_eq!(bench.pulls[0].image, "r.test/a:2");
    assert!(!bench.ready());
    bench.pull_well();
    bench.pass(1.0);
    assert!(bench.ready());
    assert_eq!(
        (bench.main().image, bench.main().restart_count),
        ("r.test/a:2".into(), 1)
    );
}
