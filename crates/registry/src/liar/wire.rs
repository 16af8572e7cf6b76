//! The lying registry's HTTP/1.1, by hand: no library would send what it sends.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use castlink_core::wait;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use super::{Asked, Framing, Hook, Lie, Reply, Store};

/// How long a hanging answer hangs at most.
const HANG: Duration = Duration::from_secs(60);

/// Serves one connection.
pub(super) async fn serve(
    stream: TcpStream,
    store: Arc<Mutex<Store>>,
    hook: Arc<Hook>,
) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some((mut asked, length)) = read_head(&mut stream).await? {
        let lie = hook(&asked, count(&store, &asked));
        if !matches!(lie, Lie::Early(_)) {
            read_body(&mut stream, &mut asked, length).await;
        }
        store.lock().unwrap().log.push(asked.clone());
        let answer = || store.lock().unwrap().answer(&asked);
        let reply = match lie {
            Lie::Early(reply) => reply,
            _ if !asked.complete => return Ok(()),
            Lie::Instead(reply) => reply,
            Lie::Spoil(spoil) => spoil(answer()),
            Lie::None => answer(),
        };
        if !write(stream.get_mut(), &asked, reply).await? {
            break;
        }
    }
    Ok(())
}

/// How often this was asked before.
fn count(store: &Mutex<Store>, asked: &Asked) -> usize {
    let mut store = store.lock().unwrap();
    let path = asked.target.split('?').next().unwrap_or_default();
    let key = format!("{} {path}", asked.method);
    let count = store.seen.entry(key).or_default();
    *count += 1;
    *count - 1
}

async fn read_head(stream: &mut BufReader<TcpStream>) -> io::Result<Option<(Asked, u64)>> {
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
    let asked = Asked {
        method,
        target,
        headers,
        complete: false,
        body: Vec::new(),
    };
    Ok(Some((asked, length)))
}

async fn read_body(stream: &mut BufReader<TcpStream>, asked: &mut Asked, length: u64) {
    let got = stream.take(length).read_to_end(&mut asked.body).await;
    asked.complete = got.is_ok() && asked.body.len() as u64 == length;
}

/// True when the connection can be used again.
async fn write(stream: &mut TcpStream, asked: &Asked, reply: Reply) -> io::Result<bool> {
    match reply.status {
        super::NOTHING => return Ok(false),
        super::SILENCE => {
            hang(stream).await;
            return Ok(false);
        }
        _ => {}
    }
    stream.write_all(head(&reply).as_bytes()).await?;
    let stop = reply.cut.or(reply.hang);
    let body = match asked.method.as_str() {
        "HEAD" => &[],
        _ => &reply.body[..stop.unwrap_or(reply.body.len())],
    };
    match reply.drip {
        None => stream.write_all(&framed(&reply, body)).await?,
        Some(pause) => {
            for byte in body {
                stream.write_all(&framed(&reply, &[*byte])).await?;
                stream.flush().await?;
                wait::pause(pause).await;
            }
        }
    }
    if stop.is_none() && reply.framing == Framing::Chunked {
        stream.write_all(b"0\r\n\r\n").await?;
    }
    stream.flush().await?;
    if reply.hang.is_some() {
        hang(stream).await;
    }
    let whole = matches!(reply.framing, Framing::Length | Framing::Chunked);
    Ok(stop.is_none() && whole && asked.complete)
}

fn head(reply: &Reply) -> String {
    let version = if reply.framing == Framing::Close {
        "1.0"
    } else {
        "1.1"
    };
    let mut head = format!("HTTP/{version} {} Reason\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&match reply.framing {
        Framing::Length => format!("Content-Length: {}\r\n", reply.body.len()),
        Framing::Claim(length) => format!("Content-Length: {length}\r\n"),
        Framing::Chunked => "Transfer-Encoding: chunked\r\n".to_owned(),
        Framing::Close => String::new(),
    });
    head.push_str("\r\n");
    head
}

fn framed(reply: &Reply, body: &[u8]) -> Vec<u8> {
    if reply.framing != Framing::Chunked || body.is_empty() {
        return body.to_vec();
    }
    [format!("{:x}\r\n", body.len()).as_bytes(), body, b"\r\n"].concat()
}

/// Until the client has had enough.
async fn hang(stream: &mut TcpStream) {
    let mut rest = [0; 1];
    // Reads nothing of a body that is still coming: the peek fills no buffer.
    let gone = async {
        loop {
            match stream.peek(&mut rest).await {
                Ok(0) | Err(_) => return,
                Ok(_) => wait::pause(Duration::from_millis(20)).await,
            }
        }
    };
    let _ = tokio::time::timeout(HANG, gone).await;
}
