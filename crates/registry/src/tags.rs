//! The tags of a repository: every page of `tags/list`, and what Google's registries add to it.
//!
//! The list comes from the network: it is bounded, it does not lead to another server, and
//! names that are not tags do not come out. Never here: which of the tags are wanted.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    iter,
};

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::{
    Method,
    header::{HeaderMap, LINK},
};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::{
    client::{Ask, Registry},
    error::{Result, Subject},
};
use crate::content::Digest;

/// Tags asked for at once. ECR refuses more.
const PAGE: &str = "1000";

/// The same at Google, which answers for a whole repository when asked to.
const GOOGLE_PAGE: &str = "10000";

/// Pages of one list.
const MAX_PAGES: usize = 1_000;

/// Bytes of one list. A tag with everything Google says of it takes about 500.
const MAX_BYTES: usize = 64 << 20;

/// A tag, and what the list says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// Its name.
    pub name: String,
    /// What it stands for; only Google's registries say.
    pub digest: Option<Digest>,
    /// When that was uploaded; only Google's registries say.
    pub uploaded: Option<Timestamp>,
}

impl Registry {
    /// All tags of a repository, by name.
    ///
    /// # Errors
    /// [`Kind::NotFound`](super::error::Kind::NotFound) when there is no such repository,
    /// [`Kind::Refused`](super::error::Kind::Refused) when the list leads elsewhere, has no
    /// end, or makes no sense.
    pub async fn tags(&self, repository: &str) -> Result<Vec<Tag>> {
        let subject = self.subject(format!("repository {}/{repository}", self.host));
        let mut seen = HashSet::new();
        let mut list = List::default();
        let mut room = MAX_BYTES;
        let mut next = Some(self.first_page(repository));
        while let Some(url) = next {
            if seen.len() == MAX_PAGES || !seen.insert(url.clone()) {
                return Err(subject.nonsense("its list of tags has no end"));
            }
            let (headers, body) = self.tags_page(&url, repository, room, &subject).await?;
            room -= body.len();
            list.add(&body, &subject)?;
            next = self.next_page(&url, &headers, "tags", &subject)?;
        }
        Ok(list.finish())
    }

    fn first_page(&self, repository: &str) -> Url {
        let mut url = self.endpoint.url(repository, "tags/list");
        let size = match url.host_str() {
            Some(host) if is_google(host) => GOOGLE_PAGE,
            _ => PAGE,
        };
        url.query_pairs_mut().append_pair("n", size);
        url
    }

    async fn tags_page(
        &self,
        url: &Url,
        repository: &str,
        limit: usize,
        subject: &Subject,
    ) -> Result<(HeaderMap, Bytes)> {
        let ask = Ask {
            method: Method::GET,
            url: url.clone(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            scope: self.pull_scope(repository),
            subject,
        };
        self.read(&ask, limit).await
    }

    /// The page after `url` of a list of `what`, by the `Link` header; never on another server.
    pub(super) fn next_page(
        &self,
        url: &Url,
        headers: &HeaderMap,
        what: &str,
        subject: &Subject,
    ) -> Result<Option<Url>> {
        let Some(link) = next_link(headers) else {
            return Ok(None);
        };
        match url.join(link) {
            Ok(next) if self.endpoint.owns(&next) => Ok(Some(next)),
            _ => Err(subject.nonsense(format!("its list of {what} leads to another server"))),
        }
    }
}

fn is_google(host: &str) -> bool {
    host == "gcr.io" || host.ends_with(".gcr.io") || host.ends_with(".pkg.dev")
}

/// The target of the first link with `rel="next"` (RFC 8288).
fn next_link(headers: &HeaderMap) -> Option<&str> {
    let values = headers.get_all(LINK).iter();
    let mut links = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(links);
    let (target, _) = links.find(|(_, parameters)| is_next(parameters))?;
    Some(target)
}

/// The links of one header, each with the text of its parameters.
pub(super) fn links(mut text: &str) -> impl Iterator<Item = (&str, &str)> {
    iter::from_fn(move || {
        let (_, rest) = text.split_once('<')?;
        let (target, rest) = rest.split_once('>')?;
        let (parameters, others) = rest.split_at(rest.find('<').unwrap_or(rest.len()));
        text = others;
        Some((target, parameters))
    })
}

fn is_next(parameters: &str) -> bool {
    parameters
        .split([';', ','])
        .filter_map(|parameter| parameter.split_once('='))
        .filter(|(name, _)| name.trim().eq_ignore_ascii_case("rel"))
        .any(|(_, value)| {
            let mut relations = value.trim().trim_matches('"').split_whitespace();
            relations.any(|relation| relation.eq_ignore_ascii_case("next"))
        })
}

/// One page as it is sent. An empty repository may have `null` for its tags.
#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    tags: Option<Vec<String>>,
    /// Google's extension, by digest.
    #[serde(default)]
    manifest: Option<HashMap<String, About>>,
}

/// What Google says of a manifest.
#[derive(Deserialize)]
struct About {
    #[serde(default)]
    tag: Vec<String>,
    /// Milliseconds since 1970; text at one of its registries, a number at the other.
    #[serde(default, rename = "timeUploadedMs")]
    uploaded: Value,
}

impl About {
    fn uploaded(&self) -> Option<Timestamp> {
        let number = match &self.uploaded {
            Value::String(text) => text.parse().ok(),
            value => value.as_i64(),
        };
        Timestamp::from_millisecond(number?).ok()
    }
}

/// The pages read so far.
#[derive(Default)]
struct List {
    tags: BTreeSet<String>,
    known: HashMap<String, (Digest, Option<Timestamp>)>,
}

impl List {
    fn add(&mut self, body: &[u8], subject: &Subject) -> Result<()> {
        let page: Page = serde_json::from_slice(body)
            .map_err(|err| subject.nonsense(format!("its list of tags is malformed: {err}")))?;
        for name in page.tags.unwrap_or_default() {
            if !castlink_core::reference::is_tag(&name) {
                // Quoted and escaped: it goes to somebody's terminal.
                return Err(subject.nonsense(format!("{name:?} in its list is not a tag")));
            }
            self.tags.insert(name);
        }
        for (digest, about) in page.manifest.unwrap_or_default() {
            self.learn(&digest, about, subject)?;
        }
        Ok(())
    }

    fn learn(&mut self, digest: &str, about: About, subject: &Subject) -> Result<()> {
        let Some(digest) = Digest::parse(digest) else {
            return Ok(());
        };
        let uploaded = about.uploaded();
        for name in about.tag {
            let before = self.known.insert(name.clone(), (digest.clone(), uploaded));
            if before.is_some_and(|(before, _)| before != digest) {
                return Err(subject.nonsense(format!("its list has two digests for tag {name:?}")));
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Vec<Tag> {
        let tags = self.tags.into_iter().map(|name| {
            let known = self.known.remove(&name);
            let (digest, uploaded) = known.map_or((None, None), |(digest, at)| (Some(digest), at));
            Tag {
                name,
                digest,
                uploaded,
            }
        });
        tags.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        Registries,
        error::Kind,
        liar::{Asked, HOST, Liar, Reply, config},
    };

    async fn registry(liar: &Liar) -> Arc<Registry> {
        Registries::new(&config(&[(HOST, liar)]))
            .get(HOST)
            .await
            .unwrap()
    }

    async fn names(liar: &Liar) -> Result<Vec<String>> {
        let tags = registry(liar).await.tags("team/app").await?;
        Ok(tags.into_iter().map(|tag| tag.name).collect())
    }

    fn page(tags: &[&str]) -> Reply {
        Reply::status(200).body(serde_json::json!({"name": "team/app", "tags": tags}).to_string())
    }

    fn with_next(reply: Reply, link: &str) -> Reply {
        reply.header("Link", format!(r#"<{link}>; rel="next""#))
    }

    fn is_list(asked: &Asked) -> bool {
        asked.method == "GET" && asked.target.starts_with("/v2/team/app/tags/list?")
    }

    /// Serves `first`, and the last page for whatever is asked with `last=`.
    async fn two_pages(link: impl Fn(&Asked) -> String + Send + Sync + 'static) -> Liar {
        Liar::start(move |asked, _| {
            assert!(is_list(asked), "{asked:?}");
            Some(match asked.target.contains("last=") {
                true => page(&["v3", "v2"]),
                false => page(&["v1", "v2"]).header("Link", link(asked)),
            })
        })
        .await
    }

    #[tokio::test]
    async fn pages_are_followed_by_every_form_of_link() {
        let forms: [fn(&Asked) -> String; 4] = [
            |_| r#"</v2/team/app/tags/list?last=v2&n=1000>; rel="next""#.into(),
            |_| "<?last=v2>;rel=next".into(),
            |asked| {
                let host = &asked.headers["host"];
                format!(r#"<http://{host}/v2/team/app/tags/list?last=v2>; rel="next""#)
            },
            |_| {
                r#"<https://x.example/a,b>; rel="help", <?last=a,b%3D%3D>; title="x"; REL="prev Next""#.into()
            },
        ];
        for form in forms {
            let liar = two_pages(form).await;
            assert_eq!(names(&liar).await.unwrap(), ["v1", "v2", "v3"]);
            let asked = liar.asked("GET");
            assert_eq!(asked.len(), 2);
            assert_eq!(asked[0].target, "/v2/team/app/tags/list?n=1000");
        }
    }

    #[tokio::test]
    async fn a_list_does_not_lead_to_another_server() {
        let other = Liar::honest().await;
        let link = format!(
            r#"<{}/v2/team/app/tags/list?last=v2>; rel="next""#,
            other.url
        );
        let liar = two_pages(move |_| link.clone()).await;
        let err = names(&liar).await.unwrap_err();
        assert_eq!(err.kind, Kind::Refused, "{err}");
        assert!(other.asked("").is_empty());
    }

    #[tokio::test]
    async fn pages_in_a_circle_and_pages_without_end_are_left() {
        let circle = Liar::start(|asked, _| {
            let next = if asked.target.contains("last=a") {
                "b"
            } else {
                "a"
            };
            Some(with_next(page(&["v1"]), &format!("?last={next}")))
        })
        .await;
        let err = names(&circle).await.unwrap_err();
        assert_eq!(err.kind, Kind::Refused, "{err}");
        assert_eq!(circle.asked("").len(), 3);

        let endless =
            Liar::start(|_, before| Some(with_next(page(&[]), &format!("?last={before}")))).await;
        let err = names(&endless).await.unwrap_err();
        assert_eq!(err.kind, Kind::Refused, "{err}");
        assert_eq!(endless.asked("").len(), MAX_PAGES);
    }

    #[tokio::test]
    async fn a_page_that_breaks_off_is_asked_for_again() {
        let liar = Liar::start(|_, before| {
            let mut reply = page(&["v1", "v2"]);
            reply.cut = (before == 0).then_some(20);
            Some(reply)
        })
        .await;
        assert_eq!(names(&liar).await.unwrap(), ["v1", "v2"]);
        assert_eq!(liar.asked("").len(), 2);
    }

    #[tokio::test]
    async fn what_is_no_list_of_tags_is_refused() {
        for body in [
            "",
            "<html>",
            r#"{"tags":"v1"}"#,
            r#"{"tags":["v1\nv2"]}"#,
            r#"{"tags":["\u001b[2J"]}"#,
            r#"{"tags":["../x"]}"#,
        ] {
            let liar = Liar::start(move |_, _| Some(Reply::status(200).body(body))).await;
            let err = names(&liar).await.unwrap_err();
            assert_eq!(err.kind, Kind::Refused, "{body}: {err}");
            assert!(!err.to_string().contains(['\n', '\x1b']), "{err}");
        }
    }

    #[tokio::test]
    async fn lists_over_the_limit_are_not_read() {
        let liar = Liar::start(|_, _| {
            Some(with_next(
                Reply::status(200).body(vec![b' '; MAX_BYTES + 1]),
                "?last=x",
            ))
        })
        .await;
        assert_eq!(names(&liar).await.unwrap_err().kind, Kind::Refused);
    }

    #[tokio::test]
    async fn an_empty_repository_is_not_an_unknown_one() {
        for body in [r#"{"tags":null}"#, r#"{"tags":[]}"#, "{}"] {
            let liar = Liar::start(move |_, _| Some(Reply::status(200).body(body))).await;
            assert!(names(&liar).await.unwrap().is_empty(), "{body}");
        }
        let err = names(&Liar::honest().await).await.unwrap_err();
        assert_eq!(err.kind, Kind::NotFound);
        assert!(err.to_string().contains("team/app"), "{err}");
    }

    #[tokio::test]
    async fn google_says_digests_and_times_in_one_answer() {
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        let body = serde_json::json!({
            "tags": ["v1", "latest", "v2", "odd"],
            "child": ["below"],
            "manifest": {
                one.as_str(): {"tag": ["v1"], "timeUploadedMs": "1700000000123"},
                two.as_str(): {"tag": ["v2", "latest"], "timeUploadedMs": 1_800_000_000_000_i64},
                Digest::of(b"3").as_str(): {"tag": [], "mediaType": "m"},
                "md5:0": {"tag": ["odd"]},
            },
        });
        let liar = Liar::start(move |_, _| Some(Reply::status(200).body(body.to_string()))).await;
        let tags = registry(&liar).await.tags("team/app").await.unwrap();
        let at = |ms| Timestamp::from_millisecond(ms).ok();
        let tag = |name: &str, digest: Option<&Digest>, uploaded| Tag {
            name: name.to_owned(),
            digest: digest.cloned(),
            uploaded,
        };
        assert_eq!(
            tags,
            [
                tag("latest", Some(&two), at(1_800_000_000_000)),
                tag("odd", None, None),
                tag("v1", Some(&one), at(1_700_000_000_123)),
                tag("v2", Some(&two), at(1_800_000_000_000)),
            ]
        );
    }

    #[tokio::test]
    async fn one_tag_has_one_digest() {
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        let body = serde_json::json!({
            "tags": ["v1"],
            "manifest": {one.as_str(): {"tag": ["v1"]}, two.as_str(): {"tag": ["v1"]}},
        });
        let liar = Liar::start(move |_, _| Some(Reply::status(200).body(body.to_string()))).await;
        assert_eq!(names(&liar).await.unwrap_err().kind, Kind::Refused);
    }

    #[test]
    fn google_is_known_by_its_hosts() {
        for host in ["gcr.io", "eu.gcr.io", "us-docker.pkg.dev"] {
            assert!(is_google(host), "{host}");
        }
        for host in ["notgcr.io", "ghcr.io", "pkg.dev.example", "127.0.0.1"] {
            assert!(!is_google(host), "{host}");
        }
    }
}
