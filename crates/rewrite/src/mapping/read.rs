//! Where a mapping comes from: the records of a copy, a lock file, or the rule of a registry.
//!
//! Never here: what it says.

use std::{fs, path::Path};

use castlink_core::{
    Exit, Failure, ImageRef, Result,
    config::Config,
    input::{self, Input},
    lock::Lock,
    record::{Mirrored, Record, Summary},
    reference::Layout,
};

use super::{Mapping, normal};

impl Mapping {
    /// What `items` say, where `registry` is the only one that counts, if it is given.
    ///
    /// # Errors
    /// Exit 2 when there is no `mirrored` record among them; the exit of the stage before when
    /// it failed as a whole.
    pub fn of_records(items: Vec<Input>, registry: Option<String>) -> Result<Self> {
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

    /// Reads `file`, a lock file or records; without one, takes the rule of `--to`. `-` is
    /// records on stdin.
    ///
    /// # Errors
    /// Exit 2: the file is neither, or nothing says which registry; as [`Mapping::of_records`].
    pub fn of_file(
        file: Option<&Path>,
        to: Option<&str>,
        layout: Option<Layout>,
        config: &Config,
    ) -> Result<Self> {
        let Some(file) = file else {
            return Self::by_rule(to, layout, config);
        };
        if file == Path::new("-") {
            return Self::of_records(input::read_stdin()?, to.map(str::to_owned));
        }
        let named = |failure: Failure| failure.context(format!("images of {}", file.display()));
        let text = fs::read_to_string(file)
            .map_err(|error| named(Failure::usage("the file cannot be read").because(error)))?;
        if text
            .trim_start_matches('\u{feff}')
            .trim_start()
            .starts_with('{')
        {
            let items = input::read(text.as_bytes()).map_err(named)?;
            return Self::of_records(items, to.map(str::to_owned)).map_err(named);
        }
        Ok(Self {
            lock: Some(Lock::parse(&text).map_err(named)?),
            ..Self::by_rule(to, layout, config)?
        })
    }

    /// Every reference is taken to be mirrored to `to`, or to `[mirror] to`.
    ///
    /// # Errors
    /// Exit 2 when neither says which registry.
    pub fn by_rule(to: Option<&str>, layout: Option<Layout>, config: &Config) -> Result<Self> {
        let registry = to.map(str::to_owned).or_else(|| config.mirror.to.clone());
        Ok(Self {
            registry: Some(registry.ok_or_else(no_source)?),
            rule: Some(layout.unwrap_or(config.mirror.layout)),
            ..Self::default()
        })
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
