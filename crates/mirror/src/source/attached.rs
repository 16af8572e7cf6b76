//! Finding what is attached to an image: by the registry's lists of referrers, by the tags
//! that stand in for them, and by cosign's tags. All tags of a repository are listed once
//! for all its images.
//!
//! Best effort: what cannot be looked for or read is said, and nothing fails for it. What
//! comes from the registry is bounded in depth and number, and going in circles ends.

use std::collections::{BTreeSet, HashMap, HashSet};

use castlink_core::{Failure, ImageRef};
use futures::{StreamExt as _, future::join, stream};
use tokio::sync::{Mutex, OnceCell};

use super::{Known, Resolved, Tried, get, read_tree};
use crate::{
    attached::{Attached, Attachment, Trouble, cosign_tags},
    content::{Digest, Manifest, Tree},
    place::Place,
    registry::{error::Kind, fallback_tag},
    site::Sites,
};

/// A signature of a bill of materials of an image is the second; deeper, nobody goes.
const MAX_DEPTH: usize = 3;

/// The most things attached to one image.
const MAX_ATTACHED: usize = 64;

/// Questions about one image under way at once.
const AT_ONCE: usize = 8;

/// The tags of the repositories looked at, each listed once.
#[derive(Default)]
pub(crate) struct Tags(Mutex<HashMap<Place, Listed>>);

type Listed = std::sync::Arc<OnceCell<Result<BTreeSet<String>, String>>>;

/// How something attached is found.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Name {
    Tag(String),
    Digest(Digest),
}

/// Everything attached to the manifests of `tree`, those in `except` left aside.
pub(crate) async fn attached(
    sites: &Sites,
    tags: &Tags,
    source: &ImageRef,
    tree: &Tree,
    except: Option<&Digest>,
) -> Attached {
    let manifests = tree.manifests().map(|manifest| manifest.digest.clone());
    let search = Search {
        sites,
        tags,
        source,
    };
    let subjects = manifests.filter(|digest| Some(digest) != except).collect();
    search.run(subjects).await
}

impl Tags {
    async fn of(&self, sites: &Sites, place: &Place) -> Result<BTreeSet<String>, String> {
        let listed = Listed::clone(self.0.lock().await.entry(place.clone()).or_default());
        listed.get_or_init(|| list(sites, place)).await.clone()
    }
}

async fn list(sites: &Sites, place: &Place) -> Result<BTreeSet<String>, String> {
    let site = sites.source(&place.registry).await;
    let site = site.map_err(|failure| failure.one_line())?;
    match site.tags(place).await {
        Ok(tags) => {
            // Of all tags only those that can belong to something are of interest.
            let names = tags.into_iter().map(|tag| tag.name);
            Ok(names.filter(|name| name.starts_with("sha")).collect())
        }
        Err(error) if error.kind == Kind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(error.into_failure().one_line()),
    }
}

struct Search<'a> {
    sites: &'a Sites,
    tags: &'a Tags,
    source: &'a ImageRef,
}

impl Search<'_> {
    async fn run(&self, subjects: Vec<Digest>) -> Attached {
        let mut all = Attached::default();
        let mut seen = HashSet::new();
        let mut level = subjects;
        for depth in 0..MAX_DEPTH {
            let names = self.names(&level, &mut all.troubles).await;
            let mut new: Vec<_> = names
                .into_iter()
                .filter(|(_, name)| seen.insert(name.clone()))
                .collect();
            let room = MAX_ATTACHED.saturating_sub(all.found.len());
            if new.len() > room {
                let why = format!("more than {MAX_ATTACHED} things are attached to it");
                all.troubles
                    .push(Trouble::new(self.source.to_string(), why));
                new.truncate(room);
            }
            all.named += new.len();
            let before = all.found.len();
            self.read(new, depth, &mut all).await;
            let found = all.found[before..].iter();
            level = found.map(|found| found.tree.root.digest.clone()).collect();
            if level.is_empty() {
                break;
            }
        }
        all
    }

    /// The names of what is attached to `subjects`.
    async fn names(&self, subjects: &[Digest], troubles: &mut Vec<Trouble>) -> Vec<(Digest, Name)> {
        let asked = subjects.iter().map(|subject| self.names_of(subject));
        let answers: Vec<_> = stream::iter(asked).buffered(AT_ONCE).collect().await;
        let mut names = Vec::new();
        for (subject, (found, trouble)) in subjects.iter().zip(answers) {
            names.extend(found.into_iter().map(|name| (subject.clone(), name)));
            for trouble in trouble {
                if !troubles.contains(&trouble) {
                    troubles.push(trouble);
                }
            }
        }
        names
    }

    async fn names_of(&self, subject: &Digest) -> (Vec<Name>, Vec<Trouble>) {
        let place = Place::of(self.source);
        let (tags, listed) = join(self.tags.of(self.sites, &place), self.referrers(subject)).await;
        let (mut names, mut troubles) = (Vec::new(), Vec::new());
        let tags = tags.unwrap_or_else(|why| {
            troubles.push(Trouble::new(format!("the tags of {place}"), why));
            BTreeSet::new()
        });
        let signed = cosign_tags(subject).filter(|tag| tags.contains(tag));
        names.extend(signed.map(Name::Tag));
        let listed = match listed {
            Ok(None) => self.stand_in(subject, &tags).await,
            Ok(Some(listed)) => Ok(listed),
            Err(why) => Err(why),
        };
        match listed {
            Ok(listed) => names.extend(listed.into_iter().map(Name::Digest)),
            Err(why) => troubles.push(Trouble::new(format!("what refers to {subject}"), why)),
        }
        (names, troubles)
    }

    async fn referrers(&self, subject: &Digest) -> Result<Option<Vec<Digest>>, String> {
        let site = self.sites.source(self.source.registry()).await;
        let site = site.map_err(|failure| failure.one_line())?;
        let listed = site.referrers(self.source.repository(), subject).await;
        listed.map_err(|error| error.into_failure().one_line())
    }

    /// The list under the tag that stands in for the registry's own.
    async fn stand_in(
        &self,
        subject: &Digest,
        tags: &BTreeSet<String>,
    ) -> Result<Vec<Digest>, String> {
        let tag = fallback_tag(subject);
        if !tags.contains(&tag) {
            return Ok(Vec::new());
        }
        let list = get(self.sites, self.source, &tag).await;
        let list = list.map_err(|tried| tried.into_failure().one_line())?;
        Ok(list
            .children()
            .iter()
            .map(|child| child.digest.clone())
            .collect())
    }

    /// Reads what has been found into `all`.
    async fn read(&self, names: Vec<(Digest, Name)>, depth: usize, all: &mut Attached) {
        let read = names.into_iter().map(|(subject, name)| async move {
            let tree = self.tree(&subject, &name).await;
            (subject, name, tree)
        });
        let mut read = stream::iter(read).buffered(AT_ONCE);
        while let Some((subject, name, tree)) = read.next().await {
            let (tag, what) = match name {
                Name::Tag(tag) => (Some(tag.clone()), tag),
                Name::Digest(digest) => (None, digest.to_string()),
            };
            match tree {
                Ok(tree) => all.found.push(Attachment {
                    tree,
                    subject,
                    tag,
                    depth,
                }),
                Err(failure) => all.troubles.push(Trouble::new(what, failure.one_line())),
            }
        }
    }

    async fn tree(&self, subject: &Digest, name: &Name) -> Result<Tree, Failure> {
        let selector = match name {
            Name::Tag(tag) => tag.as_str(),
            Name::Digest(digest) => digest.as_str(),
        };
        let root = get(self.sites, self.source, selector).await;
        let root = root.map_err(Tried::into_failure)?;
        if matches!(name, Name::Digest(_)) && root.subject.as_ref() != Some(subject) {
            let text = format!(
                "{} does not name what it is listed with",
                root.digest.short()
            );
            return Err(Failure::failed(text));
        }
        let resolved = resolved(self.source, root);
        let tree = read_tree(self.sites, self.source, &resolved).await;
        tree.map_err(Tried::into_failure)
    }
}

/// The manifest as the root of a tree that has yet to be read.
fn resolved(source: &ImageRef, root: Manifest) -> Resolved {
    let known = Known::from([(root.digest.clone(), root.clone())]);
    Resolved {
        known,
        ..Resolved::whole(source, root.digest)
    }
}

#[cfg(test)]
mod tests;
