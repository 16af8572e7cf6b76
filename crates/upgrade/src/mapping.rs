//! From a reference to its mirrored name: looked up in records, or built by rule.
//!
//! Never here: registries. A target is believed because a record says it was copied.

use std::collections::HashMap;

use castlink_core::{
    Exit, Failure, ImageRef, Result,
    config::Config,
    input::{self, Input},
    record::{MirrorStatus, Mirrored, Record, Summary},
    reference::{EcrHost, Layout},
};

use crate::args::SourceArgs;

/// What is known about a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// It can be pulled by this name.
    Mirrored { to: String, platforms: Vec<String> },
    /// It would be copied there (`castlink-mirror plan`).
    Planned { to: String },
    /// Copying it failed.
    Failed { reason: String },
    /// It is in a private registry.
    Private,
    /// It is public, and nothing says where it went.
    Unknown,
    /// Its text is no image reference.
    Invalid,
}

/// Targets by source reference.
#[derive(Debug, Default)]
pub(crate) struct Mapping {
    literal: HashMap<String, Mirrored>,
    normal: HashMap<String, String>,
    registry: Option<String>,
    rule: Option<Layout>,
}

impl Mapping {
    /// Reads the records, or takes the rule of `--to`.
    ///
    /// # Errors
    /// Exit 2 when stdin holds no `mirrored` records; the exit of the stage before when it
    /// failed as a whole.
    pub(crate) fn read(args: &SourceArgs, config: &Config) -> Result<Self> {
        if args.input.is_some() {
            return Self::from_input(input::read_stdin()?, args.to.clone());
        }
        let registry = args.to.clone().or_else(|| config.mirror.to.clone());
        Ok(Self {
            registry: Some(registry.ok_or_else(no_source)?),
            rule: Some(args.layout.unwrap_or(config.mirror.layout)),
            ..Self::default()
        })
    }

    /// The registry that every image is taken to be in, when no record says so.
    pub(crate) fn unchecked(&self) -> Option<&str> {
        self.rule.and(self.registry.as_deref())
    }

    fn from_input(items: Vec<Input>, registry: Option<String>) -> Result<Self> {
        let mut mapping = Self {
            registry,
            ..Self::default()
        };
        let mut summary = None;
        let mut sources = 0;
        for item in items {
            match item {
                Input::Record(Record::Mirrored(record)) => mapping.add(record)?,
                Input::Record(Record::Summary(record)) => summary = Some(record),
                Input::Record(Record::Image(_)) | Input::Reference(_) => sources += 1,
                Input::Record(_) | Input::Unknown(_) => {}
            }
        }
        if mapping.literal.is_empty() {
            nothing_came(sources, summary)?;
        }
        Ok(mapping)
    }

    #[cfg(test)]
    pub(crate) fn from_items(items: Vec<Input>) -> Self {
        Self::from_input(items, None).expect("the cases of a test are well-formed")
    }

    /// Adds one record. With several for one source (several target registries), `--to`
    /// chooses; without it they must agree.
    fn add(&mut self, record: Mirrored) -> Result<()> {
        let source: ImageRef = record.source.parse()?;
        if self
            .registry
            .as_deref()
            .is_some_and(|registry| !at(&record.target, registry) && record.status.usable())
        {
            return Ok(());
        }
        if let Some(known) = self.literal.get(&record.source) {
            if known.status.usable() && record.status.usable() && known.target != record.target {
                return Err(Failure::usage(format!(
                    "two targets for {}: {} and {}",
                    source, known.target, record.target
                ))
                .hint("choose the registry with --to"));
            }
            if known.status.usable() {
                return Ok(());
            }
        }
        self.normal.insert(normal(&source), record.source.clone());
        self.literal.insert(record.source.clone(), record);
        Ok(())
    }

    /// What is known about `literal`: by its text, by what the text means (`busybox` is
    /// `docker.io/library/busybox`), or by the other public name of a CAST AI image.
    pub(crate) fn target(&self, literal: &str) -> Target {
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
            (Some(registry), Some(layout)) => by_rule(&image, registry, layout),
            _ => image
                .twin()
                .and_then(|twin| self.record(&twin))
                .map_or(Target::Unknown, known),
        }
    }

    /// The registry that most targets share, for a short display.
    pub(crate) fn registry(&self) -> Option<String> {
        let first = || self.literal.values().find(|record| record.status.usable());
        self.registry
            .clone()
            .or_else(|| Some(first()?.target.split('/').next()?.to_owned()))
    }

    fn record(&self, image: &ImageRef) -> Option<&Mirrored> {
        self.literal
            .get(image.literal())
            .or_else(|| self.literal.get(self.normal.get(&normal(image))?))
    }

    fn is_private(&self, image: &ImageRef) -> bool {
        is_private(image, self.registry.as_deref())
            || self
                .literal
                .values()
                .any(|record| record.target == image.literal())
    }
}

/// True when `image` is served by `registry`, or, where none is given, by any ECR registry.
pub(crate) fn is_private(image: &ImageRef, registry: Option<&str>) -> bool {
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

fn at(target: &str, registry: &str) -> bool {
    target
        .parse::<ImageRef>()
        .is_ok_and(|target| target.is_at(registry))
}

/// The pipe that ends in this command.
const PIPE: &str =
    "castlink-upgrade images | castlink-mirror copy - --to REGISTRY | castlink-upgrade apply -";

/// Neither records nor a rule.
fn no_source() -> Failure {
    Failure::usage("nothing says where the images are").hint(format!(
        "pipe records in and pass `-` ({PIPE}), or name the registry that holds them: --to REGISTRY, \
         or `to` below [mirror] in castlink.toml"
    ))
}

/// No record came: fine when the stage before says that there was nothing to do, and named
/// no image either.
fn nothing_came(sources: usize, summary: Option<Summary>) -> Result<()> {
    match summary {
        Some(Summary {
            exit,
            command,
            error,
            ..
        }) if exit != Exit::Done => {
            let failure = Failure::new(
                exit,
                format!("{command} failed, so there is nothing to apply"),
            );
            Err(match error {
                Some(error) => failure.because(Failure::failed(error.message)),
                None => failure,
            })
        }
        _ if sources > 0 => Err(Failure::usage(
            "stdin names images, but no `mirrored` record says where they are",
        )
        .hint(format!("`castlink-mirror copy` goes in between: {PIPE}"))),
        Some(_) => Ok(()),
        None => Err(Failure::usage("no `mirrored` record on stdin").hint(PIPE)),
    }
}

#[cfg(test)]
#[path = "mapping_tests.rs"]
mod tests;
