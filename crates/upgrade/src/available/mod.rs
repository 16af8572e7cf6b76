//! The newest release of each image: by the chart that installs it, else by the tags of its
//! public repository. What cannot be asked or compared is said of that image alone.
//!
//! helm_index.rs reads what charts are published, version.rs orders tags. Never here: what
//! is done about it.

mod helm_index;
mod version;

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use castlink_core::{
    Exit, ImageRef, Printer, Result,
    config::Config,
    record::{Available, ErrorInfo},
    reference::{EcrHost, Layout},
};
use castlink_registry::{Registries, error::Error};
use futures::{StreamExt, stream};

use self::{
    helm_index::{HelmIndex, Release},
    version::{Tag, newest, newest_plain},
};
use crate::{args::IndexFrom, charts::CHARTS};

/// Repositories asked at once.
const AT_ONCE: usize = 8;

/// The tags of repositories, or why there are none.
type Lists = BTreeMap<String, Result<Vec<castlink_registry::Tag>>>;

/// The newest release of each of `images`, by the reference as it is written.
///
/// # Errors
/// Exit 2 or 8 when an index was named and cannot be read. The usual one is missed with
/// a warning: a closed network has none.
pub(crate) async fn newest_of(
    images: &[ImageRef],
    index: &IndexFrom,
    config: &Config,
    printer: &Printer,
) -> Result<BTreeMap<String, Available>> {
    let index = read_index(index, config, printer).await?;
    let origins: Vec<(ImageRef, ImageRef)> = images
        .iter()
        .map(|image| (image.clone(), origin(image, config)))
        .collect();
    let by_tags = origins
        .iter()
        .filter(|(_, origin)| release(origin, &index).is_none())
        .map(|(_, origin)| origin.literal_name().to_owned());
    let lists = lists(by_tags.collect(), config).await;
    let found = origins.iter().map(|(image, origin)| {
        let available = match release(origin, &index) {
            Some((chart, release)) => by_chart(origin, chart, release),
            None => by_list(origin, &lists),
        };
        (image.literal().to_owned(), available)
    });
    Ok(found.collect())
}

/// What the images that could not be looked up ask the process to return.
pub(crate) fn exit(found: &BTreeMap<String, Available>) -> Exit {
    let bad: Vec<&ErrorInfo> = found
        .values()
        .filter_map(|one| one.error.as_ref())
        .collect();
    let unreachable = |error: &&ErrorInfo| error.code == Exit::Unreachable.name();
    match bad.len() {
        0 => Exit::Done,
        all if all == found.len() && bad.iter().all(unreachable) => Exit::Unreachable,
        _ => Exit::Partial,
    }
}

async fn read_index(
    index: &IndexFrom,
    config: &Config,
    printer: &Printer,
) -> Result<Option<HelmIndex>> {
    match index {
        IndexFrom::None => Ok(None),
        IndexFrom::Place(place) => HelmIndex::read(place, config).await.map(Some),
        IndexFrom::Usual => match HelmIndex::read(&CHARTS.index, config).await {
            Ok(index) => Ok(Some(index)),
            Err(failure) => {
                printer.warn(format!(
                    "the chart repository cannot be read, so that tags decide (--index FILE for a copy of it, --index none to leave it out): {}",
                    failure.one_line()
                ));
                Ok(None)
            }
        },
    }
}

/// Where an image is released: for a mirrored one the public name that it was copied from.
fn origin(image: &ImageRef, config: &Config) -> ImageRef {
    let registry = match &config.mirror.to {
        Some(to) if image.is_at(to) => to.trim_end_matches('/'),
        _ if EcrHost::parse(image.registry()).is_some() => image.registry(),
        _ => return image.clone(),
    };
    if config.mirror.layout != Layout::Full {
        return image.clone();
    }
    let rest = image.literal().strip_prefix(registry);
    let rest = rest.and_then(|rest| rest.strip_prefix('/')?.parse().ok());
    rest.unwrap_or_else(|| image.clone())
}

/// The chart that an image is released with, where the index has it.
fn release<'a>(origin: &ImageRef, index: &'a Option<HelmIndex>) -> Option<(&'a str, &'a Release)> {
    let chart = CHARTS.released_with(origin)?;
    Some((&chart.name, index.as_ref()?.newest(&chart.name)?))
}

async fn lists(repositories: BTreeSet<String>, config: &Config) -> Lists {
    let registries = Registries::new(config);
    let ask = async |name: String| {
        let list = match name.parse::<ImageRef>() {
            Ok(image) => list(&registries, &image).await,
            Err(failure) => Err(failure),
        };
        (name, list)
    };
    stream::iter(repositories)
        .map(ask)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

/// The tags of a repository, or of its twin where it cannot be had; the first failure is
/// the one to tell.
async fn list(registries: &Registries, image: &ImageRef) -> Result<Vec<castlink_registry::Tag>> {
    let first = match tags(registries, image).await {
        Ok(tags) => return Ok(tags),
        Err(failure) => failure,
    };
    match image.twin() {
        Some(twin) => tags(registries, &twin).await.map_err(|_| first),
        None => Err(first),
    }
}

async fn tags(registries: &Registries, image: &ImageRef) -> Result<Vec<castlink_registry::Tag>> {
    let registry = registries.get(image.registry()).await?;
    let tags = registry.tags(image.repository()).await;
    tags.map_err(Error::into_failure)
}

fn by_chart(origin: &ImageRef, chart: &str, release: &Release) -> Available {
    let newer = match (current(origin), Tag::parse(&release.app)) {
        _ if origin.tag() == Some(&release.app) => Some(false),
        (Tag::Version(now), Tag::Version(new)) => Some(new.cmp(&now) == Ordering::Greater),
        _ => None,
    };
    Available {
        note: newer.is_none().then(|| uncompared(origin)),
        ..offer(
            origin,
            &release.app,
            newer,
            format!("chart {chart} {}", release.chart),
        )
    }
}

fn by_list(origin: &ImageRef, lists: &Lists) -> Available {
    match lists.get(origin.literal_name()) {
        Some(Ok(tags)) => by_tags(origin, tags),
        Some(Err(failure)) => Available {
            error: Some(failure.info()),
            ..Available::default()
        },
        None => Available::default(),
    }
}

/// The newest among the tags of the repository.
fn by_tags(origin: &ImageRef, tags: &[castlink_registry::Tag]) -> Available {
    let names = || tags.iter().map(|tag| tag.name.as_str());
    let by = || format!("tags of {}", origin.literal_name());
    match current(origin) {
        Tag::Version(now) => match newest(&now, names()) {
            Some((tag, version)) => {
                let newer = version.cmp(&now) == Ordering::Greater;
                offer(origin, tag, Some(newer), by())
            }
            None => Available {
                note: Some("no tag is written like this one".into()),
                ..Available::default()
            },
        },
        Tag::Commit => match last_uploaded(origin, tags) {
            Some((tag, newer)) => offer(origin, tag, Some(newer), by()),
            None => plain(origin, newest_plain(names()), by()),
        },
        Tag::Other => plain(origin, newest_plain(names()), by()),
    }
}

/// What can be offered to an image whose own tag has no order.
fn plain(origin: &ImageRef, tag: Option<&str>, by: String) -> Available {
    let note = Some(uncompared(origin));
    match tag {
        Some(tag) => Available {
            note,
            ..offer(origin, tag, None, by)
        },
        None => Available {
            note,
            ..Available::default()
        },
    }
}

/// The commit uploaded last, and whether that is another one; only where the registry says
/// when (Google's do).
fn last_uploaded<'a>(
    origin: &ImageRef,
    tags: &'a [castlink_registry::Tag],
) -> Option<(&'a str, bool)> {
    let commits = tags
        .iter()
        .filter(|tag| Tag::parse(&tag.name) == Tag::Commit && tag.uploaded.is_some());
    let last = commits.max_by_key(|tag| tag.uploaded)?;
    let now = tags
        .iter()
        .find(|tag| Some(tag.name.as_str()) == origin.tag())?;
    now.uploaded?;
    Some((&last.name, last.name != now.name))
}

fn offer(origin: &ImageRef, tag: &str, newer: Option<bool>, by: String) -> Available {
    Available {
        image: Some(format!("{}:{tag}", origin.literal_name())),
        newer,
        by: Some(by),
        ..Available::default()
    }
}

fn current(origin: &ImageRef) -> Tag {
    origin.tag().map_or(Tag::Other, Tag::parse)
}

fn uncompared(origin: &ImageRef) -> String {
    match (origin.tag(), current(origin)) {
        (Some(_), Tag::Commit) => "a commit has no order: whether it is newer is not known".into(),
        (Some(tag), _) => format!("`{tag}` is no version: whether it is newer is not known"),
        (None, _) => "a digest alone has no order: whether it is newer is not known".into(),
    }
}

#[cfg(test)]
mod tests;
