//! From a reference to its mirrored name: looked up in records, or built by rule; then
//! what the registry has said about that name.
//!
//! Never here: asking registries (presence.rs does), or what follows for a workload.

use std::collections::HashMap;

use castlink_core::{
    Failure, ImageRef, Result,
    lock::{Lock, Locked},
    record::{MirrorStatus, Mirrored},
    reference::{EcrHost, Layout},
};

use crate::{
    answers::{Answer, Answers},
    pin,
};

mod read;

/// What is known about a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// It can be pulled by this name.
    Mirrored {
        /// The name.
        to: String,
        /// What it is known to be there for; empty when nobody says.
        platforms: Vec<String>,
    },
    /// It would be copied there (`castlink-mirror plan`).
    Planned {
        /// The name it would have.
        to: String,
    },
    /// Copying it failed.
    Failed {
        /// Why.
        reason: String,
    },
    /// It is in a private registry.
    Private,
    /// It is public, and nothing says where it went.
    Unknown,
    /// Its text is no image reference.
    Invalid,
}

/// Targets by source reference.
#[derive(Debug, Default)]
pub struct Mapping {
    literal: HashMap<String, Mirrored>,
    normal: HashMap<String, String>,
    registry: Option<String>,
    rule: Option<Layout>,
    /// With a rule: only what it lists is mirrored.
    lock: Option<Lock>,
    /// What registries said, by the reference they were asked for.
    answers: Answers,
    /// Targets are written with their digest.
    pin: bool,
}

impl Mapping {
    /// Digests by target, as far as records or the lock file name them; none where there are
    /// neither. `platforms` are those that the mirror was told to select.
    ///
    /// # Errors
    /// Exit 2 when a selection makes other images of those in the lock file.
    pub fn digests(&self, platforms: &[String]) -> Result<Option<HashMap<String, String>>> {
        let (Some(registry), Some(layout)) = (&self.registry, self.rule) else {
            let usable = self
                .literal
                .values()
                .filter(|record| record.status.usable());
            let pairs =
                usable.filter_map(|record| Some((record.target.clone(), record.digest.clone()?)));
            return Ok(Some(pairs.collect()));
        };
        let Some(lock) = &self.lock else {
            return Ok(None);
        };
        if let Some(image) = lock.images().iter().find(|image| selects(platforms, image)) {
            return Err(Failure::usage(format!(
                "the digest of {} in the lock file is not the one in {registry}, because [mirror] selects platforms",
                image.source
            ))
            .hint("pin from the records of the copy: castlink-mirror copy … -o json > mirrored.json, then --images mirrored.json"));
        }
        let at = |image: &Locked| {
            let target = image.source.at(registry, layout).ok()?;
            Some((target.literal().to_owned(), image.digest.clone()))
        };
        Ok(Some(lock.images().iter().filter_map(at).collect()))
    }

    /// Why a reference has no target.
    pub fn unknown(&self) -> &'static str {
        match self.lock {
            Some(_) => "the lock file does not have it",
            None => "no record says where it was mirrored to",
        }
    }

    /// Writes targets with their digest from now on.
    pub fn pin(&mut self) {
        self.pin = true;
    }

    /// Takes in what registries said.
    pub fn learn(&mut self, answers: Answers) {
        self.answers.extend(answers);
    }

    /// The reference to ask a registry for before `literal` is replaced: its target, when
    /// no record says which platforms it has (or, to pin it, which digest).
    pub fn open_question(&self, literal: &str) -> Option<String> {
        match self.stated(literal) {
            Target::Mirrored { to, platforms } => {
                let unpinned = self.pin && !to.contains('@') && self.digest(&to).is_none();
                let unseen = platforms.is_empty() && to != literal;
                (unpinned || unseen).then_some(to)
            }
            Target::Private if self.pin && !literal.contains('@') => Some(literal.to_owned()),
            _ => None,
        }
    }

    /// What a registry has said about `reference`.
    #[must_use]
    pub fn answer(&self, reference: &str) -> Option<&Answer> {
        self.answers.get(reference)
    }

    /// What is known about `literal`, after everything that registries have said.
    pub fn target(&self, literal: &str) -> Target {
        let (to, platforms) = match self.stated(literal) {
            Target::Mirrored { to, platforms } => (to, platforms),
            Target::Private if self.pin => (literal.to_owned(), Vec::new()),
            other => return other,
        };
        let platforms = match self.answers.get(&to) {
            Some(Answer::Missing(reason)) => {
                let reason = reason.clone();
                let twin = self.target_of_twin(literal);
                return twin.unwrap_or(Target::Failed { reason });
            }
            Some(Answer::There { platforms, .. }) => platforms.clone(),
            None => platforms,
        };
        match self.pinned(&to) {
            Ok(to) => Target::Mirrored { to, platforms },
            Err(reason) => Target::Failed { reason },
        }
    }

    /// The target of the other public name, where a registry has said that it is there.
    fn target_of_twin(&self, literal: &str) -> Option<Target> {
        let twin = literal.parse::<ImageRef>().ok()?.twin()?;
        let Target::Mirrored { to, .. } = self.stated(twin.literal()) else {
            return None;
        };
        let Answer::There { platforms, .. } = self.answers.get(&to)? else {
            return None;
        };
        let platforms = platforms.clone();
        let to = self.pinned(&to).ok()?;
        Some(Target::Mirrored { to, platforms })
    }

    /// `to` with its digest, when targets are written so.
    fn pinned(&self, to: &str) -> Result<String, String> {
        if !self.pin || pin::derives(to) {
            return Ok(to.to_owned());
        }
        if to.contains('@') {
            return Ok(to.to_owned());
        }
        match self.digest(to) {
            Some(digest) => Ok(pin::with_digest(to, digest)),
            None => Err(format!("nothing says which digest {to} has")),
        }
    }

    /// The digest of a target: the registry's word, or a record's.
    fn digest(&self, to: &str) -> Option<&str> {
        if let Some(Answer::There { digest, .. }) = self.answers.get(to) {
            return Some(digest);
        }
        let mut records = self.literal.values();
        let record = records.find(|record| record.target == to && record.status.usable());
        record.and_then(|record| record.digest.as_deref())
    }

    /// What is known by records and rules: by its text, by what the text means (`busybox`
    /// is `docker.io/library/busybox`), or by the other public name of a CAST AI image.
    fn stated(&self, literal: &str) -> Target {
        let Ok(image) = literal.parse::<ImageRef>() else {
            return Target::Invalid;
        };
        if let Some(record) = self.record(&image) {
            return known(record);
        }
        if self.is_private(&image) {
            return Target::Private;
        }
        match (&self.registry, self.rule) {
            (Some(registry), Some(layout)) => match self.locked(&image) {
                Some(source) => by_rule(&source, registry, layout),
                None => Target::Unknown,
            },
            _ => image
                .twin()
                .and_then(|twin| self.record(&twin))
                .map_or(Target::Unknown, known),
        }
    }

    /// The registry that most targets share, for a short display.
    pub fn registry(&self) -> Option<String> {
        let first = || self.literal.values().find(|record| record.status.usable());
        self.registry
            .clone()
            .or_else(|| Some(first()?.target.split('/').next()?.to_owned()))
    }

    /// The reference that `image` was mirrored as under a rule: itself, unless a lock file
    /// says otherwise; none when that does not have it.
    fn locked(&self, image: &ImageRef) -> Option<ImageRef> {
        let Some(lock) = &self.lock else {
            return Some(image.clone());
        };
        let same = |one: &ImageRef| {
            let alike = |entry: &&Locked| normal(&entry.source) == normal(one);
            lock.get(one).or_else(|| lock.images().iter().find(alike))
        };
        let entry = same(image).or_else(|| same(&image.twin()?));
        entry
            .map(|entry| entry.source.clone())
            .or_else(|| pinned_as_locked(image, lock))
    }

    fn record(&self, image: &ImageRef) -> Option<&Mirrored> {
        self.literal
            .get(image.literal())
            .or_else(|| self.literal.get(self.normal.get(&normal(image))?))
    }

    fn is_private(&self, image: &ImageRef) -> bool {
        is_private(image, self.registry.as_deref())
            || self.literal.values().any(|record| {
                let pinned = || image.literal().split('@').next();
                record.target == image.literal() || pinned() == Some(&record.target)
            })
    }
}

/// True when `image` is served by `registry`, or, where none is given, by any ECR registry.
pub fn is_private(image: &ImageRef, registry: Option<&str>) -> bool {
    match registry {
        Some(registry) => image.is_at(registry),
        None => EcrHost::parse(image.registry()).is_some(),
    }
}

fn known(record: &Mirrored) -> Target {
    let to = record.target.clone();
    match record.status {
        MirrorStatus::Copied | MirrorStatus::Present => Target::Mirrored {
            to,
            platforms: record.platforms.clone(),
        },
        MirrorStatus::Planned => Target::Planned { to },
        MirrorStatus::Failed | MirrorStatus::Conflict => {
            let why = record.error.as_ref().map_or("", |error| &error.message);
            let reason = match without(why, &record.source) {
                "" => format!("{} was not mirrored", record.source),
                why => format!("{} was not mirrored: {why}", record.source),
            };
            Target::Failed { reason }
        }
    }
}

/// `message` without the reference it begins with.
fn without<'a>(message: &'a str, source: &str) -> &'a str {
    message
        .strip_prefix(source)
        .and_then(|rest| rest.strip_prefix(": "))
        .unwrap_or(message)
}

/// True when some of the platforms of `image` are not among those selected.
fn selects(platforms: &[String], image: &Locked) -> bool {
    !platforms.is_empty() && !image.platforms.iter().all(|one| platforms.contains(one))
}

/// `image`, which has its digest behind its tag, when the lock file has the tag with this
/// very digest.
fn pinned_as_locked(image: &ImageRef, lock: &Lock) -> Option<ImageRef> {
    let (tagged, digest) = image.literal().split_once('@')?;
    let entry = lock.get(&tagged.parse().ok()?)?;
    (entry.digest == digest).then(|| image.clone())
}

fn by_rule(image: &ImageRef, registry: &str, layout: Layout) -> Target {
    match image.at(registry, layout) {
        Ok(target) => Target::Mirrored {
            to: target.literal().to_owned(),
            platforms: Vec::new(),
        },
        Err(failure) => Target::Failed {
            reason: failure.one_line(),
        },
    }
}

fn normal(image: &ImageRef) -> String {
    let digest = image.digest().unwrap_or_default();
    format!(
        "{}/{}:{}@{digest}",
        image.registry(),
        image.repository(),
        image.tag().unwrap_or_default()
    )
}

#[cfg(test)]
mod tests;
