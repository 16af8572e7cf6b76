//! `lock`: what references stand for now, written down for review. And what the user is told
//! when a tag no longer stands for what is locked.

use std::{collections::BTreeSet, path::Path};

use castlink_core::{
    Context, Exit, Failure, ImageRef, Printer, Result,
    app::Outcome,
    lock::{Lock, Locked},
    printer::{Output, bytes, symbol, table},
    record::{Change, ChangeStatus, Record},
};
use futures::{StreamExt as _, stream};

use crate::{
    args::LockArgs,
    content::{Digest, Tree},
    input::{self, Request},
    plan::Plan,
    platform::Selection,
    registry::Registries,
    report::together,
    site::Sites,
    source,
};

/// Images looked at together; the registries' own limits bound the requests.
const AT_ONCE: usize = 32;

/// Resolves the references and writes the file, all of it or nothing.
///
/// # Errors
/// Exit 2: nothing to lock, malformed references, a file that is no lock file. When an image
/// cannot be resolved: what that failed with, and the file stays as it is.
pub(crate) async fn run(args: &LockArgs, context: Context) -> Result<Outcome> {
    let printer = &context.printer;
    check_stdout(args, printer)?;
    let old = match args.file() {
        Some(file) => Lock::read_if_there(file)?,
        None => None,
    };
    let requests = requests(args, old.as_ref(), printer).await?;
    let sites = Sites::new(Registries::new(&context.config));
    let locked = resolve_all(&sites, requests, printer).await;
    let requests = sites.requests().await;
    let locked = match locked {
        Ok(locked) => locked,
        Err(exit) => return Ok(Outcome::from(exit).count("requests", requests)),
    };
    let new = Lock::new(locked);
    let steps = compare(&old.unwrap_or_default(), &new);
    match (args.file(), args.check) {
        (_, true) => {}
        (Some(file), false) => new.write(file)?,
        (None, false) => printer.raw(new.render().trim_end()),
    }
    show(&steps, args, printer);
    let exit = match steps.iter().any(|step| step.kind != Kind::Same) {
        true if args.check => Exit::Pending,
        _ => Exit::Done,
    };
    let counts = Kind::ALL.map(|kind| steps.iter().filter(|step| step.kind == kind).count());
    let names = Kind::ALL.map(Kind::word).into_iter().zip(counts);
    let outcome = names.fold(Outcome::from(exit), |outcome, (name, number)| {
        outcome.count(name, number as u64)
    });
    Ok(outcome.count("requests", requests))
}

/// Two kinds of data cannot share stdout, and a comparison needs something to compare with.
fn check_stdout(args: &LockArgs, printer: &Printer) -> Result<()> {
    if args.file().is_some() {
        return Ok(());
    }
    if args.check {
        return Err(Failure::usage(
            "`--check` compares with a file, `--lock -` names none",
        ));
    }
    match printer.output() {
        Output::Json => Err(Failure::usage("`--lock -` and `-o json` both need stdout")
            .hint("write the lock into a file, or leave out `-o json`")),
        Output::Text => Ok(()),
    }
}

async fn requests(args: &LockArgs, old: Option<&Lock>, printer: &Printer) -> Result<Vec<Request>> {
    if !args.references.is_empty() {
        return input::gather(&args.references, printer).await;
    }
    let Some(old) = old else {
        return Err(Failure::usage("no image references given, and no lock file to renew")
            .hint("castlink-mirror lock REFERENCE…, or castlink-upgrade images | castlink-mirror lock -"));
    };
    let requests = old.images().iter().map(|image| Request {
        image: image.source.clone(),
        optional: false,
        locked: None,
    });
    Ok(requests.collect())
}

/// All of them, or how the command ends: half a lock is none.
async fn resolve_all(
    sites: &Sites,
    requests: Vec<Request>,
    printer: &Printer,
) -> Result<Vec<Locked>, Exit> {
    let resolve = |request: Request| async move {
        let locked = resolve(sites, &request.image).await;
        (request, locked)
    };
    let mut resolved = stream::iter(requests.into_iter().map(resolve)).buffered(AT_ONCE);
    let (mut locked, mut exits) = (Vec::new(), Vec::new());
    while let Some((request, result)) = resolved.next().await {
        match result {
            Ok(image) => locked.push(image),
            Err(failure) if request.optional => printer.warn(format!(
                "{} goes with a locked image and could not be locked: {}",
                request.image,
                failure.one_line()
            )),
            Err(failure) => {
                printer.failure(&failure);
                exits.push(failure.exit());
            }
        }
    }
    match together(exits.into_iter()) {
        Exit::Done => Ok(locked),
        exit => Err(exit),
    }
}

async fn resolve(sites: &Sites, image: &ImageRef) -> Result<Locked> {
    // What is locked is the image as it is; which platforms of it are copied is said then.
    let all = Selection::default();
    let resolved = source::resolve(sites, image, &all).await?;
    let (_, tree) = source::fetch(sites, &resolved, &all).await?;
    Ok(Locked {
        source: image.clone(),
        digest: resolved.digest.to_string(),
        platforms: tree.root.platforms(),
        size: size(&tree),
    })
}

/// Manifests and blobs, each once.
fn size(tree: &Tree) -> u64 {
    let manifests = tree.manifests().map(|manifest| manifest.bytes.len() as u64);
    let blobs = tree.blobs().into_iter().map(|blob| blob.size);
    manifests.chain(blobs).fold(0, u64::saturating_add)
}

/// One image, before and after.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    kind: Kind,
    source: String,
    from: Option<Locked>,
    to: Option<Locked>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Added,
    Moved,
    Removed,
    Same,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Added, Self::Moved, Self::Removed, Self::Same];

    fn word(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Moved => "moved",
            Self::Removed => "removed",
            Self::Same => "same",
        }
    }

    fn sign(self) -> char {
        match self {
            Self::Added => '+',
            Self::Moved => '~',
            Self::Removed => '-',
            Self::Same => '=',
        }
    }
}

/// What the new lock changes, by reference.
fn compare(old: &Lock, new: &Lock) -> Vec<Step> {
    let images = old.images().iter().chain(new.images());
    let sources: BTreeSet<&str> = images.map(|image| image.source.literal()).collect();
    let find = |lock: &Lock, source: &str| {
        let mut images = lock.images().iter();
        images
            .find(|image| image.source.literal() == source)
            .cloned()
    };
    let steps = sources.into_iter().map(|source| {
        let (from, to) = (find(old, source), find(new, source));
        let kind = match (&from, &to) {
            (None, _) => Kind::Added,
            (_, None) => Kind::Removed,
            (from, to) if from == to => Kind::Same,
            _ => Kind::Moved,
        };
        let source = source.to_owned();
        Step {
            kind,
            source,
            from,
            to,
        }
    });
    steps.collect()
}

/// Lines for people, on stderr when the file itself goes to stdout; records otherwise.
fn show(steps: &[Step], args: &LockArgs, printer: &Printer) {
    let rows: Vec<Vec<String>> = steps.iter().map(Step::cells).collect();
    for line in table(&rows) {
        match args.file() {
            Some(_) => printer.line(line),
            None => printer.note(line),
        }
    }
    for step in steps {
        printer.record(&Record::Change(step.change(args.check)));
    }
    printer.note(sentence(steps, args.file(), args.check));
}

fn sentence(steps: &[Step], file: Option<&Path>, check: bool) -> String {
    let parts: Vec<String> = Kind::ALL
        .into_iter()
        .map(|kind| (kind, steps.iter().filter(|step| step.kind == kind).count()))
        .filter(|(_, number)| *number > 0)
        .map(|(kind, number)| format!("{number} {}", kind.word()))
        .collect();
    let changes = parts.join(", ");
    let Some(file) = file.map(Path::display) else {
        return changes;
    };
    match steps.iter().any(|step| step.kind != Kind::Same) {
        false => format!("no changes: {file} is what the references stand for ({changes})"),
        true if check => format!("{file} is not what the references stand for: {changes}"),
        true => format!("{file}: {changes}"),
    }
}

impl Step {
    fn cells(&self) -> Vec<String> {
        let short = |image: &Option<Locked>| {
            let digest = image
                .as_ref()
                .and_then(|image| Digest::parse(&image.digest));
            digest.map_or_else(String::new, |digest| digest.short().to_owned())
        };
        let digest = match self.kind {
            Kind::Moved => format!("{} -> {}", short(&self.from), short(&self.to)),
            Kind::Removed => short(&self.from),
            Kind::Added | Kind::Same => short(&self.to),
        };
        let image = self.to.as_ref().or(self.from.as_ref());
        vec![
            symbol(self.kind.sign()).to_string(),
            self.source.clone(),
            digest,
            image.map_or_else(String::new, |image| bytes(image.size)),
            image.map_or_else(String::new, |image| image.platforms.join(" ")),
        ]
    }

    fn change(&self, check: bool) -> Change {
        let digest = |image: &Option<Locked>| image.as_ref().map(|image| image.digest.clone());
        Change {
            resource: self.source.clone(),
            field: "digest".into(),
            from: digest(&self.from),
            to: digest(&self.to),
            owner: None,
            status: match self.kind {
                Kind::Same => ChangeStatus::Unchanged,
                _ if check => ChangeStatus::Planned,
                _ => ChangeStatus::Applied,
            },
            error: None,
        }
    }
}

/// Says which of the images to copy have moved at their source since they were locked.
/// Whoever copies by a lock wants what is locked: that a tag cannot be asked is no news.
pub(crate) async fn note_moved(sites: &Sites, plan: &Plan, printer: &Printer) {
    let mut seen = BTreeSet::new();
    let copies = plan.images.iter().filter(|image| image.copy().is_some());
    let requests = copies
        .map(|image| &image.request)
        .filter(|request| request.image.digest().is_none())
        .filter(|request| seen.insert(request.image.literal()));
    let asked = requests.filter_map(|request| {
        let locked = Digest::parse(request.locked.as_ref()?.digest()?)?;
        Some(async move {
            let now = source::resolve(sites, &request.image, &Selection::default())
                .await
                .ok()?
                .digest;
            (now != locked).then(|| {
                let (now, locked) = (now.short(), locked.short());
                format!(
                    "{} stands for {now} now; what is copied is {locked}, as locked",
                    request.image
                )
            })
        })
    });
    let mut notes = stream::iter(asked).buffered(AT_ONCE);
    while let Some(note) = notes.next().await {
        if let Some(note) = note {
            printer.note(note);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(images: &[(&str, char)]) -> Lock {
        let images = images.iter().map(|(source, fill)| Locked {
            source: source.parse().unwrap(),
            digest: format!("sha256:{}", fill.to_string().repeat(64)),
            platforms: Vec::new(),
            size: 1,
        });
        Lock::new(images.collect())
    }

    #[test]
    fn changes_are_told_apart() {
        let old = lock(&[("a", '1'), ("b", '2'), ("c", '3')]);
        let new = lock(&[("b", '2'), ("c", '4'), ("d", '5')]);
        let steps = compare(&old, &new);
        let got: Vec<_> = steps
            .iter()
            .map(|step| (step.source.as_str(), step.kind))
            .collect();
        assert_eq!(
            got,
            [
                ("a", Kind::Removed),
                ("b", Kind::Same),
                ("c", Kind::Moved),
                ("d", Kind::Added),
            ]
        );
        assert_eq!(
            steps[2].cells()[2],
            "sha256:333333333333 -> sha256:444444444444"
        );
        let change = steps[2].change(true);
        assert_eq!(change.status, ChangeStatus::Planned);
        assert_eq!(change.from.unwrap(), old.images()[2].digest);
        let file = Some(Path::new("x.lock"));
        assert_eq!(
            sentence(&steps, file, false),
            "x.lock: 1 added, 1 moved, 1 removed, 1 same"
        );
        assert!(sentence(&compare(&old, &old), file, true).starts_with("no changes"));
    }
}
