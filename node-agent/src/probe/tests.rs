//! What all probes share: connecting, deadlines, sources, and that nothing is left behind. Each probe has tests of its own.

mod leak;
mod stopped;

pub(crate) use self::leak::{alone, probes};

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// For probes that must end at their deadline.
pub(super) const SHORT: Duration = Duration::from_millis(300);

/// For probes that end before it.
pub(super) const LONG: Duration = Duration::from_secs(2);

/// A target on this node.
pub(super) fn loopback(address: SocketAddr) -> Target {
    Target {
        address: address.ip(),
        port: address.port(),
        source: None,
        mark: None,
        name: None,
    }
}

/// The probe passes.
pub(super) async fn passing(asked: &Probe, target: &Target) {
    assert_eq!(probe(asked, target, LONG).await, Ok(()));
}

/// The probe fails; gives the reason.
pub(super) async fn failing(asked: &Probe, target: &Target, timeout: Duration) -> String {
    probe(asked, target, timeout).await.unwrap_err().to_string()
}

/// A server that treats every connection so, as long as the test runs.
pub(super) async fn serve<T, F>(treat: T) -> Target
where
    T: Fn(TcpStream) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = loopback(listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(treat(stream));
        }
    });
    target
}

/// A server that reads what it is told and says nothing.
pub(crate) async fn silent() -> Target {
    serve(|mut stream| async move {
        let mut buffer = [0; 1024];
        while matches!(stream.read(&mut buffer).await, Ok(length) if length > 0) {}
    })
    .await
}

/// A server that resets the connection as soon as it is asked.
pub(crate) async fn resetting() -> Target {
    serve(|mut stream| async move {
        let _ = stream.read(&mut [0; 16]).await;
        socket2::SockRef::from(&stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    })
    .await
}

/// Reads the head of an HTTP request.
pub(super) async fn head(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// A port where nobody listens.
pub(crate) async fn closed() -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    loopback(listener.local_addr().unwrap())
}

#[tokio::test]
async fn a_listener_passes_in_both_families() {
    for address in ["127.3.2.1:0", "[::1]:0"] {
        let listener = TcpListener::bind(address).await.unwrap();
        passing(&Probe::Tcp, &loopback(listener.local_addr().unwrap())).await;
    }
}

#[tokio::test]
async fn nothing_is_asked_of_none() {
    passing(&Probe::None, &closed().await).await;
}

#[tokio::test]
async fn a_closed_port_refuses() {
    let target = closed().await;
    let reason = failing(&Probe::Tcp, &target, LONG).await;
    assert_eq!(reason, format!("connect to {target}: connection refused"));
    let listener = TcpListener::bind("[::1]:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let target = loopback(SocketAddr::new("::1".parse().unwrap(), port));
    let reason = failing(&Probe::Tcp, &target, LONG).await;
    assert_eq!(reason, format!("connect to [::1]:{port}: connection refused"));
}

/// A listener with room for one connection that nobody accepts.
fn full() -> (Socket, Vec<std::net::TcpStream>, Target) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener
        .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
        .unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let waiting = std::net::TcpStream::connect(address).unwrap();
    (listener, vec![waiting], loopback(address))
}

#[tokio::test]
async fn a_full_accept_queue_does_not_connect() {
    let (_listener, _waiting, target) = full();
    let reason = failing(&Probe::Tcp, &target, SHORT).await;
    assert_eq!(reason, format!("no connection to {target} within 300 ms"));
}

#[tokio::test]
async fn a_process_that_does_not_run_connects_and_does_not_answer() {
    // What SIGSTOP makes of a server, as the kernel sees it: a listener that nobody accepts from.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = loopback(listener.local_addr().unwrap());
    passing(&Probe::Tcp, &target).await;
    let reason = failing(&Probe::Http(Http::default()), &target, SHORT).await;
    assert_eq!(reason, format!("no answer of {target} within 300 ms"));
}

#[tokio::test]
async fn the_source_and_the_mark_are_those_asked_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let source = Ipv4Addr::new(127, 7, 7, 7);
    let target = Target {
        source: Some(source.into()),
        mark: Some(0x51),
        name: None,
        ..loopback(listener.local_addr().unwrap())
    };
    passing(&Probe::Tcp, &target).await;
    let (_, peer) = listener.accept().await.unwrap();
    assert_eq!(peer.ip(), source);
    let socket = socket::open(&target, Type::STREAM, None).unwrap();
    assert_eq!(socket.mark().unwrap(), 0x51);
    // The port is chosen at connect: then 28,000 of them are there for each real server, not for all together.
    assert_eq!(socket.local_addr().unwrap().as_socket().unwrap().port(), 0);
}

#[tokio::test]
async fn a_source_that_is_not_ours_is_not_the_servers_fault() {
    let target = closed().await;
    let from = |source: &str| Target {
        source: Some(source.parse().unwrap()),
        ..target.clone()
    };
    let failure = probe(&Probe::Tcp, &from("192.0.2.77"), LONG).await.unwrap_err();
    let words = "no such address or no free port on this node";
    assert_eq!(failure.to_string(), format!("source 192.0.2.77 for {target}: {words}"));
    assert!(failure.is_ours());
    let failure = probe(&Probe::Tcp, &from("::1"), LONG).await.unwrap_err();
    assert_eq!(
        failure.to_string(),
        format!("source ::1 for {target}: of another family")
    );
    assert!(failure.is_ours());
    assert!(!probe(&Probe::Tcp, &target, LONG).await.unwrap_err().is_ours());
}

#[tokio::test]
async fn the_kernels_word_of_a_network_without_a_way_is_passed_on() {
    // A multicast address has no TCP; the kernel says at once what an unplugged link's missing route says.
    let target = loopback("224.0.0.1:80".parse().unwrap());
    let reason = failing(&Probe::Tcp, &target, LONG).await;
    assert_eq!(reason, "connect to 224.0.0.1:80: network unreachable");
}

#[tokio::test]
async fn no_port_is_held_after_a_connection() {
    let target = serve(|stream| async move { drop(stream) }).await;
    for _ in 0..50 {
        passing(&Probe::Tcp, &target).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    let port = format!(":{:04X}", target.port);
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let ours = table.lines().filter(|line| line.contains(&port));
    // The listener is one; TIME_WAIT is state 06.
    let held: Vec<_> = ours.filter(|line| line.contains(" 06 ")).collect();
    assert_eq!(held, Vec::<&str>::new());
}

#[tokio::test]
async fn a_timeout_is_named_in_seconds_or_milliseconds() {
    let target = silent().await;
    let progress = Progress::default();
    let late = |millis| progress.late(&target, Duration::from_millis(millis)).to_string();
    assert_eq!(late(5000), format!("no connection to {target} within 5 s"));
    assert_eq!(late(1500), format!("no connection to {target} within 1500 ms"));
}

#[test]
fn a_target_is_written_as_people_do() {
    let target = |address: &str, port| loopback(SocketAddr::new(address.parse().unwrap(), port)).to_string();
    assert_eq!(target("192.168.56.30", 80), "192.168.56.30:80");
    assert_eq!(target("fd00::30", 80), "[fd00::30]:80");
    assert_eq!(target("fd00::30", 0), "fd00::30");
}
