//! What pods really run: a reference says what was asked for, the image id of a container
//! what was started. They differ where a tag was moved and a node has the older image.

use std::collections::BTreeMap;

use super::verdict::{Look, is_new};
use crate::pods::PodView;

/// Digits of a digest that people read.
const DIGITS: usize = 12;

/// A container that was started from another image than the digest in its reference.
pub(super) fn wrong(look: &Look<'_>, pod: &PodView) -> Option<String> {
    look.wanted.iter().find_map(|(slot, image)| {
        let (_, wanted) = image.split_once('@')?;
        let (_, have) = pod.digests.iter().find(|(of, _)| of == slot)?;
        (have != wanted).then(|| {
            format!(
                "{slot} of pod {} runs {}, not {}",
                pod.name,
                short(have),
                short(wanted)
            )
        })
    })
}

/// Containers of one reference that were started from different images. Nodes of different
/// architectures may name the same image differently, so only like is compared with like.
pub(super) fn mixed(look: &Look<'_>) -> Option<String> {
    let mut seen: BTreeMap<(&str, &str), (&str, &str)> = BTreeMap::new();
    let new = look.pods.iter().filter(|pod| is_new(look, pod));
    for pod in new {
        let (Some(node), Some(nodes)) = (&pod.node, look.nodes) else {
            continue;
        };
        let arch = nodes.get(node).map_or("", |view| view.arch.as_str());
        for (slot, digest) in &pod.digests {
            let Some((_, image)) = look.wanted.iter().find(|(of, _)| of == slot) else {
                continue;
            };
            let (first, there) = *seen
                .entry((image.as_str(), arch))
                .or_insert((digest.as_str(), node.as_str()));
            if first != digest.as_str() {
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

fn short(digest: &str) -> &str {
    digest.get(..DIGITS + "sha256:".len()).unwrap_or(digest)
}
