//! Everything below a manifest: each manifest read once however often it is listed, and no
//! more of them than anybody needs. Indexes come from the network: a kilobyte of them can
//! stand for millions of entries.

use std::collections::{HashMap, HashSet};

use futures::{StreamExt as _, stream};

use super::{MAX_DEPTH, MAX_MANIFESTS};
use crate::content::{Digest, Manifest, Tree};

/// The most bytes of the manifests of one image together.
const MAX_BYTES: usize = 64 << 20;

/// Manifests asked for at once; the registry's own limit decides how many are under way.
const AT_ONCE: usize = 16;

/// Reads `root` and all below it with `get`, which checks digests. `too_much` is the error
/// for an image beyond the limits.
///
/// # Errors
/// That, or the first one of `get`.
pub(super) async fn walk<E>(
    root: &Digest,
    get: impl AsyncFn(Digest) -> Result<Manifest, E>,
    too_much: impl Fn() -> E,
) -> Result<Tree, E> {
    let mut found = HashMap::new();
    let mut seen = HashSet::from([root.clone()]);
    let mut level = vec![root.clone()];
    let mut bytes = 0;
    for _ in 0..=MAX_DEPTH {
        if seen.len() > MAX_MANIFESTS {
            break;
        }
        let asked = std::mem::take(&mut level).into_iter();
        let mut reading = stream::iter(asked.map(|digest| get(digest))).buffered(AT_ONCE);
        while let Some(manifest) = reading.next().await.transpose()? {
            bytes += manifest.bytes.len();
            if bytes > MAX_BYTES {
                return Err(too_much());
            }
            let children = manifest.children().iter().map(|child| &child.digest);
            level.extend(
                children
                    .filter(|child| seen.insert((*child).clone()))
                    .cloned(),
            );
            found.insert(manifest.digest.clone(), manifest);
        }
        if level.is_empty() {
            return Ok(arrange(root, found));
        }
    }
    Err(too_much())
}

/// Children before whatever lists them, the root last.
fn arrange(root: &Digest, mut found: HashMap<Digest, Manifest>) -> Tree {
    let mut below = Vec::with_capacity(found.len());
    visit(root, &mut found, &mut below);
    let root = below.pop().expect("the root has been read");
    Tree { root, below }
}

fn visit(digest: &Digest, found: &mut HashMap<Digest, Manifest>, done: &mut Vec<Manifest>) {
    let Some(manifest) = found.remove(digest) else {
        return;
    };
    for child in manifest.children() {
        visit(&child.digest, found, done);
    }
    done.push(manifest);
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Manifests by digest.
    #[derive(Default)]
    struct Store(HashMap<Digest, Manifest>);

    impl Store {
        fn image(&mut self, name: &str) -> Digest {
            self.put(
                serde_json::json!({"schemaVersion": 2, "layers": [], "annotations": {"n": name}}),
            )
        }

        fn index<'a>(&mut self, children: impl IntoIterator<Item = &'a Digest>) -> Digest {
            let children = children.into_iter();
            let entries: Vec<_> = children
                .map(|digest| serde_json::json!({"digest": digest.as_str(), "size": 1}))
                .collect();
            self.put(serde_json::json!({"schemaVersion": 2, "manifests": entries}))
        }

        fn put(&mut self, json: serde_json::Value) -> Digest {
            let manifest = Manifest::parse(json.to_string().into(), None, None).unwrap();
            let digest = manifest.digest.clone();
            self.0.insert(digest.clone(), manifest);
            digest
        }

        /// The walk, and how often something was read.
        async fn walk(&self, root: &Digest) -> (Result<Tree, String>, usize) {
            let reads = Cell::new(0);
            let get = async |digest: Digest| {
                reads.set(reads.get() + 1);
                let found = self.0.get(&digest).cloned();
                found.ok_or_else(|| format!("no {digest}"))
            };
            let tree = walk(root, get, || "too much".to_owned()).await;
            (tree, reads.get())
        }
    }

    #[tokio::test]
    async fn children_come_before_all_that_lists_them() {
        let mut store = Store::default();
        let (a, b) = (store.image("a"), store.image("b"));
        let inner = store.index([&b]);
        let outer = store.index([&inner, &a]);
        // Listed again next to what contains it.
        let root = store.index([&outer, &inner, &a, &a]);
        let (tree, reads) = store.walk(&root).await;
        let tree = tree.unwrap();
        assert_eq!(reads, 5);
        assert_eq!(tree.root.digest, root);
        let order: Vec<_> = tree.below.iter().map(|manifest| &manifest.digest).collect();
        assert_eq!(order, [&b, &inner, &a, &outer]);
    }

    #[tokio::test]
    async fn what_is_listed_a_million_times_is_read_once() {
        let mut store = Store::default();
        let mut top = store.image("a");
        for _ in 0..MAX_DEPTH {
            top = store.index(std::iter::repeat_n(&top, 500));
        }
        let (tree, reads) = store.walk(&top).await;
        assert_eq!(
            (tree.unwrap().below.len(), reads),
            (MAX_DEPTH, MAX_DEPTH + 1)
        );
        let deeper = store.index([&top]);
        let (tree, _) = store.walk(&deeper).await;
        assert_eq!(tree.unwrap_err(), "too much");
    }

    #[tokio::test]
    async fn ten_thousand_children_are_not_read() {
        let mut store = Store::default();
        let children: Vec<_> = (0..10_000_u32)
            .map(|n| Digest::of(&n.to_le_bytes()))
            .collect();
        let root = store.index(&children);
        let (tree, reads) = store.walk(&root).await;
        assert_eq!((tree.unwrap_err().as_str(), reads), ("too much", 1));
        let root = store.index(&children[..3]);
        let (tree, _) = store.walk(&root).await;
        assert_eq!(tree.unwrap_err(), format!("no {}", children[0]));
    }
}
