//! What unwraps tunnel packets, judged by `ip`, and by packets that another host wraps.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use crds::{TunnelChecksum, TunnelType};
use ipvs::{Errno, Family};
use node_agent::kernel::notify::Notifications;
use node_agent::kernel::{Kernel, KernelError};
use node_agent::plan::Change;
use node_agent::state::{AddressConfig, AddressKey, AddressScope, Knob, Sysctl};
use node_agent::tunnel::{self, GuePort, Receiver, Tunnel, TunnelKind, Way, way};

use crate::{Peer, facts, ip, namespace, run};

const RIP: &str = "192.168.56.10";
const RIP6: &str = "fd56::10";
const VIPS: [&str; 2] = ["203.0.113.100", "2001:db8::100"];

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn device(kind: TunnelKind, remote: Option<&str>, checksum: bool) -> Tunnel {
    let local = match kind.outer() {
        Family::Ipv4 => RIP,
        Family::Ipv6 => RIP6,
    };
    Tunnel::new(kind, address(local), remote.map(address), checksum)
}

fn add(tunnel: &Tunnel) -> Change {
    Change::Tunnel(tunnel::Change::AddDevice {
        name: tunnel.name(),
        tunnel: tunnel.clone(),
    })
}

fn delete(tunnel: &Tunnel) -> Change {
    Change::Tunnel(tunnel::Change::DeleteDevice { name: tunnel.name() })
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_device_of_each_kind_is_made_read_and_deleted() {
    let mut linux = namespace();
    let devices = [
        (
            device(TunnelKind::Ipip, None, false),
            "ipip any remote any local 192.168.56.10",
        ),
        (
            device(TunnelKind::Ipip, Some("192.168.56.20"), false),
            "remote 192.168.56.20 local 192.168.56.10",
        ),
        (
            device(TunnelKind::Sit, None, false),
            "sit ip6ip remote any local 192.168.56.10",
        ),
        (
            device(TunnelKind::Ip6tnl, None, false),
            "ip6tnl any remote any local fd56::10",
        ),
        (
            device(TunnelKind::Ip6tnl, Some("fd56::20"), false),
            "remote fd56::20 local fd56::10",
        ),
        (
            device(TunnelKind::Gre, None, false),
            "gre remote any local 192.168.56.10",
        ),
        (device(TunnelKind::Gre, Some("192.168.56.20"), true), "icsum"),
        (
            device(TunnelKind::Ip6gre, None, true),
            "ip6gre remote any local fd56::10",
        ),
    ];
    for (tunnel, words) in &devices {
        let words = match tunnel.kind {
            // iproute2 says the mode of an ipip device since 5.x, and only of some.
            TunnelKind::Ipip => words.trim_start_matches("ipip any "),
            TunnelKind::Sit | TunnelKind::Ip6tnl | TunnelKind::Gre | TunnelKind::Ip6gre => words,
        };
        assert_eq!(linux.apply(&[add(tunnel), add(tunnel)]), [Ok(()), Ok(())], "{tunnel}");
        let shown = ip(&format!("-d link show {}", tunnel.name()));
        assert!(
            shown.contains(words) && shown.contains("alias lvs-operator"),
            "{words}: {shown}"
        );
        let read = facts(&mut linux).tunnels[&tunnel.name()].clone();
        assert_eq!((&read.tunnel, read.up, read.marked), (tunnel, true, true));
    }
    for (tunnel, _) in &devices {
        assert_eq!(linux.apply(&[delete(tunnel), delete(tunnel)]), [Ok(()), Ok(())]);
        assert!(!facts(&mut linux).tunnels.contains_key(&tunnel.name()));
    }
}

#[test]
#[ignore = "needs root and network namespaces"]
fn what_narrows_or_opens_a_device_is_read() {
    let mut linux = namespace();
    for (name, words) in [
        ("plain", "type ipip mode ipip local 192.168.56.10"),
        ("external", "type ipip external"),
        ("key", "type gre local 192.168.56.10 key 7"),
        ("sequence", "type gre local 192.168.56.11 iseq"),
        ("sums", "type gre local 192.168.56.12 icsum"),
        ("narrow", "type ip6tnl mode ipip6 local fd56::10"),
    ] {
        ip(&format!("link add {name} {words}"));
    }
    let tunnels = facts(&mut linux).tunnels;
    let plain: Vec<_> = tunnels
        .iter()
        .filter(|(_, read)| read.tunnel.plain)
        .map(|(name, _)| name.as_str())
        .collect();
    assert!(plain.contains(&"plain") && plain.contains(&"sums"), "{plain:?}");
    assert!(
        !["external", "key", "sequence", "narrow"]
            .iter()
            .any(|name| plain.contains(name)),
        "{plain:?}"
    );
    assert!(tunnels["sums"].tunnel.checksum && !tunnels["key"].tunnel.checksum);
    assert!(tunnels["external"].tunnel.local.is_none());
    assert!(tunnels.values().all(|read| !read.up && !read.marked));
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_device_of_somebody_else_is_not_taken_over() {
    let mut linux = namespace();
    let tunnel = device(TunnelKind::Ipip, None, false);
    let exists = || Err(KernelError::Refused { errno: Errno::EEXIST });
    ip("link add other type ipip local 192.168.56.10");
    assert_eq!(linux.apply(&[add(&tunnel)]), [exists()]);
    ip("link delete other");
    ip(&format!("link add {} type dummy", tunnel.name()));
    assert_eq!(linux.apply(&[add(&tunnel)]), [exists()]);
    assert!(linux.apply(&[delete(&tunnel)])[0].is_err());
    ip(&format!("link delete {}", tunnel.name()));
    assert_eq!(linux.apply(&[add(&tunnel)]), [Ok(())]);
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_replaced_device_takes_what_it_should_again() {
    let mut linux = namespace();
    let tunnel = device(TunnelKind::Gre, None, true);
    let name = tunnel.name();
    ip(&format!("link add {name} type gre local 192.168.56.10"));
    let replace = Change::Tunnel(tunnel::Change::ReplaceDevice {
        name: name.clone(),
        tunnel: tunnel.clone(),
    });
    assert_eq!(linux.apply(&[replace]), [Ok(())]);
    ip(&format!("link set {name} down"));
    assert!(!facts(&mut linux).tunnels[&name].up);
    let up = Change::Tunnel(tunnel::Change::SetUp { name: name.clone() });
    assert_eq!(linux.apply(&[up]), [Ok(())]);
    let read = facts(&mut linux).tunnels[&name].clone();
    assert_eq!((read.tunnel, read.up, read.marked), (tunnel, true, true));
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_device_that_goes_or_is_set_down_is_a_notification() {
    let mut linux = namespace();
    let tunnel = device(TunnelKind::Ipip, None, false);
    assert_eq!(linux.apply(&[add(&tunnel)]), [Ok(())]);
    let mut notifications = Notifications::open().unwrap();
    let moment = Duration::from_millis(500);
    for command in ["link set NAME down", "link set NAME up", "link delete NAME"] {
        ip(&command.replace("NAME", &tunnel.name()));
        assert!(notifications.wait(moment).unwrap(), "{command}");
    }
}

#[test]
#[ignore = "needs root and network namespaces"]
fn ports_of_gue_are_added_read_and_deleted() {
    let mut linux = namespace();
    let ports = [Family::Ipv4, Family::Ipv6].map(|family| GuePort { family, port: 6080 });
    assert_eq!(linux.gue_ports().unwrap().len(), 0);
    for port in ports {
        let add = Change::Tunnel(tunnel::Change::AddPort { port });
        assert_eq!(linux.apply(&[add.clone(), add]), [Ok(()), Ok(())]);
    }
    let shown = ip("fou show") + &ip("-6 fou show");
    assert!(shown.contains("port 6080 gue"), "{shown}");
    ip("fou add port 7000 ipproto 4");
    ip("fou add port 7001 gue local 127.0.0.1");
    let read = linux.gue_ports().unwrap();
    assert_eq!(ports.map(|port| read.get(&port)), [Some(&Receiver::Gue); 2]);
    let others = [7000, 7001].map(|port| GuePort {
        family: Family::Ipv4,
        port,
    });
    assert_eq!(others.map(|port| read.get(&port)), [Some(&Receiver::Other); 2]);
    for port in ports {
        let delete = Change::Tunnel(tunnel::Change::DeletePort { port });
        assert_eq!(linux.apply(&[delete.clone(), delete]), [Ok(()), Ok(())]);
    }
    assert_eq!(linux.gue_ports().unwrap().len(), 2);
    // A port that a program of this host has.
    let _taken = std::net::UdpSocket::bind("0.0.0.0:6080").unwrap();
    let add = Change::Tunnel(tunnel::Change::AddPort { port: ports[0] });
    let errno = Errno(libc::EADDRINUSE);
    assert_eq!(linux.apply(&[add]), [Err(KernelError::Refused { errno })]);
}

/// A real server's host, and a director at the end of a cable that wraps packets to the VIPs.
fn prepare(linux: &mut impl Kernel, way: &Way, vip: IpAddr) {
    let mut changes: Vec<_> = way.devices.values().map(add).collect();
    changes.extend(way.port.map(|port| Change::Tunnel(tunnel::Change::AddPort { port })));
    for name in way.devices.keys() {
        changes.push(Change::SetSysctl {
            sysctl: Sysctl::on(name, Knob::RpFilter),
            value: 2,
        });
        let key = AddressKey {
            interface: name.clone(),
            address: vip,
        };
        let (prefix_length, scope) = match vip {
            IpAddr::V4(_) => (32, AddressScope::Host),
            IpAddr::V6(_) => (128, AddressScope::Global),
        };
        let config = AddressConfig {
            prefix_length,
            scope,
            lifetime: None,
        };
        changes.push(Change::AddAddress { key, config });
    }
    for (change, result) in changes.iter().zip(linux.apply(&changes)) {
        assert_eq!(result, Ok(()), "{change}");
    }
}

fn link_with_both_families() -> Peer {
    let peer = Peer::new();
    ip(&format!("address add {RIP6}/64 dev eth0 nodad"));
    peer.run("ip address add fd56::20/64 dev peer0 nodad");
    peer
}

fn answers(peer: &Peer, vip: &str) -> bool {
    peer.attempt(&format!("ping -n -c 1 -W 0.4 {vip}")) || peer.attempt(&format!("ping -n -c 1 -W 1 {vip}"))
}

fn is_silent(peer: &Peer, vip: &str) -> bool {
    !peer.attempt(&format!("ping -n -c 1 -W 0.4 {vip}"))
}

/// How the director wraps, the tunnel (type, port, checksum), the real server's address, the place of the VIP.
type Case = (
    String,
    (TunnelType, Option<i32>, Option<TunnelChecksum>),
    &'static str,
    usize,
);

fn cases() -> [Case; 14] {
    let to4 = "local 192.168.56.20 remote 192.168.56.10";
    let to6 = "local fd56::20 remote fd56::10";
    let gue = "encap gue encap-sport auto encap-dport 6080 encap-csum";
    let gue6 = "encap gue encap-sport auto encap-dport 6080 encap-udp6-csum";
    let (ipip, gre, csum) = (
        (TunnelType::Ipip, None, None),
        (TunnelType::Gre, None, None),
        Some(TunnelChecksum::Checksum),
    );
    let by_gue = (TunnelType::Gue, Some(6080), None);
    let summed = (TunnelType::Gre, None, csum);
    [
        (format!("ipip {to4}"), ipip, RIP, 0),
        (format!("sit {to4}"), ipip, RIP, 1),
        (format!("ip6tnl mode ipip6 {to6}"), ipip, RIP6, 0),
        (format!("ip6tnl mode ip6ip6 {to6}"), ipip, RIP6, 1),
        (format!("ipip {to4} {gue}"), by_gue, RIP, 0),
        (format!("sit {to4} {gue}"), by_gue, RIP, 1),
        (format!("ip6tnl mode ipip6 {to6} {gue6}"), by_gue, RIP6, 0),
        (format!("ip6tnl mode ip6ip6 {to6} {gue6}"), by_gue, RIP6, 1),
        (format!("gre {to4}"), gre, RIP, 0),
        (format!("gre {to4}"), gre, RIP, 1),
        (format!("gre {to4} ocsum"), summed, RIP, 0),
        (format!("ip6gre {to6}"), gre, RIP6, 0),
        (format!("ip6gre {to6}"), gre, RIP6, 1),
        (format!("ip6gre {to6} ocsum"), summed, RIP6, 1),
    ]
}

/// F21: whatever `all.rp_filter` is, and by each type and pair of families, what a director wraps is taken out and answered.
#[test]
#[ignore = "needs root and network namespaces"]
fn f21_packets_of_each_type_and_family_come_out_with_any_rp_filter() {
    let mut linux = namespace();
    let peer = link_with_both_families();
    for (wrapped, (type_, port, checksum), server, inner) in cases() {
        let vip = VIPS[inner];
        let tunnel = crds::Tunnel { type_, port, checksum };
        let directors = BTreeSet::new();
        let way = way(
            &[address(server)],
            &tunnel,
            address(vip),
            &directors,
            &facts(&mut linux),
        )
        .unwrap();
        peer.run(&format!("ip link add out type {wrapped}"));
        peer.run("ip link set out up");
        peer.run(&format!("ip route add {vip} dev out"));
        assert!(is_silent(&peer, vip), "{wrapped}: before anything is prepared");
        prepare(&mut linux, &way, address(vip));
        for all in if inner == 0 { vec![0, 1, 2] } else { vec![0] } {
            run("sysctl", &format!("-q -w net.ipv4.conf.all.rp_filter={all}"));
            assert!(answers(&peer, vip), "{wrapped} to {vip} with all.rp_filter={all}");
        }
        peer.run("ip link delete out");
        way.devices
            .values()
            .for_each(|device| drop(linux.apply(&[delete(device)])));
        let ports = way.port.map(|port| Change::Tunnel(tunnel::Change::DeletePort { port }));
        assert_eq!(
            linux
                .apply(&ports.into_iter().collect::<Vec<_>>())
                .iter()
                .find(|result| result.is_err()),
            None
        );
    }
}

/// Test case 26 of lvs-measured.md: what others send to somebody else's `tunl0` still arrives there.
#[test]
#[ignore = "needs root and network namespaces"]
fn a_foreign_fallback_device_keeps_its_packets() {
    let mut linux = namespace();
    let peer = link_with_both_families();
    peer.run("ip address add 192.168.56.21/24 dev peer0");
    // The first device in a namespace brings the fallback device.
    ip("link add first type ipip local 192.0.2.1");
    ip("link set tunl0 up");
    ip("address add 10.244.0.1/32 dev tunl0");
    let directors = BTreeSet::from([address("192.168.56.20")]);
    let tunnel = crds::Tunnel::default();
    let way = way(
        &[address(RIP)],
        &tunnel,
        address(VIPS[0]),
        &directors,
        &facts(&mut linux),
    )
    .unwrap();
    prepare(&mut linux, &way, address(VIPS[0]));
    peer.run("ip link add out type ipip local 192.168.56.20 remote 192.168.56.10");
    peer.run("ip link add pods type ipip local 192.168.56.21 remote 192.168.56.10");
    for command in [
        "link set out up",
        "link set pods up",
        "route add 203.0.113.100 dev out",
        "route add 10.244.0.1 dev pods",
    ] {
        peer.run(&format!("ip {command}"));
    }
    run("sysctl", "-q -w net.ipv4.conf.tunl0.rp_filter=2");
    assert!(answers(&peer, "203.0.113.100") && answers(&peer, "10.244.0.1"));
    for name in way.devices.keys().map(String::as_str).chain(["tunl0"]) {
        let counters = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
        let counters = counters
            .lines()
            .find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'));
        let packets = counters.unwrap().split_whitespace().nth(1).unwrap().to_owned();
        assert_ne!(packets, "0", "{name}");
    }
}
