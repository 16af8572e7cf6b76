//! Why an image is left alone, in words.

use std::sync::Arc;

use castlink_core::Failure;

use crate::{
    observe::{Found, Observed, Shared},
    place::Address,
};

/// A name with a digest promises that digest, which a filtered index does not have.
pub(super) fn check_pinned(image: &Observed, found: &Found) -> Result<(), Shared> {
    let (Some(_), Some(_)) = (&image.target.digest, &found.origin) else {
        return Ok(());
    };
    let source = &image.request.image;
    let failure = Failure::usage(format!(
        "{source} is pinned to an index of more platforms: without them it would be another"
    ));
    let children = found
        .tree
        .as_ref()
        .map_or(&[][..], |tree| tree.root.children());
    Err(Arc::new(failure.hint(match children {
        [only] => format!("pin what is in it, {}, or mirror all of it", only.digest),
        _ => "mirror all of its platforms, or the image by its tag alone".to_owned(),
    })))
}

pub(super) fn absent(image: &Address) -> Failure {
    Failure::failed(format!("{image} is not at the target")).hint("mirror it from its public name")
}

pub(super) fn unlocked(image: &Address) -> Failure {
    Failure::failed(format!("{image} is not what is locked"))
        .hint("lock and mirror it by its public name")
}
