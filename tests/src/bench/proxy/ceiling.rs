//! What the proxy itself can do: a measurement through it cannot show more.

use std::time::Instant;

use anyhow::Result;
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Conditions, Proxy};
use crate::bench::machine;

/// Connections at once.
const CONNECTIONS: usize = 8;
/// Bytes through each.
const BYTES: usize = 64 << 20;
/// Written and read at once.
const FRAME: usize = 64 << 10;
/// Far above what any connection can do: the arithmetic is done, nothing waits for it.
const RATE: u64 = 100_000_000_000;

/// How fast bytes pass, and what that costs.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Ceiling {
    /// All connections together.
    pub mb_per_s: f64,
    /// CPU of the proxy together with a client that writes and a server that reads.
    pub cpu_s_per_gb: f64,
}

/// Sends bytes through a proxy as fast as they go.
///
/// # Errors
/// When loopback does not work.
pub async fn ceiling() -> Result<Ceiling> {
    let sink = TcpListener::bind(("127.0.0.1", 0)).await?;
    let conditions = Conditions {
        rate: Some(RATE),
        ..Conditions::default()
    };
    let proxy = Proxy::start(sink.local_addr()?, conditions).await?;
    let (started, before) = (Instant::now(), machine::cpu_of(std::process::id())?);
    let mut ends = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        let client = TcpStream::connect(proxy.addr).await?;
        let (server, _) = sink.accept().await?;
        ends.spawn(write(client));
        ends.spawn(read(server));
    }
    while let Some(end) = ends.join_next().await {
        end??;
    }
    let cpu = machine::cpu_of(std::process::id())? - before;
    let mb = (CONNECTIONS * BYTES) as f64 / 1e6;
    Ok(Ceiling {
        mb_per_s: mb / started.elapsed().as_secs_f64(),
        cpu_s_per_gb: cpu / (mb / 1e3),
    })
}

async fn write(mut to: TcpStream) -> Result<()> {
    let frame = vec![0x5a; FRAME];
    for _ in 0..BYTES / FRAME {
        to.write_all(&frame).await?;
    }
    Ok(to.shutdown().await?)
}

async fn read(mut from: TcpStream) -> Result<()> {
    let mut buffer = vec![0; FRAME];
    while from.read(&mut buffer).await? > 0 {}
    Ok(())
}
