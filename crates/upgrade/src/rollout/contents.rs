//! What pods really run: a reference says what was asked for, the image id of a container
//! what was started. They differ where a tag was moved and a node has the older image, and
//! where a node knows one image by several names.
//!
//! Never here: verdicts. A pod that is ready on the wanted reference has been rolled out;
//! what its image id says beside that is a note.

use std::collections::BTreeMap;

use super::verdict::{Look, is_new};
use crate::pods::PodView;

/// Digits of a digest that people read.
const DIGITS: usize = 12;

/// A container whose reference has a digest and which shows another one. No reason to take
/// it back: the runtime has checked what it fetched by that digest, and an image that came
/// under two digests (the public index, and a copy of it with fewer platforms) is shown
/// under either of them.
pub(super) fn renamed(look: &Look<'_>) -> Option<String> {
    new(look).find_map(|pod| {
        look.wanted.iter().find_map(|(slot, image)| {
            let (_, wanted) = image.split_once('@')?;
            let (_, id) = pod.started_from.iter().find(|(of, _)| of == slot)?;
            let (_, shown) = parts(id);
            (shown != wanted).then(|| {
                format!(
                    "{slot} of pod {} is pinned to {}, and its node shows {id}: of the digests that it has an image under, a node shows one",
                    pod.name,
                    short(wanted),
                )
            })
        })
    })
}

/// Containers of one reference without a digest that were started from different images.
/// Nodes of different architectures may name the same image differently, and a node that
/// knows it from two repositories shows either, so only like is compared with like.
pub(super) fn mixed(look: &Look<'_>) -> Option<String> {
    let mut seen: BTreeMap<(&str, &str, &str), (&str, &str)> = BTreeMap::new();
    for pod in new(look) {
        let (Some(node), Some(nodes)) = (&pod.node, look.nodes) else {
            continue;
        };
        let arch = nodes.get(node).map_or("", |view| view.arch.as_str());
        for (slot, id) in &pod.started_from {
            let mut tagged = look.wanted.iter().filter(|(_, image)| !image.contains('@'));
            let Some((_, image)) = tagged.find(|(of, _)| of == slot) else {
                continue;
            };
            let (repository, digest) = parts(id);
            let (first, there) = *seen
                .entry((image.as_str(), arch, repository))
                .or_insert((digest, node.as_str()));
            if first != digest {
                return Some(format!(
                    "pods run different images as {image}: {} on node {there}, {} on node {node}; the tag was moved, and a node has the older one",
                    short(first),
                    short(digest)
                ));
            }
        }
    }
    None
}

fn new<'a>(look: &'a Look<'_>) -> impl Iterator<Item = &'a PodView> {
    let pods = look.pods.iter().copied();
    pods.filter(|pod| is_new(look, pod))
}

/// Repository and digest of an image id.
fn parts(id: &str) -> (&str, &str) {
    id.rsplit_once('@').unwrap_or(("", id))
}

fn short(digest: &str) -> &str {
    digest.get(..DIGITS + "sha256:".len()).unwrap_or(digest)
}
