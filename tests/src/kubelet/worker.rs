//! One task per pod, as the kubelet's pod workers: advance, act, report, wait.
//!
//! The task wakes when the pod changes, a fault is set, a pull is through, or something
//! falls due. It ends when the pod is gone.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, Pod, PodStatus};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::container::{Effect, Now, Wanted};
use super::faults::Faults;
use super::nodes::SimNode;
use super::pod::SimPod;
use super::pull::{Name, PullError, Puller};

/// A pull takes at least this long, so that its states can be seen.
const PULL_TIME: Duration = Duration::from_millis(150);
/// From deletion to gone, however long the grace period is.
const TERMINATION: Duration = Duration::from_millis(300);
/// The same event about the same container is not repeated sooner, as the kubelet's
/// spam filter has it.
const EVENT_REPEAT: Duration = Duration::from_secs(60);
/// Before a failed report is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What all workers share.
pub(super) struct Shared {
    pub(super) client: kube::Client,
    pub(super) puller: Puller,
    pub(super) addresses: AtomicU32,
}

impl Shared {
    /// The address of the next pod.
    fn next_ip(&self) -> String {
        let n = self.addresses.fetch_add(1, Ordering::Relaxed);
        format!("100.64.{}.{}", n / 250 % 256, n % 250 + 1)
    }
}

/// A finished pull: for which container, and how it went.
type Pulled = (Wanted, Result<String, PullError>);

/// The worker of one pod.
pub(super) struct Worker {
    shared: Arc<Shared>,
    node: Arc<SimNode>,
    pods: watch::Receiver<Pod>,
    faults: watch::Receiver<Faults>,
    pulls: mpsc::UnboundedSender<Pulled>,
    pulled: mpsc::UnboundedReceiver<Pulled>,
    sim: SimPod,
    reported: Option<PodStatus>,
    /// Set when a report failed or the pod has to be removed.
    retry: Option<Instant>,
    removal: Option<Instant>,
    /// When each event (container, message) was last emitted.
    emitted: HashMap<(String, String), Instant>,
}

impl Worker {
    pub(super) fn new(
        shared: Arc<Shared>,
        node: Arc<SimNode>,
        pods: watch::Receiver<Pod>,
        faults: watch::Receiver<Faults>,
    ) -> Self {
        let (pulls, pulled) = mpsc::unbounded_channel();
        let sim = {
            let pod = pods.borrow();
            let host_network = pod.spec.as_ref().and_then(|spec| spec.host_network);
            let host_ip = node.spec.ip.clone();
            let ip = if host_network == Some(true) {
                host_ip.clone()
            } else {
                shared.next_ip()
            };
            SimPod::new(&pod, ip, host_ip, Now::read())
        };
        Self {
            shared,
            node,
            pods,
            faults,
            pulls,
            pulled,
            sim,
            reported: None,
            retry: None,
            removal: None,
            emitted: HashMap::new(),
        }
    }

    /// Runs until the pod's sender is dropped.
    pub(super) async fn run(mut self) {
        loop {
            let pod = self.pods.borrow_and_update().clone();
            let faults = self.faults.borrow_and_update().clone();
            let due = if faults.is_down(&self.node.spec.name) {
                None
            } else if pod.metadata.deletion_timestamp.is_some() {
                self.remove(&pod).await
            } else {
                self.sync(&pod, &faults).await
            };
            tokio::select! {
                changed = self.pods.changed() => if changed.is_err() { return },
                changed = self.faults.changed() => if changed.is_err() { return },
                Some((wanted, outcome)) = self.pulled.recv() => {
                    let now = Now::read();
                    let effects = self.sim.pulled(&wanted, outcome, now, &faults);
                    self.perform(&pod, effects);
                }
                () = wait(due) => {}
            }
        }
    }

    /// Moves the pod on and reports; when to look again.
    async fn sync(&mut self, pod: &Pod, faults: &Faults) -> Option<Instant> {
        let spec = pod.spec.clone().unwrap_or_default();
        let done = self.reported.is_some() && self.retry.is_none() && self.sim.finished(&spec);
        if done {
            return None;
        }
        let effects = self.sim.advance(&spec, Now::read(), faults);
        self.perform(pod, effects);
        let now = Now::read();
        let status = self.sim.status(pod, now, faults);
        self.report(pod, status).await;
        self.sim
            .next_due(now.instant)
            .into_iter()
            .chain(self.retry)
            .min()
    }

    async fn report(&mut self, pod: &Pod, status: PodStatus) {
        self.retry = None;
        if self.reported.as_ref() == Some(&status) {
            return;
        }
        let patch = Patch::Merge(json!({"metadata": {"uid": pod.metadata.uid}, "status": status}));
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        match self
            .api(pod)
            .patch_status(name, &PatchParams::default(), &patch)
            .await
        {
            Ok(_) => self.reported = Some(status),
            // Gone, or another pod of that name: the watch will tell.
            Err(kube::Error::Api(error)) if [404, 409].contains(&error.code) => {}
            Err(_) => self.retry = Some(Instant::now() + RETRY),
        }
    }

    /// Removes a pod that is being deleted, after the time its processes take to end.
    async fn remove(&mut self, pod: &Pod) -> Option<Instant> {
        let grace = pod
            .metadata
            .deletion_grace_period_seconds
            .and_then(|s| u64::try_from(s).ok());
        let grace = TERMINATION.min(Duration::from_secs(grace.unwrap_or(30)));
        let removal = *self.removal.get_or_insert_with(|| Instant::now() + grace);
        if Instant::now() < removal {
            return Some(removal);
        }
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid: pod.metadata.uid.clone(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        // Finalizers or a lost answer: asked again until the watch says it is gone.
        drop(self.api(pod).delete(name, &params).await);
        Some(Instant::now() + RETRY)
    }

    fn perform(&mut self, pod: &Pod, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Pull(wanted) => self.pull(wanted),
                Effect::Event {
                    container,
                    warning,
                    reason,
                    message,
                } => {
                    self.emit(pod, container, warning, reason, message);
                }
            }
        }
    }

    fn pull(&self, wanted: Wanted) {
        let (shared, node) = (Arc::clone(&self.shared), Arc::clone(&self.node));
        let (faults, pulls) = (self.faults.borrow().clone(), self.pulls.clone());
        tokio::spawn(async move {
            let outcome = pull(&shared.puller, &node, &wanted, &faults).await;
            drop(pulls.send((wanted, outcome))); // nobody listens when the pod is gone
        });
    }

    /// Emits an event, best effort, as the kubelet's own are.
    fn emit(&mut self, pod: &Pod, container: String, warning: bool, reason: &str, message: String) {
        let now = Instant::now();
        let fresh = |at: &Instant| now < *at + EVENT_REPEAT;
        let key = (container, message);
        if self.emitted.get(&key).is_some_and(fresh) {
            return;
        }
        let event = self.event(pod, &key.0, warning, reason, &key.1);
        self.emitted.insert(key, now);
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let api: Api<Event> = Api::namespaced(self.shared.client.clone(), namespace);
        if let Ok(event) = serde_json::from_value(event) {
            tokio::spawn(async move { drop(api.create(&PostParams::default(), &event).await) });
        }
    }

    fn event(
        &self,
        pod: &Pod,
        container: &str,
        warning: bool,
        reason: &str,
        message: &str,
    ) -> Value {
        let meta = &pod.metadata;
        let now = format!("{:.0}", Timestamp::now());
        json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {
                "generateName": format!("{}.", meta.name.as_deref().unwrap_or_default()),
                "namespace": meta.namespace,
            },
            "involvedObject": {
                "apiVersion": "v1", "kind": "Pod", "name": meta.name, "uid": meta.uid,
                "namespace": meta.namespace, "fieldPath": format!("spec.containers{{{container}}}"),
            },
            "type": if warning { "Warning" } else { "Normal" },
            "reason": reason, "message": message, "count": 1,
            "firstTimestamp": now, "lastTimestamp": now,
            "source": {"component": "kubelet", "host": self.node.spec.name},
        })
    }

    fn api(&self, pod: &Pod) -> Api<Pod> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        Api::namespaced(self.shared.client.clone(), namespace)
    }
}

/// Pulls by the container's policy, with the faults in force.
#[expect(
    clippy::disallowed_methods,
    reason = "simulated pulls take simulated time"
)]
async fn pull(
    puller: &Puller,
    node: &SimNode,
    wanted: &Wanted,
    faults: &Faults,
) -> Result<String, PullError> {
    let image = wanted.image.as_str();
    let name = Name::parse(image).ok_or_else(|| PullError::InvalidName(image.to_owned()))?;
    match (wanted.policy.as_str(), node.store.image(image)) {
        ("Never", None) => return Err(PullError::Never(image.to_owned())),
        ("Never" | "IfNotPresent", Some(id)) => return Ok(id),
        _ => {}
    }
    tokio::time::sleep(faults.pull_time(image).unwrap_or(PULL_TIME)).await;
    if faults.denied(image) {
        return Err(PullError::Status(name, 403));
    }
    if faults.throttled(image) {
        return Err(PullError::Status(name, 429));
    }
    if faults.absent(image) {
        return Err(PullError::NotFound(name));
    }
    if faults.lacks_arch(image, &node.spec.arch) {
        return Err(PullError::NoPlatform(name));
    }
    puller
        .pull(&node.store, &name, image, &node.spec.arch)
        .await
}

/// Waits until `due`; for ever when there is no such moment.
async fn wait(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
