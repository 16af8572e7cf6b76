//! The set of images that everything is measured with, generated once and kept as the
//! data of a registry.
//!
//! Ten repositories of one publisher, each an index over two platforms. Per platform a
//! base that all ten share, a runtime that five share, two layers of the image's own, a
//! tiny one and the config. There are two releases under the same tag, in which three of
//! the ten differ: the second copied over the first is an ordinary upgrade.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::cache;
use crate::registry::{Options, Registry};
use crate::seed::{self, Image, Layer, Layers, Seeder, Stack};

/// What the repositories are called below [`HOST`] and [`OWNER`].
pub const NAMES: [&str; 10] = [
    "audit-logs-receiver",
    "cluster-controller",
    "egressd",
    "evictor",
    "gpu-metrics-exporter",
    "live",
    "pod-mutator",
    "pod-pinner",
    "spot-handler",
    "workload-autoscaler",
];
/// The registry that publishes them, as references have it.
pub const HOST: &str = "us-docker.pkg.dev";
/// The publisher's path there.
pub const OWNER: &str = "castai-hub/library";
/// The tag, which moves from one release to the next.
pub const TAG: &str = "stable";
/// Path prefixes in the source registry: the world before and after the upgrade.
pub const RELEASES: [&str; 2] = ["r1", "r2"];
/// An image with one large layer, which shows what memory depends on; in the first release
/// alone.
pub const LARGE: [&str; 1] = ["large"];

const PLATFORMS: [&str; 2] = ["linux/amd64", "linux/arm64"];
/// Which images the second release changes.
const CHANGED: [usize; 3] = [1, 2, 8];
const MB: u32 = 1_000_000;
const TINY: u32 = 1_200;
/// The large layer.
const LARGE_BYTES: u64 = 4_000_000_000;

/// What a run copies.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Which of [`RELEASES`].
    pub release: usize,
    /// Which images of it.
    pub images: &'static [&'static str],
}

/// Sizes in MB by image: its middle layer and its binary.
const MIDDLE: [u32; 10] = [8, 9, 10, 11, 12, 13, 8, 10, 11, 13];
const BINARY: [u32; 10] = [20, 25, 30, 35, 27, 32, 22, 28, 34, 35];

/// The directory of a registry's data with the set in it, its layers `scale` times as
/// large as they should be. Blocks for a minute or two the first time.
///
/// # Errors
/// When the registry does not start or there is no space.
pub fn ensure(program: &Path, scale: f64, say: &dyn Fn(&str)) -> Result<PathBuf> {
    let makers = [
        include_str!("images.rs"),
        include_str!("../seed/image.rs"),
        include_str!("../seed/layer.rs"),
        &scale.to_string(),
    ];
    let key = cache::key(makers.map(str::as_bytes));
    let entry = cache::ensure(&format!("bench/images-{key}"), say, |draft| {
        say("generating the images to copy: about a minute, once");
        let runtime = tokio::runtime::Runtime::new()?;
        runtime.block_on(fill(program, draft, scale, say))
    })?;
    Ok(entry.join("data"))
}

/// The repository of an image in the source registry, seen from one release.
#[must_use]
pub fn repository(release: &str, name: &str) -> String {
    format!("{release}/{OWNER}/{name}")
}

/// The repository it goes to.
#[must_use]
pub fn destination(name: &str) -> String {
    format!("{HOST}/{OWNER}/{name}")
}

async fn fill(program: &Path, dir: &Path, scale: f64, say: &dyn Fn(&str)) -> Result<()> {
    let options = Options {
        name: "making".to_owned(),
        data: Some(dir.join("data")),
        ..Options::default()
    };
    let http = reqwest::Client::builder().no_proxy().build()?;
    let registry = Registry::start(program, dir, &options, &http).await?;
    let seeder = Seeder::new(&registry.url, http, seed::Options::default());
    let layers = Layers::stored(scale);
    for release in RELEASES {
        for (index, name) in NAMES.iter().enumerate() {
            let image = image(&layers, index, release)?;
            let repository = repository(release, name);
            let pushed = seeder.push(&repository, TAG, &image).await;
            pushed.with_context(|| format!("cannot push {repository}"))?;
            say(&format!("generated {repository}"));
        }
    }
    large(&seeder, &dir.join("layer"), scale).await
}

/// The image with the large layer, which is written to `file` on its way.
async fn large(seeder: &Seeder, file: &Path, scale: f64) -> Result<()> {
    let repository = repository(RELEASES[0], LARGE[0]);
    let layer = Layer::write(LARGE[0], (LARGE_BYTES as f64 * scale) as u64, file)?;
    seeder.push_file(&repository, &layer.digest, file).await?;
    std::fs::remove_file(file)?;
    let stack = (PLATFORMS[0].to_owned(), vec![Arc::new(layer)]);
    let image = Image::of(LARGE[0], TAG, &[stack])?;
    seeder.push(&repository, TAG, &image).await.map(|_| ())
}

fn image(layers: &Layers, index: usize, release: &str) -> Result<Image> {
    let stack = |platform: &str| {
        Ok((
            platform.to_owned(),
            stack(layers, index, release, platform)?,
        ))
    };
    let stacks: Vec<Stack> = PLATFORMS
        .into_iter()
        .map(stack)
        .collect::<std::io::Result<_>>()?;
    Image::of(NAMES[index], TAG, &stacks)
}

/// The layers of one platform of one image, base first.
fn stack(
    layers: &Layers,
    index: usize,
    release: &str,
    platform: &str,
) -> std::io::Result<Vec<Arc<Layer>>> {
    let (name, group) = (NAMES[index], index % 2);
    let changed = release != RELEASES[0] && CHANGED.contains(&index);
    let release = if changed { release } else { RELEASES[0] };
    let base = if platform == PLATFORMS[0] { 29 } else { 27 };
    let own = |what: &str, size| layers.own(&format!("bench/{name}/{what}/{platform}"), size);
    Ok(vec![
        layers.shared(&format!("bench/base/{platform}"), base * MB)?,
        layers.shared(&format!("bench/runtime{group}/{platform}"), 11 * MB)?,
        own("middle", MIDDLE[index] * MB)?,
        own(&format!("binary-{release}"), BINARY[index] * MB)?,
        own("tiny", TINY)?,
    ])
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn blobs(layers: &Layers, release: &str) -> Vec<(String, usize)> {
        let images = (0..NAMES.len()).map(|index| image(layers, index, release).unwrap());
        images
            .flat_map(|image| image.blobs)
            .map(|(digest, bytes)| (digest, bytes.len()))
            .collect()
    }

    #[test]
    fn the_set_has_the_shape_it_is_said_to_have() {
        let layers = Layers::stored(0.001);
        let (first, second) = (blobs(&layers, "r1"), blobs(&layers, "r2"));
        assert_eq!((first.len(), second.len()), (120, 120));
        let unique: BTreeMap<_, _> = first.iter().cloned().collect();
        assert_eq!(unique.len(), 86);
        let new: BTreeSet<_> = second
            .iter()
            .filter(|(digest, _)| !unique.contains_key(digest))
            .collect();
        // One layer per platform; the config names it by the digest of its content.
        assert_eq!(new.len(), 3 * PLATFORMS.len() * 2);
    }
}
