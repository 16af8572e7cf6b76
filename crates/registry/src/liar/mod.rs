//! A registry in the test process that lies on request: a few lines of HTTP/1.1 on a loopback
//! socket, a store in memory, and a hook that may answer in its place.
#![allow(dead_code, reason = "the tests of two crates use it, each a part")]

mod store;
mod wire;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use castlink_core::config::{self, Config};
use tokio::{net::TcpListener, task::JoinHandle};

pub(crate) use self::store::Store;
use crate::content::Digest;

/// Tries of one thing in tests.
pub(crate) const ATTEMPTS: u32 = 3;

/// A status that no answer has: the connection ends without one.
const NOTHING: u16 = 0;

/// A status that no answer has: the connection stays open, and nothing comes.
const SILENCE: u16 = 1;

/// The name that references use for it.
pub(crate) const HOST: &str = "liar.example";

/// One request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
    /// False when the connection ended within the body.
    pub(crate) complete: bool,
}

/// An answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Close the connection after so many bytes of the body.
    pub(crate) cut: Option<usize>,
    /// Say nothing more after so many bytes of the body.
    pub(crate) hang: Option<usize>,
    /// Send the body byte by byte, with pauses.
    pub(crate) drip: Option<Duration>,
    /// How the end of the body is told.
    pub(crate) framing: Framing,
}

/// How the end of a body is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Framing {
    /// By its length.
    #[default]
    Length,
    /// By a length that is not its own; then the connection ends.
    Claim(u64),
    /// In chunks.
    Chunked,
    /// Not at all: the connection ends, as with HTTP/1.0.
    Close,
}

impl Reply {
    pub(crate) fn status(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    /// No answer: the connection ends after the request.
    pub(crate) fn nothing() -> Self {
        Self::status(NOTHING)
    }

    /// No answer, and no end.
    pub(crate) fn silence() -> Self {
        Self::status(SILENCE)
    }

    pub(crate) fn framing(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }
}

/// What becomes of a request.
pub(crate) enum Lie {
    /// The truth.
    None,
    /// Another answer, before the body of the request is read; it never is.
    Early(Reply),
    /// Another answer; nothing is carried out.
    Instead(Reply),
    /// The request is carried out, and the answer changed.
    Spoil(fn(Reply) -> Reply),
}

/// Decides by method, target and headers. The number says how often this method and path
/// (without query) were asked before.
type Hook = Box<dyn Fn(&Asked, usize) -> Lie + Send + Sync>;

/// The running server.
pub(crate) struct Liar {
    pub(crate) url: String,
    store: Arc<Mutex<Store>>,
    task: JoinHandle<()>,
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Liar {
    /// Starts it with a hook that may answer in the registry's place.
    pub(crate) async fn start(
        hook: impl Fn(&Asked, usize) -> Option<Reply> + Send + Sync + 'static,
    ) -> Self {
        Self::lying(move |asked, before| hook(asked, before).map_or(Lie::None, Lie::Instead)).await
    }

    /// Starts it with a hook that answers before it has heard the whole request.
    pub(crate) async fn start_early(
        hook: impl Fn(&Asked, usize) -> Option<Reply> + Send + Sync + 'static,
    ) -> Self {
        Self::lying(move |asked, before| hook(asked, before).map_or(Lie::None, Lie::Early)).await
    }

    /// Starts it with any hook.
    pub(crate) async fn lying(hook: impl Fn(&Asked, usize) -> Lie + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let store = Arc::<Mutex<Store>>::default();
        let shared = Arc::clone(&store);
        let hook: Arc<Hook> = Arc::new(Box::new(hook));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // Head and body are two writes: no waiting for an acknowledgement in between.
                stream.set_nodelay(true).unwrap();
                tokio::spawn(wire::serve(stream, Arc::clone(&shared), Arc::clone(&hook)));
            }
        });
        Self { url, store, task }
    }

    /// An honest one.
    pub(crate) async fn honest() -> Self {
        Self::start(|_, _| None).await
    }

    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap()
    }

    /// From now on it answers `tags/list`.
    pub(crate) fn list_tags(&self) {
        self.store().tags = true;
    }

    /// The requests so far whose `METHOD target` contains `text`.
    pub(crate) fn asked(&self, text: &str) -> Vec<Asked> {
        let store = self.store();
        let matching = store
            .log
            .iter()
            .filter(|asked| format!("{} {}", asked.method, asked.target).contains(text));
        matching.cloned().collect()
    }

    /// Stores a blob and returns its digest.
    pub(crate) fn put_blob(&self, repository: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        let key = (repository.to_owned(), digest.to_string());
        self.store().blobs.insert(key, bytes.to_vec());
        digest
    }

    /// Stores a manifest under its digest, and under a tag.
    pub(crate) fn put_manifest(&self, repository: &str, tag: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        for name in [tag, digest.as_str()] {
            let key = (repository.to_owned(), name.to_owned());
            self.store().manifests.insert(key, bytes.to_vec());
        }
        digest
    }

    /// Stores an image of these layers under a tag.
    pub(crate) fn put_image(&self, repository: &str, tag: &str, layers: &[&[u8]]) -> Digest {
        let descriptor = |bytes: &[u8]| {
            let digest = self.put_blob(repository, bytes);
            serde_json::json!({"mediaType": "m", "digest": digest.as_str(), "size": bytes.len()})
        };
        let config = descriptor(b"{}");
        let layers: Vec<_> = layers.iter().map(|bytes| descriptor(bytes)).collect();
        let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": layers});
        self.put_manifest(repository, tag, manifest.to_string().as_bytes())
    }
}

/// A configuration in which the hosts are these servers; impatient.
pub(crate) fn config(servers: &[(&str, &Liar)]) -> Config {
    let mut config = Config::default();
    for (host, liar) in servers {
        let settings = config::Registry {
            endpoint: Some(liar.url.clone()),
            ..config::Registry::default()
        };
        config.registries.insert((*host).to_owned(), settings);
    }
    config.mirror.stall = 1;
    config.mirror.attempts = ATTEMPTS;
    config
}
