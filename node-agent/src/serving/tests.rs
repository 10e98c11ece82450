//! Steps in time, as tables: what the kernel is told at which second, by which circumstances.

use std::fmt::Write;
use std::time::Duration;

use crds::{OnFailure, PlacementSpec};
use ipvs::{DestinationConfig, Service, ServiceConfig};
use jiff::SignedDuration;

use super::*;
use crate::checks::Down;

const HEAD: &str = "
subject: {kind: VirtualService, name: web}
nodeName: dir1
director:
  addresses: [{address: 192.168.56.100, addressOwner: Node}]
  services: [{protocol: TCP, port: 80, scheduler: rr}]
";

/// A director of these settings and real servers, whose last bytes are 1, 2 and so on.
fn spec(settings: &str, servers: &[&str]) -> PlacementSpec {
    let mut text = format!("{HEAD}{settings}\n  realServers:\n");
    for (number, more) in servers.iter().enumerate() {
        let number = number + 1;
        writeln!(
            text,
            "  - {{name: rs{number}, addresses: [10.0.0.{number}], forwardingMethod: DR, prepared: [192.168.56.100], {more}}}"
        )
        .unwrap();
    }
    serde_yaml::from_str(&text).unwrap()
}

fn service() -> ServiceKey {
    "TCP 192.168.56.100:80".to_owned().try_into().unwrap()
}

fn place(number: u8) -> Place {
    let to = DestinationKey::new(format!("10.0.0.{number}").parse().unwrap(), 80);
    (service(), to)
}

/// A director in the middle of its life: the kernel takes what each step says.
struct Life {
    spec: PlacementSpec,
    down: Downs,
    course: Course,
    table: Table,
    counts: BTreeMap<Place, u64>,
    next: Option<Moment>,
    cut: BTreeSet<Place>,
    said: Serving,
}

impl Life {
    /// One that has served for ever.
    fn of(settings: &str, servers: &[&str]) -> Self {
        let mut life = Self::fresh(settings, servers);
        let weights: Vec<u32> = life
            .part()
            .real_servers
            .iter()
            .map(|server| server.weight.unsigned_abs())
            .collect();
        let part = life.part().clone();
        for (number, (weight, server)) in (1..).zip(weights.iter().zip(&part.real_servers)) {
            if !server.sorry {
                life.put(number, *weight);
            }
        }
        life
    }

    /// One whose table is empty.
    fn fresh(settings: &str, servers: &[&str]) -> Self {
        let mut table = Table::default();
        let empty = Service {
            config: ServiceConfig::new("rr", ipvs::Family::Ipv4),
            destinations: BTreeMap::new(),
        };
        table.services.insert(service(), empty);
        Self {
            spec: spec(settings, servers),
            down: Downs::new(),
            course: Course::default(),
            table,
            counts: BTreeMap::new(),
            next: None,
            cut: BTreeSet::new(),
            said: Serving::default(),
        }
    }

    fn part(&self) -> &DirectorPart {
        self.spec.director.as_ref().unwrap()
    }

    fn put(&mut self, number: u8, weight: u32) {
        let config = DestinationConfig::new(ipvs::ForwardingMethod::DirectRouting, weight);
        let (key, to) = place(number);
        self.table
            .services
            .get_mut(&key)
            .unwrap()
            .destinations
            .insert(to, config);
    }

    fn fail(&mut self, number: u8, on_failure: OnFailure) {
        self.fail_at(None, number, on_failure);
    }

    /// In the services of this VIP.
    fn fail_at(&mut self, vip: Option<&str>, number: u8, on_failure: OnFailure) {
        let (_, to) = place(number);
        let place = std::net::SocketAddr::new(to.address, to.port);
        let key = (format!("rs{number}"), place, vip.map(|vip| vip.parse().unwrap()));
        let down = Down {
            words: "refused".to_owned(),
            tested: true,
            on_failure,
        };
        self.down.insert(key, down);
    }

    /// Connections, each destination's.
    fn connected(&mut self, counts: &[(u8, u64)]) {
        self.counts = counts.iter().map(|(number, count)| (place(*number), *count)).collect();
    }

    /// One step; what is in the table behind it, as `number=weight`.
    fn at(&mut self, seconds: u64) -> String {
        let now = now(seconds);
        let counted = to_count(&self.course, now.moment, Some(&self.table));
        let mut counts = self.counts.clone();
        counts.retain(|place, _| counted.contains(place));
        let circumstances = Circumstances {
            now,
            table: Some(&self.table),
            counts: &counts,
        };
        let step = step(&self.course, &self.spec, &self.down, circumstances);
        // At the same time, under the same circumstances, it comes to the same; and so it does after a restart.
        for course in [step.course.clone(), self.kept(&step.course)] {
            let again = super::step(&course, &self.spec, &self.down, circumstances);
            assert_eq!((&again.serving, again.next), (&step.serving, step.next));
        }
        self.apply(&step);
        self.course = step.course;
        self.next = step.next;
        self.cut = step.cut;
        self.said = step.serving;
        self.words()
    }

    /// As the ledger gives it back. What serves whole is told by the table then, as it was before the step.
    fn kept(&self, course: &Course) -> Course {
        let line = serde_json::to_string(&course.kept).unwrap();
        Course {
            kept: serde_json::from_str(&line).unwrap(),
            whole: course.whole.clone(),
        }
    }

    fn apply(&mut self, step: &Step) {
        let servers = self.part().real_servers.clone();
        self.table.services.get_mut(&service()).unwrap().destinations.clear();
        for (number, server) in (1..).zip(servers) {
            match step.serving.fates.get(&place(number)) {
                None => self.put(number, server.weight.unsigned_abs()),
                Some(Fate::Scaled(weight)) => self.put(number, *weight),
                Some(Fate::Draining) => self.put(number, 0),
                Some(Fate::Out) => {}
            }
        }
    }

    fn words(&self) -> String {
        let destinations = &self.table.services[&service()].destinations;
        let word = |(to, config): (&DestinationKey, &DestinationConfig)| {
            let IpAddr::V4(address) = to.address else {
                unreachable!()
            };
            format!("{}={}", address.octets()[3], config.weight)
        };
        destinations.iter().map(word).collect::<Vec<_>>().join(" ")
    }
}

fn now(seconds: u64) -> Now {
    let since_boot = Duration::from_secs(seconds);
    Now {
        moment: Moment::since_boot(since_boot),
        clock: Timestamp::UNIX_EPOCH + SignedDuration::try_from(since_boot).unwrap(),
    }
}

const TWO: &[&str] = &["weight: 1", "weight: 1"];
const LEAVING: &[&str] = &["weight: 1, leaving: true", "weight: 1"];

#[test]
fn what_serves_serves_as_the_spec_says() {
    let mut life = Life::of("", &["weight: 3", "weight: 0"]);
    assert_eq!(life.at(0), "1=3 2=0");
    assert_eq!((life.next, life.said), (None, Serving::default()));
}

#[test]
fn a_drain_ends_when_no_connection_is_left() {
    let mut life = Life::of("  drain: {timeoutSeconds: 60}", LEAVING);
    life.connected(&[(1, 2)]);
    assert_eq!(life.at(100), "1=0 2=1");
    assert_eq!(life.said.drains["rs1"], Timestamp::from_second(160).unwrap());
    assert_eq!(life.next, Some(now(101).moment));
    assert_eq!(life.at(101), "1=0 2=1");
    life.connected(&[(1, 0)]);
    assert_eq!(life.at(120), "2=1");
    assert!(life.cut.is_empty() && life.said.drains.is_empty());
    // And it stays so, in time and when it is looked at again, as the cordoned one is.
    assert_eq!(life.at(121), "2=1");
    assert_eq!(life.at(1000), "2=1");
}

#[test]
fn f1_at_its_deadline_a_drain_is_cut() {
    for counted in [Some(2), None] {
        let mut life = Life::of("  drain: {timeoutSeconds: 60}", LEAVING);
        assert_eq!(life.at(100), "1=0 2=1");
        life.connected(&counted.map(|count| (1, count)).into_iter().collect::<Vec<_>>());
        assert_eq!(life.at(159), "1=0 2=1");
        assert_eq!(life.at(160), "2=1");
        assert_eq!(life.cut, BTreeSet::from([place(1)]));
    }
}

#[test]
fn zero_seconds_cut_at_once() {
    let mut life = Life::of("  drain: {timeoutSeconds: 0}", LEAVING);
    assert_eq!(life.at(100), "2=1");
    assert_eq!(life.cut, BTreeSet::from([place(1)]));
    assert_eq!(life.at(101), "2=1");
    assert!(life.cut.is_empty());
}

#[test]
fn f2_a_drain_goes_on_after_a_restart_and_after_a_flush() {
    let mut life = Life::of("  drain: {timeoutSeconds: 60}", LEAVING);
    life.connected(&[(1, 2)]);
    life.at(100);
    life.course = Course::restored(life.course.kept.clone());
    life.table.services.get_mut(&service()).unwrap().destinations.clear();
    assert_eq!(life.at(130), "1=0 2=1", "a flush takes no connection that drains");
    assert_eq!(life.at(160), "2=1", "with the time that it had left");
}

#[test]
fn another_timeout_counts_from_the_beginning() {
    let mut life = Life::of("  drain: {timeoutSeconds: 60}", LEAVING);
    life.connected(&[(1, 2)]);
    life.at(100);
    life.spec = spec("  drain: {timeoutSeconds: 10}", LEAVING);
    assert_eq!(life.at(105), "1=0 2=1");
    assert_eq!(life.at(110), "2=1");
}

#[test]
fn who_is_not_in_the_table_has_nothing_to_drain() {
    let mut life = Life::fresh("", LEAVING);
    assert_eq!(life.at(100), "2=1");
    assert!(life.said.drains.is_empty());
}

#[test]
fn one_that_comes_back_serves_at_once() {
    let mut life = Life::of("", LEAVING);
    life.connected(&[(1, 2)]);
    life.at(100);
    life.spec = spec("", TWO);
    assert_eq!(life.at(101), "1=1 2=1");
    life.spec = spec("", LEAVING);
    assert_eq!(life.at(200), "1=0 2=1");
    assert_eq!(
        life.said.drains["rs1"],
        Timestamp::from_second(260).unwrap(),
        "a drain anew"
    );
}

#[test]
fn a_failure_removes_or_quiesces() {
    let mut life = Life::of(
        "  drain: {timeoutSeconds: 30}",
        &["weight: 1", "weight: 1", "weight: 1"],
    );
    life.connected(&[(1, 1), (2, 1)]);
    life.fail(1, OnFailure::Remove);
    life.fail(2, OnFailure::Quiesce);
    assert_eq!(life.at(100), "2=0 3=1");
    assert_eq!(life.at(130), "3=1", "its connections do not outlive the drain");
    assert_eq!(life.cut, BTreeSet::from([place(2)]));
    life.down.clear();
    assert_eq!(life.at(131), "1=1 2=1 3=1");
}

#[test]
fn what_is_down_at_one_vip_serves_at_another() {
    let mut life = Life::of("", TWO);
    life.fail_at(Some("192.168.56.101"), 1, OnFailure::Remove);
    assert_eq!(life.at(100), "1=1 2=1");
    life.fail_at(Some("192.168.56.100"), 1, OnFailure::Remove);
    assert_eq!(life.at(101), "2=1");
}

/// Whoever stops taking connections on its way out is not failing.
#[test]
fn f3_one_that_leaves_is_not_cut_by_its_checks() {
    let mut life = Life::of("", LEAVING);
    life.connected(&[(1, 1)]);
    life.fail(1, OnFailure::Remove);
    assert_eq!(life.at(100), "1=0 2=1");
}

const WITH_SORRY: &[&str] = &["weight: 2", "weight: 3", "weight: 1, sorry: true"];

#[test]
fn below_the_quorum_the_sorry_server_takes_over_and_leaves_above_it() {
    let settings = "  quorum: {minimumWeight: 4, hysteresis: 1}\n  drain: {timeoutSeconds: 60}";
    let mut life = Life::of(settings, WITH_SORRY);
    life.connected(&[(1, 1), (2, 1), (3, 1)]);
    assert_eq!(life.at(100), "1=2 2=3");
    assert_eq!(life.said.standing_by, BTreeSet::from(["rs3".to_owned()]));
    // 3 is 4 - 1: held.
    life.fail(1, OnFailure::Remove);
    assert_eq!(life.at(101), "2=3");
    assert!(!life.said.below_quorum);
    // 2 is below: all leave, and those that live keep their connections.
    life.down.clear();
    assert_eq!(life.at(102), "1=2 2=3");
    life.fail(2, OnFailure::Remove);
    assert_eq!(life.at(103), "1=0 3=1");
    assert!(life.said.below_quorum);
    // 3 would have been enough to keep it, and is not enough to have it again; 5 is.
    life.down.clear();
    life.fail(1, OnFailure::Remove);
    assert_eq!(life.at(104), "3=1");
    life.down.clear();
    assert_eq!(life.at(105), "1=2 2=3 3=0", "and the sorry server drains");
    assert!(!life.said.below_quorum);
}

#[test]
fn a_hysteresis_that_is_asked_for_later_sends_nobody_away() {
    let mut life = Life::of("  quorum: {minimumWeight: 3}", WITH_SORRY);
    life.fail(1, OnFailure::Remove);
    assert_eq!(life.at(100), "2=3");
    // To have it for the first time would take 4.
    life.spec = spec("  quorum: {minimumWeight: 3, hysteresis: 1}", WITH_SORRY);
    assert_eq!(life.at(101), "2=3");
    let mut life = Life::fresh("  quorum: {minimumWeight: 3, hysteresis: 1}", WITH_SORRY);
    life.fail(1, OnFailure::Remove);
    assert_eq!(life.at(100), "3=1");
}

#[test]
fn a_sorry_server_serves_whatever_its_weight() {
    let servers = &["weight: 2", "weight: 0, sorry: true"];
    let mut life = Life::of("  quorum: {minimumWeight: 1}", servers);
    life.fail(1, OnFailure::Remove);
    life.at(100);
    let server = &life.part().real_servers[1];
    let vips = BTreeSet::from(["192.168.56.100".parse().unwrap()]);
    let placed = &life.part().services[0];
    let made = crate::desired::destinations(server, placed, ipvs::Family::Ipv4, &vips).unwrap();
    assert_eq!(made[0].1.weight, 1);
}

#[test]
fn without_a_sorry_server_nobody_leaves_for_want_of_a_quorum() {
    let mut life = Life::of("  quorum: {minimumWeight: 4}", &["weight: 2", "weight: 2"]);
    life.fail(1, OnFailure::Remove);
    assert_eq!(life.at(100), "2=2");
    assert!(life.said.below_quorum);
}

#[test]
fn who_comes_up_grows_and_the_others_keep_their_shares() {
    let mut life = Life::of("  slowStart: {durationSeconds: 4}", TWO);
    assert_eq!(life.at(100), "1=1 2=1", "who was there does not grow");
    life.fail(2, OnFailure::Remove);
    assert_eq!(life.at(101), "1=1");
    life.down.clear();
    let steps: Vec<String> = (102..=106).map(|second| life.at(second)).collect();
    assert_eq!(steps, ["1=5 2=1", "1=5 2=2", "1=5 2=3", "1=5 2=4", "1=1 2=1"]);
    assert!(life.said.rising.is_empty() && life.course.kept.is_empty());
}

#[test]
fn a_flush_is_no_reason_to_grow_and_a_restart_goes_on_growing() {
    let mut life = Life::of("  slowStart: {durationSeconds: 4}", TWO);
    life.at(100);
    life.table.services.get_mut(&service()).unwrap().destinations.clear();
    assert_eq!(life.at(101), "1=1 2=1");
    life.fail(2, OnFailure::Remove);
    life.at(102);
    life.down.clear();
    assert_eq!(life.at(103), "1=5 2=1");
    life.course = Course::restored(life.course.kept.clone());
    assert_eq!(life.at(105), "1=5 2=3");
}

#[test]
fn connections_are_counted_by_what_their_protocol_knows() {
    let activity = Activity {
        active: 2,
        inactive: 3,
        persistent: 7,
    };
    let cases = [
        ("TCP 192.0.2.1:80", 2),
        ("SCTP 192.0.2.1:80", 2),
        ("UDP 192.0.2.1:53", 5),
        ("FWM 7", 5),
    ];
    for (key, expected) in cases {
        let key: ServiceKey = key.to_owned().try_into().unwrap();
        assert_eq!(connections(&key, activity), expected, "{key}");
    }
}
