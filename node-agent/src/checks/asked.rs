//! From the API's health checks to probes: what is asked, of which address and port, for which destinations.

mod probe;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crds::{DirectorAddress, DirectorPart, HealthCheck, InitialState, PlacedRealServer, PlacementSpec, Through};
use health::{Pace, Verdict};

use super::{Belief, Down, Downs, Way};
use crate::desired::{destination_port, way};
use crate::probe::{Probe, Target};

/// One probe of one target. Two checks that ask the same share it, at the pace of the more impatient.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// What is asked.
    pub probe: Probe,
    /// Whom: the real server, or a VIP when there is a way.
    pub target: Target,
    /// The way to take to the real server; [`Ways`](super::Ways) know how.
    pub way: Option<Way>,
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let probe = match &self.probe {
            Probe::Tcp => "tcp",
            Probe::Http(_) => "http",
            Probe::Https(_) => "https",
            Probe::Udp(_) => "udp",
            Probe::Dns(_) => "dns",
            Probe::Smtp(_) => "smtp",
            Probe::Grpc(_) => "grpc",
            Probe::Ping => "ping",
            Probe::None => "none",
        };
        write!(f, "{probe} {}", self.target)?;
        match &self.way {
            Some(way) => write!(f, " at {way}"),
            None => Ok(()),
        }
    }
}

/// What a check asks for one destination.
struct Question {
    asked: Asked,
    destination: SocketAddr,
    /// The VIP whose services depend on it; `None` = all of them.
    vip: Option<IpAddr>,
}

/// Every probe that a Placement asks for, its pace, and the destinations that depend on it.
pub(super) fn of_placement(spec: &PlacementSpec) -> BTreeMap<Asked, (Pace, BTreeSet<SocketAddr>)> {
    let mut all: BTreeMap<Asked, (Pace, BTreeSet<SocketAddr>)> = BTreeMap::new();
    let made = Made::of(spec);
    for (part, server) in real_servers(spec) {
        for check in made.checks(server) {
            let pace = pace(check.0);
            for question in questions(part, server, check) {
                let (known, of) = all.entry(question.asked).or_insert_with(|| (pace, BTreeSet::new()));
                if pace.detection_bound() < known.detection_bound() {
                    *known = pace;
                }
                of.insert(question.destination);
            }
        }
    }
    all
}

/// What the probes of a Placement have found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// The destinations of which a check says that they are down. What nothing is believed of is not.
    pub(super) down: Downs,
    /// Real servers, by name, of which a check has found out nothing yet.
    pub(super) untested: BTreeSet<String>,
}

/// What the beliefs say of a Placement.
pub(super) fn findings<'b>(spec: &PlacementSpec, belief: impl Fn(&Asked) -> Option<&'b Belief>) -> Findings {
    let mut findings = Findings::default();
    let made = Made::of(spec);
    for (part, server) in real_servers(spec) {
        for check in made.checks(server) {
            // There is nothing to ask by the way to a host that is not ready.
            if goes_by_path(server, check.0) && server.prepared.is_empty() {
                findings.untested.insert(server.name.clone());
            }
            for question in questions(part, server, check) {
                if let Some(belief) = belief(&question.asked) {
                    findings.add(server, check.0, (&question, belief));
                }
            }
        }
    }
    findings
}

impl Findings {
    fn add(&mut self, server: &PlacedRealServer, check: &HealthCheck, (question, belief): (&Question, &Belief)) {
        if !belief.tested {
            self.untested.insert(server.name.clone());
        }
        if belief.verdict == Verdict::Up {
            return;
        }
        let found = Down {
            words: belief.words.clone(),
            tested: belief.tested,
            on_failure: check.on_failure.unwrap_or_default(),
        };
        let place = (server.name.clone(), question.destination, question.vip);
        let Some(down) = self.down.get_mut(&place) else {
            self.down.insert(place, found);
            return;
        };
        // The first in the list speaks that has found something; it is taken out if any of them says so.
        let on_failure = down.on_failure.min(found.on_failure);
        if found.tested && !down.tested {
            *down = found;
        }
        down.on_failure = on_failure;
    }
}

/// The ways that a Placement's checks take, and the VIPs that they lead to. Also to real servers that are not prepared yet:
/// when they are, they are not to wait for it.
pub(crate) fn ways(spec: &PlacementSpec) -> BTreeMap<Way, BTreeSet<IpAddr>> {
    let mut ways: BTreeMap<Way, BTreeSet<IpAddr>> = BTreeMap::new();
    for (part, server) in real_servers(spec) {
        let mut checks = server.health_checks.as_deref().unwrap_or(&part.health_checks).iter();
        if checks.any(|check| goes_by_path(server, check)) {
            for (_, vip, way) in paths(part, server) {
                ways.entry(way).or_default().insert(vip);
            }
        }
    }
    ways
}

/// Those that are probed. The sorry server is not: it is there for when nobody else is.
fn real_servers(spec: &PlacementSpec) -> impl Iterator<Item = (&DirectorPart, &PlacedRealServer)> {
    let parts = spec.director.iter();
    parts.flat_map(|part| {
        let probed = part.real_servers.iter().filter(|server| !server.sorry);
        probed.map(move |server| (part, server))
    })
}

/// What a check asks of a real server: for each port that packets go to, by whatever service.
fn questions(part: &DirectorPart, server: &PlacedRealServer, (check, probe): &Check<'_>) -> Vec<Question> {
    let services = part.services.iter();
    let ports: BTreeSet<u16> = services
        .filter_map(|service| destination_port(server, service).ok())
        .collect();
    let whom = whom(part, server, check);
    let question = |destination: u16, (address, way, server): (IpAddr, Option<Way>, IpAddr)| {
        let target = Target {
            address,
            port: port(check, probe, destination)?,
            source: None,
            mark: None,
            name: None,
        };
        let probe = probe.clone();
        Some(Question {
            vip: way.map(|_| address),
            destination: SocketAddr::new(server, destination),
            asked: Asked { probe, target, way },
        })
    };
    let each = ports.iter().flat_map(|port| whom.iter().map(|whom| (*port, *whom)));
    each.filter_map(|(port, whom)| question(port, whom)).collect()
}

/// The port that is probed for a destination; none when a check probes nothing, or has no port to probe.
fn port(check: &HealthCheck, probe: &Probe, destination: u16) -> Option<u16> {
    match probe {
        Probe::None => None,
        // An address has one verdict, whatever its ports.
        Probe::Ping => Some(0),
        Probe::Tcp
        | Probe::Http(_)
        | Probe::Https(_)
        | Probe::Udp(_)
        | Probe::Dns(_)
        | Probe::Smtp(_)
        | Probe::Grpc(_) => {
            let named = check.port.and_then(|port| u16::try_from(port).ok());
            named.or(Some(destination).filter(|port| *port != 0))
        }
    }
}

/// The addresses that a check asks, each with the way to the real server, if it takes one, and the real server's own.
fn whom(part: &DirectorPart, server: &PlacedRealServer, check: &HealthCheck) -> Vec<(IpAddr, Option<Way>, IpAddr)> {
    if goes_by_path(server, check) {
        // Where its host is not ready for a VIP it is not in the table, and there is nothing to be found out.
        let paths = paths(part, server).filter(|(entry, _, _)| server.prepared.contains(&entry.address));
        return paths.map(|(_, vip, way)| (vip, Some(way), way.server)).collect();
    }
    // What nobody is sent to need not answer.
    let used: BTreeSet<IpAddr> = paths(part, server).map(|(_, _, way)| way.server).collect();
    used.into_iter().map(|address| (address, None, address)).collect()
}

/// Whether a check of a real server takes the way of clients' packets. By NAT and FullNAT there is none: they go to the real
/// server's own address. An echo has none, either: IPVS schedules no ICMP.
fn goes_by_path(server: &PlacedRealServer, check: &HealthCheck) -> bool {
    let default = match server.node_name {
        Some(_) => Through::ForwardingPath,
        None => Through::RealServerAddress,
    };
    let goes = match check.through.unwrap_or(default) {
        Through::ForwardingPath => true,
        Through::RealServerAddress => false,
    };
    goes && check.probes_a_port() && server.forwarding_method.is_host_prepared()
}

/// The VIPs, and the way to a real server for each.
fn paths<'p>(
    part: &'p DirectorPart,
    server: &'p PlacedRealServer,
) -> impl Iterator<Item = (&'p DirectorAddress, IpAddr, Way)> {
    let vips = part.addresses.iter().filter(|entry| !entry.withdraw);
    vips.filter_map(|entry| {
        let vip = entry.address.parse().ok()?;
        Some((entry, vip, way(server, vip)?))
    })
}

/// A check and its probe.
type Check<'p> = (&'p HealthCheck, Probe);

/// A Placement's checks with their probes, made once for all destinations: a pattern is compiled, a bundle is read.
struct Made<'p> {
    of_part: Vec<Check<'p>>,
    of_servers: BTreeMap<&'p str, Vec<Check<'p>>>,
}

impl<'p> Made<'p> {
    fn of(spec: &'p PlacementSpec) -> Self {
        let made = |checks: &'p [HealthCheck]| checks.iter().map(|check| (check, probe::of(check))).collect();
        let parts = spec.director.iter();
        let servers = parts.clone().flat_map(|part| &part.real_servers);
        let own = servers.filter_map(|server| Some((server.name.as_str(), made(server.health_checks.as_deref()?))));
        Self {
            of_servers: own.collect(),
            of_part: parts.flat_map(|part| made(&part.health_checks)).collect(),
        }
    }

    fn checks(&self, server: &PlacedRealServer) -> &[Check<'p>] {
        self.of_servers.get(server.name.as_str()).unwrap_or(&self.of_part)
    }
}

fn pace(check: &HealthCheck) -> Pace {
    let default = Pace::default();
    let seconds = |field: Option<i32>, default: Duration| {
        let given = field.and_then(|seconds| u64::try_from(seconds).ok());
        given.map_or(default, Duration::from_secs)
    };
    let count = |field: Option<i32>, default: u32| field.and_then(|count| count.try_into().ok()).unwrap_or(default);
    Pace {
        interval: seconds(check.interval_seconds, default.interval),
        timeout: seconds(check.timeout_seconds, default.timeout),
        retries: count(check.retries, default.retries),
        retry_interval: seconds(check.retry_interval_seconds, default.retry_interval),
        rise: count(check.rise, default.rise),
        initial: match check.initial_state.unwrap_or_default() {
            InitialState::Healthy => Verdict::Up,
            InitialState::Unhealthy => Verdict::Down,
        },
    }
}
