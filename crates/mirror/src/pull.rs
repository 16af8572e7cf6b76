//! `pull`: a copy into a store, an OCI image layout directory, on a host with internet.

use std::sync::Arc;

use castlink_core::{Context, Exit, Result, app::Outcome};

use crate::{
    apply::{self, World},
    args::PullArgs,
    input,
    observe::Destination,
    registry::Registries,
    site::Sites,
    store::Store,
};

/// Brings into the store what it does not have yet.
///
/// # Errors
/// Exit 2: no references, malformed ones, not a directory for a store. Exit 8: another
/// process uses the store. What fails for one image is in the report.
pub(crate) async fn run(args: &PullArgs, context: Context) -> Result<Outcome> {
    let requests = input::asked(&args.references, &args.locked, &context.printer).await?;
    let store = match args.dry_run {
        true => Store::preview(&args.store)?,
        false => Store::open_for_writing(&args.store)?,
    };
    let to = vec![Destination::Store(store.name().clone())];
    let sites = Sites::into_store(Registries::new(&context.config), Arc::clone(&store));
    let world = World::between(sites, to, requests, &context)?;
    match args.dry_run {
        true => apply::show(world, false, false, context).await,
        false => {
            let outcome = apply::transfer(world, false, context).await?;
            // What did not arrive is gone on with by the next run.
            if outcome.exit == Exit::Done {
                store.tidy().await;
            }
            Ok(outcome)
        }
    }
}
