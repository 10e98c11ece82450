use std::time::Duration;

use tokio::io::AsyncBufReadExt;
use tokio::io::BufReader;

use super::*;
use crate::probe::tests::{LONG, SHORT, failing, passing, resetting, serve, silent};
use crate::probe::{Probe, Target};

fn smtp() -> Probe {
    Probe::Smtp(Smtp::new("probe.example").unwrap())
}

/// A server that greets, expects these lines, and answers each.
async fn dialogue(banner: &'static str, lines: &'static [(&'static str, &'static str)]) -> Target {
    serve(move |stream| async move {
        let mut stream = BufReader::new(stream);
        stream.write_all(banner.as_bytes()).await.unwrap();
        for (expected, answer) in lines {
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            assert_eq!(line, format!("{expected}\r\n"));
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        let _ = stream.read(&mut [0; 1]).await;
    })
    .await
}

#[tokio::test]
async fn a_server_that_greets_passes() {
    let lines = &[
        ("HELO probe.example", "250-mx\r\n250 at your service\r\n"),
        ("QUIT", "221 bye\r\n"),
    ];
    passing(&smtp(), &dialogue("220-mx\r\n220 ESMTP\r\n", lines).await).await;
}

#[tokio::test]
async fn a_server_that_refuses_is_quoted() {
    let target = dialogue("554 no\x1b[2J mail here\r\n", &[]).await;
    let reason = failing(&smtp(), &target, LONG).await;
    assert_eq!(
        reason,
        format!("SMTP banner of {target}: \"554 no?[2J mail here\", not 220")
    );
    let target = dialogue("220 mx\r\n", &[("HELO probe.example", "550 who?\r\n")]).await;
    let reason = failing(&smtp(), &target, LONG).await;
    assert_eq!(reason, format!("SMTP HELO of {target}: \"550 who?\", not 250"));
    let target = dialogue(
        "220 mx\r\n",
        &[("HELO probe.example", "250 ok\r\n"), ("QUIT", "421 busy\r\n")],
    )
    .await;
    let reason = failing(&smtp(), &target, LONG).await;
    assert_eq!(reason, format!("SMTP QUIT of {target}: \"421 busy\", not 221"));
}

#[tokio::test]
async fn what_is_no_smtp() {
    let target = dialogue("SSH-2.0-OpenSSH_9.9\r\n", &[]).await;
    let reason = failing(&smtp(), &target, LONG).await;
    assert_eq!(
        reason,
        format!("SMTP banner of {target}: \"SSH-2.0-OpenSSH_9.9??\" is no SMTP")
    );
    let target = serve(|mut stream| async move { while stream.write_all(b"220-more\r\n").await.is_ok() {} }).await;
    let reason = failing(&smtp(), &target, LONG).await;
    assert_eq!(
        reason,
        format!("SMTP banner of {target}: the reply is longer than 4 KiB")
    );
}

#[tokio::test]
async fn silent_slow_reset_and_closed() {
    let target = silent().await;
    let reason = failing(&smtp(), &target, SHORT).await;
    assert_eq!(reason, format!("no answer of {target} within 300 ms"));
    let target = serve(|mut stream| async move {
        while stream.write_all(b"2").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    })
    .await;
    let reason = failing(&smtp(), &target, SHORT).await;
    assert_eq!(reason, format!("no complete answer of {target} within 300 ms"));
    let target = serve(|stream| async move { drop(stream) }).await;
    let reason = failing(&smtp(), &target, LONG).await;
    assert_eq!(reason, format!("SMTP banner of {target}: connection closed"));
    // Reset when asked, which is never before its banner.
    let target = resetting().await;
    let reason = failing(&smtp(), &target, SHORT).await;
    assert_eq!(reason, format!("no answer of {target} within 300 ms"));
}

#[test]
fn a_name_is_one_word() {
    for wrong in ["", "a b", "a\r\nMAIL FROM:<x>", &"x".repeat(256)] {
        assert!(Smtp::new(wrong).is_err(), "{wrong:?}");
    }
    let error = Smtp::new("a\r\nb").unwrap_err().to_string();
    assert_eq!(error, "\"a??b\" is no name for HELO");
}
