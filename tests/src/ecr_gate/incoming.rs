//! A request to the data plane, taken apart: which repository, what of it, and how the
//! journal and the faults call it.

use std::collections::BTreeMap;

use http::request::Parts;
use http::{HeaderMap, Method};
use jiff::Timestamp;
use url::form_urlencoded;

use crate::wire::Entry;

/// What a `/v2/` request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Ping,
    Upload(Option<String>),
    Blob(String),
    Manifest(String),
    Tags,
    Referrers(String),
    /// The object store behind the redirect.
    Object(String),
    Unknown,
}

/// One request, taken apart.
pub(super) struct Incoming {
    pub(super) repository: String,
    pub(super) target: Target,
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) query: BTreeMap<String, String>,
}

impl Incoming {
    pub(super) fn read(parts: Parts) -> Self {
        let (repository, target) = route(parts.uri.path());
        let query = parts.uri.query().unwrap_or_default();
        let query = form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect();
        let (method, headers) = (parts.method, parts.headers);
        Self {
            repository,
            target,
            method,
            headers,
            query,
        }
    }

    /// The operation, in the words of the journal and of faults.
    pub(super) fn action(&self) -> &'static str {
        match (&self.target, self.method.as_str()) {
            (Target::Ping, _) => "Ping",
            (Target::Upload(None), "POST") if self.query.contains_key("mount") => "MountBlob",
            (Target::Upload(None), "POST") => "StartUpload",
            (Target::Upload(_), "PUT") => "PutBlob",
            (Target::Upload(_), "PATCH") => "PatchBlob",
            (Target::Upload(_), _) => "CancelUpload",
            (Target::Blob(_), "HEAD") => "HeadBlob",
            (Target::Blob(_), _) => "GetBlob",
            (Target::Object(_), _) => "GetObject",
            (Target::Manifest(_), "HEAD") => "HeadManifest",
            (Target::Manifest(_), "PUT") => "PutManifest",
            (Target::Manifest(_), "DELETE") => "DeleteManifest",
            (Target::Manifest(_), _) => "GetManifest",
            (Target::Tags, _) => "ListTags",
            (Target::Referrers(_), _) => "ListReferrers",
            (Target::Unknown, _) => "Unknown",
        }
    }

    /// The IAM actions that it needs on its repository. A mount needs one more, on the other
    /// repository, without which it is not granted.
    pub(super) fn permissions(&self) -> &'static [&'static str] {
        match self.action() {
            "StartUpload" | "MountBlob" => &["InitiateLayerUpload"],
            "PutBlob" | "PatchBlob" => &["UploadLayerPart", "CompleteLayerUpload"],
            "HeadBlob" => &["BatchCheckLayerAvailability"],
            "GetBlob" => &["GetDownloadUrlForLayer"],
            "HeadManifest" | "GetManifest" => &["BatchGetImage"],
            "PutManifest" => &["PutImage"],
            "DeleteManifest" => &["BatchDeleteImage"],
            "ListTags" => &["ListImages"],
            "ListReferrers" => &["ListImageReferrers"],
            _ => &[],
        }
    }

    /// The tag or digest that the request is about.
    fn reference(&self) -> &str {
        match &self.target {
            Target::Blob(text) | Target::Manifest(text) => text,
            Target::Referrers(text) | Target::Object(text) => text,
            _ => {
                let named = self.query.get("digest").or(self.query.get("mount"));
                named.map_or("", String::as_str)
            }
        }
    }

    pub(super) fn subject(&self) -> String {
        format!("{}@{}", self.repository, self.reference())
    }

    pub(super) fn entry(&self, status: u16) -> Entry {
        let mut params = BTreeMap::new();
        if !self.reference().is_empty() {
            params.insert("reference".to_owned(), self.reference().to_owned());
        }
        Entry {
            seq: 0,
            at: Timestamp::now(),
            service: "registry".to_owned(),
            action: self.action().to_owned(),
            mutating: !matches!(self.method, Method::GET | Method::HEAD),
            status,
            resource: self.repository.clone(),
            params,
        }
    }
}

/// Repository and target of a path. Repository names hold slashes, so the *last* keyword
/// counts.
fn route(path: &str) -> (String, Target) {
    if let Some((repository, digest)) = path
        .strip_prefix("/objects/")
        .and_then(|rest| rest.rsplit_once('/'))
    {
        return (repository.to_owned(), Target::Object(digest.to_owned()));
    }
    let Some(rest) = path.strip_prefix("/v2/").or((path == "/v2").then_some("")) else {
        return (String::new(), Target::Unknown);
    };
    if rest.is_empty() {
        return (String::new(), Target::Ping);
    }
    let split = |keyword: &str| {
        let (name, tail) = rest.rsplit_once(keyword)?;
        Some((name.to_owned(), tail.to_owned()))
    };
    if let Some((name, id)) = split("/blobs/uploads/") {
        return (name, Target::Upload((!id.is_empty()).then_some(id)));
    }
    if let Some(name) = rest.strip_suffix("/blobs/uploads") {
        return (name.to_owned(), Target::Upload(None));
    }
    if let Some((name, digest)) = split("/blobs/") {
        return (name, Target::Blob(digest));
    }
    if let Some((name, reference)) = split("/manifests/") {
        return (name, Target::Manifest(reference));
    }
    if let Some((name, digest)) = split("/referrers/") {
        return (name, Target::Referrers(digest));
    }
    match rest.strip_suffix("/tags/list") {
        Some(name) => (name.to_owned(), Target::Tags),
        None => (rest.to_owned(), Target::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::{Target, route};

    #[test]
    fn routes() {
        let text = str::to_owned;
        let cases = [
            ("/v2/", "", Target::Ping),
            ("/v2/a/b/blobs/uploads/", "a/b", Target::Upload(None)),
            (
                "/v2/a/blobs/uploads/id",
                "a",
                Target::Upload(Some(text("id"))),
            ),
            (
                "/v2/us-docker.pkg.dev/x/blobs/sha256:1",
                "us-docker.pkg.dev/x",
                Target::Blob(text("sha256:1")),
            ),
            (
                "/v2/a/manifests/b/manifests/v1",
                "a/manifests/b",
                Target::Manifest(text("v1")),
            ),
            ("/v2/a/tags/list", "a", Target::Tags),
            (
                "/v2/a/referrers/sha256:1",
                "a",
                Target::Referrers(text("sha256:1")),
            ),
            (
                "/objects/a/b/sha256:1",
                "a/b",
                Target::Object(text("sha256:1")),
            ),
            ("/other", "", Target::Unknown),
        ];
        for (path, repository, target) in cases {
            assert_eq!(route(path), (repository.to_owned(), target), "{path}");
        }
    }
}
