//! `values`: what to tell the owners of the workloads, so that their next release keeps the
//! private images: Helm values by release, in the form that Helm, castware-operator,
//! Argo CD, Flux or Terraform takes them.
//!
//! advice.rs decides, text.rs writes. Never here: a change to anything.

mod advice;
mod labels;
mod text;

use castlink_core::{
    Context, Exit, Failure, Result,
    app::Outcome,
    config::nearest,
    record::{HelmValue, Record},
};

use crate::{args::ValuesArgs, charts::CHARTS, session::Session};
use advice::{Advice, advise};

/// Prints the values. Exit 4 when an image has no known target.
///
/// # Errors
/// Exit 2 for a release that is not there.
pub(crate) async fn run(args: ValuesArgs, context: &Context) -> Result<Outcome> {
    let mapping = args.source.mapping(&context.config).await?;
    let session = Session::open(context).await?;
    let printer = session.printer();
    let components = session.cluster.components(printer).await?;
    let all = advise(&session.seen, &components, &mapping, args.tags);
    let chosen = choose(all, &args.releases, &session)?;
    for (index, advice) in chosen.iter().enumerate() {
        if index > 0 {
            printer.line("---");
        }
        text::lines(advice)
            .iter()
            .for_each(|line| printer.line(line));
        records(advice)
            .into_iter()
            .for_each(|record| printer.record(&Record::HelmValue(record)));
    }
    printer.note(format!(
        "keys of the charts as of {}; `helm show values` has the last word",
        CHARTS.dated
    ));
    let settings: usize = chosen.iter().map(|advice| advice.settings.len()).sum();
    let left = chosen.iter().flat_map(|advice| &advice.left);
    let unmapped = left.filter(|left| left.unmapped).count();
    let exit = match unmapped {
        0 => Exit::Done,
        _ => Exit::Partial,
    };
    Ok(Outcome::from(exit)
        .count("releases", chosen.len() as u64)
        .count("values", settings as u64)
        .count("unmapped", unmapped as u64))
}

fn choose(all: Vec<Advice>, wanted: &[String], session: &Session<'_>) -> Result<Vec<Advice>> {
    let known: Vec<&str> = all
        .iter()
        .filter_map(|one| one.release.as_deref())
        .collect();
    for name in wanted {
        if !known.contains(&name.as_str()) {
            let namespace = &session.cluster.namespace;
            let failure = Failure::usage(format!("namespace {namespace} has no release {name}"));
            return Err(match nearest(name, &known) {
                Some(near) => failure.hint(format!("did you mean `--release {near}`?")),
                None => failure.hint(format!("releases in it: {}", known.join(", "))),
            });
        }
    }
    let is_wanted = |advice: &Advice| {
        let name = advice.release.as_ref();
        wanted.is_empty() || name.is_some_and(|name| wanted.contains(name))
    };
    Ok(all.into_iter().filter(is_wanted).collect())
}

fn records(advice: &Advice) -> Vec<HelmValue> {
    let record = |image: &str| HelmValue {
        release: advice.release.clone(),
        namespace: advice.namespace.clone(),
        chart: advice.chart.clone(),
        owner: advice.manager.owner(),
        image: image.to_owned(),
        key: None,
        value: None,
        note: None,
    };
    let set = advice.settings.iter().map(|setting| HelmValue {
        key: Some(setting.key.clone()),
        value: Some(setting.value.clone()),
        note: setting.note.clone(),
        ..record(&setting.image)
    });
    let left = advice.left.iter().map(|left| HelmValue {
        note: Some(left.why.clone()),
        ..record(&left.image)
    });
    set.chain(left).collect()
}
