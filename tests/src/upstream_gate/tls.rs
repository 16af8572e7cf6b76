//! https on a free loopback port for axum.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use axum::Router;
use axum::serve::Listener as AxumListener;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio_rustls::server::TlsStream;

use crate::pki::PairFiles;

type Connection = (TlsStream<TcpStream>, SocketAddr);

/// Bound, not serving yet.
pub(super) struct Listener {
    tcp: TcpListener,
    addr: SocketAddr,
    acceptor: TlsAcceptor,
}

/// Serving; stops when dropped.
pub(super) struct Server(Vec<JoinHandle<()>>);

/// Connections whose handshake is through.
struct Ready {
    connections: mpsc::Receiver<Connection>,
    addr: SocketAddr,
}

pub(super) async fn listen(pair: &PairFiles) -> Result<Listener> {
    let chain = fs::read(&pair.cert).context("cannot read the certificate")?;
    let chain = CertificateDer::pem_slice_iter(&chain).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(&pair.key).context("cannot read the key")?;
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    let tcp = TcpListener::bind(("127.0.0.1", 0))
        .await
        .context("cannot bind loopback")?;
    Ok(Listener {
        addr: tcp.local_addr()?,
        tcp,
        acceptor: TlsAcceptor::from(Arc::new(config)),
    })
}

impl Listener {
    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(super) fn serve(self, router: Router) -> Server {
        let (sender, connections) = mpsc::channel(64);
        let ready = Ready {
            connections,
            addr: self.addr,
        };
        let accept = tokio::spawn(self.accept(sender));
        let serve = tokio::spawn(async move { drop(axum::serve(ready, router).await) });
        Server(vec![accept, serve])
    }

    /// Handshakes run beside each other: a slow client must not hold up the next.
    async fn accept(self, ready: mpsc::Sender<Connection>) {
        while let Ok((stream, peer)) = self.tcp.accept().await {
            let (acceptor, ready) = (self.acceptor.clone(), ready.clone());
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    drop(ready.send((stream, peer)).await);
                }
            });
        }
    }
}

impl AxumListener for Ready {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> Connection {
        match self.connections.recv().await {
            Some(connection) => connection,
            // The accept loop is gone, and the server with it.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        Ok(self.addr)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}
