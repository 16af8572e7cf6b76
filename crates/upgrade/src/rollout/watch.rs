//! The world as the watches last told it: one watch per kind, one for the pods of the
//! namespace, one for nodes, shared by all rollouts. No polling; the number of requests
//! does not depend on the number of workloads.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use castlink_core::config::NotReadyNodes;
use futures::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, Resource, ResourceExt,
    api::DynamicObject,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;
use tokio::{sync::watch, task::JoinSet};

use super::{cause::Pulls, verdict::Look};
use crate::{
    client::Cluster,
    cluster::Observed,
    nodes::{NodeView, Nodes},
    pods::PodView,
    workload::{Id, Kind, Slot},
};

/// The latest state, and a bell that rings when it changes. Dropping it ends the watches.
pub(crate) struct World {
    shared: Arc<Shared>,
    _watches: JoinSet<()>,
}

struct Shared {
    state: Mutex<State>,
    bell: watch::Sender<()>,
}

struct State {
    objects: HashMap<Id, DynamicObject>,
    pods: HashMap<String, PodView>,
    nodes: Nodes,
    /// The last error of a watch; cleared by the next event.
    broken: Option<String>,
}

/// What to look for: one workload and what its pods should run.
#[derive(Debug, Clone)]
pub(crate) struct Goal {
    pub(crate) id: Id,
    pub(crate) since: Baseline,
    pub(crate) wanted: Vec<(Slot, String)>,
    pub(crate) pulls: Pulls,
    pub(crate) not_ready: NotReadyNodes,
}

/// How a workload was when our change was made.
#[derive(Debug, Clone, Default)]
pub(crate) struct Baseline {
    /// The generation with the change in it.
    pub(crate) generation: i64,
    /// The revisions that had pods before; none known where we made no change.
    pub(crate) revisions: BTreeSet<String>,
}

impl World {
    /// Starts from what was observed and follows the changes of `kinds`.
    pub(crate) fn follow(cluster: &Cluster, seen: &Observed, kinds: &HashSet<Kind>) -> Self {
        let objects = seen
            .workloads
            .iter()
            .map(|one| (one.id.clone(), one.object.clone()));
        let state = State {
            objects: objects.collect(),
            pods: seen
                .pods
                .iter()
                .map(|pod| (pod.uid.clone(), pod.clone()))
                .collect(),
            nodes: seen.nodes.clone(),
            broken: None,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            bell: watch::Sender::new(()),
        });
        let mut watches = JoinSet::new();
        for kind in kinds.iter().copied().filter(|kind| kind.rolls()) {
            let part = move |key: &Key| matches!(key, Key::Object(id) if id.kind == kind);
            watches.spawn(follow(
                cluster.api(kind),
                Arc::clone(&shared),
                part,
                move |one| Entry::object(kind, one),
            ));
        }
        let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
        let part = |key: &Key| matches!(key, Key::Pod(_));
        watches.spawn(follow(pods, Arc::clone(&shared), part, |pod| {
            Entry::Pod(Box::new(PodView::new(&pod)))
        }));
        if seen.nodes.is_some() {
            let nodes: Api<Node> = Api::all(cluster.client.clone());
            let part = |key: &Key| matches!(key, Key::Node(_));
            let reduce = |node: Node| Entry::Node(node.name_any(), NodeView::new(&node));
            watches.spawn(follow(nodes, Arc::clone(&shared), part, reduce));
        }
        Self {
            shared,
            _watches: watches,
        }
    }

    /// A bell that rings after every change from now on.
    pub(crate) fn bell(&self) -> watch::Receiver<()> {
        self.shared.bell.subscribe()
    }

    /// Shows the present state of `goal` to `see`.
    pub(crate) fn look<T>(&self, goal: &Goal, see: impl FnOnce(&Look<'_>) -> T) -> T {
        let state = self.shared.state();
        see(&Look {
            id: &goal.id,
            object: state.objects.get(&goal.id),
            generation: goal.since.generation,
            older: &goal.since.revisions,
            wanted: &goal.wanted,
            pulls: goal.pulls,
            not_ready: goal.not_ready,
            pods: state
                .pods
                .values()
                .filter(|pod| !pod.finished() && pod.belongs_to(&goal.id))
                .collect(),
            nodes: &state.nodes,
        })
    }

    /// Why nothing is heard, when the watches fail.
    pub(crate) fn broken(&self) -> Option<String> {
        self.shared.state().broken.clone()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One object of a watch, reduced to what is kept of it.
enum Entry {
    Object(Id, Box<DynamicObject>),
    Pod(Box<PodView>),
    Node(String, NodeView),
}

/// Where an entry is kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Object(Id),
    Pod(String),
    Node(String),
}

impl Entry {
    fn object(kind: Kind, object: DynamicObject) -> Self {
        Self::Object(
            Id {
                kind,
                name: object.name_any(),
            },
            Box::new(object),
        )
    }

    fn key(&self) -> Key {
        match self {
            Self::Object(id, _) => Key::Object(id.clone()),
            Self::Pod(pod) => Key::Pod(pod.uid.clone()),
            Self::Node(name, _) => Key::Node(name.clone()),
        }
    }
}

impl State {
    fn put(&mut self, entry: Entry) {
        match entry {
            Entry::Object(id, object) => {
                self.objects.insert(id, *object);
            }
            Entry::Pod(mut pod) => {
                if let Some(before) = self.pods.get(&pod.uid) {
                    pod.inherit(before);
                }
                self.pods.insert(pod.uid.clone(), *pod);
            }
            Entry::Node(name, node) => {
                self.nodes.get_or_insert_default().insert(name, node);
            }
        }
    }

    fn remove(&mut self, key: &Key) {
        match key {
            Key::Object(id) => drop(self.objects.remove(id)),
            Key::Pod(uid) => drop(self.pods.remove(uid)),
            Key::Node(name) => drop(self.nodes.get_or_insert_default().remove(name)),
        }
    }

    fn keys(&self) -> impl Iterator<Item = Key> {
        let objects = self.objects.keys().cloned().map(Key::Object);
        let pods = self.pods.keys().cloned().map(Key::Pod);
        let nodes = self
            .nodes
            .iter()
            .flat_map(|nodes| nodes.keys().cloned())
            .map(Key::Node);
        objects.chain(pods).chain(nodes)
    }
}

/// Applies the events of one watch for as long as the world lives. A watch that breaks is
/// started again by the watcher; a fresh list replaces what was known in its `part`.
async fn follow<K>(
    api: Api<K>,
    shared: Arc<Shared>,
    part: impl Fn(&Key) -> bool + Send + 'static,
    reduce: impl Fn(K) -> Entry + Send + 'static,
) where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let events = watcher(api, watcher::Config::default()).default_backoff();
    pin_mut!(events);
    let mut listed = HashSet::new();
    while let Some(event) = events.next().await {
        let mut state = shared.state();
        state.broken = event.as_ref().err().map(ToString::to_string);
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(object)) => {
                let entry = reduce(object);
                listed.insert(entry.key());
                state.put(entry);
            }
            Ok(Event::InitDone) => {
                let gone: Vec<Key> = state
                    .keys()
                    .filter(|key| part(key) && !listed.contains(key))
                    .collect();
                gone.iter().for_each(|key| state.remove(key));
            }
            Ok(Event::Apply(object)) => state.put(reduce(object)),
            Ok(Event::Delete(object)) => state.remove(&reduce(object).key()),
            Err(_) => {}
        }
        drop(state);
        shared.bell.send_replace(());
    }
}
