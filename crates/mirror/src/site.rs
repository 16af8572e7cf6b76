//! The one port of the product: content is read from and written to registries, or a store
//! that carries it to where no registry is. Both have the operations that observing and
//! copying take, so that `pull` and `push` are copies like any other.
//!
//! Never here: anything either side does in its own way (registry/, store/).

use std::{
    collections::BTreeSet,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use castlink_core::{Failure, ImageRef};
use futures::stream;
use reqwest::Body;
use tokio::sync::mpsc;

use crate::{
    content::{Blob, Digest, Manifest},
    digest::Hasher,
    ecr::Ecr,
    place::Place,
    registry::{
        self, Registries, Registry, Retry, Tag,
        error::{Error, Result, Subject},
    },
    store::{self, Begun, Store},
};

/// Everything that a run reads from and writes to.
#[derive(Debug)]
pub(crate) struct Sites {
    registries: Registries,
    store: Carried,
}

/// Which end of a run is a store.
#[derive(Debug)]
enum Carried {
    /// Neither.
    Nothing,
    /// Everything is read from it.
    From(Arc<Store>),
    /// Everything is written to it.
    To(Arc<Store>),
}

/// A registry or a store.
#[derive(Debug, Clone)]
pub(crate) enum Site {
    /// A registry.
    Registry(Arc<Registry>),
    /// A store.
    Store(Arc<Store>),
}

/// What came of asking for an upload.
#[derive(Debug)]
pub(crate) enum Started {
    /// The site took the blob from where it had it: nothing to send.
    Mounted,
    /// Send it here.
    Session(Upload),
}

/// A blob about to be written.
#[derive(Debug)]
pub(crate) enum Upload {
    /// An open session.
    Registry(Arc<Registry>, registry::Upload),
    /// An open file.
    Store(Arc<Store>, store::Upload),
}

/// A blob being read.
#[derive(Debug)]
pub(crate) enum Download<'a> {
    /// Over the network, resumed where it breaks.
    Registry(Box<registry::Download<'a>>),
    /// From a file.
    Store(store::Reader<'a>),
}

impl Sites {
    /// From registry to registry.
    pub(crate) fn new(registries: Registries) -> Self {
        Self {
            registries,
            store: Carried::Nothing,
        }
    }

    /// From registries into a store.
    pub(crate) fn into_store(registries: Registries, store: Arc<Store>) -> Self {
        Self {
            registries,
            store: Carried::To(store),
        }
    }

    /// From a store into registries.
    pub(crate) fn from_store(registries: Registries, store: Arc<Store>) -> Self {
        Self {
            registries,
            store: Carried::From(store),
        }
    }

    /// Where what references place in `registry` is read from.
    ///
    /// # Errors
    /// As [`Registries::get`].
    pub(crate) async fn source(&self, registry: &str) -> Result<Site, Failure> {
        match &self.store {
            Carried::From(store) => Ok(Site::Store(Arc::clone(store))),
            Carried::To(_) | Carried::Nothing => self.registry(registry).await,
        }
    }

    /// Where what goes to `registry` is written to.
    ///
    /// # Errors
    /// As [`Registries::get`].
    pub(crate) async fn target(&self, registry: &str) -> Result<Site, Failure> {
        match &self.store {
            Carried::To(store) => Ok(Site::Store(Arc::clone(store))),
            Carried::From(_) | Carried::Nothing => self.registry(registry).await,
        }
    }

    /// Requests sent so far: to the registries that are called so, and to all others.
    pub(crate) async fn requests_apart(&self, hosts: &BTreeSet<&str>) -> (u64, u64) {
        self.registries.requests_apart(hosts).await
    }

    /// Requests sent so far, to all registries.
    pub(crate) async fn requests(&self) -> u64 {
        self.registries.requests().await
    }

    /// How often any registry has said that it is too much.
    pub(crate) async fn refusals(&self) -> u64 {
        self.registries.refusals().await
    }

    async fn registry(&self, host: &str) -> Result<Site, Failure> {
        self.registries.get(host).await.map(Site::Registry)
    }
}

impl Site {
    /// ECR's API, when this is an ECR registry.
    pub(crate) fn ecr(&self) -> Option<&Arc<Ecr>> {
        match self {
            Self::Registry(registry) => registry.ecr(),
            Self::Store(_) => None,
        }
    }

    /// How often things are tried here.
    pub(crate) fn retry(&self) -> &Retry {
        match self {
            Self::Registry(registry) => registry.retry(),
            Self::Store(store) => store.retry(),
        }
    }

    /// What `image` stands for here.
    ///
    /// # Errors
    /// [`registry::error::Kind::NotFound`] when there is no such image.
    pub(crate) async fn resolve(&self, image: &ImageRef) -> Result<Digest> {
        let registry = match self {
            Self::Store(store) => return store.resolve(image),
            Self::Registry(registry) => registry,
        };
        let (repository, selector) = (image.repository(), image.selector());
        match registry.head_manifest(repository, selector).await? {
            Some(digest) => Ok(digest),
            None => Ok(registry.get_manifest(repository, selector).await?.digest),
        }
    }

    /// A manifest of the repository of `image`, by a tag or its digest, checked against it.
    ///
    /// # Errors
    /// [`registry::error::Kind::NotFound`] when it is not there.
    pub(crate) async fn get_manifest(&self, image: &ImageRef, selector: &str) -> Result<Manifest> {
        match self {
            Self::Registry(registry) => registry.get_manifest(image.repository(), selector).await,
            Self::Store(store) => store.get_manifest(image, selector).await,
        }
    }

    /// A manifest by its digest, checked against it.
    ///
    /// # Errors
    /// As [`Site::get_manifest`].
    pub(crate) async fn get_by_digest(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<Manifest> {
        match self {
            Self::Registry(registry) => registry.get_manifest(repository, digest.as_str()).await,
            Self::Store(store) => store.get_by_digest(digest).await,
        }
    }

    /// All tags of a repository.
    pub(crate) async fn tags(&self, place: &Place) -> Result<Vec<Tag>> {
        match self {
            Self::Registry(registry) => registry.tags(&place.repository).await,
            Self::Store(store) => Ok(store.tags(place)),
        }
    }

    /// The digests of what is listed as attached to `subject`; none when the site keeps no
    /// such lists.
    pub(crate) async fn referrers(
        &self,
        repository: &str,
        subject: &Digest,
    ) -> Result<Option<Vec<Digest>>> {
        match self {
            Self::Registry(registry) => registry.referrers(repository, subject).await,
            Self::Store(store) => Ok(Some(store.referrers(subject).await)),
        }
    }

    /// Lists manifests as attached to `subject`, where the site does not do so by itself.
    pub(crate) async fn add_referrers(
        &self,
        repository: &str,
        subject: &Digest,
        manifests: &[&Manifest],
    ) -> Result<()> {
        match self {
            Self::Registry(registry) => {
                registry.add_referrers(repository, subject, manifests).await
            }
            // Listed as they are written.
            Self::Store(_) => Ok(()),
        }
    }

    /// True when `selector` is `digest` there.
    pub(crate) async fn is_there(&self, place: &Place, selector: &str, digest: &Digest) -> bool {
        match self {
            Self::Registry(registry) => {
                let there = registry.head_manifest(&place.repository, selector).await;
                there.is_ok_and(|there| there.as_ref() == Some(digest))
            }
            Self::Store(_) => false,
        }
    }

    /// Writes a manifest, verbatim, under a name or its digest. True when the site lists it
    /// with what it is attached to.
    ///
    /// # Errors
    /// [`registry::error::Kind::Conflict`] when the name cannot be moved and stands for
    /// something else.
    pub(crate) async fn put_manifest(
        &self,
        repository: &str,
        selector: &str,
        manifest: &Manifest,
    ) -> Result<bool> {
        match self {
            Self::Registry(registry) => registry.put_manifest(repository, selector, manifest).await,
            Self::Store(store) => store.put_manifest(selector, manifest).await.map(|()| true),
        }
    }

    /// Begins to write a blob; with `from`, a repository that has it, asks to take it over
    /// from there.
    pub(crate) async fn start_upload(
        &self,
        repository: &str,
        blob: &Blob,
        from: Option<&str>,
    ) -> Result<Started> {
        match self {
            Self::Registry(registry) => {
                let started = registry.start_upload(repository, blob, from).await?;
                Ok(match started {
                    registry::Started::Mounted => Started::Mounted,
                    registry::Started::Session(upload) => {
                        Started::Session(Upload::Registry(Arc::clone(registry), upload))
                    }
                })
            }
            Self::Store(store) => {
                let upload = store.start_upload(blob).await?;
                Ok(Started::Session(Upload::Store(Arc::clone(store), upload)))
            }
        }
    }

    /// What is there of a blob that an earlier run was ended in; the next upload goes on with
    /// it.
    pub(crate) async fn begun(&self, blob: &Blob) -> Option<Begun> {
        match self {
            // No registry tells what it has of an upload that broke off.
            Self::Registry(_) => None,
            Self::Store(store) => store.begun(blob).await,
        }
    }

    /// A blob to be read; nothing is asked before its first bytes are.
    pub(crate) fn download<'a>(&'a self, repository: &'a str, blob: &'a Blob) -> Download<'a> {
        match self {
            Self::Registry(registry) => {
                let download = registry::Download::new(registry, repository, blob);
                Download::Registry(Box::new(download))
            }
            Self::Store(store) => Download::Store(store::Reader::new(store, blob)),
        }
    }
}

impl Upload {
    /// Writes the blob, once, from its `frames`. The caller keeps the last one back until it
    /// knows that the digest is right, and watches for stalls.
    ///
    /// # Errors
    /// Also when the site reports success before it has seen the whole blob.
    pub(crate) async fn finish(self, blob: &Blob, frames: mpsc::Receiver<Bytes>) -> Result<()> {
        let (registry, upload) = match self {
            Self::Store(store, upload) => return store.finish_upload(upload, blob, frames).await,
            Self::Registry(registry, upload) => (registry, upload),
        };
        let subject = upload.subject().clone();
        let taken = Arc::new(AtomicU64::new(0));
        let body = body(blob, frames, Arc::clone(&taken));
        registry.finish_upload(upload, blob, body).await?;
        if taken.load(Relaxed) < blob.size {
            return Err(subject.nonsense("the registry reports an end before the end"));
        }
        Ok(())
    }

    /// What is being written, for errors.
    pub(crate) fn subject(&self) -> &Subject {
        match self {
            Self::Registry(_, upload) => upload.subject(),
            Self::Store(_, upload) => upload.subject(),
        }
    }
}

/// The frames as the body of a request; `taken` counts what has left us.
fn body(blob: &Blob, mut frames: mpsc::Receiver<Bytes>, taken: Arc<AtomicU64>) -> Body {
    if blob.size == 0 {
        return Body::from(Bytes::new());
    }
    Body::wrap_stream(stream::poll_fn(move |cx| {
        frames.poll_recv(cx).map(|frame| {
            let frame = frame?;
            taken.fetch_add(frame.len() as u64, Relaxed);
            Some(Ok::<_, io::Error>(frame))
        })
    }))
}

impl<'a> Download<'a> {
    /// Asks for the first bytes ahead of [`Download::next`], which tells how that went.
    pub(crate) async fn start(&mut self) {
        match self {
            Self::Registry(download) => download.start().await,
            // A file answers at once.
            Self::Store(_) => {}
        }
    }

    /// Leaves out what is there already.
    pub(crate) fn resume(&mut self, begun: Begun) {
        match self {
            Self::Registry(download) => download.resume(begun.taken, begun.hasher),
            Self::Store(reader) => reader.resume(begun),
        }
    }

    /// The hash of what is left out: of nothing, as a rule.
    pub(crate) fn hasher(&mut self) -> Hasher {
        match self {
            Self::Registry(download) => download.hasher(),
            Self::Store(reader) => reader.hasher(),
        }
    }

    /// What is read.
    pub(crate) fn blob(&self) -> &'a Blob {
        match self {
            Self::Registry(download) => download.blob(),
            Self::Store(reader) => reader.blob(),
        }
    }

    /// What is being read, for errors.
    pub(crate) fn subject(&self) -> &Subject {
        match self {
            Self::Registry(download) => download.subject(),
            Self::Store(reader) => reader.subject(),
        }
    }

    /// Bytes handed out so far.
    pub(crate) fn taken(&self) -> u64 {
        match self {
            Self::Registry(download) => download.taken(),
            Self::Store(reader) => reader.taken(),
        }
    }

    /// The next bytes; none at the end, which is only reported when the expected number of
    /// bytes came.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        match self {
            Self::Registry(download) => download.next().await,
            Self::Store(reader) => reader.next().await,
        }
    }
}
