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
        let registry = args.to.clone();
        if args.input.is_none() {
            let layout = args.layout.unwrap_or(config.mirror.layout);
            return Ok(Self {
                registry,
                rule: Some(layout),
                ..Self::default()
            });
        }
        Self::from_input(input::read_stdin()?, registry)
    }

    fn from_input(items: Vec<Input>, registry: Option<String>) -> Result<Self> {
        let mut mapping = Self {
            registry,
            ..Self::default()
        };
        let mut summary = None;
        for item in items {
            match item {
                Input::Record(Record::Mirrored(record)) => mapping.add(record)?,
                Input::Record(Record::Summary(record)) => summary = Some(record),
                Input::Record(_) | Input::Reference(_) | Input::Unknown(_) => {}
            }
        }
        if mapping.literal.is_empty() {
            nothing_came(summary)?;
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
            return Target::Unknown;
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
            let reason = record
                .error
                .as_ref()
                .map(|error| format!(": {}", error.message));
            Target::Failed {
                reason: format!(
                    "{} was not mirrored{}",
                    record.source,
                    reason.unwrap_or_default()
                ),
            }
        }
    }
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

/// No record came: fine when the stage before says that there was nothing to do.
fn nothing_came(summary: Option<Summary>) -> Result<()> {
    match summary {
        Some(Summary { exit: Exit::Done, .. }) => Ok(()),
        Some(Summary { exit, command, error, .. }) => {
            let failure = Failure::new(exit, format!("{command} failed, so there is nothing to apply"));
            Err(match error {
                Some(error) => failure.because(Failure::failed(error.message)),
                None => failure,
            })
        }
        None => Err(Failure::usage("no `mirrored` record on stdin").hint(
            "castlink-upgrade images | castlink-mirror copy - --to REGISTRY | castlink-upgrade apply -",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ECR: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";

    fn mirrored(source: &str, status: MirrorStatus) -> Input {
        Input::Record(Record::Mirrored(Mirrored {
            source: source.into(),
            target: format!("{ECR}/{source}"),
            digest: None,
            platforms: vec!["linux/amd64".into()],
            status,
            bytes: 0,
            error: None,
        }))
    }

    fn to(source: &str) -> Target {
        Target::Mirrored {
            to: format!("{ECR}/{source}"),
            platforms: vec!["linux/amd64".into()],
        }
    }

    #[test]
    fn a_reference_is_found_by_text_meaning_and_twin() {
        let items = vec![
            mirrored("busybox:1", MirrorStatus::Copied),
            mirrored("ghcr.io/castai/images/agent:v1", MirrorStatus::Present),
            mirrored("nvcr.io/x/dcgm:1", MirrorStatus::Failed),
            mirrored("nvcr.io/x/later:1", MirrorStatus::Planned),
        ];
        let mapping = Mapping::from_input(items, None).unwrap();
        for (literal, want) in [
            ("busybox:1", to("busybox:1")),
            ("docker.io/library/busybox:1", to("busybox:1")),
            ("busybox:2", Target::Unknown),
            (
                "us-docker.pkg.dev/castai-hub/library/agent:v1",
                to("ghcr.io/castai/images/agent:v1"),
            ),
            (
                "nvcr.io/x/dcgm:1",
                Target::Failed {
                    reason: "nvcr.io/x/dcgm:1 was not mirrored".into(),
                },
            ),
            (
                "nvcr.io/x/later:1",
                Target::Planned {
                    to: format!("{ECR}/nvcr.io/x/later:1"),
                },
            ),
            (
                "999999999999.dkr.ecr.eu-west-1.amazonaws.com/x:1",
                Target::Private,
            ),
            ("NOT A REF", Target::Unknown),
        ] {
            assert_eq!(mapping.target(literal), want, "{literal}");
        }
    }

    #[test]
    fn a_rule_maps_everything_public() {
        let mapping = Mapping {
            registry: Some(ECR.into()),
            rule: Some(Layout::Full),
            ..Mapping::default()
        };
        assert_eq!(
            mapping.target("busybox"),
            Target::Mirrored {
                to: format!("{ECR}/busybox:latest"),
                platforms: vec![]
            }
        );
        assert_eq!(
            mapping.target(&format!("{ECR}/busybox:latest")),
            Target::Private
        );
    }

    #[test]
    fn an_empty_stdin_tells_why() {
        let summary = |exit| {
            Input::Record(Record::Summary(Summary {
                command: "castlink-mirror copy".into(),
                exit,
                seconds: 0.0,
                counts: Default::default(),
                error: None,
            }))
        };
        assert_eq!(
            Mapping::from_input(vec![], None).unwrap_err().exit(),
            Exit::Usage
        );
        assert_eq!(
            Mapping::from_input(vec![summary(Exit::Unreachable)], None)
                .unwrap_err()
                .exit(),
            Exit::Unreachable
        );
        assert!(Mapping::from_input(vec![summary(Exit::Done)], None).is_ok());
    }

    #[test]
    fn several_targets_need_a_choice() {
        let other = |registry: &str| {
            let mut item = mirrored("busybox:1", MirrorStatus::Copied);
            if let Input::Record(Record::Mirrored(record)) = &mut item {
                record.target = format!("{registry}/busybox:1");
            }
            item
        };
        let items = || vec![other(ECR), other("r.example")];
        assert_eq!(
            Mapping::from_input(items(), None).unwrap_err().exit(),
            Exit::Usage
        );
        let mapping = Mapping::from_input(items(), Some("r.example".into())).unwrap();
        assert!(
            matches!(mapping.target("busybox:1"), Target::Mirrored { to, .. } if to == "r.example/busybox:1")
        );
    }
}
