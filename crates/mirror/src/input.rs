//! What to mirror: references from the command line and from stdin, each once, with the
//! images that no manifest shows.

use std::{collections::HashSet, path::Path};

use castlink_core::{
    Exit, Failure, ImageRef, Printer, Result,
    input::{self, Input},
    lock::Lock,
    record::{Record, Summary},
};

use crate::{args::Locked, content::Digest};

/// One image to mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    /// As it was given.
    pub(crate) image: ImageRef,
    /// Nobody asked for it by name: when it is missing upstream, that is a warning.
    pub(crate) optional: bool,
    /// The same image by the digest that it is locked to: what is read in its place.
    pub(crate) locked: Option<ImageRef>,
}

impl Request {
    /// What is read at the source.
    pub(crate) fn source(&self) -> &ImageRef {
        self.locked.as_ref().unwrap_or(&self.image)
    }

    /// True when the image may be `digest`: any, unless it is locked.
    pub(crate) fn allows(&self, digest: &Digest) -> bool {
        let locked = self.locked.as_ref().and_then(ImageRef::digest);
        locked.is_none_or(|locked| locked == digest.as_str())
    }
}

/// What is asked for: what a lock file holds, or else `references`.
///
/// # Errors
/// As [`from_lock`] and [`gather`].
pub(crate) async fn asked(
    references: &[String],
    locked: &Locked,
    printer: &Printer,
) -> Result<Vec<Request>> {
    match &locked.lock {
        Some(file) => from_lock(file),
        None => gather(references, printer).await,
    }
}

/// Everything in a lock file, and nothing else: what goes with an image was locked with it.
///
/// # Errors
/// Exit 2: there is no such file, or it is malformed, or empty.
fn from_lock(file: &Path) -> Result<Vec<Request>> {
    let lock = Lock::read(file)?;
    if lock.images().is_empty() {
        return Err(Failure::usage(format!(
            "lock file {} has no images",
            file.display()
        )));
    }
    let requests = lock.images().iter().map(|image| {
        Ok(Request {
            image: image.source.clone(),
            optional: false,
            locked: Some(image.pinned()?),
        })
    });
    requests.collect()
}

/// Reads `references`, where `-` stands for stdin. Records that are not images go on to
/// stdout, so that stages can be put in a row.
///
/// # Errors
/// Exit 2: a malformed reference or record, nothing to read. The exit of the command
/// before in the pipe, when that failed.
pub(crate) async fn gather(references: &[String], printer: &Printer) -> Result<Vec<Request>> {
    if references.is_empty() {
        return Err(Failure::usage("no image references given")
            .hint("give references, a lock file, or `-` to read them from stdin: castlink-upgrade images | castlink-mirror copy -"));
    }
    let mut items = Vec::new();
    for text in references {
        match text.as_str() {
            "-" => items.extend(not_empty(input::stdin().await?)?),
            text => items.push(Input::Reference(text.parse()?)),
        }
    }
    let mut images = Vec::new();
    for item in items {
        images.extend(image(item, printer)?);
    }
    Ok(requests(images))
}

/// A stage that finds nothing says so in its summary; one that says nothing has died.
fn not_empty(items: Vec<Input>) -> Result<Vec<Input>> {
    if items.is_empty() {
        return Err(
            Failure::usage("nothing on stdin: no reference and no record")
                .hint("did the command before in the pipe fail? look at what it wrote to stderr"),
        );
    }
    Ok(items)
}

fn image(item: Input, printer: &Printer) -> Result<Option<ImageRef>> {
    match item {
        Input::Reference(image) => return Ok(Some(image)),
        Input::Record(Record::Image(record)) => return record.source.parse().map(Some),
        Input::Record(Record::Summary(summary)) => check_before(&summary)?,
        Input::Record(record) => printer.record(&record),
        Input::Unknown(line) => printer.raw(line),
    }
    Ok(None)
}

/// A list that its maker could not complete is not acted on.
fn check_before(summary: &Summary) -> Result<()> {
    let Some(error) = summary
        .error
        .as_ref()
        .filter(|_| summary.exit != Exit::Done)
    else {
        return Ok(());
    };
    Err(Failure::new(
        summary.exit,
        format!("{} failed: {}", summary.command, error.message),
    )
    .hint(
        error
            .hint
            .clone()
            .unwrap_or_else(|| "correct that first; nothing was copied".into()),
    ))
}

/// Each reference once, in the order given; after each kvisor controller its scanners.
fn requests(images: Vec<ImageRef>) -> Vec<Request> {
    let given: HashSet<ImageRef> = images.iter().cloned().collect();
    let mut seen = HashSet::new();
    let mut requests = Vec::new();
    for image in images {
        let scanners = image
            .kvisor_scanners()
            .filter(|scanners| !given.contains(scanners));
        for (image, optional) in [(Some(image), false), (scanners, true)] {
            let Some(image) = image.filter(|image| seen.insert(image.clone())) else {
                continue;
            };
            requests.push(Request {
                image,
                optional,
                locked: None,
            });
        }
    }
    requests
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_once_and_the_scanners_with_their_controller() {
        let images = [
            "a:1",
            "k/kvisor-controller:v1",
            "a:1",
            "k/kvisor-controller:v2",
            "k/kvisor-scanners:v2",
        ];
        let requests = requests(images.iter().map(|text| text.parse().unwrap()).collect());
        let got: Vec<_> = requests
            .iter()
            .map(|request| (request.image.literal(), request.optional))
            .collect();
        assert_eq!(
            got,
            [
                ("a:1", false),
                ("k/kvisor-controller:v1", false),
                ("k/kvisor-scanners:v1", true),
                ("k/kvisor-controller:v2", false),
                ("k/kvisor-scanners:v2", false),
            ]
        );
    }

    #[test]
    fn silence_on_stdin_is_not_an_empty_list() {
        let failure = not_empty(Vec::new()).unwrap_err();
        assert_eq!(failure.exit(), Exit::Usage);
        assert!(failure.hint_text().is_some());
        let item = Input::Reference("busybox".parse().unwrap());
        assert_eq!(not_empty(vec![item]).unwrap().len(), 1);
    }

    #[test]
    fn a_failed_stage_before_is_not_acted_on() {
        let mut summary = Summary {
            command: "castlink-upgrade images".into(),
            exit: Exit::Unreachable,
            seconds: 1.0,
            counts: Default::default(),
            error: Some(Failure::unreachable("no cluster").info()),
        };
        assert_eq!(
            check_before(&summary).unwrap_err().exit(),
            Exit::Unreachable
        );
        summary.error = None;
        summary.exit = Exit::Done;
        assert!(check_before(&summary).is_ok());
    }
}
