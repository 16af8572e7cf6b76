//! `castlink run`: the stages one after the other, and what to do when one fails.

use std::path::{Path, PathBuf};

use castlink_core::{
    Context, Exit, Failure, Result,
    app::Outcome,
    cli::OutputArgs,
    record::{MirrorStatus, Record},
};

use crate::{
    args::RunArgs,
    plan,
    stage::{self, Done},
    summary,
};

/// Runs the sequence and reports it on one screen.
pub(crate) async fn run(args: &RunArgs, output: &OutputArgs, context: Context) -> Result<Outcome> {
    let to = context.config.mirror.to.clone().ok_or_else(|| {
        Failure::usage("no registry to mirror to").hint(
            "give --to ACCOUNT.dkr.ecr.REGION.amazonaws.com, or set mirror.to in castlink.toml",
        )
    })?;
    let run_dir = run_dir(args.run_dir.clone())?;
    let stages = plan::stages(args, output, &to, &run_dir.display().to_string());
    let mut done: Vec<Done> = Vec::new();
    for stage in &stages {
        context
            .printer
            .note(summary::heading(stage.name, &stage.args));
        let result = stage::run(stage, &run_dir).await?;
        let go_on = goes_on(&result);
        done.push(result);
        if !go_on {
            break;
        }
    }
    let exit = first_failure(&done);
    for line in summary::render(&done, &stages, exit, &run_dir, args.plan) {
        context.printer.line(line);
    }
    for record in done.iter().flat_map(|stage| &stage.records) {
        context.printer.record(record);
    }
    Ok(Outcome {
        exit,
        counts: summary::counts(&done),
    })
}

/// The exit code of the first stage that did not end well.
fn first_failure(done: &[Done]) -> Exit {
    done.iter()
        .map(|stage| stage.exit)
        .find(|exit| *exit != Exit::Done)
        .unwrap_or(Exit::Done)
}

/// A stage that failed stops the sequence, except a mirror that got some images across:
/// their workloads are upgraded, the others are left alone.
fn goes_on(stage: &Done) -> bool {
    match stage.exit {
        Exit::Done | Exit::Pending => true,
        Exit::Interrupted => false,
        _ => stage.records.iter().any(|record| {
            matches!(record, Record::Mirrored(image)
                if image.status.usable() || image.status == MirrorStatus::Planned)
        }),
    }
}

fn run_dir(given: Option<PathBuf>) -> Result<PathBuf> {
    let dir = match given {
        Some(dir) => dir,
        None => default_run_dir()?,
    };
    std::fs::create_dir_all(&dir).map_err(|err| stage::cannot("creating", &dir, err))?;
    dir.canonicalize()
        .map_err(|err| stage::cannot("opening", Path::new(&dir), err))
}

fn default_run_dir() -> Result<PathBuf> {
    let state = castlink_core::config::state_dir().ok_or_else(|| {
        Failure::usage("no directory for the records of this run")
            .hint("give --run-dir, or set HOME")
    })?;
    let now = jiff::Timestamp::now()
        .strftime("%Y%m%dT%H%M%SZ")
        .to_string();
    Ok(state
        .join("runs")
        .join(format!("{now}-run-{}", std::process::id())))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use castlink_core::record::Mirrored;

    use super::*;

    fn push(exit: Exit, statuses: &[MirrorStatus]) -> Done {
        let record = |status: &MirrorStatus| Record::Mirrored(Mirrored::new("a", "b", *status));
        Done {
            name: "push",
            exit,
            records: statuses.iter().map(record).collect(),
            took: Duration::ZERO,
        }
    }

    #[test]
    fn a_partial_mirror_goes_on_a_failed_one_stops() {
        use MirrorStatus::{Copied, Failed};
        for (exit, statuses, expected) in [
            (Exit::Done, &[Copied][..], true),
            (Exit::Partial, &[Copied, Failed], true),
            (Exit::Credentials, &[Failed], false),
            (Exit::Interrupted, &[Copied], false),
        ] {
            assert_eq!(goes_on(&push(exit, statuses)), expected, "{exit:?}");
        }
    }

    #[test]
    fn the_first_failing_stage_decides() {
        let done = [
            push(Exit::Done, &[]),
            push(Exit::Partial, &[]),
            push(Exit::RolledBack, &[]),
        ];
        assert_eq!(first_failure(&done), Exit::Partial);
    }
}
