//! `rewrite`: a stream of manifests in, the same stream out, with every public image
//! reference replaced by its mirrored one. All or nothing: until the last document is known
//! to be right, nothing is written.
//!
//! Never here: the cluster. Nothing is asked, nothing is patched.

mod spool;

use std::path::Path;

use castlink_core::{
    Context, Exit, Failure, Printer, Result,
    app::Outcome,
    config::Config,
    printer::count,
    record::{Change, ChangeStatus, Record},
};
use castlink_manifest::stream::{self, Pieces};
use castlink_rewrite::{
    finding::{Finding, What},
    mapping::Mapping,
    pipeline::{self, Done},
    proxy::Proxy,
    rules::Rules,
};
use tempfile::SpooledData;
use tokio::task::spawn_blocking;

use crate::args::{OnUnmapped, RewriteArgs};
use spool::Spool;

/// Findings of a kind that are told one by one; of more, the number.
const TOLD: usize = 100;

/// Rewrites the stream.
///
/// # Errors
/// Exit 2: a document cannot be read, or must not be guessed at; no mapping. Exit 6: a public
/// image has no target.
pub(crate) async fn run(args: RewriteArgs, context: Context) -> Result<Outcome> {
    // A blocked stdin must not keep Ctrl-C waiting.
    spawn_blocking(move || rewrite(&args, &context))
        .await
        .map_err(|error| Failure::failed("rewriting ended early").because(error))?
}

fn rewrite(args: &RewriteArgs, context: &Context) -> Result<Outcome> {
    check_usage(args)?;
    let rules = rules(args, &context.config, context.printer.is_verbose())?;
    let sources = stream::open(&args.files)?;
    let mut run = Run {
        args,
        printer: &context.printer,
        spool: Spool::new(),
        seen: Seen::default(),
        before: 0,
    };
    pipeline::run(Pieces::new(sources), &rules, |done| run.take(done))?;
    run.finish()
}

fn check_usage(args: &RewriteArgs) -> Result<()> {
    let stdin = Path::new("-");
    let manifests = args.files.is_empty() || args.files.iter().any(|file| file == stdin);
    if manifests && args.images.as_deref() == Some(stdin) {
        return Err(
            Failure::usage("manifests and records cannot both come from stdin").hint(
                "name the file of one of them: castlink-upgrade rewrite --images - agent.yaml",
            ),
        );
    }
    let twice = args.files.iter().filter(|file| *file == stdin).count() > 1;
    if twice {
        return Err(Failure::usage("stdin is named twice"));
    }
    Ok(())
}

fn rules(args: &RewriteArgs, config: &Config, verbose: bool) -> Result<Rules> {
    let mapping = Mapping::of_file(
        args.images.as_deref(),
        args.to.as_deref(),
        args.layout,
        config,
    )?;
    let pins = match args.pin_digest {
        true => Some(
            mapping
                .digests(&config.mirror.platforms)?
                .ok_or_else(no_digests)?,
        ),
        false => None,
    };
    let proxy = &args.proxy;
    let proxy = proxy
        .proxy
        .as_deref()
        .map(|url| Proxy::new(url, &proxy.no_proxy));
    Ok(Rules {
        mapping,
        pins,
        configmaps: args.configmaps,
        tell_changes: args.check || verbose,
        proxy: proxy.transpose()?,
    })
}

fn no_digests() -> Failure {
    Failure::usage("--pin-digest: nothing says which digests the images have")
        .hint("add --images with a lock file or with the records of `castlink-mirror copy`")
}

/// What was seen in the whole stream.
#[derive(Debug, Default)]
struct Seen {
    documents: usize,
    objects: usize,
    changed: usize,
    /// Of those that changed.
    told: usize,
    added: usize,
    unmapped: usize,
    broken: usize,
    warnings: usize,
}

struct Run<'c> {
    args: &'c RewriteArgs,
    printer: &'c Printer,
    spool: Spool,
    seen: Seen,
    /// Documents of this file that are done.
    before: usize,
}

impl Run<'_> {
    fn take(&mut self, done: Done) -> Result<()> {
        if done.first {
            self.before = 0;
        }
        for mut finding in done.planned.findings {
            finding.spot.document += self.before;
            self.tell(&finding);
        }
        self.before += done.planned.documents;
        self.seen.documents += done.planned.documents;
        self.seen.objects += done.planned.objects;
        self.seen.changed += done.planned.changed;
        // What will not be written need not be kept.
        if self.args.check || self.refusal().is_some() {
            return Ok(());
        }
        if done.first {
            self.part_files(&done.text)?;
        }
        self.spool.push(done.text.as_bytes())
    }

    /// Between two files there is a marker, as between two documents.
    fn part_files(&mut self, next: &str) -> Result<()> {
        let Some(last) = self.spool.last() else {
            return Ok(());
        };
        if last != b'\n' {
            self.spool.push(b"\n")?;
        }
        match next.trim_start_matches('\u{feff}').starts_with("---") {
            true => Ok(()),
            false => self.spool.push(b"---\n"),
        }
    }

    fn tell(&mut self, finding: &Finding) {
        let seen = &mut self.seen;
        let (number, quiet) = match &finding.what {
            What::Changed { .. } => (&mut seen.told, !self.args.check),
            What::Added { .. } => (&mut seen.added, !self.args.check),
            What::Unmapped { .. } => (
                &mut seen.unmapped,
                self.args.on_unmapped == OnUnmapped::Keep,
            ),
            What::Broken { .. } => (&mut seen.broken, false),
            What::Warning { .. } => (&mut seen.warnings, false),
        };
        *number += 1;
        match (quiet, *number) {
            (true, _) => self.printer.detail(finding),
            (false, ..=TOLD) => self.show(finding),
            _ => {}
        }
    }

    fn show(&self, finding: &Finding) {
        match &finding.what {
            What::Unmapped { .. } | What::Broken { .. } | What::Warning { .. } => {
                self.printer.warn(finding);
            }
            _ => {
                self.printer.note(finding);
                self.record(finding);
            }
        }
    }

    /// What `--check -o json` says on stdout.
    fn record(&self, finding: &Finding) {
        let (from, to) = match &finding.what {
            What::Changed { from, to } => (Some(from.clone()), to.clone()),
            What::Added { names } => (None, names.clone()),
            _ => return,
        };
        let spot = &finding.spot;
        self.printer.record(&Record::Change(Change {
            resource: format!("{}:{}: {}", spot.name, spot.line, spot.object),
            field: spot.field.clone(),
            from,
            to: Some(to),
            owner: None,
            status: ChangeStatus::Planned,
            error: None,
        }));
    }

    /// Why nothing may be written, if so.
    fn refusal(&self) -> Option<Failure> {
        let seen = &self.seen;
        if seen.broken > 0 {
            let what = match seen.broken {
                1 => "the place that is named above is wrong".to_owned(),
                n => format!("{n} places that are named above are wrong"),
            };
            return Some(Failure::usage(format!("nothing was written: {what}")));
        }
        if seen.unmapped > 0 && self.args.on_unmapped == OnUnmapped::Fail {
            return Some(
                Failure::conflict(format!(
                    "nothing was written: {} without a target",
                    count(seen.unmapped, "reference")
                ))
                .hint(
                    "mirror them and add them to the lock file (castlink-upgrade images -f FILE | \
                     castlink-mirror lock -), or let them stay: --on-unmapped warn",
                ),
            );
        }
        None
    }

    fn finish(self) -> Result<Outcome> {
        self.tell_rest();
        if self.seen.objects == 0 && self.seen.broken == 0 {
            return Err(Failure::usage("there is no Kubernetes object in the input")
                .hint("did the command before this one fail? `set -o pipefail` shows it"));
        }
        if let Some(refusal) = self.refusal() {
            return Err(refusal);
        }
        let exit = match self.args.check && self.seen.changed + self.seen.added > 0 {
            true => Exit::Pending,
            false => Exit::Done,
        };
        self.printer.note(self.summary());
        if !self.args.check {
            match self.spool.held()? {
                SpooledData::InMemory(bytes) => self.printer.bytes(bytes.get_ref()),
                SpooledData::OnDisk(file) => self.printer.copy(&file),
            }
        }
        let seen = &self.seen;
        let counts = [
            ("documents", seen.documents),
            ("changed", seen.changed),
            ("added", seen.added),
            ("unmapped", seen.unmapped),
        ];
        Ok(counts
            .iter()
            .fold(Outcome::from(exit), |outcome, (name, value)| {
                outcome.count(name, *value as u64)
            }))
    }

    /// How many of each kind were not told.
    fn tell_rest(&self) {
        let seen = &self.seen;
        let warned = match self.args.on_unmapped {
            OnUnmapped::Keep => 0,
            _ => seen.unmapped,
        };
        for (number, what) in [
            (seen.broken, "wrong place"),
            (warned, "reference without a target"),
            (seen.warnings, "warning"),
        ] {
            if let Some(rest) = number.checked_sub(TOLD).filter(|rest| *rest > 0) {
                self.printer
                    .warn(format!("… and {rest} more of this: {what}"));
            }
        }
    }

    fn summary(&self) -> String {
        let seen = &self.seen;
        let mut text = format!(
            "{} {} in {}",
            count(seen.changed, "reference"),
            if self.args.check {
                "to change"
            } else {
                "changed"
            },
            count(seen.documents, "document"),
        );
        if seen.added > 0 {
            text += &format!(", proxy variables for {}", count(seen.added, "container"));
        }
        if seen.unmapped > 0 {
            text += &format!(", {} kept as they are", seen.unmapped);
        }
        text
    }
}
