//! That nothing is left open, and how fast it goes. Both count what the whole process does, so they are run in one of
//! their own.

use std::process::Command;
use std::time::Instant;

use futures::{StreamExt, stream};

use super::*;

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Runs an ignored test of a module in a process of its own; gives what it printed.
pub(crate) fn alone(module: &str, test: &str) -> String {
    let program = std::env::current_exe().unwrap();
    let name = format!("{}::{test}", module.split_once("::").unwrap().1);
    let output = Command::new(program)
        .args(["--exact", &name, "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{errors}");
    text
}

#[test]
fn two_thousand_probes_of_all_outcomes_leave_no_socket() {
    alone(module_path!(), "two_thousand_probes");
}

/// One of each kind that asks something.
pub(crate) fn probes() -> Vec<Probe> {
    vec![
        Probe::Tcp,
        Probe::Http(Http::default()),
        Probe::Https(Https {
            trust: Trust::Anybody,
            ..Https::default()
        }),
        Probe::Udp(Udp {
            payload: Vec::new(),
            expect_reply: true,
        }),
        Probe::Dns(Dns::new("example.com", "A").unwrap()),
        Probe::Smtp(Smtp::new("probe.example").unwrap()),
        Probe::Grpc(Grpc::default()),
        Probe::Ping,
    ]
}

#[tokio::test]
#[ignore = "counts the files of the whole process: run by the test above in one of its own"]
async fn two_thousand_probes() {
    let (_listener, _waiting, full) = full();
    let targets = [silent().await, resetting().await, closed().await, full];
    let probes = probes();
    let before = open_files();
    let pairs: Vec<_> = targets
        .iter()
        .flat_map(|target| probes.iter().map(move |probe| (probe, target)))
        .collect();
    let asked = stream::iter(0..2000).map(|number| {
        let (asked, target) = pairs[number % pairs.len()];
        probe(asked, target, Duration::from_millis(20))
    });
    let outcomes: Vec<_> = asked.buffer_unordered(100).collect().await;
    let passed = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert!(passed > 100 && passed < 1900, "{passed} passed");
    // The servers' ends go when they see ours gone.
    for _ in 0..50 {
        if open_files() == before {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(open_files(), before);
}

/// 10,000 a second over 1,000 addresses is asked for; the servers run in this same process.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, for a machine that does nothing else: cargo test --release -- --ignored --nocapture"]
async fn ten_thousand_tcp_probes_a_second() {
    const PROBES: u32 = 50_000;
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    #[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
    let begin = Instant::now();
    let asked = stream::iter(0..PROBES).map(|number| async move {
        let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 1)) + number % 1000);
        let target = loopback(SocketAddr::new(address.into(), port));
        probe(&Probe::Tcp, &target, LONG).await
    });
    let outcomes: Vec<_> = asked.buffer_unordered(256).collect().await;
    let rate = f64::from(PROBES) / begin.elapsed().as_secs_f64();
    println!("{rate:.0} a second");
    assert_eq!(
        outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).next(),
        None
    );
    assert!(rate >= 10_000.0, "{rate:.0} a second");
}
