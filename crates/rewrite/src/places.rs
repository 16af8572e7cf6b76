//! Where image references are in a pod spec: the one definition, for objects as the API
//! server sends them and for manifests with their places in the text.
//!
//! Never here: requests, bytes, or what a reference should become.

use std::fmt;

use castlink_manifest::tree::Cursor;
use serde_json::Value;

/// Variables that hold an image the component starts pods with. `AGENT_IMAGE`,
/// `QUERY_PROCESSOR_IMAGE` and `PROXY_IMAGE` are not among them: despite their names
/// they hold versions.
const IMAGE_VARIABLES: [&str; 2] = ["SCANNERS_IMAGE", "JMX_EXPORTER_INIT_IMAGE"];

/// Which part of a pod spec holds the reference. Names, not indexes: they survive
/// re-ordering, and a journal can be read back with them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// The image of a container.
    Container(String),
    /// The image of an init container.
    Init(String),
    /// The image of an ephemeral container.
    Ephemeral(String),
    /// The image that a volume shows.
    Volume(String),
    /// A variable that holds an image.
    Env {
        /// The container that has it.
        container: String,
        /// Its name.
        name: String,
    },
}

impl Slot {
    /// The name for a change record: `container agent image`.
    #[must_use]
    pub fn field(&self) -> String {
        match self {
            Self::Env { .. } => self.to_string(),
            _ => format!("{self} image"),
        }
    }

    /// Reads back what [`Slot::field`] wrote.
    #[must_use]
    pub fn from_field(text: &str) -> Option<Self> {
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

/// Makes the slot of a container from its name.
pub type MakeSlot = fn(String) -> Slot;

/// The lists of a pod spec that hold containers.
pub const CONTAINER_LISTS: [(&str, MakeSlot); 3] = [
    ("initContainers", Slot::Init),
    ("containers", Slot::Container),
    ("ephemeralContainers", Slot::Ephemeral),
];

/// A value of an object.
pub trait Node<'a>: Copy {
    /// What stands under `key`: at most one in JSON; a manifest may write a key twice, or
    /// merge what it stands for in from elsewhere.
    fn under(self, key: &str) -> impl Iterator<Item = Self>;
    /// The entries of a list.
    fn items(self) -> impl Iterator<Item = Self>;
    /// The text of a scalar; none for null and for collections.
    fn text(self) -> Option<&'a str>;
}

impl<'a> Node<'a> for &'a Value {
    fn under(self, key: &str) -> impl Iterator<Item = Self> {
        self.get(key).into_iter()
    }

    fn items(self) -> impl Iterator<Item = Self> {
        self.as_array().into_iter().flatten()
    }

    fn text(self) -> Option<&'a str> {
        self.as_str()
    }
}

impl<'t> Node<'t> for Cursor<'t, '_> {
    fn under(self, key: &str) -> impl Iterator<Item = Self> {
        Cursor::under(self, key)
    }

    fn items(self) -> impl Iterator<Item = Self> {
        Cursor::items(self)
    }

    fn text(self) -> Option<&'t str> {
        Cursor::text(self)
    }
}

/// A place in a pod spec that holds a reference.
#[derive(Debug, Clone)]
pub struct Place<N> {
    /// Which place.
    pub slot: Slot,
    /// The list of the pod spec that it is in: `containers`.
    pub list: &'static str,
    /// The entry of that list.
    pub index: usize,
    /// The entry of its `env`.
    pub variable: Option<usize>,
    /// The value that stands there.
    pub node: N,
}

/// A container of a pod spec.
#[derive(Debug, Clone)]
pub struct Container<N> {
    make_slot: MakeSlot,
    /// The list of the pod spec that it is in: `initContainers`.
    pub list: &'static str,
    /// The entry of that list.
    pub index: usize,
    /// The whole of it.
    pub node: N,
}

impl<'a, N: Node<'a>> Container<N> {
    /// The place of its image.
    pub fn slot(&self) -> Slot {
        (self.make_slot)(name(self.node, self.index))
    }
}

/// Everything that stands at `path`, a JSON pointer without indexes.
pub fn at<'a, N: Node<'a>>(node: N, path: &str) -> Vec<N> {
    let mut found = Vec::new();
    follow(node, path, &mut |node| found.push(node));
    found
}

fn follow<'a, N: Node<'a>>(node: N, path: &str, found: &mut impl FnMut(N)) {
    let Some(path) = path.strip_prefix('/') else {
        return found(node);
    };
    // A few bytes: looking for a byte in a long text is another thing.
    let is_end = |byte: &u8| *byte == b'/';
    let end = path.as_bytes().iter().position(is_end);
    let end = end.unwrap_or(path.len());
    for child in node.under(&path[..end]) {
        follow(child, &path[end..], found);
    }
}

/// The text at `path`; of a key that is written twice the last counts.
pub fn text_at<'a, N: Node<'a>>(node: N, path: &str) -> Option<&'a str> {
    let mut last = None;
    follow(node, path, &mut |node| last = node.text());
    last
}

/// The containers of a pod spec, of every kind.
pub fn containers<'a, N: Node<'a>>(spec: N) -> Vec<Container<N>> {
    let mut found = Vec::new();
    for (list, make_slot) in CONTAINER_LISTS {
        for (index, node) in entries(spec, list) {
            found.push(Container {
                make_slot,
                list,
                index,
                node,
            });
        }
    }
    found
}

/// Every place of a pod spec where a reference stands or could stand.
pub fn in_pod_spec<'a, N: Node<'a>>(spec: N) -> Vec<Place<N>> {
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
    let images = container.node.under("image");
    found.extend(images.map(|node| place(container.slot(), None, node)));
    for (entry, variable) in entries(container.node, "env") {
        let Some(name) = image_variable(variable) else {
            continue;
        };
        let slot = Slot::Env {
            container: self::name(container.node, container.index),
            name: name.into(),
        };
        let values = variable.under("value");
        found.extend(values.map(|node| place(slot.clone(), Some(entry), node)));
    }
}

/// True for the names of variables that hold an image.
#[must_use]
pub fn is_image_variable(name: &str) -> bool {
    IMAGE_VARIABLES.contains(&name)
}

/// The name of a variable that holds an image.
fn image_variable<'a, N: Node<'a>>(variable: N) -> Option<&'a str> {
    text_at(variable, "/name").filter(|name| is_image_variable(name))
}

/// The entries of a list with their indexes.
fn entries<'a, N: Node<'a>>(node: N, list: &str) -> impl Iterator<Item = (usize, N)> {
    node.under(list).flat_map(|list| list.items().enumerate())
}

/// The name of a list entry; where it has none, its index.
fn name<'a, N: Node<'a>>(node: N, index: usize) -> String {
    text_at(node, "/name").map_or_else(|| index.to_string(), str::to_owned)
}
