//! ECR repositories beside their content: how missing ones come to be, and how the others
//! differ from `[mirror.repository]`. Looks, says, and with `--reconcile` repairs.
//!
//! A plain `copy` asks for nothing here that it does not need: templates when a repository
//! is missing, settings never.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use castlink_core::{
    Exit, Failure, Printer,
    printer::{count, symbol},
    record::{Change, ChangeStatus, Record},
};
use futures::{StreamExt as _, future::join_all, stream};

use crate::{
    ecr::{Difference, Drift, Ecr, Setting, Settings, Template},
    observe::{Observation, Shared},
    place::Place,
    plan::Plan,
    site::Sites,
};

/// Repositories asked about, or repaired, at once.
const AT_ONCE: usize = 8;

/// The longest value that is shown to people: policies are kilobytes.
const SHOWN: usize = 60;

/// What was to be done about one difference, and what became of it.
type Outcome = (ChangeStatus, Option<Shared>);

/// The registries at which a repository is missing for an image that could be copied.
pub(crate) fn missing(observation: &Observation) -> BTreeSet<Arc<str>> {
    let found = observation
        .images
        .iter()
        .filter(|image| image.found.is_ok());
    let places = found.map(|image| image.target.place.clone());
    let missing = places.filter(|place| {
        let holdings = observation.targets.get(place);
        holdings.is_some_and(|one| one.as_ref().is_ok_and(|known| !known.exists))
    });
    missing.map(|place| place.registry).collect()
}

/// By which templates pushes create repositories at `hosts`, as far as they are ECR.
pub(crate) async fn templates(
    sites: &Sites,
    hosts: BTreeSet<Arc<str>>,
) -> BTreeMap<Arc<str>, Result<Vec<Template>, Shared>> {
    let asked = hosts.into_iter().map(|host| async move {
        let site = sites.target(&host).await.ok()?;
        let templates = site.ecr()?.templates().await;
        let templates = templates.map(<[_]>::to_vec).map_err(Arc::new);
        Some((host, templates))
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// Compares the repositories that exist with the settings that were configured.
pub(crate) async fn look_for_drift(sites: &Sites, observation: &mut Observation) {
    if observation.settings.is_empty() {
        return;
    }
    let existing = observation.targets.iter().filter_map(|(place, holdings)| {
        let exists = holdings.as_ref().is_ok_and(|known| known.exists);
        exists.then(|| place.clone())
    });
    let mut by_host: BTreeMap<Arc<str>, Vec<Place>> = BTreeMap::new();
    for place in existing {
        by_host
            .entry(Arc::clone(&place.registry))
            .or_default()
            .push(place);
    }
    let settings = Arc::clone(&observation.settings);
    let asked = by_host.into_iter().map(|(host, places)| {
        let settings = &settings;
        async move {
            let site = sites.target(&host).await.ok()?;
            Some(compare(site.ecr()?, settings, places).await)
        }
    });
    observation.drift = join_all(asked)
        .await
        .into_iter()
        .flatten()
        .flatten()
        .collect();
}

/// Lets the planner see the mutability of tags as it will be: settings are repaired before
/// anything is copied.
pub(crate) fn assume_repaired(observation: &mut Observation) {
    let Some(wanted) = &observation.settings.mutability else {
        return;
    };
    let differs = |one: &Difference| one.setting == Setting::Mutability;
    for (place, drift) in &observation.drift {
        let repaired = drift
            .as_ref()
            .is_ok_and(|drift| drift.differences.iter().any(differs));
        if let (true, Some(Ok(holdings))) = (repaired, observation.targets.get_mut(place)) {
            holdings.mutability = Some(wanted.clone());
        }
    }
}

async fn compare(
    ecr: &Ecr,
    settings: &Settings,
    places: Vec<Place>,
) -> Vec<(Place, Result<Drift, Shared>)> {
    let names: Vec<String> = places
        .iter()
        .map(|place| place.repository.to_string())
        .collect();
    let described = match ecr.describe(&names).await {
        Ok(described) => described,
        Err(failure) => {
            let failure = Arc::new(failure);
            let failed = places
                .into_iter()
                .map(|place| (place, Err(Arc::clone(&failure))));
            return failed.collect();
        }
    };
    let compared = places.into_iter().filter_map(|place| {
        let actual = described.get(&*place.repository)?.clone();
        Some(async move {
            let completed = ecr.complete(&place.repository, actual, settings).await;
            let drift = completed
                .map(|actual| settings.drift(&actual))
                .map_err(Arc::new);
            Some((place, drift.transpose()?))
        })
    });
    let compared = stream::iter(compared).buffer_unordered(AT_ONCE);
    compared.filter_map(std::future::ready).collect().await
}

/// What `plan` says about repositories: those that a push creates, and differences. Those
/// are planned with `reconcile`, and left alone without.
pub(crate) fn show(plan: &Plan, reconcile: bool, printer: &Printer) {
    for (place, prefix) in &plan.on_push {
        printer.line(format!(
            "{} repository {place}: created on push by template {prefix}",
            symbol('+')
        ));
        printer.record(&Record::Change(Change {
            resource: resource(place),
            field: "repository".into(),
            from: None,
            to: Some("created on push".into()),
            owner: Some(format!("creation template {prefix}")),
            status: ChangeStatus::Planned,
            error: None,
        }));
    }
    for (place, drift) in &plan.drift {
        match drift {
            Ok(drift) => drift.differences.iter().for_each(|difference| {
                say(place, difference, &planned(difference, reconcile), printer);
            }),
            Err(failure) => printer.warn(format!(
                "{place} cannot be compared with the configuration: {}",
                failure.one_line()
            )),
        }
    }
    let differences = differences(plan).filter(|one| one.is_repairable()).count();
    if differences > 0 {
        printer.note(format!(
            "{} not as configured; `castlink-mirror copy --reconcile` repairs that",
            count(differences, "setting")
        ));
    }
}

fn planned(difference: &Difference, reconcile: bool) -> Outcome {
    if !difference.is_repairable() {
        return (ChangeStatus::Skipped, Some(Arc::new(fixed(difference))));
    }
    if reconcile {
        return (ChangeStatus::Planned, None);
    }
    let left = Failure::failed("left as it is").hint("run `castlink-mirror copy --reconcile`");
    (ChangeStatus::Skipped, Some(Arc::new(left)))
}

fn fixed(difference: &Difference) -> Failure {
    Failure::failed(format!(
        "{} is fixed when a repository is created",
        difference.field
    ))
    .hint("create the repository anew, or configure what it has")
}

/// True when there is something that `copy --reconcile` would repair.
pub(crate) fn is_pending(plan: &Plan) -> bool {
    differences(plan).any(Difference::is_repairable)
}

fn differences(plan: &Plan) -> impl Iterator<Item = &Difference> {
    let known = plan.drift.values().filter_map(|drift| drift.as_ref().ok());
    known.flat_map(|drift| &drift.differences)
}

/// How many settings were repaired, and how each failure among them ends the command.
#[derive(Debug, Default)]
pub(crate) struct Repairs {
    /// Differences that are gone.
    pub(crate) changed: u64,
    /// The ends of the others.
    pub(crate) failed: Vec<Exit>,
}

/// Repairs what differs, and says so.
pub(crate) async fn repair(sites: &Sites, plan: &Plan, printer: &Printer) -> Repairs {
    let tasks = plan.drift.iter().map(|(place, drift)| async move {
        match drift {
            Ok(drift) => (place, repair_one(sites, &plan.settings, place, drift).await),
            Err(failure) => (place, Err(Arc::clone(failure))),
        }
    });
    let mut repaired = stream::iter(tasks).buffered(AT_ONCE);
    let mut repairs = Repairs::default();
    while let Some((place, outcomes)) = repaired.next().await {
        let outcomes = outcomes.unwrap_or_else(|failure| {
            printer.failure(&Failure::new(
                failure.exit(),
                format!("settings of {place}: {}", failure.one_line()),
            ));
            repairs.failed.push(failure.exit());
            Vec::new()
        });
        for (difference, outcome) in outcomes {
            say(place, difference, &outcome, printer);
            match outcome {
                (ChangeStatus::Applied, _) => repairs.changed += 1,
                (ChangeStatus::Failed, Some(failure)) => repairs.failed.push(failure.exit()),
                _ => {}
            }
        }
    }
    repairs
}

/// One call for each setting: all tags of a repository are one.
async fn repair_one<'a>(
    sites: &Sites,
    settings: &Settings,
    place: &Place,
    drift: &'a Drift,
) -> Result<Vec<(&'a Difference, Outcome)>, Shared> {
    let site = sites.target(&place.registry).await.map_err(Arc::new)?;
    let mut done: BTreeMap<Setting, Outcome> = BTreeMap::new();
    let mut outcomes = Vec::new();
    for difference in &drift.differences {
        let setting = difference.setting;
        if let (None, Some(ecr)) = (done.get(&setting), site.ecr()) {
            let outcome = if difference.is_repairable() {
                let set = ecr
                    .set(&place.repository, &drift.arn, setting, settings)
                    .await;
                match set {
                    Ok(()) => (ChangeStatus::Applied, None),
                    Err(failure) => (ChangeStatus::Failed, Some(Arc::new(failure))),
                }
            } else {
                planned(difference, true)
            };
            done.insert(setting, outcome);
        }
        outcomes.extend(
            done.get(&setting)
                .map(|outcome| (difference, outcome.clone())),
        );
    }
    Ok(outcomes)
}

fn resource(place: &Place) -> String {
    format!("repository/{place}")
}

/// The record and the line of one difference.
fn say(place: &Place, difference: &Difference, outcome: &Outcome, printer: &Printer) {
    let (status, failure) = outcome;
    printer.record(&Record::Change(Change {
        resource: resource(place),
        field: difference.field.clone(),
        from: difference.from.clone(),
        to: Some(difference.to.clone()),
        owner: None,
        status: *status,
        error: failure.as_ref().map(|failure| failure.info()),
    }));
    let sign = match status {
        ChangeStatus::Failed => '!',
        ChangeStatus::Skipped => '=',
        _ => '~',
    };
    let from = difference.from.as_deref().unwrap_or("not set");
    let why = failure
        .as_ref()
        .map_or_else(String::new, |failure| format!(" ({})", failure.one_line()));
    printer.line(format!(
        "{} repository {place}: {} is {}, configured is {}{why}",
        symbol(sign),
        difference.field,
        short(from),
        short(&difference.to)
    ));
}

/// As much as fits into a line.
fn short(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}\u{2026}", &text[..end]),
        None => text.to_owned(),
    }
}
