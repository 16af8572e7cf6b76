//! Resolving with a selection of platforms: the index is read in place of asked for its
//! digest, which costs the same one request, and filtered (filter.rs). A configuration is
//! read only where no index says for which platform something is.

use castlink_core::{Failure, ImageRef, Result};
use futures::future::try_join_all;

use super::{Known, MAX_DEPTH, MAX_MANIFESTS, Origin, Resolved, Tried, get, too_deep, with_twin};
use crate::{
    content::{self, Blob, Digest, Malformed, Manifest},
    filter::{self, Inner, Left},
    platform::Selection,
    registry::error::Kind,
    site::Sites,
};

/// The largest configuration that is read; real ones have a few kilobytes.
const MAX_CONFIG: u64 = 4 << 20;

pub(super) async fn resolve(
    sites: &Sites,
    image: &ImageRef,
    selection: &Selection,
) -> Result<Resolved> {
    with_twin(image, async |source| {
        let root = get(sites, source, source.selector()).await?;
        choose(sites, source, root, selection).await
    })
    .await
}

async fn choose(
    sites: &Sites,
    source: &ImageRef,
    root: Manifest,
    selection: &Selection,
) -> Result<Resolved, Tried> {
    let mut known = Known::new();
    let inner = read_inner(sites, source, &root, &mut known).await?;
    let mut resolved = Resolved::whole(source, root.digest.clone());
    let platforms = inner.platforms_of(&root);
    // Without any it is no index of images, or no index at all: see `check_single`.
    if !platforms.is_empty() {
        if let Some(missing) = selection.missing(&platforms) {
            return Err(Tried::Final(lacks(source, &missing, &platforms)));
        }
        let left = filter::filter(&root, selection, &inner).map_err(|err| unusable(source, err))?;
        if let Left::Part {
            root: part,
            indexes,
        } = left
        {
            let unwanted = platforms
                .into_iter()
                .filter(|platform| !selection.wants(platform));
            resolved.digest = part.digest.clone();
            resolved.origin = Some(Origin {
                digest: root.digest.clone(),
                left_out: unwanted.collect(),
            });
            let made = indexes.into_iter().chain([part]);
            known.extend(made.map(|index| (index.digest.clone(), index)));
        }
    }
    known.insert(root.digest.clone(), root);
    resolved.known = known;
    Ok(resolved)
}

/// Reads what `root` leaves open: indexes within it, and the platforms of entries without one.
async fn read_inner(
    sites: &Sites,
    source: &ImageRef,
    root: &Manifest,
    known: &mut Known,
) -> Result<Inner, Tried> {
    let mut inner = Inner::default();
    let mut open = unknown(&inner, root);
    for _ in 0..MAX_DEPTH {
        if open.len() > MAX_MANIFESTS {
            break;
        }
        let read = open
            .iter()
            .map(|digest| get(sites, source, digest.as_str()));
        let read = try_join_all(read).await?;
        open.clear();
        for manifest in read {
            if manifest.children().is_empty() {
                if let Some(platform) = platform(sites, source, &manifest).await? {
                    inner.platforms.insert(manifest.digest.clone(), platform);
                }
            } else {
                open.extend(unknown(&inner, &manifest));
                inner
                    .indexes
                    .insert(manifest.digest.clone(), manifest.clone());
            }
            known.insert(manifest.digest.clone(), manifest);
        }
        if open.is_empty() {
            return Ok(inner);
        }
    }
    Err(too_deep(source))
}

fn unknown(inner: &Inner, index: &Manifest) -> Vec<Digest> {
    let unknown = inner.unknown(index);
    unknown.map(|child| child.digest.clone()).collect()
}

/// An image without an index travels as it is, when it is for a platform that is wanted.
/// What is no container image is for none, and travels.
pub(super) async fn check_single(
    sites: &Sites,
    source: &ImageRef,
    root: &Manifest,
    selection: &Selection,
) -> Result<(), Tried> {
    if selection.is_all() || !root.children().is_empty() {
        return Ok(());
    }
    match platform(sites, source, root).await? {
        Some(platform) if !selection.wants(&platform) => {
            let wanted = selection.missing(&[]).unwrap_or_default();
            Err(Tried::Final(lacks(source, &wanted, &[platform])))
        }
        _ => Ok(()),
    }
}

/// The platform that the configuration of an image names.
async fn platform(
    sites: &Sites,
    source: &ImageRef,
    image: &Manifest,
) -> Result<Option<String>, Tried> {
    let Some(config) = image.config() else {
        return Ok(None);
    };
    let bytes = read_config(sites, source, &config).await?;
    Ok(content::platform_of(&bytes))
}

async fn read_config(sites: &Sites, source: &ImageRef, config: &Blob) -> Result<Vec<u8>, Tried> {
    let site = sites.source(source.registry()).await?;
    let mut download = site.download(source.repository(), config);
    if config.size > MAX_CONFIG {
        let error = download
            .subject()
            .nonsense("the configuration is larger than 4 MiB");
        return Err(Tried::of(error));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = download.next().await.map_err(Tried::of)? {
        bytes.extend_from_slice(&chunk);
    }
    if !config.digest.matches(&bytes) {
        let text = "the content does not have its digest";
        return Err(Tried::of(download.subject().error(Kind::Corrupt, text)));
    }
    Ok(bytes)
}

fn unusable(source: &ImageRef, err: Malformed) -> Tried {
    Tried::Final(Failure::failed(format!("{source}: filtering its index")).because(err))
}

fn lacks(source: &ImageRef, missing: &str, platforms: &[String]) -> Failure {
    Failure::failed(format!("{source} has no {missing}")).hint(format!(
        "it has {}; select among these with --platform",
        platforms.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use castlink_core::Exit;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        liar::{HOST, Liar, config},
        registry::Registries,
        source::fetch,
    };

    const INDEX: &str = "application/vnd.oci.image.index.v1+json";

    /// Stores an image whose configuration names `platform`; its entry in an index, without it.
    fn image(liar: &Liar, platform: &str) -> Value {
        let (os, architecture) = platform.split_once('/').unwrap();
        let config = json!({"os": os, "architecture": architecture}).to_string();
        let digest = liar.put_blob("r", config.as_bytes());
        let manifest = json!({"schemaVersion": 2, "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest.as_str(), "size": config.len(),
        }, "layers": []});
        store(liar, architecture, &manifest)
    }

    fn store(liar: &Liar, tag: &str, document: &Value) -> Value {
        let text = document.to_string();
        let digest = liar.put_manifest("r", tag, text.as_bytes());
        json!({"digest": digest.as_str(), "size": text.len()})
    }

    fn index(liar: &Liar, tag: &str, entries: &[Value]) -> Value {
        let document = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
        let mut entry = store(liar, tag, &document);
        entry["mediaType"] = json!(INDEX);
        entry
    }

    async fn get(liar: &Liar, tag: &str, selected: &str) -> Result<Vec<String>> {
        let sites = Sites::new(Registries::new(&config(&[(HOST, liar)])));
        let image: ImageRef = format!("{HOST}/r:{tag}").parse().unwrap();
        let selection = Selection::parse(&[selected.to_owned()]).unwrap();
        let resolved = resolve(&sites, &image, &selection).await?;
        let (_, tree) = fetch(&sites, &resolved, &selection).await?;
        assert_eq!(tree.root.digest, resolved.digest);
        Ok(tree
            .below
            .iter()
            .map(|manifest| manifest.digest.to_string())
            .collect())
    }

    #[tokio::test]
    async fn a_single_image_is_taken_by_its_configuration() {
        let liar = Liar::honest().await;
        image(&liar, "linux/amd64");
        assert_eq!(get(&liar, "amd64", "linux/amd64").await.unwrap(), [""; 0]);
        let err = get(&liar, "amd64", "linux/arm64").await.unwrap_err();
        assert_eq!(err.exit(), Exit::Failed);
        assert!(err.one_line().contains("has no linux/arm64"), "{err}");
        assert!(err.hint_text().unwrap().contains("linux/amd64"), "{err:?}");
    }

    #[tokio::test]
    async fn resolving_costs_one_request_and_nothing_is_read_twice() {
        let liar = Liar::honest().await;
        let mut amd = image(&liar, "linux/amd64");
        amd["platform"] = json!({"os": "linux", "architecture": "amd64"});
        let mut arm = image(&liar, "linux/arm64");
        arm["platform"] = json!({"os": "linux", "architecture": "arm64"});
        index(&liar, "v1", &[amd, arm.clone()]);
        let sites = Sites::new(Registries::new(&config(&[(HOST, &liar)])));
        let image: ImageRef = format!("{HOST}/r:v1").parse().unwrap();
        let selection = Selection::parse(&["linux/arm64".to_owned()]).unwrap();
        let resolved = resolve(&sites, &image, &selection).await.unwrap();
        assert_eq!(liar.asked("").len(), 1);
        assert_eq!(resolved.origin.as_ref().unwrap().left_out, ["linux/amd64"]);
        let (_, tree) = fetch(&sites, &resolved, &selection).await.unwrap();
        assert_eq!(liar.asked("").len(), 2, "the one child");
        assert_eq!(tree.below[0].digest.as_str(), arm["digest"]);
    }

    #[tokio::test]
    async fn what_an_index_does_not_say_is_read() {
        let liar = Liar::honest().await;
        let (amd, arm, s390) = (
            image(&liar, "linux/amd64"),
            image(&liar, "linux/arm64"),
            image(&liar, "linux/s390x"),
        );
        let within = index(&liar, "within", &[amd.clone(), s390]);
        index(&liar, "v1", &[within, arm.clone()]);
        let arm_only = get(&liar, "v1", "linux/arm64").await.unwrap();
        assert_eq!(arm_only, [arm["digest"].as_str().unwrap()]);
        let amd_only = get(&liar, "v1", "linux/amd64").await.unwrap();
        assert_eq!(
            amd_only.len(),
            2,
            "the image, and the index within that holds it"
        );
        assert_eq!(amd_only[0], amd["digest"].as_str().unwrap());
        let err = get(&liar, "v1", "linux/riscv64").await.unwrap_err();
        let hint = err.hint_text().unwrap();
        assert!(
            hint.contains("linux/amd64, linux/s390x, linux/arm64"),
            "{hint}"
        );
    }

    #[tokio::test]
    async fn what_is_no_image_travels_whatever_was_selected() {
        let liar = Liar::honest().await;
        let chart = json!({"schemaVersion": 2, "config": {
            "mediaType": "application/vnd.cncf.helm.config.v1+json",
            "digest": liar.put_blob("r", b"{}").as_str(), "size": 2,
        }, "layers": []});
        store(&liar, "chart", &chart);
        assert_eq!(get(&liar, "chart", "linux/arm64").await.unwrap(), [""; 0]);
        assert_eq!(liar.asked("blobs").len(), 0);
    }

    #[tokio::test]
    async fn indexes_without_end_are_given_up() {
        let liar = Liar::honest().await;
        let mut entry = image(&liar, "linux/amd64");
        for level in 0..8 {
            entry = index(&liar, &format!("level{level}"), &[entry]);
        }
        let err = get(&liar, "level7", "linux/amd64").await.unwrap_err();
        assert!(err.one_line().contains("nested too deep"), "{err}");
        assert!(liar.asked("").len() < 8);
    }
}
