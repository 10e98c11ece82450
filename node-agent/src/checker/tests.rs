mod churn;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::mpsc::{Receiver, channel};

use health::{Pace, Verdict};
use tokio::net::TcpListener;

use super::*;
use crate::checks::Steering;
use crate::metrics::Metrics;
use crate::probe::{Probe, Target};

/// Of a test: everything soon.
fn quick() -> Pace {
    Pace {
        interval: Duration::from_millis(50),
        timeout: Duration::from_millis(200),
        retries: 1,
        retry_interval: Duration::from_millis(20),
        ..Pace::default()
    }
}

fn tcp(port: u16) -> Asked {
    Asked {
        probe: Probe::Tcp,
        target: Target {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port,
            source: None,
            mark: None,
            name: None,
        },
        way: None,
    }
}

struct Running {
    orders: UnboundedSender<Order>,
    said: Receiver<Wake>,
    metrics: Metrics,
    task: JoinHandle<()>,
}

fn start(memory: Memory) -> Running {
    let (orders, ordered) = unbounded_channel();
    let (wake, said) = channel();
    let metrics = Metrics::default();
    let task = tokio::spawn(run(Parts {
        orders: ordered,
        wake,
        memory,
        metrics: metrics.health.clone(),
        most_at_once: most_at_once(),
    }));
    Running {
        orders,
        said,
        metrics,
        task,
    }
}

impl Running {
    fn order(&self, asked: &Asked, pace: Pace) {
        let asked = asked.clone();
        self.orders.send(Order::Probe { asked, pace }).unwrap();
    }

    /// What is said next, within a second.
    async fn hears(&self) -> Option<(String, Verdict, String)> {
        for _ in 0..200 {
            match self.said.try_recv() {
                Ok(Wake::Health { asked, belief }) => return Some((asked.to_string(), belief.verdict, belief.words)),
                Ok(other) => panic!("{other:?}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
        None
    }

    async fn end(self) {
        drop(self.orders);
        self.task.await.unwrap();
    }
}

#[tokio::test]
async fn a_verdict_is_said_when_it_changes_and_outlives_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let memory = |boot: &str| Memory::read(folder.path(), boot);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let asked = tcp(listener.local_addr().unwrap().port());
    let name = asked.to_string();
    let checker = start(memory("this"));
    checker.order(&asked, quick());
    assert_eq!(
        checker.hears().await,
        Some((name.clone(), Verdict::Up, "passed, 1 of 1".to_owned()))
    );
    drop(listener);
    let refused = format!("connect to {}: connection refused, 2 of 2", asked.target);
    assert_eq!(
        checker.hears().await,
        Some((name.clone(), Verdict::Down, refused.clone()))
    );
    assert_eq!(checker.hears().await, None, "what goes on is no news");
    let text = checker.metrics.text();
    assert!(
        text.contains(&format!("lvs_agent_healthcheck_up{{target=\"{name}\",check=\"")) && text.contains("\"} 0"),
        "{text}"
    );
    assert!(
        text.contains("healthcheck_transitions_total{verdict=\"down\"} 1"),
        "{text}"
    );
    checker.end().await;

    // F37: what was down is down, though it would be up at first.
    let known = memory("this").of(&asked).unwrap();
    assert_eq!((known.verdict, known.words), (Verdict::Down, refused));
    assert!(memory("another boot").of(&asked).is_none());
}

#[tokio::test]
async fn f37_a_restart_begins_with_the_last_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let memory = || Memory::read(folder.path(), "this");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let asked = tcp(listener.local_addr().unwrap().port());
    let checker = start(memory());
    checker.order(&asked, quick());
    assert!(checker.hears().await.is_some());
    checker.end().await;
    let checker = start(memory());
    checker.order(&asked, quick());
    assert_eq!(checker.hears().await, None, "it was up, and is");
    checker.end().await;
}

#[tokio::test]
async fn what_is_left_is_probed_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let asked = tcp(listener.local_addr().unwrap().port());
    let checker = start(Memory::read(folder.path(), "this"));
    checker.order(&asked, quick());
    assert!(checker.hears().await.is_some());
    checker.orders.send(Order::Leave { asked: asked.clone() }).unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    while tokio::time::timeout(Duration::from_millis(1), listener.accept())
        .await
        .is_ok()
    {}
    let more = tokio::time::timeout(Duration::from_millis(300), listener.accept()).await;
    assert!(more.is_err(), "it was probed again");
    assert!(!checker.metrics.text().contains("healthcheck_up{"));
    checker.end().await;
}

#[tokio::test]
async fn a_changed_pace_counts_from_now() {
    let folder = tempfile::tempdir().unwrap();
    let asked = tcp(1);
    let checker = start(Memory::read(folder.path(), "this"));
    let slow = Pace {
        interval: Duration::from_secs(3600),
        initial: Verdict::Up,
        ..quick()
    };
    checker.order(&asked, slow);
    tokio::time::sleep(Duration::from_millis(50)).await;
    checker.order(&asked, quick());
    let said = checker.hears().await.unwrap();
    assert_eq!((said.0, said.1), (asked.to_string(), Verdict::Down));
    checker.end().await;
}

fn way(server: Ipv4Addr) -> Way {
    Way {
        family: ipvs::Family::Ipv4,
        server: IpAddr::V4(server),
        method: ipvs::ForwardingMethod::DirectRouting,
        tunnel: ipvs::Tunnel::default(),
    }
}

fn opened(way: Way, steering: Steering) -> Order {
    Order::Open {
        ways: Ways {
            open: BTreeMap::from([(way, steering)]),
            ..Ways::default()
        },
        anew: BTreeSet::from([way]),
    }
}

/// The director itself would answer for the VIP: refused, or with the wrong real server's word.
#[tokio::test]
async fn what_goes_by_a_way_waits_until_it_is_open() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.3:0").await.unwrap();
    let way = way(Ipv4Addr::new(127, 0, 0, 3));
    let asked = Asked {
        way: Some(way),
        ..tcp(listener.local_addr().unwrap().port())
    };
    let checker = start(Memory::read(folder.path(), "this"));
    checker.order(&asked, quick());
    assert_eq!(checker.hears().await, None, "nobody listens at 127.0.0.1");
    checker.orders.send(opened(way, Steering::Unsteered)).unwrap();
    let said = checker.hears().await.unwrap();
    assert_eq!(
        (said.0, said.1),
        (format!("{asked}"), Verdict::Up),
        "it listens at its own address"
    );
    checker.end().await;
}

/// Marks need NET_ADMIN; without it the probe cannot be made, which is no word about the real server.
#[tokio::test]
async fn the_words_of_a_failure_name_the_way_and_the_vip() {
    let folder = tempfile::tempdir().unwrap();
    let source = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));
    let way = way(Ipv4Addr::new(127, 0, 0, 3));
    let asked = Asked {
        way: Some(way),
        ..tcp(1)
    };
    let checker = start(Memory::read(folder.path(), "this"));
    checker
        .orders
        .send(opened(way, Steering::Marked { mark: 7, source }))
        .unwrap();
    checker.order(
        &asked,
        Pace {
            initial: Verdict::Up,
            ..quick()
        },
    );
    let Some((_, verdict, words)) = checker.hears().await else {
        let may = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        assert!(may.set_mark(7).is_err(), "a mark can be set, and nothing was said");
        return;
    };
    assert_eq!(verdict, Verdict::Down);
    assert_eq!(
        words,
        "127.0.0.3 by DR: connect to 127.0.0.1:1: connection refused, 2 of 2"
    );
    checker.end().await;
}

/// A flush takes the services away by which probes go. What is on its way then says nothing, though it is given one chance.
#[tokio::test]
async fn what_went_astray_is_no_evidence() {
    let folder = tempfile::tempdir().unwrap();
    let address = Ipv4Addr::new(127, 0, 0, 4);
    let listener = TcpListener::bind((address, 0)).await.unwrap();
    let way = way(address);
    let asked = Asked {
        // It is connected to, and never answers.
        probe: Probe::Http(crate::probe::Http::default()),
        way: Some(way),
        ..tcp(listener.local_addr().unwrap().port())
    };
    let checker = start(Memory::read(folder.path(), "this"));
    let patient = Pace {
        initial: Verdict::Up,
        timeout: Duration::from_millis(600),
        retries: 0,
        ..quick()
    };
    checker.order(&asked, patient);
    for _ in 0..10 {
        checker.orders.send(opened(way, Steering::Unsteered)).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(checker.said.try_recv().is_err(), "it was astray each time");
    let said = checker.hears().await.unwrap();
    assert_eq!((said.0, said.1), (asked.to_string(), Verdict::Down));
    checker.end().await;
}
