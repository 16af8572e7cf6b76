//! A registry in the test process that lies on request: a few lines of HTTP/1.1 on a loopback
//! socket, a store in memory, and a hook that may answer in its place.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use castlink_core::config::{self, Config};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use url::Url;

use crate::content::Digest;

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
}

impl Reply {
    pub(crate) fn status(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
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

/// Answers in the registry's place. The number says how often this method and path (without
/// query) were asked before.
type Hook = Box<dyn Fn(&Asked, usize) -> Option<Reply> + Send + Sync>;

/// What the registry holds.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) blobs: BTreeMap<(String, String), Vec<u8>>,
    pub(crate) manifests: BTreeMap<(String, String), Vec<u8>>,
    log: Vec<Asked>,
    seen: HashMap<String, usize>,
}

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
    /// Starts it with a hook.
    pub(crate) async fn start(
        hook: impl Fn(&Asked, usize) -> Option<Reply> + Send + Sync + 'static,
    ) -> Self {
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
                tokio::spawn(serve(stream, Arc::clone(&shared), Arc::clone(&hook)));
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
    config
}

async fn serve(stream: TcpStream, store: Arc<Mutex<Store>>, hook: Arc<Hook>) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(asked) = read(&mut stream).await? {
        let reply = {
            let mut store = store.lock().unwrap();
            let path = asked.target.split('?').next().unwrap_or_default();
            let before = store
                .seen
                .entry(format!("{} {path}", asked.method))
                .or_default();
            let count = *before;
            *before += 1;
            store.log.push(asked.clone());
            if !asked.complete {
                return Ok(());
            }
            hook(&asked, count).unwrap_or_else(|| store.answer(&asked))
        };
        if !write(stream.get_mut(), &asked, reply).await? {
            break;
        }
    }
    Ok(())
}

async fn read(stream: &mut BufReader<TcpStream>) -> io::Result<Option<Asked>> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers
        .get("content-length")
        .map_or(0, |text| text.parse().unwrap());
    let mut body = Vec::new();
    let got = (&mut *stream).take(length).read_to_end(&mut body).await;
    Ok(Some(Asked {
        method,
        target,
        headers,
        complete: got.is_ok() && body.len() as u64 == length,
        body,
    }))
}

/// True when the connection can be used again.
async fn write(stream: &mut TcpStream, asked: &Asked, reply: Reply) -> io::Result<bool> {
    let mut head = format!("HTTP/1.1 {} Reason\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", reply.body.len()));
    stream.write_all(head.as_bytes()).await?;
    let stop = reply.cut.or(reply.hang);
    if asked.method != "HEAD" {
        stream
            .write_all(&reply.body[..stop.unwrap_or(reply.body.len())])
            .await?;
    }
    stream.flush().await?;
    if reply.hang.is_some() {
        // Until the client has had enough.
        let mut rest = [0];
        let _ = tokio::time::timeout(Duration::from_secs(60), stream.read(&mut rest)).await;
    }
    Ok(stop.is_none())
}

impl Store {
    /// What an honest registry says.
    pub(crate) fn answer(&mut self, asked: &Asked) -> Reply {
        let url = Url::parse("http://x").unwrap().join(&asked.target).unwrap();
        let path = url.path().trim_start_matches("/v2/").to_owned();
        if let Some((repository, rest)) = path.split_once("/blobs/uploads/") {
            return self.upload(asked, &url, repository, rest);
        }
        if let Some((repository, digest)) = path.split_once("/blobs/") {
            return self.blob(asked, repository, digest);
        }
        match path.split_once("/manifests/") {
            Some((repository, name)) => self.manifest(asked, repository, name),
            None => Reply::status(404),
        }
    }

    fn upload(&mut self, asked: &Asked, url: &Url, repository: &str, session: &str) -> Reply {
        let query: HashMap<_, _> = url.query_pairs().into_owned().collect();
        if asked.method == "PUT" {
            assert!(!session.is_empty(), "a PUT needs a session");
            let digest = &query["digest"];
            if Digest::of(&asked.body).as_str() != digest {
                return Reply::status(400);
            }
            let key = (repository.to_owned(), digest.clone());
            self.blobs.insert(key, asked.body.clone());
            return Reply::status(201);
        }
        if let (Some(digest), Some(from)) = (query.get("mount"), query.get("from")) {
            let held = self.blobs.get(&(from.clone(), digest.clone())).cloned();
            if let Some(bytes) = held {
                self.blobs
                    .insert((repository.to_owned(), digest.clone()), bytes);
                return Reply::status(201);
            }
        }
        let location = format!("/v2/{repository}/blobs/uploads/{}?state=x", self.log.len());
        Reply::status(202).header("Location", location)
    }

    fn blob(&self, asked: &Asked, repository: &str, digest: &str) -> Reply {
        let key = (repository.to_owned(), digest.to_owned());
        let Some(bytes) = self.blobs.get(&key) else {
            return Reply::status(404);
        };
        let range = asked.headers.get("range").and_then(|text| {
            text.strip_prefix("bytes=")?
                .strip_suffix('-')?
                .parse::<usize>()
                .ok()
        });
        match range {
            None => Reply::status(200).body(bytes.clone()),
            Some(start) => Reply::status(206)
                .header(
                    "Content-Range",
                    format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len()),
                )
                .body(&bytes[start..]),
        }
    }

    fn manifest(&mut self, asked: &Asked, repository: &str, name: &str) -> Reply {
        if asked.method == "PUT" {
            let digest = Digest::of(&asked.body).to_string();
            for name in [name, &digest] {
                let key = (repository.to_owned(), name.to_owned());
                self.manifests.insert(key, asked.body.clone());
            }
            return Reply::status(201).header("Docker-Content-Digest", digest);
        }
        match self
            .manifests
            .get(&(repository.to_owned(), name.to_owned()))
        {
            None => Reply::status(404),
            Some(bytes) => Reply::status(200)
                .header("Docker-Content-Digest", Digest::of(bytes).to_string())
                .body(bytes.clone()),
        }
    }
}
