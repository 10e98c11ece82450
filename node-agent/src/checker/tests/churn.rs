//! Checks that come, go, wait for their ways and change their pace over servers that live, die, refuse, are slow and say
//! nothing: afterwards nothing is left of them. What is counted is the whole process's, so it is one of its own.

use std::io::Write as _;
use std::net::SocketAddr;

use sha2::{Digest as _, Sha256};
use tokio::net::TcpSocket;
use tokio::runtime::Handle;

use super::*;
use crate::probe::tests::{alone, closed, probes, resetting, silent};

/// Of an ordinary run; of a long one ten minutes.
const SHORT: Duration = Duration::from_secs(5);
const LONG: Duration = Duration::from_secs(600);

/// Checks at once, at most.
const MOST: usize = 400;

#[test]
fn nothing_is_left_of_checks_that_came_and_went() {
    let said = alone(module_path!(), "churn");
    let slope = said.lines().find(|line| line.starts_with("churn:")).unwrap();
    // Around libtest, which shows what a test prints only when it fails.
    writeln!(std::io::stderr(), "{slope}").unwrap();
}

/// A server's port, whether it is served now, and by whom.
struct Mortal {
    address: SocketAddr,
    serving: Option<JoinHandle<()>>,
}

impl Mortal {
    async fn born() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = Some(tokio::spawn(accept(listener)));
        Self { address, serving }
    }

    async fn turn(&mut self) {
        match self.serving.take() {
            Some(serving) => {
                serving.abort();
                // Its listener is closed when it is over.
                assert!(serving.await.unwrap_err().is_cancelled());
            }
            // A probe may hold the port as its own for a moment.
            None => {
                let listener = TcpListener::bind(self.address).await;
                self.serving = listener.ok().map(|listener| tokio::spawn(accept(listener)));
            }
        }
    }
}

async fn accept(listener: TcpListener) {
    while listener.accept().await.is_ok() {}
}

/// One that accepts now and then, and has no room for those that wait.
async fn slow() -> SocketAddr {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    });
    address
}

/// They lead to where the servers are.
fn ways() -> [Way; 2] {
    let direct = way(Ipv4Addr::LOCALHOST);
    let method = ipvs::ForwardingMethod::Tunnel;
    [direct, Way { method, ..direct }]
}

/// What is asked, and of whom.
struct Scene {
    mortals: Vec<Mortal>,
    others: Vec<SocketAddr>,
    probes: Vec<Probe>,
    asked: BTreeSet<Asked>,
    drawn: u64,
}

impl Scene {
    async fn new() -> Self {
        let mut mortals = Vec::new();
        for _ in 0..4 {
            mortals.push(Mortal::born().await);
        }
        let others = [silent().await, resetting().await, closed().await];
        let others = others.map(|target| SocketAddr::new(target.address, target.port));
        Self {
            mortals,
            others: others.into_iter().chain([slow().await]).collect(),
            probes: probes(),
            asked: BTreeSet::new(),
            drawn: 0,
        }
    }

    /// The same numbers in every run.
    fn below(&mut self, end: usize) -> usize {
        self.drawn += 1;
        let digest = Sha256::digest(self.drawn.to_le_bytes());
        let first = digest.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        usize::try_from(first).unwrap() % end
    }

    fn milliseconds(&mut self, most: u32) -> Duration {
        Duration::from_millis(1 + self.below(most as usize) as u64)
    }

    fn one(&mut self) -> Asked {
        let mortals = self.mortals.iter().map(|mortal| mortal.address);
        let addresses: Vec<_> = mortals.chain(self.others.iter().copied()).collect();
        let address = addresses[self.below(addresses.len())];
        let source = Ipv4Addr::new(127, 0, 0, 1 + u8::try_from(self.below(8)).unwrap());
        let probe = self.below(self.probes.len());
        let target = Target {
            address: address.ip(),
            port: address.port(),
            source: Some(source.into()),
            mark: None,
            name: None,
        };
        let probe = self.probes[probe].clone();
        let way = match self.below(8) {
            number @ 0..2 => Some(ways()[number]),
            _ => None,
        };
        Asked { probe, target, way }
    }

    /// Any of the ways, and such as are open anew.
    fn open(&mut self) -> Order {
        let mut ways = ways().to_vec();
        ways.retain(|_| self.below(3) > 0);
        let mut anew = ways.clone();
        anew.retain(|_| self.below(2) > 0);
        let open = ways.into_iter().map(|way| (way, Steering::Unsteered));
        Order::Open {
            ways: Ways {
                open: open.collect(),
                ..Ways::default()
            },
            anew: anew.into_iter().collect(),
        }
    }

    async fn change(&mut self, checker: &Running) {
        match self.below(100) {
            0 => {
                let mortal = self.below(self.mortals.len());
                self.mortals[mortal].turn().await;
            }
            1 => {
                let open = self.open();
                checker.orders.send(open).unwrap();
            }
            2..50 if self.asked.len() > MOST => {
                let place = self.below(self.asked.len());
                let asked = self.asked.iter().nth(place).cloned().unwrap();
                self.asked.remove(&asked);
                checker.orders.send(Order::Leave { asked }).unwrap();
            }
            _ => self.ask(checker),
        }
    }

    /// One that is asked already goes on at another pace.
    fn ask(&mut self, checker: &Running) {
        let pace = Pace {
            interval: self.milliseconds(300),
            timeout: self.milliseconds(100),
            retries: u32::try_from(self.below(3)).unwrap(),
            retry_interval: self.milliseconds(50),
            ..Pace::default()
        };
        let asked = self.one();
        checker.order(&asked, pace);
        self.asked.insert(asked);
    }
}

/// What a process has, and must not have more of afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    files: usize,
    tasks: usize,
}

impl Held {
    fn now() -> Self {
        Self {
            files: std::fs::read_dir("/proc/self/fd").unwrap().count(),
            tasks: Handle::current().metrics().num_alive_tasks(),
        }
    }

    /// Soon there is no more than this: a server's end of a connection goes when it sees ours gone.
    async fn comes(self) {
        for _ in 0..100 {
            if Self::now() == self {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(Self::now(), self);
    }
}

/// Resident memory in KiB (proc(5): `statm` counts pages).
fn memory() -> f64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<f64>().unwrap() * 4.0
}

/// The slope of the line through (x, y) with the least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let both: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    both / points.iter().map(|point| (point.0 - x).powi(2)).sum::<f64>()
}

#[tokio::test]
#[ignore = "counts what the whole process holds: run by the test above in one of its own"]
async fn churn() {
    let span = if std::env::var_os("LVS_LONG").is_some() {
        LONG
    } else {
        SHORT
    };
    let folder = tempfile::tempdir().unwrap();
    let mut scene = Scene::new().await;
    let before = Held::now();
    let checker = start(Memory::read(folder.path(), "this"));
    let (begin, mut points) = (crate::clock::instant(), Vec::new());
    while begin.elapsed() < span {
        for _ in 0..10 {
            scene.change(&checker).await;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        while checker.said.try_recv().is_ok() {}
        points.push((begin.elapsed().as_secs_f64() / 60.0, memory()));
    }
    for mortal in &mut scene.mortals {
        let begin = crate::clock::instant();
        while mortal.serving.is_none() {
            mortal.turn().await;
            // The one that holds its port has to have its turn, too.
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert!(begin.elapsed() < SHORT, "nobody can listen at {}", mortal.address);
        }
    }
    for asked in &scene.asked {
        let asked = asked.clone();
        checker.orders.send(Order::Leave { asked }).unwrap();
    }
    let with_checker = Held {
        tasks: before.tasks + 1,
        ..before
    };
    with_checker.comes().await;
    let text = checker.metrics.text();
    assert!(!text.contains("healthcheck_up{"), "{text}");
    // What runs when the checker ends is over with its timeout.
    for _ in 0..100 {
        scene.ask(&checker);
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    checker.end().await;
    before.comes().await;
    let probes = ["passed", "failed"].map(|result| {
        let name = format!("healthcheck_duration_seconds_count{{result=\"{result}\"}} ");
        let count = text.lines().find_map(|line| line.split_once(&name)).unwrap().1;
        count.parse::<u32>().unwrap()
    });
    assert!(probes.iter().all(|probes| *probes > 20), "{probes:?}");
    let settled = &points[points.len() / 4..];
    println!(
        "\nchurn: {span:?}, {probes:?} probes passed and failed, {:.0} KiB resident, {:+.0} KiB a minute",
        memory(),
        slope(settled)
    );
}
