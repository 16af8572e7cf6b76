//! What is attached to a manifest: the list of its referrers (OCI distribution 1.1), and the
//! tag that stands in for the list where a registry has none.
//!
//! Whether a registry has the list is learnt from the first question and remembered: one
//! that has none is asked once.

use std::collections::HashSet;

use bytes::Bytes;
use reqwest::{
    Method,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue},
};
use serde_json::{Value, json};
use url::Url;

use super::{
    client::{Ask, Registry},
    error::{Kind, Result, Subject},
};
use crate::content::{Content, Digest, MAX_MANIFEST_READ, Manifest};

/// What a list of referrers is kept and answered as.
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Pages of one list: nobody attaches hundreds of things to one manifest.
const MAX_PAGES: usize = 32;

/// The tag that stands in for the list: `sha256-<hex>` (the specification's referrers tag
/// schema, which cuts longer digests).
pub fn fallback_tag(digest: &Digest) -> String {
    let (algorithm, hex) = digest.as_str().split_once(':').unwrap_or_default();
    format!("{algorithm}-{}", &hex[..hex.len().min(64)])
}

impl Registry {
    /// The manifests attached to `digest`; none when the registry keeps no such lists.
    ///
    /// # Errors
    /// When the registry cannot be reached now, or its list makes no sense.
    pub async fn referrers(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<Option<Vec<Digest>>> {
        let mut first = None;
        let ask = async {
            first = match self.list(repository, digest).await {
                Ok(list) => Some(list),
                // The answers of registries that do not know the question.
                Err(error) if is_unknown(error.kind) => None,
                Err(error) => return Err(error),
            };
            Ok(first.is_some())
        };
        let has_lists = *self.lists_referrers.get_or_try_init(|| ask).await?;
        if first.is_some() || !has_lists {
            return Ok(first);
        }
        match self.list(repository, digest).await {
            Err(error) if error.kind == Kind::NotFound => Ok(Some(Vec::new())),
            answer => answer.map(Some),
        }
    }

    async fn list(&self, repository: &str, digest: &Digest) -> Result<Vec<Digest>> {
        let what = format!("referrers of {}/{repository}@{}", self.host, digest.short());
        let subject = self.subject(what);
        let mut seen = HashSet::new();
        let mut found = Vec::new();
        let mut next = Some(
            self.endpoint
                .url(repository, &format!("referrers/{digest}")),
        );
        while let Some(url) = next {
            if seen.len() == MAX_PAGES || !seen.insert(url.clone()) {
                return Err(subject.nonsense("its list of referrers has no end"));
            }
            let (headers, page) = self.referrers_page(&url, repository, &subject).await?;
            for digest in page {
                if !found.contains(&digest) {
                    found.push(digest);
                }
            }
            next = self.next_page(&url, &headers, "referrers", &subject)?;
        }
        Ok(found)
    }

    async fn referrers_page(
        &self,
        url: &Url,
        repository: &str,
        subject: &Subject,
    ) -> Result<(HeaderMap, Vec<Digest>)> {
        let ask = Ask {
            method: Method::GET,
            url: url.clone(),
            headers: HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(INDEX))]),
            body: Bytes::new(),
            scope: self.pull_scope(repository),
            subject,
        };
        let (headers, body) = self.read(&ask, MAX_MANIFEST_READ).await?;
        let content_type = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        let page = Manifest::parse(body, content_type, None);
        let page = page.map_err(|err| subject.nonsense(err.to_string()))?;
        match page.content {
            Content::Index(children) => {
                let digests = children.into_iter().map(|child| child.digest);
                Ok((headers, digests.collect()))
            }
            Content::Image(_) => Err(subject.nonsense("the answer is no list of referrers")),
        }
    }

    /// Adds `manifests` to the list that stands in for that of `digest`. Nothing is written
    /// when they are in it; what others have put there stays.
    ///
    /// # Errors
    /// [`Kind::Conflict`] where tags cannot be moved.
    pub async fn add_referrers(
        &self,
        repository: &str,
        digest: &Digest,
        manifests: &[&Manifest],
    ) -> Result<()> {
        let tag = fallback_tag(digest);
        let held = match self.get_manifest(repository, &tag).await {
            Ok(manifest) => Some(manifest),
            Err(error) if error.kind == Kind::NotFound => None,
            Err(error) => return Err(error),
        };
        let subject = self.subject(format!("{}/{repository}:{tag}", self.host));
        let list = merge(held.as_ref(), manifests)
            .ok_or_else(|| subject.nonsense("the tag holds something that is no list"))?;
        if held.is_some_and(|held| held.digest == list.digest) {
            return Ok(());
        }
        self.put_manifest(repository, &tag, &list).await.map(drop)
    }
}

fn is_unknown(kind: Kind) -> bool {
    matches!(kind, Kind::NotFound | Kind::Refused | Kind::Denied)
}

/// The list with `manifests` in it; none when what is held is no list.
fn merge(held: Option<&Manifest>, manifests: &[&Manifest]) -> Option<Manifest> {
    let mut list = match held {
        Some(held) => serde_json::from_slice(&held.bytes).ok()?,
        None => json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}),
    };
    let entries = list.get_mut("manifests")?.as_array_mut()?;
    let before = entries.len();
    for manifest in manifests {
        if entries
            .iter()
            .all(|entry| entry["digest"] != manifest.digest.as_str())
        {
            entries.push(descriptor(manifest));
        }
    }
    match held {
        Some(held) if entries.len() == before => Some(held.clone()),
        _ => Manifest::parse(Bytes::from(list.to_string()), Some(INDEX), None).ok(),
    }
}

/// An entry of the list: with the artifact's type (that of its configuration when it names
/// none) and its annotations, as the specification asks.
fn descriptor(manifest: &Manifest) -> Value {
    let content: Value = serde_json::from_slice(&manifest.bytes).unwrap_or_default();
    let mut entry = json!({
        "mediaType": manifest.media_type,
        "digest": manifest.digest.as_str(),
        "size": manifest.bytes.len(),
    });
    let named = content["artifactType"]
        .as_str()
        .filter(|named| !named.is_empty());
    if let Some(kind) = named.or(content["config"]["mediaType"].as_str()) {
        entry["artifactType"] = json!(kind);
    }
    if content["annotations"].is_object() {
        entry["annotations"] = content["annotations"].clone();
    }
    entry
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::future::join_all;

    use super::*;
    use crate::{
        Registries,
        liar::{Asked, HOST, Liar, Reply, config},
    };

    async fn registry(liar: &Liar) -> Arc<Registry> {
        let registries = Registries::new(&config(&[(HOST, liar)]));
        registries.get(HOST).await.unwrap()
    }

    fn digest(name: &str) -> Digest {
        Digest::of(name.as_bytes())
    }

    fn page(names: &[&str]) -> Reply {
        let entries: Vec<Value> = names
            .iter()
            .map(|name| json!({"digest": digest(name).as_str(), "size": 1}))
            .collect();
        let list = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
        Reply::status(200).body(list.to_string())
    }

    fn is_question(asked: &Asked) -> bool {
        asked.target.contains("/referrers/")
    }

    fn artifact(name: &str, more: Value) -> Manifest {
        let mut document = json!({
            "schemaVersion": 2, "layers": [], "config": {
                "mediaType": "application/vnd.oci.empty.v1+json", "size": 2,
                "digest": digest("{}").as_str(),
            },
            "annotations": {"name": name},
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            document[key] = value.clone();
        }
        Manifest::parse(Bytes::from(document.to_string()), None, None).unwrap()
    }

    #[tokio::test]
    async fn pages_are_followed_and_each_referrer_counts_once() {
        let liar = Liar::start(|asked, _| {
            is_question(asked).then(|| match asked.target.contains("page=2") {
                true => page(&["b", "c"]),
                false => {
                    let next = format!("<{}?page=2>; rel=\"next\"", asked.target);
                    page(&["a", "b"]).header("Link", next)
                }
            })
        })
        .await;
        let found = registry(&liar).await.referrers("r", &digest("x")).await;
        assert_eq!(
            found.unwrap().unwrap(),
            [digest("a"), digest("b"), digest("c")]
        );
    }

    #[tokio::test]
    async fn lists_that_lead_elsewhere_or_in_circles_are_left() {
        for link in [
            "<http://elsewhere.example/v2/>; rel=\"next\"",
            "<?again>; rel=\"next\"",
        ] {
            let liar = Liar::start(move |asked, _| {
                let first = asked.target.contains(digest("known").as_str());
                is_question(asked).then(|| match first {
                    true => page(&[]),
                    false => page(&["a"]).header("Link", link),
                })
            })
            .await;
            let registry = registry(&liar).await;
            let known = registry.referrers("r", &digest("known")).await.unwrap();
            assert_eq!(known.unwrap(), []);
            let err = registry.referrers("r", &digest("x")).await.unwrap_err();
            assert_eq!(err.kind, Kind::Refused, "{link}");
            assert!(liar.asked("GET").len() <= 3, "{link}");
        }
    }

    #[tokio::test]
    async fn a_registry_without_lists_is_asked_once() {
        for status in [404, 400, 405, 403] {
            let liar =
                Liar::start(move |asked, _| is_question(asked).then(|| Reply::status(status)))
                    .await;
            let registry = registry(&liar).await;
            let subjects = ["a", "b", "c"].map(digest);
            let asked = subjects
                .iter()
                .map(|subject| registry.referrers("r", subject));
            for answer in join_all(asked).await {
                assert_eq!(answer.unwrap(), None, "{status}");
            }
            assert_eq!(
                registry.referrers("other", &subjects[0]).await.unwrap(),
                None
            );
            assert_eq!(liar.asked("/referrers/").len(), 1, "{status}");
        }
    }

    #[tokio::test]
    async fn what_is_no_list_is_no_support() {
        for body in ["<html>", "{\"schemaVersion\":2,\"layers\":[]}"] {
            let liar = Liar::start(move |asked, _| {
                is_question(asked).then(|| Reply::status(200).body(body))
            })
            .await;
            let answer = registry(&liar).await.referrers("r", &digest("a")).await;
            assert_eq!(answer.unwrap(), None, "{body}");
        }
    }

    #[tokio::test]
    async fn trouble_on_the_way_is_not_taken_for_an_answer() {
        let liar = Liar::start(|asked, before| {
            is_question(asked).then(|| match before {
                0 => Reply::status(503),
                _ => page(&["a"]),
            })
        })
        .await;
        let answer = registry(&liar).await.referrers("r", &digest("x")).await;
        assert_eq!(answer.unwrap().unwrap(), [digest("a")]);
    }

    #[tokio::test]
    async fn a_list_that_stands_in_keeps_what_others_have_put_there() {
        let liar = Liar::honest().await;
        let registry = registry(&liar).await;
        let subject = digest("subject");
        let tag = fallback_tag(&subject);
        let held = |manifest: &Manifest| liar.put_manifest("r", "any", &manifest.bytes);
        let theirs = held(&artifact("theirs", json!({})));
        let theirs = json!({"digest": theirs.as_str(), "size": 1, "x": [1]});
        let list = json!({"schemaVersion": 2, "mediaType": INDEX, "y": 1, "manifests": [theirs]});
        liar.put_manifest("r", &tag, list.to_string().as_bytes());
        let (one, two) = (
            artifact("one", json!({"artifactType": "application/one"})),
            artifact("two", json!({})),
        );
        for manifest in [&one, &two] {
            held(manifest);
        }
        let add = async || registry.add_referrers("r", &subject, &[&one, &two]).await;
        add().await.unwrap();
        let merged: Value = {
            let key = ("r".to_owned(), tag.clone());
            serde_json::from_slice(&liar.store().manifests[&key]).unwrap()
        };
        assert_eq!(merged["y"], 1);
        let entries = merged["manifests"].as_array().unwrap();
        assert_eq!(entries[0], theirs);
        let types: Vec<_> = entries[1..]
            .iter()
            .map(|entry| &entry["artifactType"])
            .collect();
        assert_eq!(
            types,
            ["application/one", "application/vnd.oci.empty.v1+json"]
        );
        assert_eq!(entries[1]["annotations"]["name"], "one");
        assert_eq!(entries[2]["size"], two.bytes.len());
        add().await.unwrap();
        assert_eq!(liar.asked("PUT").len(), 1, "they are in it");
    }

    #[tokio::test]
    async fn a_tag_that_is_no_list_is_left_alone() {
        let liar = Liar::honest().await;
        let subject = digest("subject");
        liar.put_image("r", &fallback_tag(&subject), &[b"layer"]);
        let one = artifact("one", json!({}));
        let err = registry(&liar)
            .await
            .add_referrers("r", &subject, &[&one])
            .await;
        assert_eq!(err.unwrap_err().kind, Kind::Refused);
        assert_eq!(liar.asked("PUT").len(), 0);
    }

    #[test]
    fn the_tag_that_stands_in_is_cut_as_the_specification_says() {
        let short = digest("a");
        let (_, hex) = short.as_str().split_once(':').unwrap();
        assert_eq!(fallback_tag(&short), format!("sha256-{hex}"));
        let long = Digest::parse(&format!("sha512:{}", "ab".repeat(64))).unwrap();
        assert_eq!(fallback_tag(&long), format!("sha512-{}", "ab".repeat(32)));
    }
}
