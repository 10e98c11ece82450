use std::collections::{BTreeMap, BTreeSet};

use crds::{TunnelChecksum, TunnelType};
use expect_test::{expect, expect_file};
use proptest::prelude::*;

use super::*;
use crate::state::{Facts, Route};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn tunnel(type_: TunnelType, port: Option<i32>, checksum: Option<TunnelChecksum>) -> crds::Tunnel {
    crds::Tunnel { type_, port, checksum }
}

fn directors(texts: &[&str]) -> BTreeSet<IpAddr> {
    texts.iter().map(|text| ip(text)).collect()
}

/// A device of somebody else.
fn foreign(kind: TunnelKind, local: &str, remote: &str, up: bool) -> ReadTunnel {
    let tunnel = Tunnel {
        kind,
        local: end(ip(local)),
        remote: end(ip(remote)),
        checksum: false,
        plain: true,
    };
    ReadTunnel {
        tunnel,
        up,
        marked: false,
    }
}

fn beside(name: &str, read: ReadTunnel) -> Facts {
    Facts {
        tunnels: BTreeMap::from([(name.to_owned(), read)]),
        ..Facts::default()
    }
}

fn shown(way: Result<Way, Obstacle>) -> String {
    match way {
        Ok(way) => {
            let port = way.port.map(|port| format!("ip fou add {port} gue\n"));
            let device = |(name, tunnel): (String, Tunnel)| Change::AddDevice { name, tunnel }.to_string() + "\n";
            let devices: String = way.devices.into_iter().map(device).collect();
            devices + &port.unwrap_or_default()
        }
        Err(obstacle) => format!("{obstacle}\n"),
    }
}

#[test]
fn every_type_and_pair_of_families_has_its_device() {
    let (rip4, rip6) = (ip("10.20.0.30"), ip("fd20::30"));
    let vips = [ip("192.168.56.100"), ip("fd56::100")];
    let types = [
        tunnel(TunnelType::Ipip, None, None),
        tunnel(TunnelType::Gue, Some(6080), None),
        tunnel(TunnelType::Gre, None, None),
        tunnel(TunnelType::Gre, None, Some(TunnelChecksum::Checksum)),
    ];
    let mut lines = String::new();
    for wrapped in &types {
        for addresses in [vec![rip4, rip6], vec![rip4], vec![rip6]] {
            for vip in vips {
                let way = way(&addresses, wrapped, vip, &BTreeSet::new(), &Facts::default());
                lines += &format!("# {vip} over {:?}\n", addresses);
                lines += &shown(way);
            }
        }
    }
    expect_file!["testdata/devices.txt"].assert_eq(&lines);
}

#[test]
fn a_name_fits_and_is_the_same_always() {
    let of = |kind, local, remote| Tunnel::new(kind, ip(local), remote, false).name();
    let name = of(TunnelKind::Ip6gre, "fd20::30", Some(ip("fd20::20")));
    assert!(name.len() == 15 && is_name_of_ours(&name), "{name}");
    assert_eq!(
        of(TunnelKind::Ipip, "10.20.0.30", None),
        of(TunnelKind::Ipip, "10.20.0.30", None)
    );
    assert_ne!(
        of(TunnelKind::Ipip, "10.20.0.30", None),
        of(TunnelKind::Ipip, "10.20.0.31", None)
    );
    for foreign in [
        "tunl0",
        "lvs-br0",
        "lvs-ipip",
        "lvs-ipip-",
        "lvs-ipip-12345",
        "lvs-ipip-12345G",
        "lvs-vxlan-123456",
    ] {
        assert!(!is_name_of_ours(foreign), "{foreign}");
    }
}

/// Test case 26 of lvs-measured.md: Calico's `tunl0`, which is up, goes on taking what does not come from a director.
#[test]
fn a_foreign_tunnel_keeps_the_packets_of_everybody_but_the_directors() {
    let facts = beside("tunl0", foreign(TunnelKind::Ipip, "0.0.0.0", "0.0.0.0", true));
    let to = |facts: &Facts, those: &[&str]| {
        let wrapped = tunnel(TunnelType::Ipip, None, None);
        shown(way(
            &[ip("10.20.0.30")],
            &wrapped,
            ip("192.168.56.100"),
            &directors(those),
            facts,
        ))
    };
    expect![[r#"
        ip link add lvs-ipip-e2b266 type ipip local 10.20.0.30 remote 10.20.0.20 && ip link set lvs-ipip-e2b266 up alias lvs-operator
        ip link add lvs-ipip-e2b408 type ipip local 10.20.0.30 remote 10.20.0.21 && ip link set lvs-ipip-e2b408 up alias lvs-operator
    "#]].assert_eq(&to(&facts, &["10.20.0.20", "10.20.0.21", "fd20::20"]));
    expect![[r#"
        tunl0 is not of lvs-operator's doing and unwraps ipip packets to 10.20.0.30: its packets are left to it, and no address of a director is known whose packets could be taken from it
    "#]].assert_eq(&to(&facts, &[]));
    let mut peer = facts.clone();
    peer.routes.insert(Route {
        network: "10.244.1.0/26".parse().unwrap(),
        metric: 0,
        interface: "tunl0".to_owned(),
        gateway: Some(ip("10.20.0.20")),
        source: None,
    });
    expect![[r#"
        tunl0 is not of lvs-operator's doing, and its network reaches 10.20.0.20 by ipip packets, too: taking the director's would take those; choose another tunnel.type
    "#]].assert_eq(&to(&peer, &["10.20.0.20"]));
    // Whom the kernel would give its packets to; but beside a device for any, only directors may send.
    let to_one = beside("one", foreign(TunnelKind::Ipip, "10.20.0.30", "10.20.0.77", true));
    expect![[r#"
        ip link add lvs-ipip-e2b266 type ipip local 10.20.0.30 remote 10.20.0.20 && ip link set lvs-ipip-e2b266 up alias lvs-operator
    "#]].assert_eq(&to(&to_one, &["10.20.0.20"]));
    let taken = beside("mine", foreign(TunnelKind::Ipip, "10.20.0.30", "10.20.0.20", true));
    expect![[r#"
        mine is not of lvs-operator's doing and unwraps ipip packets from 10.20.0.20 to 10.20.0.30: remove it, or choose another tunnel.type
    "#]].assert_eq(&to(&taken, &["10.20.0.20"]));
}

#[test]
fn a_foreign_tunnel_that_takes_nothing_of_ours_changes_nothing() {
    let harmless = [
        foreign(TunnelKind::Ipip, "0.0.0.0", "0.0.0.0", false),
        foreign(TunnelKind::Ipip, "10.20.0.99", "0.0.0.0", true),
        foreign(TunnelKind::Gre, "0.0.0.0", "0.0.0.0", true),
        foreign(TunnelKind::Ip6tnl, "::", "::", true),
    ];
    for read in harmless {
        let facts = beside("other", read);
        let wrapped = tunnel(TunnelType::Ipip, None, None);
        let way = way(
            &[ip("10.20.0.30")],
            &wrapped,
            ip("192.168.56.100"),
            &directors(&["10.20.0.20"]),
            &facts,
        );
        let devices = way.unwrap().devices;
        assert!(devices.len() == 1 && devices.values().all(|device| device.remote.is_none()));
    }
}

#[test]
fn gue_without_a_port_is_refused() {
    for port in [None, Some(0), Some(65536), Some(-1)] {
        let wrapped = tunnel(TunnelType::Gue, port, None);
        let way = way(
            &[ip("10.20.0.30")],
            &wrapped,
            ip("192.168.56.100"),
            &BTreeSet::new(),
            &Facts::default(),
        );
        assert_eq!(way, Err(Obstacle::NoPort));
    }
}

/// F22: MTU 1500 leaves what was measured with tcpdump (1440 by IPIP), and what IPVS subtracts.
#[test]
fn f22_the_segment_size_that_fits_through_each_tunnel() {
    use Family::{Ipv4, Ipv6};
    use TunnelChecksum::{Checksum, None, RemoteChecksum};
    use TunnelType::{Gre, Gue, Ipip};
    let cases = [
        // type, checksum, outer, overhead, segment size of IPv4 and of IPv6
        (Ipip, None, Ipv4, 20, 1440, 1420),
        (Ipip, None, Ipv6, 40, 1420, 1400),
        (Gue, None, Ipv4, 32, 1428, 1408),
        (Gue, Checksum, Ipv4, 32, 1428, 1408),
        (Gue, RemoteChecksum, Ipv4, 40, 1420, 1400),
        (Gue, None, Ipv6, 52, 1408, 1388),
        (Gue, RemoteChecksum, Ipv6, 60, 1400, 1380),
        (Gre, None, Ipv4, 24, 1436, 1416),
        (Gre, Checksum, Ipv4, 28, 1432, 1412),
        (Gre, None, Ipv6, 44, 1416, 1396),
        (Gre, Checksum, Ipv6, 48, 1412, 1392),
    ];
    for (type_, checksum, outer, bytes, inner4, inner6) in cases {
        let measured = overhead(type_, checksum, outer);
        assert_eq!(measured, bytes, "{type_:?} {checksum:?} over {outer:?}");
        assert_eq!(maximum_segment_size(1500, measured, Ipv4), inner4);
        assert_eq!(maximum_segment_size(1500, measured, Ipv6), inner6);
    }
    assert_eq!(maximum_segment_size(9000, 20, Ipv4), 8940);
    assert_eq!(maximum_segment_size(0, 20, Ipv4), 536);
    assert_eq!(maximum_segment_size(u32::MAX, 20, Ipv4), 65475);
}

fn arbitrary_tunnel() -> impl Strategy<Value = Tunnel> {
    let remote = proptest::option::of(0..3_u8);
    (0..KINDS.len(), 0..3_u8, remote, any::<bool>()).prop_map(|(kind, local, remote, checksum)| {
        let kind = KINDS[kind];
        let address = |last: u8| match kind.outer() {
            Family::Ipv4 => IpAddr::from([10, 20, 0, last]),
            Family::Ipv6 => IpAddr::from([0xfd, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]),
        };
        let checksum = checksum && matches!(kind, TunnelKind::Gre | TunnelKind::Ip6gre);
        Tunnel::new(kind, address(local), remote.map(address), checksum)
    })
}

fn by_name(tunnels: Vec<Tunnel>) -> BTreeMap<String, Tunnel> {
    tunnels.into_iter().map(|tunnel| (tunnel.name(), tunnel)).collect()
}

fn arbitrary_ports() -> impl Strategy<Value = BTreeSet<GuePort>> {
    let port = (any::<bool>(), 6080..6083_u16).prop_map(|(is_ipv4, port)| GuePort {
        family: if is_ipv4 { Family::Ipv4 } else { Family::Ipv6 },
        port,
    });
    proptest::collection::btree_set(port, 0..4)
}

/// What the kernel makes of a change, all of whose devices are ours.
fn play(tunnels: &mut BTreeMap<String, ReadTunnel>, ports: &mut BTreeMap<GuePort, Receiver>, change: &Change) {
    match change {
        Change::AddDevice { name, tunnel } => {
            let free = tunnels.values().all(|read| {
                (read.tunnel.kind, read.tunnel.local, read.tunnel.remote) != (tunnel.kind, tunnel.local, tunnel.remote)
            });
            assert!(free && !tunnels.contains_key(name), "EEXIST");
            tunnels.insert(name.clone(), ours(tunnel));
        }
        Change::ReplaceDevice { name, tunnel } => drop(tunnels.insert(name.clone(), ours(tunnel))),
        Change::SetUp { name } => tunnels.get_mut(name).unwrap().up = true,
        Change::DeleteDevice { name } => assert!(tunnels.remove(name).is_some()),
        Change::AddPort { port } => assert!(ports.insert(*port, Receiver::Gue).is_none()),
        Change::DeletePort { port } => assert!(ports.remove(port).is_some()),
    }
}

fn ours(tunnel: &Tunnel) -> ReadTunnel {
    ReadTunnel {
        tunnel: tunnel.clone(),
        up: true,
        marked: true,
    }
}

proptest! {
    #[test]
    fn the_difference_turns_any_state_of_ours_into_any_other_and_then_there_is_none(
        wanted in proptest::collection::vec(arbitrary_tunnel(), 0..5),
        had in proptest::collection::vec((arbitrary_tunnel(), any::<bool>(), any::<bool>()), 0..5),
        wanted_ports in arbitrary_ports(),
        had_ports in arbitrary_ports(),
    ) {
        let wanted = by_name(wanted);
        let mut tunnels: BTreeMap<String, ReadTunnel> = had
            .into_iter()
            .map(|(tunnel, up, plain)| {
                let name = tunnel.name();
                let tunnel = Tunnel { plain, ..tunnel };
                (name, ReadTunnel { up, ..ours(&tunnel) })
            })
            .collect();
        let mut ports: BTreeMap<GuePort, Receiver> = had_ports.iter().map(|port| (*port, Receiver::Gue)).collect();
        let names: BTreeSet<String> = tunnels.keys().cloned().collect();
        let recorded = Recorded { tunnels: &names, ports: &had_ports };
        let found = difference((&wanted, &tunnels), (&wanted_ports, Some(&ports)), recorded);
        prop_assert!(found.foreign_tunnels.is_empty() && found.foreign_ports.is_empty());
        found.up.iter().chain(&found.down).for_each(|change| play(&mut tunnels, &mut ports, change));
        let again = difference((&wanted, &tunnels), (&wanted_ports, Some(&ports)), recorded);
        prop_assert_eq!((again.up, again.down), (vec![], vec![]));
        prop_assert_eq!(tunnels.len(), wanted.len());
    }
}

#[test]
fn what_is_somebody_elses_is_not_overwritten() {
    let wanted = by_name(vec![Tunnel::new(TunnelKind::Ipip, ip("10.20.0.30"), None, false)]);
    let name = wanted.keys().next().unwrap().clone();
    let other = foreign(TunnelKind::Ipip, "10.20.0.30", "10.9.9.9", true);
    let observed = BTreeMap::from([(name.clone(), other.clone()), ("tunl0".to_owned(), other)]);
    let gue = GuePort {
        family: Family::Ipv4,
        port: 6080,
    };
    let ports = BTreeMap::from([(gue, Receiver::Other)]);
    let nothing = Recorded {
        tunnels: &BTreeSet::new(),
        ports: &BTreeSet::new(),
    };
    let found = difference((&wanted, &observed), (&BTreeSet::from([gue]), Some(&ports)), nothing);
    assert_eq!((found.up, found.down), (vec![], vec![]));
    assert_eq!(found.foreign_tunnels, BTreeSet::from([name]));
    assert_eq!(found.foreign_ports, BTreeSet::from([gue]));
}

#[test]
fn a_port_that_works_is_used_and_becomes_ours_only_where_a_ledger_was_lost() {
    let gue = GuePort {
        family: Family::Ipv4,
        port: 6080,
    };
    let ports = BTreeMap::from([(gue, Receiver::Gue)]);
    let device = Tunnel::new(TunnelKind::Ipip, ip("10.20.0.30"), None, false);
    let wanted = by_name(vec![device.clone()]);
    let nothing = Recorded {
        tunnels: &BTreeSet::new(),
        ports: &BTreeSet::new(),
    };
    let fresh = difference(
        (&wanted, &BTreeMap::new()),
        (&BTreeSet::from([gue]), Some(&ports)),
        nothing,
    );
    assert_eq!(fresh.new_ports, []);
    let alive = BTreeMap::from([(device.name(), ours(&device))]);
    let lost = difference((&wanted, &alive), (&BTreeSet::from([gue]), Some(&ports)), nothing);
    assert_eq!(
        (lost.up, lost.new_ports, lost.new_tunnels),
        (vec![], vec![gue], vec![device.name()])
    );
}
