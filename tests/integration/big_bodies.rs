//! Bodies of one gibibyte in both directions through the real process take little memory.

use std::fs;
use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::folder::{ANY_PORTS, Folder, one_public_app};
use crate::support::listening::Listening;
use crate::support::process::Process;

const GIB: u64 = 1 << 30;
/// Warms up the buffers that any body needs.
const WARM_UP: u64 = 32 << 20;
const MAX_GROWTH_KIB: u64 = 10 * 1024;
const PART: usize = 256 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gibibyte_up_and_down_grows_memory_under_ten_mebibytes() {
    let backend = Listening::start(0, |stream| async move {
        let _gone = take_or_give(stream).await;
    });
    let folder = Folder::with(
        "doorward.toml",
        &one_public_app(&format!("http://127.0.0.1:{}", backend.port())),
    );
    let process = Process::run(folder.path("doorward.toml").as_os_str(), &ANY_PORTS);
    let port = process.port("address");
    for coding in [Coding::Length, Coding::Chunked] {
        assert_eq!(up(port, WARM_UP, coding).await.expect("taken"), WARM_UP);
        assert_eq!(down(port, WARM_UP).await.expect("given"), WARM_UP);
        let before = peak_kib(&process);
        let size = if coding == Coding::Length {
            GIB
        } else {
            GIB / 4
        };
        assert_eq!(up(port, size, coding).await.expect("taken"), size);
        let uploaded = peak_kib(&process).saturating_sub(before);
        assert_eq!(down(port, size).await.expect("given"), size);
        let grown = peak_kib(&process).saturating_sub(before);
        assert!(
            grown < MAX_GROWTH_KIB,
            "{coding:?}: grew by {uploaded} KiB up, {grown} KiB up and down"
        );
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Length,
    Chunked,
}

/// The peak resident memory of the process.
fn peak_kib(process: &Process) -> u64 {
    let status =
        fs::read_to_string(format!("/proc/{}/status", process.id())).expect("the system tells");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .expect("such a line");
    line.split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse().ok())
        .expect("a number")
}

/// Uploads this many bytes and returns the backend's count.
async fn up(port: u16, size: u64, coding: Coding) -> io::Result<u64> {
    let (mut read, mut write) = TcpStream::connect(("127.0.0.1", port)).await?.into_split();
    let framing = match coding {
        Coding::Length => format!("Content-Length: {size}"),
        Coding::Chunked => "Transfer-Encoding: chunked".to_owned(),
    };
    let head = format!(
        "POST /public/up HTTP/1.1\r\nHost: store.localhost\r\nConnection: close\r\n{framing}\r\n\r\n"
    );
    write.write_all(head.as_bytes()).await?;
    let part = vec![b'x'; PART];
    for _ in 0..size / PART as u64 {
        if coding == Coding::Chunked {
            write.write_all(format!("{PART:x}\r\n").as_bytes()).await?;
        }
        write.write_all(&part).await?;
        if coding == Coding::Chunked {
            write.write_all(b"\r\n").await?;
        }
    }
    if coding == Coding::Chunked {
        write.write_all(b"0\r\n\r\n").await?;
    }
    let mut response = String::new();
    read.read_to_string(&mut response).await?;
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    let (_, counted) = response.split_once("\r\n\r\n").expect("a body");
    Ok(counted.parse().expect("a number"))
}

/// Downloads this many bytes and returns the count.
async fn down(port: u16, size: u64) -> io::Result<u64> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let head = format!(
        "GET /public/{size} HTTP/1.1\r\nHost: store.localhost\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let (start, begun) = head_of(&mut stream).await?;
    assert!(start.starts_with("HTTP/1.1 200"), "{start}");
    rest(&mut stream, begun).await
}

/// A backend that counts uploaded bytes and sends the requested number of bytes, one exchange per
/// connection.
async fn take_or_give(mut stream: TcpStream) -> io::Result<()> {
    let (head, begun) = head_of(&mut stream).await?;
    let lower = head.to_lowercase();
    if let Some(size) = head
        .strip_prefix("GET /public/")
        .and_then(|rest| rest.split(' ').next()?.parse::<u64>().ok())
    {
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        let part = vec![b'x'; PART];
        for _ in 0..size / PART as u64 {
            stream.write_all(&part).await?;
        }
        return Ok(());
    }
    let length = lower
        .split_once("content-length: ")
        .and_then(|(_, rest)| rest.lines().next()?.parse::<u64>().ok());
    let count = match length {
        Some(length) => {
            let mut limited = (&mut stream).take(length - begun.len() as u64);
            rest(&mut limited, begun).await?
        }
        None => count_chunks(&mut stream, begun).await?,
    };
    let response = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{count}",
        count.to_string().len()
    );
    stream.write_all(response.as_bytes()).await
}

/// Reads the head and the part of the body that came with it.
async fn head_of(stream: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut read = Vec::new();
    loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let body = read.split_off(end + 4);
            return Ok((String::from_utf8_lossy(&read).into_owned(), body));
        }
        if stream.read_buf(&mut read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Counts the bytes until the end.
async fn rest(stream: &mut (impl tokio::io::AsyncRead + Unpin), begun: Vec<u8>) -> io::Result<u64> {
    let (mut count, mut part) = (begun.len() as u64, vec![0; PART]);
    loop {
        match stream.read(&mut part).await? {
            0 => return Ok(count),
            more => count += more as u64,
        }
    }
}

/// Counts the bytes in chunks. The data consists of `x`.
async fn count_chunks(stream: &mut TcpStream, begun: Vec<u8>) -> io::Result<u64> {
    let (mut count, mut tail, mut part) = (0, Vec::new(), begun);
    loop {
        count += part.iter().filter(|byte| **byte == b'x').count() as u64;
        tail.extend_from_slice(&part[part.len().saturating_sub(5)..]);
        tail.drain(..tail.len().saturating_sub(5));
        if tail == b"0\r\n\r\n" {
            return Ok(count);
        }
        part.resize(PART, 0);
        let read = stream.read(&mut part).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        part.truncate(read);
    }
}
