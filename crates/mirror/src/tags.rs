//! `tags`: which tags a repository has, the newest first. What comes out is what `copy -`
//! reads.

use castlink_core::{
    Context, Exit, Failure, ImageRef, Result,
    app::Outcome,
    printer::count,
    record::{Image, Record},
};
use futures::{StreamExt as _, stream};

use crate::{
    args::TagsArgs,
    registry::{Registries, Tag},
    report::together,
    source::{Tried, with_twin},
};

mod select;

use select::{Filter, Selection, select};

/// Repositories asked at once.
const AT_ONCE: usize = 8;

/// Lists the tags of all repositories. Exit 3 when no tag of any of them is wanted.
///
/// # Errors
/// Exit 2: what is given is not a repository. What fails for one of them is reported, and
/// the others are listed.
pub(crate) async fn run(args: &TagsArgs, context: Context) -> Result<Outcome> {
    let repositories = args.repositories.iter().map(|text| repository(text));
    let repositories: Vec<ImageRef> = repositories.collect::<Result<_>>()?;
    let registries = Registries::new(&context.config);
    let filter = Filter {
        range: args.semver.as_ref(),
        pattern: args.pattern.as_ref(),
        newest: args.newest.and_then(|newest| usize::try_from(newest).ok()),
        prerelease: args.prerelease,
    };
    let listed = repositories.iter().map(|name| list(&registries, name));
    let mut listed = stream::iter(listed).buffered(AT_ONCE).enumerate();
    let (mut found, mut exits) = (0, Vec::new());
    while let Some((index, tags)) = listed.next().await {
        match tags {
            Ok(tags) => {
                found += show(&repositories[index], select(tags, &filter), &context);
                exits.push(Exit::Done);
            }
            Err(failure) => {
                context.printer.failure(&failure);
                exits.push(failure.exit());
            }
        }
    }
    let failed = exits.iter().filter(|exit| **exit != Exit::Done).count();
    let exit = match together(exits.into_iter()) {
        Exit::Done if found == 0 => Exit::Pending,
        exit => exit,
    };
    Ok(Outcome::from(exit)
        .count("tags", found as u64)
        .count("failed", failed as u64)
        .count("requests", registries.requests().await))
}

/// A repository as it is written, which is what its tags are printed with.
fn repository(text: &str) -> Result<ImageRef> {
    let image: ImageRef = text.parse()?;
    if image.literal_name() != image.literal() {
        return Err(
            Failure::usage(format!("`{image}` is one image, not a repository"))
                .hint(format!("leave out what follows {}", image.literal_name())),
        );
    }
    Ok(image)
}

async fn list(registries: &Registries, repository: &ImageRef) -> Result<Vec<Tag>> {
    with_twin(repository, async |source| {
        let registry = registries.get(source.registry()).await?;
        registry.tags(source.repository()).await.map_err(Tried::of)
    })
    .await
}

/// Prints a selection; returns how many tags it has.
fn show(repository: &ImageRef, selection: Selection, context: &Context) -> usize {
    let printer = &context.printer;
    for tag in &selection.tags {
        let source = format!("{repository}:{}", tag.name);
        printer.line(&source);
        printer.record(&Record::Image(Image {
            source,
            digest: tag.digest.as_ref().map(ToString::to_string),
            ..Image::default()
        }));
    }
    if selection.tags.is_empty() {
        printer.note(format!("{repository}: no tag is wanted"));
    }
    if selection.prereleases > 0 {
        printer.note(format!(
            "{repository}: {} left out, --prerelease shows them",
            count(selection.prereleases, "pre-release")
        ));
    }
    selection.tags.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_have_no_tag() {
        for text in [
            "busybox",
            "localhost:5000/a/b",
            "ghcr.io/castai/images/agent",
        ] {
            assert_eq!(repository(text).unwrap().literal(), text);
        }
        for text in ["busybox:1", "localhost:5000/a/b:1", "a@sha256:x", "UPPER"] {
            assert_eq!(repository(text).unwrap_err().exit(), Exit::Usage, "{text}");
        }
    }
}
