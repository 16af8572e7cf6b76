//! Is every image that workloads are pointed at in its registry, and for which platforms?
//! Asked before anything moves, once per image: a patch to an image that is not there
//! is found out by the nodes otherwise, one pod after the other.
//!
//! Never here: what follows from the answers. mapping.rs turns them into targets, and the
//! planner compares platforms with nodes.

use std::collections::{BTreeMap, BTreeSet};

use castlink_core::{
    Failure, ImageRef, Result,
    config::Config,
    printer::{Printer, count},
};
use castlink_registry::{
    Registries, Registry,
    error::{Error, Kind},
};
use futures::{StreamExt, future::join_all, stream};

use crate::{
    answers::{Answer, Answers},
    controllers, fixed,
    mapping::Mapping,
    session::Session,
    workload::{ImageField, Workload},
};

/// Images asked about at once, at one registry.
const AT_ONCE: usize = 16;

/// Tries of one request: what cannot be reached is a warning, and not worth a minute.
const ATTEMPTS: u32 = 2;

/// What asking came to.
#[derive(Debug, Default)]
pub(crate) struct Inquiry {
    pub(crate) answers: Answers,
    /// Why some references have no answer, and how many, by registry.
    pub(crate) silent: Vec<(usize, Failure)>,
}

/// Asks for every target that no record vouches for.
///
/// # Errors
/// With `required`, when a registry cannot be asked: its exit code.
pub(crate) async fn check(
    session: &Session<'_>,
    mapping: &Mapping,
    required: bool,
) -> Result<Answers> {
    let (config, printer) = (&session.context.config, session.printer());
    let workloads = session.seen.workloads.iter();
    let patchable: Vec<&Workload> = workloads
        .filter(|workload| fixed::is_patchable(workload))
        .collect();
    let questions = patchable.iter().flat_map(|one| questions(one, mapping));
    let inquiry = ask(questions.collect(), config).await;
    let mut answers = inquiry.tell(required, printer)?;
    let others = patchable
        .iter()
        .flat_map(|one| twins(one, mapping, &answers));
    let inquiry = ask(others.collect(), config).await;
    answers.extend(inquiry.tell(required, printer)?);
    Ok(answers)
}

/// What its pods will pull, and what they start.
fn questions(workload: &Workload, mapping: &Mapping) -> Vec<String> {
    let of_field = |field: &ImageField| {
        let own = mapping.open_question(&field.literal);
        let started = controllers::open_question(workload, field, mapping);
        own.into_iter().chain(started)
    };
    workload.fields.iter().flat_map(of_field).collect()
}

/// The other public names of what is not there: somebody may have copied those.
fn twins(workload: &Workload, mapping: &Mapping, answers: &Answers) -> Vec<String> {
    let is_missing = |image: &ImageRef| {
        let asked = mapping.open_question(image.literal());
        let answer = asked.and_then(|asked| answers.get(&asked));
        matches!(answer, Some(Answer::Missing(_)))
    };
    let of_field = |field: &ImageField| {
        let own = field.literal.parse::<ImageRef>().ok();
        let started = controllers::published(workload, field);
        own.into_iter().chain(started)
    };
    let images = workload.fields.iter().flat_map(of_field);
    let twins = images.filter(is_missing).filter_map(|image| image.twin());
    twins
        .filter_map(|twin| mapping.open_question(twin.literal()))
        .collect()
}

/// Asks the registries of `references`.
pub(crate) async fn ask(references: BTreeSet<String>, config: &Config) -> Inquiry {
    let mut config = config.clone();
    config.mirror.attempts = config.mirror.attempts.min(ATTEMPTS);
    let registries = Registries::new(&config);
    let mut hosts: BTreeMap<String, Vec<ImageRef>> = BTreeMap::new();
    for image in references.iter().filter_map(|text| text.parse().ok()) {
        let image: ImageRef = image;
        hosts
            .entry(image.registry().to_owned())
            .or_default()
            .push(image);
    }
    let asked = hosts
        .iter()
        .map(|(host, images)| ask_host(&registries, host, images));
    let mut all = Inquiry::default();
    for one in join_all(asked).await {
        all.answers.extend(one.answers);
        all.silent.extend(one.silent);
    }
    all
}

impl Inquiry {
    /// Says what nobody has looked at, or stops there.
    ///
    /// # Errors
    /// With `required`: the first reason, with its exit code.
    fn tell(self, required: bool, printer: &Printer) -> Result<Answers> {
        for (number, failure) in self.silent {
            if required {
                return Err(failure);
            }
            printer.warn(format!(
                "not checked whether {} {} there: {}",
                count(number, "image"),
                if number == 1 { "is" } else { "are" },
                failure.one_line()
            ));
        }
        Ok(self.answers)
    }
}

/// The first image goes ahead: a registry that does not answer for it is not asked for
/// the others.
async fn ask_host(registries: &Registries, host: &str, images: &[ImageRef]) -> Inquiry {
    let registry = match registries.get(host).await {
        Ok(registry) => registry,
        Err(failure) => return Inquiry::silent(images.len(), failure),
    };
    let Some((first, others)) = images.split_first() else {
        return Inquiry::default();
    };
    let answer = match find(&registry, first).await {
        // Nobody answered, or nobody can be asked as whom we are.
        (_, Err(error)) if error.status.is_none() => {
            return Inquiry::silent(images.len(), error.into_failure());
        }
        answer => answer,
    };
    let others = stream::iter(others)
        .map(|image| find(&registry, image))
        .buffer_unordered(AT_ONCE);
    let all: Vec<_> = stream::iter([answer]).chain(others).collect().await;
    Inquiry::of(all)
}

async fn find(registry: &Registry, image: &ImageRef) -> (String, Result<Answer, Error>) {
    let found = registry.find(image.repository(), image.selector()).await;
    let answer = match found {
        Ok(found) => Ok(Answer::There {
            digest: found.digest.to_string(),
            platforms: found.platforms,
        }),
        Err(error) if error.kind == Kind::NotFound => {
            Ok(Answer::Missing(error.into_failure().one_line()))
        }
        Err(error) => Err(error),
    };
    (image.literal().to_owned(), answer)
}

impl Inquiry {
    fn silent(number: usize, failure: Failure) -> Self {
        Self {
            silent: vec![(number, failure)],
            ..Self::default()
        }
    }

    /// The answers of one registry; where it refused, its first word stands for all.
    fn of(all: Vec<(String, Result<Answer, Error>)>) -> Self {
        let mut inquiry = Self::default();
        for (reference, answer) in all {
            match answer {
                Ok(answer) => drop(inquiry.answers.insert(reference, answer)),
                Err(error) => match inquiry.silent.first_mut() {
                    Some((number, _)) => *number += 1,
                    None => inquiry.silent.push((1, error.into_failure())),
                },
            }
        }
        inquiry
    }
}
