use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::*;
use crate::probe::tests::{LONG, SHORT, closed, failing, head, loopback, passing, resetting, serve, silent};
use crate::probe::{Probe, Target, probe};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nall fine";

async fn answering(answer: &'static [u8]) -> Target {
    serve(move |mut stream| async move {
        head(&mut stream).await;
        stream.write_all(answer).await.unwrap();
        let _ = stream.read(&mut [0; 1]).await;
    })
    .await
}

/// A server that writes one thing again and again, after a beginning.
async fn endless(begin: &'static [u8], again: &'static [u8], pause: Duration) -> Target {
    serve(move |mut stream: TcpStream| async move {
        head(&mut stream).await;
        stream.write_all(begin).await.unwrap();
        while stream.write_all(again).await.is_ok() {
            tokio::time::sleep(pause).await;
        }
    })
    .await
}

fn matching(pattern: &str) -> Probe {
    Probe::Http(Http {
        body_pattern: Some(pattern.parse().unwrap()),
        ..Http::default()
    })
}

fn get() -> Probe {
    Probe::Http(Http::default())
}

#[tokio::test]
async fn a_good_answer_passes() {
    passing(&get(), &answering(OK).await).await;
    passing(&get(), &answering(b"HTTP/1.0 204 No Content\r\n\r\n").await).await;
}

#[tokio::test]
async fn the_request_is_the_one_asked_for() {
    let (sender, mut heads) = mpsc::channel(2);
    let target = serve(move |mut stream: TcpStream| {
        let sender = sender.clone();
        async move {
            sender.send(head(&mut stream).await).await.unwrap();
            stream.write_all(OK).await.unwrap();
        }
    })
    .await;
    passing(&get(), &target).await;
    let agent = format!("user-agent: {USER_AGENT}\r\naccept: */*\r\n\r\n");
    let expected = format!("GET / HTTP/1.1\r\nhost: {target}\r\nconnection: close\r\n{agent}");
    assert_eq!(heads.recv().await.unwrap(), expected);
    let http = Http {
        path: "/healthz?deep=1".to_owned(),
        host: Some("shop.example".to_owned()),
        method: "HEAD".to_owned(),
        headers: vec![
            ("X-Probe".to_owned(), "yes".to_owned()),
            ("User-Agent".to_owned(), "me".to_owned()),
            ("Content-Length".to_owned(), "5".to_owned()),
            ("Transfer-Encoding".to_owned(), "chunked".to_owned()),
        ],
        ..Http::default()
    };
    passing(&Probe::Http(http), &target).await;
    let head = heads.recv().await.unwrap();
    assert!(head.starts_with("HEAD /healthz?deep=1 HTTP/1.1\r\n"), "{head}");
    for line in ["host: shop.example", "x-probe: yes", "user-agent: me"] {
        assert!(head.lines().any(|found| found == line), "{head}");
    }
    assert_eq!(head.matches("user-agent").count(), 1);
    assert!(
        !head.contains("content-length") && !head.contains("transfer-encoding"),
        "{head}"
    );
}

#[tokio::test]
async fn another_status_fails_and_a_redirect_is_one() {
    let target = answering(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n").await;
    let reason = failing(&get(), &target, LONG).await;
    assert_eq!(reason, format!("GET / of {target}: status 500, not 200-299"));
    let target = answering(b"HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n").await;
    let reason = failing(&get(), &target, LONG).await;
    assert_eq!(reason, format!("GET / of {target}: status 301, not 200-299"));
    let http = Http {
        path: "/login?token=secret".to_owned(),
        expected_statuses: vec!["204".parse().unwrap(), "301-302".parse().unwrap()],
        ..Http::default()
    };
    passing(&Probe::Http(http.clone()), &target).await;
    let target = answering(OK).await;
    let reason = failing(&Probe::Http(http), &target, LONG).await;
    assert_eq!(reason, format!("GET /login of {target}: status 200, not 204, 301-302"));
}

#[tokio::test]
async fn a_body_matches_or_not() {
    let target = answering(OK).await;
    passing(&matching("^all f[a-z]+$"), &target).await;
    let reason = failing(&matching("^fine"), &target, LONG).await;
    assert_eq!(reason, format!("GET / of {target}: the body does not match \"^fine\""));
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nall \r\n4\r\nfine\r\n0\r\n\r\n";
    passing(&matching("^all fine$"), &answering(chunked).await).await;
    let target = answering_and_closing(&[b"HTTP/1.1 200 OK\r\n\r\n", &[b'x'; 100_000][..]].concat()).await;
    passing(&matching("^x+$"), &target).await;
    let reason = failing(&matching("y"), &target, LONG).await;
    assert_eq!(reason, format!("GET / of {target}: the body does not match \"y\""));
}

#[tokio::test]
async fn a_body_is_the_one_digested() {
    let target = answering(OK).await;
    let digest = |text: &str| {
        Probe::Http(Http {
            body_sha256: Some(text.parse().unwrap()),
            ..Http::default()
        })
    };
    let good = "420852597dbc7a2eb199cd88d573c4a2687612ea2e727a792d2c1a2060670182";
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let reason = failing(&digest(empty), &target, LONG).await;
    let found = Digest::of(b"all fine").to_string();
    assert_eq!(
        reason,
        format!(
            "GET / of {target}: the body's SHA-256 is {}…, not e3b0c442…",
            &found[..8]
        )
    );
    assert_eq!(found, good);
    passing(&digest(good), &target).await;
}

#[tokio::test]
async fn refused_reset_closed_and_silent() {
    let target = closed().await;
    let reason = failing(&get(), &target, LONG).await;
    assert_eq!(reason, format!("connect to {target}: connection refused"));
    let target = resetting().await;
    let reason = failing(&get(), &target, LONG).await;
    assert_eq!(reason, format!("GET / of {target}: connection reset"));
    let target = answering_and_closing(b"HTTP/1.1 200 OK\r\nContent-").await;
    let reason = failing(&get(), &target, LONG).await;
    assert_eq!(reason, format!("GET / of {target}: connection closed"));
    let target = answering_and_closing(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nall").await;
    let reason = failing(&matching("all"), &target, LONG).await;
    assert_eq!(reason, format!("GET / of {target}: connection closed"));
    let target = silent().await;
    let reason = failing(&get(), &target, SHORT).await;
    assert_eq!(reason, format!("no answer of {target} within 300 ms"));
}

async fn answering_and_closing(answer: &[u8]) -> Target {
    let answer = answer.to_vec();
    serve(move |mut stream| {
        let answer = answer.clone();
        async move {
            head(&mut stream).await;
            stream.write_all(&answer).await.unwrap();
        }
    })
    .await
}

#[tokio::test]
async fn a_slow_drip_ends_at_the_deadline() {
    let target = endless(b"HTTP/1.1 200 OK\r\nX: ", b"x", Duration::from_millis(50)).await;
    let reason = failing(&get(), &target, SHORT).await;
    assert_eq!(reason, format!("no complete answer of {target} within 300 ms"));
    let target = endless(b"HTTP/1.1 200 OK\r\n\r\n", b"x", Duration::from_millis(50)).await;
    let reason = failing(&matching("x"), &target, SHORT).await;
    assert_eq!(reason, format!("no complete answer of {target} within 300 ms"));
}

#[tokio::test]
async fn an_endless_body_is_not_read_or_not_for_long() {
    let target = endless(b"HTTP/1.1 200 OK\r\n\r\n", &[b'x'; 65536], Duration::ZERO).await;
    passing(&get(), &target).await;
    let reason = failing(&matching("x"), &target, LONG).await;
    assert_eq!(reason, format!("GET / of {target}: the body is longer than 256 KiB"));
}

#[tokio::test]
async fn endless_headers_and_endless_promises_end() {
    let target = endless(b"HTTP/1.1 200 OK\r\nX: ", &[b'x'; 4096], Duration::ZERO).await;
    let reason = failing(&get(), &target, LONG).await;
    assert_eq!(reason, format!("GET / of {target}: headers are longer than 16 KiB"));
    let target = endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n", Duration::ZERO).await;
    let failure = probe(&get(), &target, SHORT).await.unwrap_err().to_string();
    let late = format!("no complete answer of {target} within 300 ms");
    assert!(
        [late, format!("GET / of {target}: more than 512 KiB")].contains(&failure),
        "{failure}"
    );
}

#[tokio::test]
async fn what_is_not_http_is_said_to_be_so() {
    let target = answering(b"220 mx ESMTP\r\n\r\n").await;
    let reason = failing(&get(), &target, LONG).await;
    assert_eq!(reason, format!("GET / of {target}: the answer is not HTTP/1"));
}

#[tokio::test]
async fn a_request_that_cannot_be_written_is_not_the_servers_fault() {
    let target = loopback("127.0.0.1:1".parse().unwrap());
    let failure = |http| {
        let target = target.clone();
        async move { probe(&Probe::Http(http), &target, LONG).await.unwrap_err() }
    };
    let http = Http {
        path: "healthz".to_owned(),
        ..Http::default()
    };
    let reason = failure(http).await;
    assert_eq!(
        reason.to_string(),
        "request to 127.0.0.1:1: the path does not begin with /"
    );
    assert!(reason.is_ours());
    let http = Http {
        headers: vec![("X".to_owned(), "secret\r\nY: z".to_owned())],
        ..Http::default()
    };
    let reason = failure(http).await;
    assert_eq!(
        reason.to_string(),
        "request to 127.0.0.1:1: cannot be written: failed to parse header value"
    );
    let http = Http {
        host: Some("a\nb".to_owned()),
        ..Http::default()
    };
    assert_eq!(
        failure(http).await.to_string(),
        "request to 127.0.0.1:1: the host is no header value"
    );
}
