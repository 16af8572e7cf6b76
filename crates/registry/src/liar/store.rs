//! What the lying registry holds, and what it says when nobody makes it lie. It keeps the
//! books on its clients: what was pushed before what it needs, or with wrong bytes.

use std::collections::{BTreeMap, HashMap};

use url::Url;

use super::{Asked, Reply};
use crate::content::{Digest, Manifest};

/// What the registry holds.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) blobs: BTreeMap<(String, String), Vec<u8>>,
    pub(crate) manifests: BTreeMap<(String, String), Vec<u8>>,
    /// Whether it knows `tags/list`.
    pub(super) tags: bool,
    /// What no client should have done.
    pub(crate) offences: Vec<String>,
    pub(super) log: Vec<Asked>,
    pub(super) seen: HashMap<String, usize>,
}

impl Store {
    /// What an honest registry says.
    pub(crate) fn answer(&mut self, asked: &Asked) -> Reply {
        let url = Url::parse("http://x").unwrap().join(&asked.target).unwrap();
        let path = url.path().trim_start_matches("/v2/").to_owned();
        if let Some((repository, rest)) = path.split_once("/blobs/uploads/") {
            return self.upload(asked, &url, repository, rest);
        }
        if let Some((repository, digest)) = path.split_once("/blobs/") {
            return self.blob(asked, repository, digest);
        }
        if let Some(repository) = path.strip_suffix("/tags/list").filter(|_| self.tags) {
            return self.list(repository);
        }
        match path.split_once("/manifests/") {
            Some((repository, name)) => self.manifest(asked, repository, name),
            None => Reply::status(404),
        }
    }

    fn list(&self, repository: &str) -> Reply {
        let names = self.manifests.keys().filter(|(held, _)| held == repository);
        let tags: Vec<&String> = names
            .map(|(_, name)| name)
            .filter(|name| !name.contains(':'))
            .collect();
        Reply::status(200).body(serde_json::json!({"name": repository, "tags": tags}).to_string())
    }

    fn upload(&mut self, asked: &Asked, url: &Url, repository: &str, session: &str) -> Reply {
        let query: HashMap<_, _> = url.query_pairs().into_owned().collect();
        if asked.method == "PUT" {
            assert!(!session.is_empty(), "a PUT needs a session");
            let digest = &query["digest"];
            if Digest::of(&asked.body).as_str() != digest {
                let got = asked.body.len();
                self.offences
                    .push(format!("{got} wrong bytes for {digest}"));
                return Reply::status(400);
            }
            let key = (repository.to_owned(), digest.clone());
            self.blobs.insert(key, asked.body.clone());
            return Reply::status(201);
        }
        if let (Some(digest), Some(from)) = (query.get("mount"), query.get("from")) {
            let held = self.blobs.get(&(from.clone(), digest.clone())).cloned();
            if let Some(bytes) = held {
                self.blobs
                    .insert((repository.to_owned(), digest.clone()), bytes);
                return Reply::status(201);
            }
        }
        let location = format!("/v2/{repository}/blobs/uploads/{}?state=x", self.log.len());
        Reply::status(202).header("Location", location)
    }

    fn blob(&self, asked: &Asked, repository: &str, digest: &str) -> Reply {
        let key = (repository.to_owned(), digest.to_owned());
        let Some(bytes) = self.blobs.get(&key) else {
            return Reply::status(404);
        };
        let range = asked.headers.get("range").and_then(|text| {
            text.strip_prefix("bytes=")?
                .strip_suffix('-')?
                .parse::<usize>()
                .ok()
        });
        match range {
            None => Reply::status(200).body(bytes.clone()),
            Some(start) => Reply::status(206)
                .header(
                    "Content-Range",
                    format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len()),
                )
                .body(&bytes[start..]),
        }
    }

    fn manifest(&mut self, asked: &Asked, repository: &str, name: &str) -> Reply {
        if asked.method == "PUT" {
            let digest = Digest::of(&asked.body).to_string();
            let missing = self.missing(repository, &asked.body);
            if !missing.is_empty() {
                let what = missing.join(", ");
                self.offences
                    .push(format!("{repository}:{name} before {what}"));
                return Reply::status(404);
            }
            for name in [name, &digest] {
                let key = (repository.to_owned(), name.to_owned());
                self.manifests.insert(key, asked.body.clone());
            }
            return Reply::status(201).header("Docker-Content-Digest", digest);
        }
        match self
            .manifests
            .get(&(repository.to_owned(), name.to_owned()))
        {
            None => Reply::status(404),
            Some(bytes) => Reply::status(200)
                .header("Docker-Content-Digest", Digest::of(bytes).to_string())
                .body(bytes.clone()),
        }
    }

    /// What a manifest refers to and the repository does not hold.
    fn missing(&self, repository: &str, manifest: &[u8]) -> Vec<String> {
        let Ok(manifest) = Manifest::parse(manifest.to_vec().into(), None, None) else {
            return vec!["a meaning".to_owned()];
        };
        let key = |digest: &Digest| (repository.to_owned(), digest.to_string());
        let blobs = manifest.blobs().iter().map(|blob| &blob.digest);
        let blobs = blobs.filter(|digest| !self.blobs.contains_key(&key(digest)));
        let children = manifest.children().iter().map(|child| &child.digest);
        let children = children.filter(|digest| !self.manifests.contains_key(&key(digest)));
        blobs.chain(children).map(ToString::to_string).collect()
    }

    /// What is missing of everything that this registry holds.
    pub(crate) fn holes(&self) -> Vec<String> {
        let each = self.manifests.iter();
        each.flat_map(|((repository, _), bytes)| self.missing(repository, bytes))
            .collect()
    }
}
