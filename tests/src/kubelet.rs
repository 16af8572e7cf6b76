//! Simulated kubelets: a node per entry, no containers, real image pulls.
//!
//! They do towards the API server what a kubelet does (nodes, leases, pod status, events,
//! the final delete of a terminating pod) and towards the registry what containerd does.
//! What they never do is decide anything a controller or the scheduler decides.
//!
//! `pull` asks the registry, `container` and `pod` are the pure state machines, `worker`
//! runs one pod, `nodes` keeps the nodes alive, `faults` makes things go wrong on purpose.

mod container;
mod faults;
mod nodes;
mod pod;
mod pull;
#[cfg(test)]
mod tests;
mod worker;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use anyhow::{Result, ensure};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, ListParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use self::faults::Faults;
pub use self::nodes::NodeSpec;
pub use self::pull::{PullError, Reach};

use self::nodes::SimNode;
use self::pull::{NodeStore, Puller};
use self::worker::{Shared, Worker};
use crate::process::wait_until;

/// From registration to schedulable, at most.
const READY_DEADLINE: Duration = Duration::from_secs(60);

/// What the kubelets of a cluster are given.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The nodes to register.
    pub nodes: Vec<NodeSpec>,
    /// What the nodes can reach.
    pub reach: Reach,
    /// Images every node has from earlier days: as pods name them -> image id.
    pub preloaded: BTreeMap<String, String>,
    /// A file of [`Faults`] to follow.
    pub faults_file: Option<PathBuf>,
}

/// The kubelets of one cluster; dropping this stops them all.
pub struct Kubelets {
    faults: watch::Sender<Faults>,
    nodes: Vec<NodeSpec>,
    _tasks: JoinSet<()>,
}

impl Kubelets {
    /// Registers the nodes, starts their kubelets on the current runtime, and waits until
    /// pods can be scheduled on all of them.
    ///
    /// # Errors
    /// When the API server refuses a node, or a node does not become schedulable in time.
    pub async fn start(client: kube::Client, setup: Setup) -> Result<Self> {
        let Setup {
            nodes,
            reach,
            preloaded,
            faults_file,
        } = setup;
        let simulate = |spec| {
            let store = NodeStore::with_images(&preloaded);
            Arc::new(SimNode { spec, store })
        };
        let simulated: Vec<_> = nodes.iter().cloned().map(simulate).collect();
        nodes::register(&client, &simulated).await?;
        let (faults, heard) = watch::channel(Faults::default());
        let shared = Arc::new(Shared {
            client: client.clone(),
            puller: Puller::new(reach)?,
            addresses: AtomicU32::new(1),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(nodes::heartbeats(
            client.clone(),
            simulated.clone(),
            heard.clone(),
        ));
        tasks.spawn(Dispatcher::new(shared, simulated, heard).run());
        if let Some(path) = faults_file {
            tasks.spawn(faults::follow(path, faults.clone()));
        }
        wait_schedulable(&client, nodes.len()).await?;
        Ok(Self {
            faults,
            nodes,
            _tasks: tasks,
        })
    }

    /// The faults from now on; `Faults::default()` for none.
    pub fn set_faults(&self, faults: Faults) {
        self.faults.send_replace(faults);
    }

    /// Changes some of the faults and leaves the others in force.
    pub fn change_faults(&self, change: impl FnOnce(&mut Faults)) {
        self.faults.send_modify(change);
    }

    /// The nodes.
    #[must_use]
    pub fn nodes(&self) -> &[NodeSpec] {
        &self.nodes
    }
}

/// Nodes are born with a not-ready taint that the controller manager takes off a moment
/// later; pods created before that would meet a scheduler back-off.
async fn wait_schedulable(client: &kube::Client, count: usize) -> Result<()> {
    let api: Api<Node> = Api::all(client.clone());
    wait_until("nodes ready", READY_DEADLINE, async || {
        let nodes = api.list(&ListParams::default()).await?;
        let free = nodes.iter().filter(|node| {
            let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
            taints.is_none_or(Vec::is_empty)
        });
        let free = free.count();
        ensure!(free >= count, "{free} of {count} nodes are schedulable");
        Ok(())
    })
    .await
}

/// Gives every pod on our nodes a worker and feeds it what the watch says.
struct Dispatcher {
    shared: Arc<Shared>,
    nodes: HashMap<String, Arc<SimNode>>,
    faults: watch::Receiver<Faults>,
    /// By pod uid.
    pods: HashMap<String, watch::Sender<Pod>>,
    workers: JoinSet<()>,
}

impl Dispatcher {
    fn new(shared: Arc<Shared>, nodes: Vec<Arc<SimNode>>, faults: watch::Receiver<Faults>) -> Self {
        let nodes = nodes.into_iter().map(|node| (node.spec.name.clone(), node));
        Self {
            shared,
            nodes: nodes.collect(),
            faults,
            pods: HashMap::new(),
            workers: JoinSet::new(),
        }
    }

    async fn run(mut self) {
        let api: Api<Pod> = Api::all(self.shared.client.clone());
        let bound = watcher::Config::default().fields("spec.nodeName!=");
        let mut events = pin!(watcher::watcher(api, bound).default_backoff());
        let mut listed = HashSet::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Apply(pod)) => self.apply(pod),
                Ok(Event::Delete(pod)) => {
                    self.pods.remove(&uid(&pod));
                }
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(pod)) => {
                    listed.insert(uid(&pod));
                    self.apply(pod);
                }
                Ok(Event::InitDone) => self.pods.retain(|uid, _| listed.contains(uid)),
                Err(_) => {} // the watcher starts over by itself, after its back-off
            }
            while self.workers.try_join_next().is_some() {}
        }
    }

    fn apply(&mut self, pod: Pod) {
        if let Some(sender) = self.pods.get(&uid(&pod)) {
            sender.send_replace(pod);
            return;
        }
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref());
        let Some(node) = node.and_then(|name| self.nodes.get(name)) else {
            return;
        };
        let (sender, receiver) = watch::channel(pod.clone());
        self.pods.insert(uid(&pod), sender);
        let shared = Arc::clone(&self.shared);
        let worker = Worker::new(shared, Arc::clone(node), receiver, self.faults.clone());
        self.workers.spawn(worker.run());
    }
}

fn uid(pod: &Pod) -> String {
    pod.metadata.uid.clone().unwrap_or_default()
}
