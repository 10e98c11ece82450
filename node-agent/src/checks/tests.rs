use std::net::SocketAddr;
use std::time::Duration;

use super::*;

fn spec(health_checks: &str, servers: &str) -> PlacementSpec {
    let text = format!(
        "
subject: {{kind: VirtualService, name: web}}
nodeName: dir1
director:
  addresses: [{{address: 192.168.56.100, addressOwner: Node}}]
  services:
  - {{protocol: TCP, port: 80, targetPort: 8080, scheduler: rr}}
  - {{protocol: TCP, port: 443, scheduler: rr}}
  realServers:
{servers}
  healthChecks: {health_checks}
"
    );
    serde_yaml::from_str(&text).unwrap()
}

const TWO: &str = "
  - {name: rs1, addresses: [10.0.0.30], weight: 1, forwardingMethod: NAT, prepared: [192.168.56.100]}
  - {name: rs2, addresses: [10.0.0.40, 'fd10::40'], weight: 1, forwardingMethod: NAT, prepared: [192.168.56.100]}";

fn key(name: &str) -> PlacementKey {
    PlacementKey {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
    }
}

fn placed(spec: PlacementSpec) -> Placed {
    Placed {
        uid: String::new(),
        generation: 1,
        spec,
        not_understood: None,
        down: Downs::new(),
        untested: BTreeSet::new(),
        serving: Default::default(),
    }
}

/// Two VIPs, and real servers whose hosts are prepared.
const BY_PATH: &str = "
  - {name: rs1, nodeName: rs1, addresses: [192.168.56.30], weight: 1, forwardingMethod: DR, prepared: [192.168.56.100, 'fd56::100']}
  - {name: rs2, nodeName: rs2, addresses: [10.0.0.40], weight: 1, forwardingMethod: TUN, prepared: [192.168.56.100]}";

fn by_path(health_checks: &str) -> PlacementSpec {
    let mut web = spec(health_checks, BY_PATH);
    let part = web.director.as_mut().unwrap();
    let second = crds::DirectorAddress {
        address: "fd56::100".to_owned(),
        ..part.addresses[0].clone()
    };
    part.addresses.push(second);
    part.services.truncate(1);
    part.services[0].target_port = None;
    web
}

fn nothing(_: &Asked, _: &BTreeSet<SocketAddr>) -> Option<Belief> {
    None
}

fn words(orders: &[Order]) -> Vec<String> {
    let word = |order: &Order| match order {
        Order::Probe { asked, pace } => format!("{asked} each {:?}, {:?}", pace.interval, pace.initial),
        Order::Leave { asked } => format!("leave {asked}"),
        Order::Open { ways, anew: _ } => format!("open {ways:?}"),
    };
    orders.iter().map(word).collect()
}

fn downs(checks: &Checks, spec: &PlacementSpec) -> Vec<String> {
    let judged = checks.judge(placed(spec.clone()));
    let word = |((name, to, vip), down): (&(String, SocketAddr, Option<IpAddr>), &Down)| {
        let vip = vip.map(|vip| format!(" at {vip}")).unwrap_or_default();
        format!("{name} {to}{vip} {:?}: {}", down.on_failure, down.words)
    };
    judged.down.iter().map(word).collect()
}

fn asked_of(checks: &Checks, text: &str) -> Asked {
    checks
        .users
        .keys()
        .find(|asked| asked.to_string() == text)
        .cloned()
        .unwrap()
}

fn down(words: &str) -> Belief {
    Belief {
        verdict: Verdict::Down,
        words: words.to_owned(),
        tested: true,
    }
}

#[test]
fn every_port_of_every_address_is_probed_once() {
    let mut checks = Checks::default();
    let web = spec("[{}]", TWO);
    let orders = checks.place(&key("web"), Some(&web), nothing);
    assert_eq!(
        words(&orders),
        [
            "tcp 10.0.0.30:443 each 10s, Down",
            "tcp 10.0.0.30:8080 each 10s, Down",
            "tcp 10.0.0.40:443 each 10s, Down",
            "tcp 10.0.0.40:8080 each 10s, Down",
        ],
        "no VIP is IPv6, so nobody is sent to an IPv6 address"
    );
    assert_eq!(downs(&checks, &web).len(), 4, "unhealthy until a probe says otherwise");
    assert!(checks.place(&key("web"), Some(&web), nothing).is_empty());
    // keepalived#2358: another service with the same check asks for nothing new.
    assert!(checks.place(&key("other"), Some(&web), nothing).is_empty());
    assert!(checks.place(&key("web"), None, nothing).is_empty());
    assert_eq!(checks.place(&key("other"), None, nothing).len(), 4);
    assert!(checks.beliefs.is_empty() && checks.users.is_empty() && checks.asks.is_empty());
}

#[test]
fn those_who_share_a_probe_share_the_pace_of_the_more_impatient() {
    let mut checks = Checks::default();
    let one = |interval| {
        spec(
            &format!("[{{port: 22, intervalSeconds: {interval}}}]"),
            TWO.split("\n  - {name: rs2").next().unwrap(),
        )
    };
    let orders = checks.place(&key("slow"), Some(&one(30)), nothing);
    assert_eq!(words(&orders), ["tcp 10.0.0.30:22 each 30s, Down"]);
    let orders = checks.place(&key("quick"), Some(&one(2)), nothing);
    assert_eq!(words(&orders), ["tcp 10.0.0.30:22 each 2s, Down"]);
    assert!(checks.place(&key("slow"), Some(&one(20)), nothing).is_empty());
    let orders = checks.place(&key("quick"), None, nothing);
    assert_eq!(words(&orders), ["tcp 10.0.0.30:22 each 20s, Down"]);
}

#[test]
fn a_failed_port_takes_out_that_port_and_a_named_port_all_of_them() {
    let mut checks = Checks::default();
    let web = spec(
        "[{initialState: Healthy}, {port: 22, initialState: Healthy, onFailure: Quiesce}]",
        TWO,
    );
    checks.place(&key("web"), Some(&web), nothing);
    assert!(downs(&checks, &web).is_empty());
    let port = asked_of(&checks, "tcp 10.0.0.30:8080");
    assert_eq!(checks.believe(&port, down("refused")), BTreeSet::from([key("web")]));
    assert!(checks.believe(&port, down("refused")).is_empty(), "no news");
    assert_eq!(downs(&checks, &web), ["rs1 10.0.0.30:8080 Remove: refused"]);
    let host = asked_of(&checks, "tcp 10.0.0.40:22");
    checks.believe(&host, down("silent"));
    assert_eq!(
        downs(&checks, &web),
        [
            "rs1 10.0.0.30:8080 Remove: refused",
            "rs2 10.0.0.40:443 Quiesce: silent",
            "rs2 10.0.0.40:8080 Quiesce: silent",
        ]
    );
    // Two checks of one destination: the first speaks, and the harder consequence counts.
    checks.believe(&asked_of(&checks, "tcp 10.0.0.30:22"), down("no ssh"));
    assert_eq!(downs(&checks, &web)[1], "rs1 10.0.0.30:8080 Remove: refused");
    assert_eq!(downs(&checks, &web)[0], "rs1 10.0.0.30:443 Quiesce: no ssh");
}

#[test]
fn none_probes_nothing_and_a_real_server_may_have_checks_of_its_own() {
    let mut checks = Checks::default();
    let web = spec(
        "[{none: {}}]",
        &TWO.replacen(
            "weight: 1",
            "weight: 1, healthChecks: [{http: {path: /up}, intervalSeconds: 1}]",
            1,
        ),
    );
    let orders = checks.place(&key("web"), Some(&web), nothing);
    assert_eq!(
        words(&orders),
        ["http 10.0.0.30:443 each 1s, Down", "http 10.0.0.30:8080 each 1s, Down"]
    );
    assert_eq!(downs(&checks, &web).len(), 2);
}

#[test]
fn f37_a_changed_pace_keeps_the_verdict_and_so_does_what_is_remembered() {
    let mut checks = Checks::default();
    let web = |pace: &str| {
        spec(
            &format!("[{{port: 22{pace}}}]"),
            TWO.split("\n  - {name: rs2").next().unwrap(),
        )
    };
    let remembered = |_: &Asked, _: &BTreeSet<SocketAddr>| Some(down("refused, 4 of 4"));
    checks.place(&key("web"), Some(&web(", initialState: Healthy")), remembered);
    assert_eq!(downs(&checks, &web(""))[0], "rs1 10.0.0.30:443 Remove: refused, 4 of 4");
    let orders = checks.place(
        &key("web"),
        Some(&web(", intervalSeconds: 1, initialState: Healthy")),
        nothing,
    );
    assert_eq!(words(&orders), ["tcp 10.0.0.30:22 each 1s, Down"]);
    assert_eq!(downs(&checks, &web("")).len(), 2);
}

#[test]
fn what_serves_already_is_up_until_a_probe_says_otherwise() {
    let mut checks = Checks::default();
    let web = spec("[{}]", TWO);
    let served: SocketAddr = "10.0.0.30:8080".parse().unwrap();
    let serving = |_: &Asked, of: &BTreeSet<SocketAddr>| of.contains(&served).then(|| Belief::untested(Verdict::Up));
    let orders = checks.place(&key("web"), Some(&web), serving);
    assert_eq!(words(&orders)[1], "tcp 10.0.0.30:8080 each 10s, Up");
    assert!(!downs(&checks, &web).iter().any(|line| line.contains("10.0.0.30:8080")));
}

#[test]
fn what_has_found_out_nothing_yet_is_untested_and_what_has_speaks() {
    let mut checks = Checks::default();
    let untested = |checks: &Checks, spec: &PlacementSpec| {
        let judged = checks.judge(placed(spec.clone()));
        judged.untested.into_iter().collect::<Vec<_>>().join(" ")
    };
    let web = spec("[{tcp: {}, port: 22}, {tcp: {}, port: 23, onFailure: Quiesce}]", TWO);
    checks.place(&key("web"), Some(&web), nothing);
    assert_eq!(untested(&checks, &web), "rs1 rs2");
    checks.believe(&asked_of(&checks, "tcp 10.0.0.30:23"), down("refused, 4 of 4"));
    assert_eq!(
        downs(&checks, &web)[0],
        "rs1 10.0.0.30:443 Remove: refused, 4 of 4",
        "the first that has found something, and the hardest of all"
    );
    let up = Belief {
        verdict: Verdict::Up,
        ..down("passed, 1 of 1")
    };
    for port in [22, 23] {
        checks.believe(&asked_of(&checks, &format!("tcp 10.0.0.40:{port}")), up.clone());
    }
    assert_eq!(untested(&checks, &web), "rs1");
    checks.place(&key("web"), None, nothing);
    // Nothing is asked by the way to a host that is not ready, and nothing is known therefore.
    let mut web = by_path("[{}]");
    web.director.as_mut().unwrap().real_servers[1].prepared.clear();
    for asked in checks.place(&key("web"), Some(&web), nothing) {
        if let Order::Probe { asked, pace: _ } = asked {
            checks.believe(&asked, up.clone());
        }
    }
    assert_eq!(untested(&checks, &web), "rs2");
    assert_eq!(untested(&checks, &spec("[{none: {}}]", TWO)), "");
}

#[test]
fn f37_an_edit_of_a_check_proves_nothing_and_a_new_one_takes_nobody_out() {
    let verdict = |remembered, was_down, serves| {
        let belief = Belief::at_first(remembered, was_down, || serves);
        belief.map(|belief| belief.verdict)
    };
    let up = Pace {
        initial: Verdict::Up,
        ..Pace::default()
    };
    let remembered = health::Check::new(health::Moment::default(), health::Phase::of(0), up).remember();
    assert_eq!(verdict(Some(remembered), true, false), Some(Verdict::Up));
    assert_eq!(verdict(None, true, true), Some(Verdict::Down));
    assert_eq!(verdict(None, false, true), Some(Verdict::Up));
    assert_eq!(verdict(None, false, false), None, "its initialState");
}

#[test]
fn ping_is_of_an_address_and_speaks_for_all_its_ports() {
    let mut checks = Checks::default();
    let mut web = spec("[{ping: {}, initialState: Healthy}]", TWO);
    let orders = checks.place(&key("web"), Some(&web), nothing);
    assert_eq!(
        words(&orders),
        ["ping 10.0.0.30 each 10s, Up", "ping 10.0.0.40 each 10s, Up"]
    );
    checks.believe(&asked_of(&checks, "ping 10.0.0.30"), down("silent"));
    assert_eq!(
        downs(&checks, &web),
        ["rs1 10.0.0.30:443 Remove: silent", "rs1 10.0.0.30:8080 Remove: silent"]
    );
    // A service of every port has an address, too.
    for service in &mut web.director.as_mut().unwrap().services {
        (service.port, service.target_port) = (Some(0), None);
    }
    assert!(checks.place(&key("web"), Some(&web), nothing).is_empty());
    assert_eq!(downs(&checks, &web), ["rs1 10.0.0.30:0 Remove: silent"]);
}

#[test]
fn two_checks_that_differ_in_what_they_ask_are_two() {
    let mut checks = Checks::default();
    let web = spec(
        "[{http: {bodyPattern: up}}, {http: {bodyPattern: well}}, {udp: {}, port: 53}, {dns: {}, port: 53}]",
        TWO.split("\n  - {name: rs2").next().unwrap(),
    );
    let orders = checks.place(&key("web"), Some(&web), nothing);
    let mut words = words(&orders);
    words.sort();
    assert_eq!(
        words,
        [
            "dns 10.0.0.30:53 each 10s, Down",
            "http 10.0.0.30:443 each 10s, Down",
            "http 10.0.0.30:443 each 10s, Down",
            "http 10.0.0.30:8080 each 10s, Down",
            "http 10.0.0.30:8080 each 10s, Down",
            "udp 10.0.0.30:53 each 10s, Down",
        ]
    );
    // Read once more, a pattern is the same.
    assert!(checks.place(&key("web"), Some(&web), nothing).is_empty());
}

#[test]
fn a_service_without_one_port_probes_the_port_that_is_named() {
    let mut checks = Checks::default();
    let mut web = spec("[{}]", TWO);
    web.director.as_mut().unwrap().services.iter_mut().for_each(|service| {
        (service.protocol, service.port, service.target_port) = (None, None, None);
        service.firewall_mark = Some(7);
    });
    assert!(checks.place(&key("web"), Some(&web), nothing).is_empty());
    web.director.as_mut().unwrap().health_checks[0].port = Some(80);
    assert_eq!(checks.place(&key("web"), Some(&web), nothing).len(), 2);
    checks.believe(&asked_of(&checks, "tcp 10.0.0.30:80"), down("refused"));
    assert_eq!(downs(&checks, &web)[0], "rs1 10.0.0.30:0 Remove: refused");
}

#[test]
fn the_defaults_are_keepaliveds_words_with_our_numbers() {
    let mut checks = Checks::default();
    let orders = checks.place(&key("web"), Some(&spec("[{}]", TWO)), nothing);
    let Order::Probe { asked: _, pace } = &orders[0] else {
        panic!("{orders:?}")
    };
    assert_eq!(*pace, Pace::default());
    assert_eq!(pace.detection_bound(), Duration::from_secs(39));
}

#[test]
fn a_prepared_real_server_by_dr_or_tun_is_probed_at_each_vip_and_loses_that_one_alone() {
    let mut checks = Checks::default();
    let web = by_path("[{initialState: Healthy}]");
    let orders = checks.place(&key("web"), Some(&web), nothing);
    assert_eq!(
        words(&orders),
        [
            "tcp 192.168.56.100:80 at 10.0.0.40 by TUN each 10s, Up",
            "tcp 192.168.56.100:80 at 192.168.56.30 by DR each 10s, Up",
        ],
        "rs1 has no address for the VIP of IPv6, and rs2 is not prepared for it"
    );
    checks.believe(
        &asked_of(&checks, "tcp 192.168.56.100:80 at 192.168.56.30 by DR"),
        down("lost"),
    );
    assert_eq!(
        downs(&checks, &web),
        ["rs1 192.168.56.30:80 at 192.168.56.100 Remove: lost"]
    );
    let judged = checks.judge(placed(web)).down;
    let of = |vips: &[&str]| {
        let vips = vips.iter().map(|text| text.parse().unwrap()).collect();
        on_failure(&judged, ("rs1", "192.168.56.30:80".parse().unwrap()), &vips)
    };
    assert_eq!(of(&["192.168.56.100"]), Some(OnFailure::Remove));
    assert_eq!(of(&["192.168.56.101"]), None, "another VIP's services go on");
    assert_eq!(
        of(&["192.168.56.101", "192.168.56.100"]),
        Some(OnFailure::Remove),
        "a mark is of all its VIPs"
    );
}

#[test]
fn who_goes_by_the_path_and_who_does_not() {
    let asked = |checks: &str, edit: fn(&mut crds::PlacedRealServer)| {
        let mut web = by_path(checks);
        let servers = &mut web.director.as_mut().unwrap().real_servers;
        servers.truncate(1);
        edit(&mut servers[0]);
        let orders = Checks::default().place(&key("web"), Some(&web), nothing);
        words(&orders)
            .iter()
            .map(|line| line.split(" each").next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let path = ["tcp 192.168.56.100:80 at 192.168.56.30 by DR"];
    let own = ["tcp 192.168.56.30:80"];
    assert_eq!(asked("[{}]", |_| {}), path);
    assert_eq!(asked("[{}]", |server| server.node_name = None), own);
    assert_eq!(asked("[{through: RealServerAddress}]", |_| {}), own);
    assert_eq!(
        asked("[{through: ForwardingPath}]", |server| server.node_name = None),
        path
    );
    let nat = |server: &mut crds::PlacedRealServer| server.forwarding_method = crds::ForwardingMethod::NAT;
    assert_eq!(asked("[{}]", nat), own);
    assert_eq!(asked("[{through: ForwardingPath}]", nat), own);
    assert!(asked("[{}]", |server| server.prepared.clear()).is_empty());
    let named = ["tcp 192.168.56.100:22 at 192.168.56.30 by DR"];
    assert_eq!(asked("[{port: 22}]", |_| {}), named);
    assert!(asked("[{}]", |server| server.sorry = true).is_empty());
    for probe in ["http", "https", "udp", "dns", "smtp", "grpc"] {
        let path = [format!("{probe} 192.168.56.100:80 at 192.168.56.30 by DR")];
        assert_eq!(asked(&format!("[{{{probe}: {{}}}}]"), |_| {}), path);
    }
    assert_eq!(asked("[{ping: {}}]", |_| {}), ["ping 192.168.56.30"]);
}

#[test]
fn a_vip_that_is_taken_back_is_probed_no_more() {
    let mut web = by_path("[{}]");
    assert_eq!(ways(&web).len(), 3, "rs2 by TUN has a way for either family");
    web.director.as_mut().unwrap().addresses[0].withdraw = true;
    assert_eq!(ways(&web).len(), 1);
    web.director.as_mut().unwrap().real_servers[1].prepared.clear();
    assert_eq!(
        ways(&web).len(),
        1,
        "a way waits for the real server, not the other way round"
    );
    web.director.as_mut().unwrap().real_servers[0].sorry = true;
    assert_eq!(ways(&web).len(), 1, "it was the other's");
    web.director.as_mut().unwrap().addresses[1].withdraw = true;
    assert!(ways(&web).is_empty());
    assert!(Checks::default().place(&key("web"), Some(&web), nothing).is_empty());
}

#[test]
fn nobody_is_asked_before_the_way_is_open_and_then_as_it_says() {
    let web = by_path("[{}]");
    let orders = Checks::default().place(&key("web"), Some(&web), nothing);
    let Some(Order::Probe { asked, pace: _ }) = orders.into_iter().nth(1) else {
        panic!("a probe")
    };
    let mut ways = Ways::default();
    assert_eq!(ways.target(&asked), None);
    let source: IpAddr = "192.168.56.10".parse().unwrap();
    let marked = Steering::Marked { mark: 7, source };
    ways.open.insert(asked.way.unwrap(), marked);
    let target = ways.target(&asked).unwrap();
    assert_eq!(
        (target.to_string().as_str(), target.source, target.mark),
        ("192.168.56.100:80", Some(source), Some(7))
    );
    let own = |ways: &Ways| {
        let target = ways.target(&asked).unwrap();
        assert_eq!(target.name, Some("192.168.56.100".parse().unwrap()), "in whose name");
        (target.to_string(), target.source, target.mark)
    };
    ways.elsewhere.insert("192.168.56.100".parse().unwrap());
    assert_eq!(own(&ways), ("192.168.56.30:80".to_owned(), None, None));
    ways.elsewhere.clear();
    ways.open.insert(asked.way.unwrap(), Steering::Unsteered);
    assert_eq!(own(&ways), ("192.168.56.30:80".to_owned(), None, None));
}
