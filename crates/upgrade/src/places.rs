//! Where image references are in a pod spec: the one definition, for objects as the API
//! server sends them and for manifests with their places in the text.
//!
//! Never here: requests, bytes, or what a reference should become.

use std::fmt;

use serde_json::Value;

/// Variables that hold an image the component starts pods with. `AGENT_IMAGE`,
/// `QUERY_PROCESSOR_IMAGE` and `PROXY_IMAGE` are not among them: despite their names
/// they hold versions.
const IMAGE_VARIABLES: [&str; 2] = ["SCANNERS_IMAGE", "JMX_EXPORTER_INIT_IMAGE"];

/// Which part of a pod spec holds the reference. Names, not indexes: they survive
/// re-ordering, and a journal can be read back with them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Slot {
    Container(String),
    Init(String),
    Ephemeral(String),
    Volume(String),
    Env { container: String, name: String },
}

impl Slot {
    /// The name for a change record: `container agent image`.
    pub(crate) fn field(&self) -> String {
        match self {
            Self::Env { .. } => self.to_string(),
            _ => format!("{self} image"),
        }
    }

    /// Reads back what [`Slot::field`] wrote.
    pub(crate) fn from_field(text: &str) -> Option<Self> {
        if let Some(rest) = text.strip_prefix("env ") {
            let (name, container) = rest.split_once(" of container ")?;
            return Some(Self::Env {
                container: container.into(),
                name: name.into(),
            });
        }
        let text = text.strip_suffix(" image")?;
        let slot = |prefix: &str, make: fn(String) -> Self| {
            Some(make(text.strip_prefix(prefix)?.to_owned()))
        };
        slot("init container ", Self::Init)
            .or_else(|| slot("ephemeral container ", Self::Ephemeral))
            .or_else(|| slot("container ", Self::Container))
            .or_else(|| slot("volume ", Self::Volume))
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container(name) => write!(f, "container {name}"),
            Self::Init(name) => write!(f, "init container {name}"),
            Self::Ephemeral(name) => write!(f, "ephemeral container {name}"),
            Self::Volume(name) => write!(f, "volume {name}"),
            Self::Env { container, name } => write!(f, "env {name} of container {container}"),
        }
    }
}

type MakeSlot = fn(String) -> Slot;

/// The lists of a pod spec that hold containers.
pub(crate) const CONTAINER_LISTS: [(&str, MakeSlot); 3] = [
    ("initContainers", Slot::Init),
    ("containers", Slot::Container),
    ("ephemeralContainers", Slot::Ephemeral),
];

/// A value of an object.
pub(crate) trait Node<'a>: Copy {
    /// What stands under `key`: at most one in JSON; a manifest may write a key twice, or
    /// merge what it stands for in from elsewhere.
    fn under(self, key: &str) -> Vec<Self>;
    /// The entries of a list.
    fn items(self) -> Vec<Self>;
    /// The text of a scalar; none for null and for collections.
    fn text(self) -> Option<&'a str>;
}

impl<'a> Node<'a> for &'a Value {
    fn under(self, key: &str) -> Vec<Self> {
        self.get(key).into_iter().collect()
    }

    fn items(self) -> Vec<Self> {
        self.as_array()
            .map_or_else(Vec::new, |list| list.iter().collect())
    }

    fn text(self) -> Option<&'a str> {
        self.as_str()
    }
}

/// A place in a pod spec that holds a reference.
#[derive(Debug, Clone)]
pub(crate) struct Place<N> {
    pub(crate) slot: Slot,
    /// The list it is in, the entry, and the entry of `env`.
    pub(crate) list: &'static str,
    pub(crate) index: usize,
    pub(crate) variable: Option<usize>,
    /// The value that stands there.
    pub(crate) node: N,
}

/// A container of a pod spec.
#[derive(Debug, Clone)]
pub(crate) struct Container<N> {
    pub(crate) slot: Slot,
    pub(crate) list: &'static str,
    pub(crate) index: usize,
    pub(crate) node: N,
}

/// Everything that stands at `path`, a JSON pointer without indexes.
pub(crate) fn at<'a, N: Node<'a>>(node: N, path: &str) -> Vec<N> {
    path.split('/').skip(1).fold(vec![node], |nodes, key| {
        nodes.into_iter().flat_map(|node| node.under(key)).collect()
    })
}

/// The text at `path`; of a key that is written twice the last counts.
pub(crate) fn text_at<'a, N: Node<'a>>(node: N, path: &str) -> Option<&'a str> {
    at(node, path).last()?.text()
}

/// The containers of a pod spec, of every kind.
pub(crate) fn containers<'a, N: Node<'a>>(spec: N) -> Vec<Container<N>> {
    let mut found = Vec::new();
    for (list, slot) in CONTAINER_LISTS {
        for (index, node) in entries(spec, list) {
            found.push(Container {
                slot: slot(name(node, index)),
                list,
                index,
                node,
            });
        }
    }
    found
}

/// Every place of a pod spec where a reference stands or could stand.
pub(crate) fn in_pod_spec<'a, N: Node<'a>>(spec: N) -> Vec<Place<N>> {
    let mut found = Vec::new();
    for container in containers(spec) {
        in_container(&container, &mut found);
    }
    for (index, volume) in entries(spec, "volumes") {
        found.extend(
            at(volume, "/image/reference")
                .into_iter()
                .map(|node| Place {
                    slot: Slot::Volume(name(volume, index)),
                    list: "volumes",
                    index,
                    variable: None,
                    node,
                }),
        );
    }
    found
}

fn in_container<'a, N: Node<'a>>(container: &Container<N>, found: &mut Vec<Place<N>>) {
    let place = |slot, variable, node| Place {
        slot,
        list: container.list,
        index: container.index,
        variable,
        node,
    };
    let images = container.node.under("image").into_iter();
    found.extend(images.map(|node| place(container.slot.clone(), None, node)));
    for (entry, variable) in entries(container.node, "env") {
        let Some(name) = image_variable(variable) else {
            continue;
        };
        let slot = Slot::Env {
            container: self::name(container.node, container.index),
            name: name.into(),
        };
        let values = variable.under("value").into_iter();
        found.extend(values.map(|node| place(slot.clone(), Some(entry), node)));
    }
}

/// True for the names of variables that hold an image.
pub(crate) fn is_image_variable(name: &str) -> bool {
    IMAGE_VARIABLES.contains(&name)
}

/// The name of a variable that holds an image.
fn image_variable<'a, N: Node<'a>>(variable: N) -> Option<&'a str> {
    text_at(variable, "/name").filter(|name| is_image_variable(name))
}

/// The entries of a list with their indexes.
fn entries<'a, N: Node<'a>>(node: N, list: &str) -> Vec<(usize, N)> {
    let lists = node.under(list).into_iter();
    lists
        .flat_map(|list| list.items().into_iter().enumerate())
        .collect()
}

/// The name of a list entry; where it has none, its index.
fn name<'a, N: Node<'a>>(node: N, index: usize) -> String {
    text_at(node, "/name").map_or_else(|| index.to_string(), str::to_owned)
}
