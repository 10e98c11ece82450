use ipvs::{ForwardingMethod, Tunnel, TunnelType};
use proptest::prelude::*;

use super::*;

fn way(server: IpAddr, kind: Option<TunnelType>) -> Way {
    Way {
        family: Family::Ipv4,
        server,
        method: kind.map_or(ForwardingMethod::DirectRouting, |_| ForwardingMethod::Tunnel),
        tunnel: Tunnel {
            kind: kind.unwrap_or_default(),
            ..Tunnel::default()
        },
    }
}

fn ways() -> impl Strategy<Value = BTreeSet<Way>> {
    let kind = prop_oneof![
        Just(None),
        Just(Some(TunnelType::Ipip)),
        Just(Some(TunnelType::Gue)),
        Just(Some(TunnelType::Gre))
    ];
    let one = (any::<IpAddr>(), kind).prop_map(|(server, kind)| way(server, kind));
    proptest::collection::btree_set(one, 1..60)
}

proptest! {
    #[test]
    fn every_way_has_a_mark_of_its_own_which_no_other_component_has(ways in ways()) {
        let marks = marks(ways.iter(), &PROBE_MARKS);
        let different: BTreeSet<u32> = marks.values().copied().collect();
        prop_assert_eq!((marks.len(), different.len()), (ways.len(), ways.len()));
        prop_assert!(different.iter().all(|mark| PROBE_MARKS.contains(mark) && mark & OF_KUBE_PROXY == 0));
    }

    #[test]
    fn a_way_that_comes_or_goes_leaves_the_others_their_marks(ways in ways(), which in any::<prop::sample::Index>()) {
        let all = marks(ways.iter(), &PROBE_MARKS);
        let gone = *which.get(&ways.iter().copied().collect::<Vec<_>>());
        let rest = marks(ways.iter().filter(|way| **way != gone), &PROBE_MARKS);
        prop_assert!(rest.iter().all(|(way, mark)| all[way] == *mark));
    }

    #[test]
    fn ways_that_meet_still_have_different_marks_and_who_gets_none_goes_without(ways in ways(), size in 1..90_u32) {
        let marks = marks(ways.iter(), &(0x3fc0..=0x3fc0 + size - 1));
        let different: BTreeSet<u32> = marks.values().copied().collect();
        let free = usize::try_from(size.min(64)).unwrap();
        prop_assert_eq!((marks.len(), different.len()), (ways.len().min(free), marks.len()));
        prop_assert!(different.iter().all(|mark| *mark < 0x4000));
    }
}

/// What an agent of another version of ours made is found again.
#[test]
fn marks_are_the_same_in_every_version() {
    let ways = [
        way("192.168.56.30".parse().unwrap(), None),
        way("192.168.56.30".parse().unwrap(), Some(TunnelType::Gue)),
        way("fd56::30".parse().unwrap(), None),
    ];
    let marks = marks(ways.iter(), &PROBE_MARKS);
    let marks: Vec<String> = ways.iter().map(|way| format!("{:#x}", marks[way])).collect();
    expect_test::expect!["0x12ac3351 0x14a32ea7 0x16cb264d"].assert_eq(&marks.join(" "));
}

#[test]
fn only_marks_of_the_range_are_for_probes() {
    let mark = |mark| is_for_probes(&ServiceKey::firewall_mark(Family::Ipv6, mark).unwrap());
    assert!(mark(0x1000_0000) && mark(0x17ff_ffff));
    assert!(!mark(0x0fff_ffff) && !mark(0x1800_0000) && !mark(0x1f00_0000) && !mark(10));
    let vip = ServiceKey::address(ipvs::Protocol::Tcp, "192.168.56.100".parse().unwrap(), 80);
    assert!(!is_for_probes(&vip));
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn route(network: &str, interface: &str, gateway: Option<&str>, source: Option<&str>) -> crate::state::Route {
    crate::state::Route {
        network: network.parse().unwrap(),
        metric: 0,
        interface: interface.to_owned(),
        gateway: gateway.map(ip),
        source: source.map(ip),
    }
}

/// The director would not hear an answer to what it asks from a VIP, its own or that of another daemon.
#[test]
fn a_probe_is_asked_from_the_nodes_own_address_on_the_way_to_the_real_server() {
    let mut facts = Facts::default();
    for (address, interface) in [
        // Somebody else's VIP, and the node's own addresses.
        ("192.168.56.5", "eth0"),
        ("192.168.56.10", "eth0"),
        ("10.0.0.1", "eth1"),
        ("fd56::10", "eth0"),
        ("fd10::1", "eth1"),
        ("fe80::1", "eth0"),
        ("127.0.0.1", "lo"),
    ] {
        facts.foreign_addresses.insert(ip(address), interface.to_owned());
    }
    facts.routes = BTreeSet::from([
        route("192.168.56.0/24", "eth0", None, Some("192.168.56.10")),
        route("10.0.0.0/24", "eth1", None, None),
        route("10.9.0.0/16", "eth1", Some("10.0.0.254"), None),
        route("0.0.0.0/0", "eth0", Some("192.168.56.1"), None),
        route("fd56::/64", "eth0", None, None),
        route("fd10::/64", "eth1", None, None),
        route("::/0", "eth0", Some("fe80::99"), None),
        // What a route names and the node has by our doing alone is a VIP.
        route("10.8.0.0/16", "eth1", None, Some("192.168.56.100")),
    ]);
    let source = |server: &str, family| facts.source_to(ip(server), family).map(|own| own.to_string());
    let four = |server: &str| source(server, Family::Ipv4).unwrap();
    assert_eq!(
        four("192.168.56.30"),
        "192.168.56.10",
        "what the kernel itself would take"
    );
    assert_eq!(four("10.0.0.30"), "10.0.0.1");
    assert_eq!(four("10.9.0.30"), "10.0.0.1", "the address beside the router");
    assert_eq!(four("203.0.113.30"), "192.168.56.10");
    assert_eq!(four("10.8.0.30"), "10.0.0.1");
    let six = |server: &str| source(server, Family::Ipv6).unwrap();
    assert_eq!(six("fd56::30"), "fd56::10");
    assert_eq!(six("fd99::30"), "fd56::10", "no link-local one");
    assert_eq!(six("10.0.0.30"), "fd10::1", "a VIP of the other family, in a tunnel");
    facts.foreign_addresses.retain(|address, _| address.is_ipv4());
    assert_eq!(facts.source_to(ip("fd56::30"), Family::Ipv6), None);
}
