//! A TCP proxy that plays a network: delay, a rate per connection, broken connections.
//!
//! It stands before a registry and passes bytes on, each direction of each connection by
//! the arithmetic of [`lane`]. A new connection costs one round trip more. There is no slow
//! start, no shared limit and no loss; every tool gets the same. Timers are the runtime's,
//! exact to a millisecond.
//!
//! The one thing it knows of HTTP: when mounts are to be refused, it misspells the
//! parameter that asks for one, which a registry answers as it answers when mounting is
//! off: with an upload session.

mod ceiling;
mod fate;
mod lane;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinHandle, JoinSet};

pub use ceiling::{Ceiling, ceiling};
pub use fate::Trouble;
use fate::{Fate, fate};
use lane::Lane;

use crate::process::pause;

/// Read at once; below the size from which the allocator asks the kernel each time.
const CHUNK: usize = 64 << 10;
/// How long a refused client may go on sending before it is cut off.
const LINGER: Duration = Duration::from_secs(2);

/// What the network is like.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conditions {
    /// The way there and back.
    pub rtt: Duration,
    /// Bytes per second of one connection, in each direction.
    pub rate: Option<u64>,
    /// What is wrong with it.
    pub trouble: Trouble,
    /// Decides which connections that befalls.
    pub seed: u64,
    /// Whether requests to mount a blob get an upload session instead.
    pub refuse_mounts: bool,
}

/// What went through, in bytes and connections.
#[derive(Debug, Default)]
pub struct Traffic {
    up: AtomicU64,
    down: AtomicU64,
    connections: AtomicU64,
    broken: AtomicU64,
}

impl Traffic {
    /// Bytes that reached the registry.
    #[must_use]
    pub fn up(&self) -> u64 {
        self.up.load(Ordering::Relaxed)
    }

    /// Bytes that reached the client.
    #[must_use]
    pub fn down(&self) -> u64 {
        self.down.load(Ordering::Relaxed)
    }

    /// Connections so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Connections that were cut or refused.
    #[must_use]
    pub fn broken(&self) -> u64 {
        self.broken.load(Ordering::Relaxed)
    }
}

/// A running proxy; stops, with all its connections, when dropped.
pub struct Proxy {
    /// Where it listens.
    pub addr: SocketAddr,
    /// What went through so far.
    pub traffic: Arc<Traffic>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a free loopback port for `upstream`.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(upstream: SocketAddr, conditions: Conditions) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .context("cannot bind loopback")?;
        let addr = listener.local_addr()?;
        let traffic = Arc::new(Traffic::default());
        let task = tokio::spawn(accept(listener, upstream, conditions, Arc::clone(&traffic)));
        Ok(Self {
            addr,
            traffic,
            task,
        })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    listener: TcpListener,
    upstream: SocketAddr,
    conditions: Conditions,
    traffic: Arc<Traffic>,
) {
    let mut connections = JoinSet::new();
    loop {
        let client = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((client, _)) = client else { continue };
        let number = traffic.connections.fetch_add(1, Ordering::Relaxed);
        let fate = fate(conditions.trouble, conditions.seed, number);
        let traffic = Arc::clone(&traffic);
        // How a connection ends is the clients' business.
        connections.spawn(async move {
            drop(serve(client, upstream, conditions, fate, &traffic).await);
        });
    }
}

async fn serve(
    mut client: TcpStream,
    upstream: SocketAddr,
    conditions: Conditions,
    fate: Fate,
    traffic: &Traffic,
) -> io::Result<()> {
    client.set_nodelay(true)?;
    if !conditions.rtt.is_zero() {
        pause(conditions.rtt).await;
    }
    if fate == Fate::Refused {
        traffic.broken.fetch_add(1, Ordering::Relaxed);
        return refuse(client).await;
    }
    let mut server = TcpStream::connect(upstream).await?;
    server.set_nodelay(true)?;
    let limit = match fate {
        Fate::Cut { after, .. } => after,
        _ => u64::MAX,
    };
    let (allowance, now) = (AtomicU64::new(limit), Instant::now());
    let pipe = |passed, misspell| Pipe {
        lane: Lane::new(conditions.rtt / 2, conditions.rate, now),
        meter: Meter {
            passed,
            allowance: &allowance,
        },
        misspell,
    };
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let up = pipe(&traffic.up, conditions.refuse_mounts);
    let down = pipe(&traffic.down, false);
    let ended = tokio::try_join!(
        up.run(from_client, to_server),
        down.run(from_server, to_client)
    );
    if allowance.load(Ordering::Relaxed) == 0 {
        traffic.broken.fetch_add(1, Ordering::Relaxed);
        if matches!(fate, Fate::Cut { reset: true, .. }) {
            client.set_zero_linger()?;
            server.set_zero_linger()?;
        }
    }
    ended.map(|_| ())
}

/// Answers the first request with 503 and closes, reading on for a while so that the
/// answer is not lost to a reset.
async fn refuse(mut client: TcpStream) -> io::Result<()> {
    let mut buffer = BytesMut::with_capacity(CHUNK);
    if client.read_buf(&mut buffer).await? == 0 {
        return Ok(()); // it went away without a request
    }
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nRetry-After: {}\r\nContent-Length: 0\r\n\
         Connection: close\r\n\r\n",
        fate::RETRY_AFTER.as_secs()
    );
    client.write_all(answer.as_bytes()).await?;
    client.shutdown().await?;
    let drain = async {
        loop {
            buffer.clear();
            if client.read_buf(&mut buffer).await? == 0 {
                return Ok::<_, io::Error>(());
            }
        }
    };
    tokio::time::timeout(LINGER, drain).await.unwrap_or(Ok(()))
}

/// One direction of a connection.
struct Pipe<'a> {
    lane: Lane,
    meter: Meter<'a>,
    misspell: bool,
}

impl Pipe<'_> {
    /// Passes bytes on until the sender ends its side or the connection is cut.
    async fn run(self, from: ReadHalf<'_>, to: WriteHalf<'_>) -> io::Result<()> {
        if self.lane.is_free() {
            self.straight(from, to).await
        } else {
            self.delayed(from, to).await
        }
    }

    async fn straight(self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> io::Result<()> {
        let mut buffer = BytesMut::with_capacity(CHUNK);
        loop {
            buffer.clear();
            if from.read_buf(&mut buffer).await? == 0 {
                return to.shutdown().await;
            }
            if self.misspell {
                refuse_mount(&mut buffer);
            }
            self.meter.pass(&mut to, &buffer).await?;
        }
    }

    async fn delayed(mut self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> io::Result<()> {
        let window = Semaphore::new(self.lane.window());
        let (send, mut on_the_way) = mpsc::unbounded_channel::<(Instant, Bytes)>();
        let lane = &mut self.lane;
        let reader = async {
            loop {
                let mut buffer = BytesMut::with_capacity(CHUNK);
                if from.read_buf(&mut buffer).await? == 0 {
                    drop(send);
                    return Ok::<_, io::Error>(());
                }
                if self.misspell {
                    refuse_mount(&mut buffer);
                }
                let permits = u32::try_from(buffer.len()).unwrap_or(u32::MAX);
                if let Ok(room) = window.acquire_many(permits).await {
                    room.forget();
                }
                let arrival = lane.arrival(Instant::now(), buffer.len());
                drop(send.send((arrival, buffer.freeze()))); // the writer's error ends both
            }
        };
        let writer = async {
            while let Some((arrival, bytes)) = on_the_way.recv().await {
                let wait = arrival.saturating_duration_since(Instant::now());
                if !wait.is_zero() {
                    pause(wait).await;
                }
                self.meter.pass(&mut to, &bytes).await?;
                window.add_permits(bytes.len());
            }
            to.shutdown().await
        };
        tokio::try_join!(reader, writer).map(|_| ())
    }
}

/// Counts what passes in one direction, and knows how much still may in both.
struct Meter<'a> {
    passed: &'a AtomicU64,
    allowance: &'a AtomicU64,
}

impl Meter<'_> {
    /// Writes what may still pass; an error when that was the last of it.
    async fn pass(&self, to: &mut WriteHalf<'_>, bytes: &[u8]) -> io::Result<()> {
        let wanted = bytes.len() as u64;
        let take = |left: u64| (left != u64::MAX).then(|| left.saturating_sub(wanted));
        // No limit stays no limit: the update is refused and returns what there is.
        let before = self
            .allowance
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        let left = before.unwrap_or_else(|unlimited| unlimited);
        let now = wanted.min(left) as usize;
        to.write_all(&bytes[..now]).await?;
        self.passed.fetch_add(now as u64, Ordering::Relaxed);
        if left <= wanted {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }
}

/// Misspells `mount=` in the head of a request that starts an upload. A request without a
/// body begins where a read begins, and no layer begins like one.
fn refuse_mount(buffer: &mut BytesMut) {
    if !buffer.starts_with(b"POST /v2/") {
        return;
    }
    let end = buffer.iter().position(|byte| *byte == b'\r').unwrap_or(0);
    let line = &mut buffer[..end];
    for separator in [b"?mount=", b"&mount="] {
        let found = line
            .windows(separator.len())
            .position(|part| part == separator);
        if let Some(at) = found {
            line[at + 2] = b'0';
        }
    }
}
