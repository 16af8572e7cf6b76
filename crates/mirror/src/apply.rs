//! `plan` and `copy`: from references to a report. `pull` and `push` are copies with a store
//! at one end (pull.rs, push.rs).

use std::{cell::RefCell, sync::Arc, time::Instant};

use castlink_core::{
    Context, Exit, Failure, Result,
    app::Outcome,
    config,
    progress::{Progress, Unit},
};

use crate::{
    args::{Images, PlanArgs},
    ecr::Settings,
    engine::{self, Tally},
    input::{self, Request},
    lock,
    observe::{Depth, Destination, Observation, Scope, Shared, observe},
    plan::{self, Action, Plan},
    platform::Selection,
    registry::Registries,
    report::{self, Ending, Report},
    site::Sites,
    upkeep,
};

/// The world that a verb works with.
pub(crate) struct World {
    /// The registries, opened as needed, and the store.
    pub(crate) sites: Arc<Sites>,
    /// Where the copies go: at least one.
    pub(crate) to: Vec<Destination>,
    /// What to copy.
    pub(crate) requests: Vec<Request>,
    /// What cannot even be asked for.
    refused: Vec<Refused>,
    /// How repositories are to look.
    settings: Arc<Settings>,
    /// Which platforms of it.
    pub(crate) platforms: Selection,
    /// Whether what is attached to it goes along.
    pub(crate) attachments: bool,
}

/// Something that was to be copied and has no name to copy it by.
pub(crate) struct Refused {
    /// What it is, for people.
    pub(crate) source: String,
    /// Why it is left alone.
    pub(crate) failure: Shared,
}

impl World {
    /// Reads the input and the settings; asks nobody anything.
    ///
    /// # Errors
    /// Exit 2: no target, malformed references, unusable settings.
    pub(crate) async fn new(images: &Images, context: &Context) -> Result<Self> {
        let requests = input::asked(&images.references, &images.locked, &context.printer).await?;
        let to = destinations(&context.config.mirror)?;
        let sites = Sites::new(Registries::new(&context.config));
        Self::between(sites, to, requests, context)
    }

    /// Between these ends.
    ///
    /// # Errors
    /// Exit 2: unusable settings.
    pub(crate) fn between(
        sites: Sites,
        to: Vec<Destination>,
        requests: Vec<Request>,
        context: &Context,
    ) -> Result<Self> {
        let platforms = Selection::parse(&context.config.mirror.platforms)?;
        Ok(Self {
            sites: Arc::new(sites),
            to,
            requests,
            refused: Vec::new(),
            settings: Arc::new(Settings::load(&context.config.mirror.repository)?),
            platforms,
            attachments: context.config.mirror.attachments,
        })
    }

    /// The same, with what cannot be copied.
    pub(crate) fn refusing(mut self, refused: Vec<Refused>) -> Self {
        self.refused = refused;
        self
    }

    /// Looks at both sides.
    ///
    /// # Errors
    /// As [`observe`].
    pub(crate) async fn observe(&mut self, depth: Depth) -> Result<Observation> {
        let requests = std::mem::take(&mut self.requests);
        let scope = Scope {
            depth,
            platforms: &self.platforms,
            attachments: self.attachments && depth == Depth::Changed,
        };
        observe(&self.sites, &self.to, requests, scope).await
    }

    /// Adds what was asked of either side.
    async fn count_requests(&self, plan: &Plan, outcome: Outcome) -> Outcome {
        let targets = plan
            .images
            .iter()
            .map(|image| &*image.target.place.registry);
        let targets = targets.collect();
        let (target, source) = self.sites.requests_apart(&targets).await;
        outcome
            .count("requests", source + target)
            .count("source_requests", source)
            .count("target_requests", target)
    }
}

/// Where copies go; a registry that is named twice is one.
///
/// # Errors
/// Exit 2 when there is none.
pub(crate) fn destinations(mirror: &config::Mirror) -> Result<Vec<Destination>> {
    let to = mirror.to.as_ref().ok_or_else(|| {
        Failure::usage("no target registry given")
            .hint("use --to ACCOUNT.dkr.ecr.REGION.amazonaws.com, or set `to` under [mirror] in castlink.toml")
    })?;
    let mut destinations: Vec<Destination> = Vec::new();
    for registry in [to].into_iter().chain(&mirror.also_to) {
        let registry = registry.trim_start_matches("https://");
        let destination = Destination::Registry {
            name: registry.trim_end_matches('/').to_owned(),
            layout: mirror.layout,
        };
        if !destinations.contains(&destination) {
            destinations.push(destination);
        }
    }
    Ok(destinations)
}

/// `plan`: what `copy` would do.
///
/// # Errors
/// See [`World::new`]; what fails for one image is in the report.
pub(crate) async fn plan_only(args: &PlanArgs, context: Context) -> Result<Outcome> {
    let world = World::new(&args.images, &context).await?;
    show(world, args.reconcile, args.exit_code, context).await
}

/// Shows what [`transfer`] would do.
///
/// # Errors
/// When a name at the target cannot be formed.
pub(crate) async fn show(
    mut world: World,
    reconcile: bool,
    exit_code: bool,
    context: Context,
) -> Result<Outcome> {
    let plan = make_plan(&mut world, true, reconcile, &context).await?;
    let mut report = Report::new(&context.printer);
    for refused in &world.refused {
        report.refuse(&world.to[0], &refused.source, &refused.failure);
    }
    for index in 0..plan.images.len() {
        report.add(index, &plan, &Ending::Planned);
    }
    report.table();
    for place in &plan.repositories {
        context.printer.detail(format!("to create: {place}"));
    }
    upkeep::show(&plan, reconcile, &context.printer);
    // With nothing but refusals, those are all there is to say.
    if !plan.images.is_empty() || world.refused.is_empty() {
        context.printer.note(report::plan_line(&plan));
    }
    let pending = !plan.is_empty() || (reconcile && upkeep::is_pending(&plan));
    let exit = match report.exit() {
        Exit::Done if exit_code && pending => Exit::Pending,
        exit => exit,
    };
    let totals = plan.totals();
    Ok(report
        .outcome(exit)
        .count("repositories", totals.repositories as u64)
        .count("manifests", totals.manifests as u64)
        .count("bytes", totals.sent)
        .count("reused", totals.reused)
        .count("requests", totals.requests as u64))
}

/// `copy`: plan, and do it.
///
/// # Errors
/// As [`plan_only`].
pub(crate) async fn copy(images: &Images, reconcile: bool, context: Context) -> Result<Outcome> {
    transfer(World::new(images, &context).await?, reconcile, context).await
}

/// Copies what is missing.
///
/// # Errors
/// As [`show`].
pub(crate) async fn transfer(
    mut world: World,
    reconcile: bool,
    context: Context,
) -> Result<Outcome> {
    let start = Instant::now();
    let plan = make_plan(&mut world, reconcile, reconcile, &context).await?;
    let totals = plan.totals();
    if totals.images > 0 {
        context.printer.note(report::plan_line(&plan));
    }
    let mut report = Report::new(&context.printer);
    for refused in &world.refused {
        let line = report.refuse(&world.to[0], &refused.source, &refused.failure);
        context.printer.note(line);
    }
    for (index, image) in plan
        .images
        .iter()
        .enumerate()
        .filter(|(index, _)| plan.copy_of(*index).is_none())
    {
        let line = report.add(index, &plan, &Ending::Planned);
        match image.action {
            Action::Leave(_) | Action::Absent(_) => context.printer.note(line),
            _ => context.printer.detail(line),
        }
    }
    // First: a tag may have to become movable before it is moved.
    let repairs = upkeep::repair(&world.sites, &plan, &context.printer).await;
    report.also(repairs.failed);
    let tally = if totals.images > 0 {
        carry_out(&world, &plan, &context, &mut report).await
    } else {
        Tally::default()
    };
    report.table();
    let outcome = world.count_requests(&plan, report.outcome(report.exit()));
    let outcome = outcome
        .await
        .count("bytes", tally.sent())
        .count("read", tally.read())
        .count("mounted", tally.mounted())
        .count("reused", totals.reused)
        .count("blobs", tally.uploads())
        .count("manifests", tally.manifests())
        .count("repositories", tally.repositories())
        .count("settings", repairs.changed);
    let seconds = start.elapsed().as_secs_f64();
    context.printer.note(report::copy_line(&outcome, seconds));
    Ok(outcome)
}

/// Looks and decides; at the settings of existing repositories only with `drift`, and as if
/// they were right with `reconcile`.
async fn make_plan(
    world: &mut World,
    drift: bool,
    reconcile: bool,
    context: &Context,
) -> Result<Plan> {
    let mut observation = world.observe(Depth::Changed).await?;
    observation.settings = Arc::clone(&world.settings);
    if drift {
        upkeep::look_for_drift(&world.sites, &mut observation).await;
    }
    if reconcile {
        upkeep::assume_repaired(&mut observation);
    }
    let plan = plan::plan(observation, context.config.mirror.create_repos);
    lock::note_moved(&world.sites, &plan, &context.printer).await;
    Ok(plan)
}

async fn carry_out(world: &World, plan: &Plan, context: &Context, report: &mut Report) -> Tally {
    let totals = plan.totals();
    let progress = Progress::start(
        &context.printer,
        "copying",
        Unit::Bytes,
        totals.images as u64,
        totals.read,
    );
    let progress = Arc::new(progress);
    let report = RefCell::new(report);
    let done = |index: usize, result: Result<engine::Parity, _>| {
        let ending = Ending::Ran(result.as_ref());
        let mut report = report.borrow_mut();
        let line = report.add(index, plan, &ending);
        for brought in plan.brought_by(index) {
            report.add(brought, plan, &ending);
        }
        progress.finished(line);
    };
    let settings = &context.config.mirror;
    engine::run(
        Arc::clone(&world.sites),
        settings,
        plan,
        Arc::clone(&progress),
        done,
    )
    .await
}
