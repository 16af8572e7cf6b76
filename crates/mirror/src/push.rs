//! `push`: a copy out of a store, an OCI image layout directory that `pull` or another tool
//! wrote, on the other side.

use std::{collections::HashSet, sync::Arc};

use castlink_core::{Context, Failure, Result, app::Outcome};

use crate::{
    apply::{self, Refused, World, destinations},
    args::{Images, PushArgs},
    input::{self, Request},
    observe::Destination,
    registry::Registries,
    site::Sites,
    store::{Entry, Store},
};

/// Brings to the target what the store has: everything, or what is named.
///
/// # Errors
/// Exit 2: no target, not a store, unusable names. Exit 8: somebody is writing to the store.
/// What fails for one image is in the report.
pub(crate) async fn run(args: &PushArgs, context: Context) -> Result<Outcome> {
    let to = destinations(&context.config.mirror)?;
    let store = Store::open(&args.store)?;
    for name in &args.names {
        store.call(&name.entry, &name.image)?;
    }
    let Images {
        references, locked, ..
    } = &args.images;
    let (requests, refused) = match references.is_empty() && locked.lock.is_none() {
        true => everything(&store, &to).await,
        false => {
            let asked = input::asked(references, locked, &context.printer).await?;
            (asked, Vec::new())
        }
    };
    let sites = Sites::from_store(Registries::new(&context.config), store);
    let world = World::between(sites, to, requests, &context)?.refusing(refused);
    match args.dry_run {
        true => apply::show(world, false, false, context).await,
        false => apply::transfer(world, false, context).await,
    }
}

/// Every image of the store, each once, and the entries that have no name, or none that
/// can be had at the target. What is attached to an image travels with it.
async fn everything(store: &Arc<Store>, to: &[Destination]) -> (Vec<Request>, Vec<Refused>) {
    let mut seen = HashSet::new();
    let mut requests = Vec::new();
    let mut refused = Vec::new();
    let attachments = store.attachments().await;
    for entry in store.entries() {
        let target = entry.target.as_ref().ok();
        if target.is_some_and(|target| attachments.contains(&target.digest)) {
            continue;
        }
        let Some(image) = &entry.image else {
            refused.push(nameless(store, &entry));
            continue;
        };
        if !seen.insert(image.clone()) {
            continue;
        }
        match to.iter().try_for_each(|to| to.address(image).map(drop)) {
            Ok(()) => requests.push(Request {
                image: image.clone(),
                optional: false,
                locked: None,
            }),
            Err(failure) => refused.push(Refused {
                source: image.to_string(),
                failure: Arc::new(failure.hint(format!(
                    "give it another name: --name {image}=REGISTRY/REPOSITORY:TAG"
                ))),
            }),
        }
    }
    (requests, refused)
}

fn nameless(store: &Store, entry: &Entry) -> Refused {
    let digest = entry
        .target
        .as_ref()
        .map(|target| target.digest.to_string());
    let called = entry.label.clone().or(digest.clone().ok());
    let source = format!("{}:{}", store.name(), called.clone().unwrap_or_default());
    let failure = match (&entry.target, called) {
        (Ok(_), Some(called)) => {
            Failure::usage(format!("{source}: nothing says which image this is")).hint(format!(
                "give it its whole name: --name {called}=REGISTRY/REPOSITORY:TAG"
            ))
        }
        (Err(text), _) => Failure::failed(format!("{source}: {text}")),
        (Ok(_), None) => unreachable!("what has a digest is called by it"),
    };
    Refused {
        source,
        failure: Arc::new(failure),
    }
}
