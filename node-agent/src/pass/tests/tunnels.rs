//! Hosts of real servers by TUN and by NAT.

use super::*;
use crate::kernel::fake::FakeKernel;
use crate::tunnel::{GuePort, ReadTunnel, Receiver, Tunnel, TunnelKind};

const TUN: &str = "
subject: {kind: VirtualService, name: web}
nodeName: rs1
realServer:
  addresses: [{address: 192.168.56.100}]
  directors: [10.20.0.20]
  realServers: [{name: rs1, addresses: [10.20.0.30], forwardingMethod: TUN}]
";

fn by(tunnel: &str) -> String {
    TUN.replace(
        "forwardingMethod: TUN",
        &format!("forwardingMethod: TUN, tunnel: {tunnel}"),
    )
}

fn gue() -> String {
    by("{type: GUE, port: 6080}")
}

/// A host in the real servers' network, not that of the VIP.
fn kernel() -> FakeKernel {
    FakeKernel::with_node_address("10.20.0.30".parse().unwrap())
}

fn host() -> TestNode {
    on(kernel(), Vec::new())
}

fn message(outcome: &Outcome) -> &str {
    let report = status(outcome).real_server.as_ref().unwrap();
    report.real_servers[0].message.as_deref().unwrap_or_default()
}

fn device(node: &mut TestNode) -> (String, ReadTunnel) {
    let (name, read) = node.kernel().tunnels().first_key_value().unwrap();
    (name.clone(), read.clone())
}

const GUE: GuePort = GuePort {
    family: ipvs::Family::Ipv4,
    port: 6080,
};

#[test]
fn f21_what_unwraps_lets_pass_before_it_has_the_vip() {
    let mut node = host();
    let outcome = pass(&mut node, &api(&gue()));
    check(
        &outcome.done,
        &expect![[r#"
            nft add table inet lvs_operator
            nft add set inet lvs_operator directors4 { type ipv4_addr; }
            nft add set inet lvs_operator outer_ports4 { type ipv4_addr . inet_service; }
            nft add set inet lvs_operator outer_protocols4 { type ipv4_addr . inet_proto; }
            nft add set inet lvs_operator segments_1428_4 { type ipv4_addr; }
            nft add set inet lvs_operator tunnel_vips4 { type ifname . ipv4_addr; }
            nft add set inet lvs_operator tunnel_vips6 { type ifname . ipv6_addr; }
            nft add set inet lvs_operator tunnels { type ifname; }
            nft add chain inet lvs_operator segments { type filter hook output priority -150; policy accept; }
            nft add chain inet lvs_operator unwrapped { type filter hook prerouting priority -300; policy accept; }
            nft add element inet lvs_operator directors4 { 10.20.0.20 }
            nft add element inet lvs_operator outer_ports4 { 10.20.0.30 . 6080 }
            nft add element inet lvs_operator outer_protocols4 { 10.20.0.30 . 4 }
            nft add element inet lvs_operator segments_1428_4 { 192.168.56.100 }
            nft add element inet lvs_operator tunnel_vips4 { "lvs-ipip-5daf67" . 192.168.56.100 }
            nft add element inet lvs_operator tunnels { "lvs-ipip-5daf67" }
            nft add rule inet lvs_operator segments ip saddr @segments_1428_4 tcp option maxseg size set 1428
            nft add rule inet lvs_operator unwrapped ip daddr . meta l4proto @outer_protocols4 ip saddr != @directors4 counter drop
            nft add rule inet lvs_operator unwrapped ip daddr . udp dport @outer_ports4 ip saddr != @directors4 counter drop
            nft add rule inet lvs_operator unwrapped iifname @tunnels iifname . ip daddr != @tunnel_vips4 counter drop
            nft add rule inet lvs_operator unwrapped iifname @tunnels iifname . ip6 daddr != @tunnel_vips6 counter drop
            sysctl -w net.ipv4.conf.eth0.arp_ignore=1
            sysctl -w net.ipv4.conf.eth0.arp_announce=2
            ip link add lvs-ipip-5daf67 type ipip local 10.20.0.30 remote any && ip link set lvs-ipip-5daf67 up alias lvs-operator
            ip fou add port 6080 gue
            sysctl -w net.ipv4.conf.lvs-ipip-5daf67.rp_filter=2
            ip address add 192.168.56.100/32 dev lvs-ipip-5daf67 scope host proto 77
        "#]],
    );
    assert_eq!((prepared(&outcome), message(&outcome)), (vec![VIP.to_owned()], ""));
    assert_eq!(programmed(&outcome).0, "True");
    let segments = desired(&api(&gue()), &node.observed().facts).state.unwrapping.segments;
    assert_eq!(segments, [(VIP.parse().unwrap(), 1428)].into());
    check(
        &pass(&mut node, &nothing()).done,
        &expect![[r#"
            ip address del 192.168.56.100/32 dev lvs-ipip-5daf67
            ip fou del port 6080
            ip link delete lvs-ipip-5daf67
            nft delete table inet lvs_operator
            sysctl -w net.ipv4.conf.eth0.arp_announce=0
            sysctl -w net.ipv4.conf.eth0.arp_ignore=0
        "#]],
    );
    assert!(node.ledger.is_empty() && node.kernel().tunnels().is_empty());
}

#[test]
fn an_agent_restarted_beside_tunnels_writes_nothing_also_without_its_ledger() {
    let mut node = host();
    pass(&mut node, &api(&gue()));
    let writes = node.kernel().writes();
    let mut node = restarted(node);
    let outcome = pass(&mut node, &api(&gue()));
    assert_eq!(
        (node.kernel().writes(), prepared(&outcome)),
        (writes, vec![VIP.to_owned()])
    );
    let (kernel, _) = node.into_parts();
    let mut node = on(kernel, Vec::new());
    pass(&mut node, &api(&gue()));
    assert_eq!(node.kernel().writes(), writes);
    pass(&mut node, &nothing());
    assert!(node.ledger.is_empty() && node.kernel().tunnels().is_empty());
    assert_eq!(node.kernel().gue_ports(), Ok([].into()));
}

type Fault = (&'static str, fn(&mut FakeKernel, &str), Expect);

fn set_down(kernel: &mut FakeKernel, name: &str) {
    let read = kernel.tunnels()[name].clone();
    kernel.set_tunnel(name, ReadTunnel { up: false, ..read });
}

fn put_another_in_its_place(kernel: &mut FakeKernel, name: &str) {
    kernel.remove_interface(name);
    let remote = "10.9.9.9".parse().ok();
    let read = ReadTunnel {
        tunnel: Tunnel::new(TunnelKind::Ipip, "10.20.0.30".parse().unwrap(), remote, false),
        up: true,
        marked: false,
    };
    kernel.set_tunnel(name, read);
}

/// What somebody does to a device of this name, or to the port, and what repairs it.
fn faults() -> [Fault; 6] {
    [
        (
            "deleted",
            |kernel, name| kernel.remove_interface(name),
            expect![[r#"
            ip link add lvs-ipip-5daf67 type ipip local 10.20.0.30 remote any && ip link set lvs-ipip-5daf67 up alias lvs-operator
            sysctl -w net.ipv4.conf.lvs-ipip-5daf67.rp_filter=2
            ip address add 192.168.56.100/32 dev lvs-ipip-5daf67 scope host proto 77
        "#]],
        ),
        (
            "down",
            set_down,
            expect![[r#"
                ip link set lvs-ipip-5daf67 up alias lvs-operator
            "#]],
        ),
        (
            "another one",
            put_another_in_its_place,
            expect![[r#"
                ip link delete lvs-ipip-5daf67 && ip link add lvs-ipip-5daf67 type ipip local 10.20.0.30 remote any && ip link set lvs-ipip-5daf67 up alias lvs-operator
                sysctl -w net.ipv4.conf.lvs-ipip-5daf67.rp_filter=2
                ip address add 192.168.56.100/32 dev lvs-ipip-5daf67 scope host proto 77
            "#]],
        ),
        (
            "VIP",
            |kernel, name| kernel.remove_address(name, VIP.parse().unwrap()),
            expect![[r#"
                ip address add 192.168.56.100/32 dev lvs-ipip-5daf67 scope host proto 77
            "#]],
        ),
        (
            "rp_filter",
            |kernel, name| kernel.set_sysctl(Sysctl::on(name, Knob::RpFilter), 1),
            expect![[r#"
                sysctl -w net.ipv4.conf.lvs-ipip-5daf67.rp_filter=2
            "#]],
        ),
        (
            "port",
            |kernel, _| kernel.set_gue_port(GUE, None),
            expect![[r#"
                ip fou add port 6080 gue
            "#]],
        ),
    ]
}

#[test]
fn every_drift_of_what_unwraps_is_repaired() {
    let name = Tunnel::new(TunnelKind::Ipip, "10.20.0.30".parse().unwrap(), None, false).name();
    for (fault, injure, repair) in faults() {
        let mut node = host();
        pass(&mut node, &api(&gue()));
        injure(node.kernel(), &name);
        assert!(node.audit(1), "{fault} is not noticed");
        let outcome = pass(&mut node, &api(&gue()));
        check(&outcome.done, &repair);
        assert_eq!(prepared(&outcome), [VIP], "{fault}");
    }
}

#[test]
fn f12_a_missing_module_is_named_and_disturbs_no_other_real_server() {
    for module in ["ipip", "fou"] {
        let mut node = host();
        node.kernel().set_missing(module, true);
        let mut both = api(&gue());
        let other = HOST.replace("192.168.56.100", "192.168.56.101");
        let other = api(&other.replace("192.168.56.30", "10.20.0.30"));
        let other_key = PlacementKey {
            namespace: "shop".to_owned(),
            name: "other".to_owned(),
        };
        both.placements
            .insert(other_key.clone(), other.placements[&key()].clone());
        let outcome = pass(&mut node, &both);
        let (said, reason, words) = programmed(&outcome);
        assert_eq!((said, reason), ("False", "ModuleMissing"), "{words}");
        let advice = format!("load the module {module}");
        assert!(words.contains(&advice), "{words}");
        assert!(message(&outcome).contains(&advice), "{}", message(&outcome));
        assert!(outcome.unfinished, "it is tried again");
        assert_eq!(prepared(&outcome), [""; 0]);
        let served = outcome.statuses[&other_key].real_server.as_ref().unwrap();
        assert_eq!(served.real_servers[0].prepared, ["192.168.56.101"]);
        node.kernel().set_missing(module, false);
        assert_eq!(prepared(&pass(&mut node, &both)), [VIP]);
    }
}

#[test]
fn a_vip_of_real_servers_by_dr_and_by_tun_is_on_lo_and_on_the_device() {
    let both = TUN.replace(
        "realServers: [",
        "realServers: [{name: rs0, addresses: [10.20.0.30], forwardingMethod: DR}, ",
    );
    let mut node = host();
    let outcome = pass(&mut node, &api(&both));
    check(
        &outcome.done,
        &expect![[r#"
            nft add table inet lvs_operator
            nft add set inet lvs_operator directors4 { type ipv4_addr; }
            nft add set inet lvs_operator outer_protocols4 { type ipv4_addr . inet_proto; }
            nft add set inet lvs_operator segments_1440_4 { type ipv4_addr; }
            nft add set inet lvs_operator tunnel_vips4 { type ifname . ipv4_addr; }
            nft add set inet lvs_operator tunnel_vips6 { type ifname . ipv6_addr; }
            nft add set inet lvs_operator tunnels { type ifname; }
            nft add chain inet lvs_operator segments { type filter hook output priority -150; policy accept; }
            nft add chain inet lvs_operator unwrapped { type filter hook prerouting priority -300; policy accept; }
            nft add element inet lvs_operator directors4 { 10.20.0.20 }
            nft add element inet lvs_operator outer_protocols4 { 10.20.0.30 . 4 }
            nft add element inet lvs_operator segments_1440_4 { 192.168.56.100 }
            nft add element inet lvs_operator tunnel_vips4 { "lvs-ipip-5daf67" . 192.168.56.100 }
            nft add element inet lvs_operator tunnels { "lvs-ipip-5daf67" }
            nft add rule inet lvs_operator segments ip saddr @segments_1440_4 tcp option maxseg size set 1440
            nft add rule inet lvs_operator unwrapped ip daddr . meta l4proto @outer_protocols4 ip saddr != @directors4 counter drop
            nft add rule inet lvs_operator unwrapped iifname @tunnels iifname . ip daddr != @tunnel_vips4 counter drop
            nft add rule inet lvs_operator unwrapped iifname @tunnels iifname . ip6 daddr != @tunnel_vips6 counter drop
            sysctl -w net.ipv4.conf.eth0.arp_ignore=1
            sysctl -w net.ipv4.conf.eth0.arp_announce=2
            ip link add lvs-ipip-5daf67 type ipip local 10.20.0.30 remote any && ip link set lvs-ipip-5daf67 up alias lvs-operator
            sysctl -w net.ipv4.conf.lvs-ipip-5daf67.rp_filter=2
            ip address add 192.168.56.100/32 dev lo scope host proto 77
            ip address add 192.168.56.100/32 dev lvs-ipip-5daf67 scope host proto 77
        "#]],
    );
    let outcome = pass(&mut node, &api(TUN));
    check(
        &outcome.done,
        &expect![[r#"
        ip address del 192.168.56.100/32 dev lo
    "#]],
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "they are what it says")]
fn ipv6_in_ipv4_and_the_reverse_have_their_devices() {
    let spec = gue().replace("192.168.56.100", "fd56::100");
    let mut node = host();
    check(
        &pass(&mut node, &api(&spec)).done,
        &expect![[r#"
            nft add table inet lvs_operator
            nft add set inet lvs_operator directors4 { type ipv4_addr; }
            nft add set inet lvs_operator outer_ports4 { type ipv4_addr . inet_service; }
            nft add set inet lvs_operator outer_protocols4 { type ipv4_addr . inet_proto; }
            nft add set inet lvs_operator segments_1408_6 { type ipv6_addr; }
            nft add set inet lvs_operator tunnel_vips4 { type ifname . ipv4_addr; }
            nft add set inet lvs_operator tunnel_vips6 { type ifname . ipv6_addr; }
            nft add set inet lvs_operator tunnels { type ifname; }
            nft add chain inet lvs_operator segments { type filter hook output priority -150; policy accept; }
            nft add chain inet lvs_operator unwrapped { type filter hook prerouting priority -300; policy accept; }
            nft add element inet lvs_operator directors4 { 10.20.0.20 }
            nft add element inet lvs_operator outer_ports4 { 10.20.0.30 . 6080 }
            nft add element inet lvs_operator outer_protocols4 { 10.20.0.30 . 41 }
            nft add element inet lvs_operator segments_1408_6 { fd56::100 }
            nft add element inet lvs_operator tunnel_vips6 { "lvs-sit-5daf67" . fd56::100 }
            nft add element inet lvs_operator tunnels { "lvs-sit-5daf67" }
            nft add rule inet lvs_operator segments ip6 saddr @segments_1408_6 tcp option maxseg size set 1408
            nft add rule inet lvs_operator unwrapped ip daddr . meta l4proto @outer_protocols4 ip saddr != @directors4 counter drop
            nft add rule inet lvs_operator unwrapped ip daddr . udp dport @outer_ports4 ip saddr != @directors4 counter drop
            nft add rule inet lvs_operator unwrapped iifname @tunnels iifname . ip daddr != @tunnel_vips4 counter drop
            nft add rule inet lvs_operator unwrapped iifname @tunnels iifname . ip6 daddr != @tunnel_vips6 counter drop
            ip link add lvs-sit-5daf67 type sit local 10.20.0.30 remote any && ip link set lvs-sit-5daf67 up alias lvs-operator
            ip fou add port 6080 gue
            ip address add fd56::100/128 dev lvs-sit-5daf67 nodad preferred_lft 0 proto 77
        "#]],
    );
    let mut kernel = kernel();
    kernel.add_foreign_address("eth0", "fd20::30".parse().unwrap(), 64);
    let mut node = on(kernel, Vec::new());
    let spec = by("{type: GRE, checksum: Checksum}").replace("[10.20.0.30]", "[\"fd20::30\"]");
    let outcome = pass(&mut node, &api(&spec));
    check(
        &outcome.done,
        &expect![[r#"
            nft add table inet lvs_operator
            nft add set inet lvs_operator directors4 { type ipv4_addr; }
            nft add set inet lvs_operator directors6 { type ipv6_addr; }
            nft add set inet lvs_operator outer_protocols6 { type ipv6_addr . inet_proto; }
            nft add set inet lvs_operator segments_1412_4 { type ipv4_addr; }
            nft add set inet lvs_operator tunnel_vips4 { type ifname . ipv4_addr; }
            nft add set inet lvs_operator tunnel_vips6 { type ifname . ipv6_addr; }
            nft add set inet lvs_operator tunnels { type ifname; }
            nft add chain inet lvs_operator segments { type filter hook output priority -150; policy accept; }
            nft add chain inet lvs_operator unwrapped { type filter hook prerouting priority -300; policy accept; }
            nft add element inet lvs_operator directors4 { 10.20.0.20 }
            nft add element inet lvs_operator outer_protocols6 { fd20::30 . 47 }
            nft add element inet lvs_operator segments_1412_4 { 192.168.56.100 }
            nft add element inet lvs_operator tunnel_vips4 { "lvs-gre6-48a9c3" . 192.168.56.100 }
            nft add element inet lvs_operator tunnels { "lvs-gre6-48a9c3" }
            nft add rule inet lvs_operator segments ip saddr @segments_1412_4 tcp option maxseg size set 1412
            nft add rule inet lvs_operator unwrapped ip6 daddr . meta l4proto @outer_protocols6 ip6 saddr != @directors6 counter drop
            nft add rule inet lvs_operator unwrapped iifname @tunnels iifname . ip daddr != @tunnel_vips4 counter drop
            nft add rule inet lvs_operator unwrapped iifname @tunnels iifname . ip6 daddr != @tunnel_vips6 counter drop
            sysctl -w net.ipv4.conf.eth0.arp_ignore=1
            sysctl -w net.ipv4.conf.eth0.arp_announce=2
            ip link add lvs-gre6-48a9c3 type ip6gre local fd20::30 remote any icsum && ip link set lvs-gre6-48a9c3 up alias lvs-operator
            sysctl -w net.ipv4.conf.lvs-gre6-48a9c3.rp_filter=2
            ip address add 192.168.56.100/32 dev lvs-gre6-48a9c3 scope host proto 77
        "#]],
    );
    assert_eq!(prepared(&outcome), [VIP]);
}

/// Calico's device, which takes IPIP from anywhere to anywhere.
fn foreign_fallback() -> ReadTunnel {
    ReadTunnel {
        tunnel: Tunnel {
            local: None,
            ..Tunnel::new(TunnelKind::Ipip, "0.0.0.0".parse().unwrap(), None, false)
        },
        up: true,
        marked: false,
    }
}

/// Test case 26 of lvs-measured.md.
#[test]
fn beside_a_foreign_tunnel_only_the_directors_packets_are_taken() {
    let foreign = foreign_fallback();
    let mut node = host();
    pass(&mut node, &api(TUN));
    node.kernel().set_tunnel("tunl0", foreign.clone());
    node.network_changed();
    let outcome = pass(&mut node, &api(TUN));
    check(
        &outcome.done,
        &expect![[r#"
            nft add element inet lvs_operator tunnel_vips4 { "lvs-ipip-e2b266" . 192.168.56.100 }
            nft add element inet lvs_operator tunnels { "lvs-ipip-e2b266" }
            ip link add lvs-ipip-e2b266 type ipip local 10.20.0.30 remote 10.20.0.20 && ip link set lvs-ipip-e2b266 up alias lvs-operator
            sysctl -w net.ipv4.conf.lvs-ipip-e2b266.rp_filter=2
            ip address add 192.168.56.100/32 dev lvs-ipip-e2b266 scope host proto 77
            ip address del 192.168.56.100/32 dev lvs-ipip-5daf67
            ip link delete lvs-ipip-5daf67
            nft flush chain inet lvs_operator unwrapped
            nft delete element inet lvs_operator tunnel_vips4 { "lvs-ipip-5daf67" . 192.168.56.100 }
            nft delete element inet lvs_operator tunnels { "lvs-ipip-5daf67" }
            nft delete set inet lvs_operator outer_protocols4
            nft add rule inet lvs_operator unwrapped iifname @tunnels iifname . ip daddr != @tunnel_vips4 counter drop
            nft add rule inet lvs_operator unwrapped iifname @tunnels iifname . ip6 daddr != @tunnel_vips6 counter drop
        "#]],
    );
    assert_eq!(prepared(&outcome), [VIP]);
    pass(&mut node, &nothing());
    assert_eq!(node.kernel().tunnels(), &[("tunl0".to_owned(), foreign)].into());
}

#[test]
fn beside_a_foreign_tunnel_a_port_of_ours_takes_from_directors_only() {
    let mut kernel = kernel();
    kernel.set_tunnel("tunl0", foreign_fallback());
    let mut node = on(kernel, Vec::new());
    pass(&mut node, &api(&gue()));
    let ruleset = desired(&api(&gue()), &node.observed().facts).state.ruleset;
    let port = crate::ruleset::Outer::Port {
        local: "10.20.0.30".parse().unwrap(),
        port: 6080,
    };
    assert_eq!(ruleset.outer, [port].into(), "IPIP of others is left to tunl0");
}

#[test]
fn what_has_our_name_and_is_somebody_elses_stands_in_the_way_and_stays() {
    let tunnel = Tunnel::new(TunnelKind::Ipip, "10.20.0.30".parse().unwrap(), None, false);
    let foreign = ReadTunnel {
        tunnel: tunnel.clone(),
        up: true,
        marked: false,
    };
    let mut node = host();
    node.kernel().set_tunnel(&tunnel.name(), foreign.clone());
    let outcome = pass(&mut node, &api(TUN));
    assert_eq!(programmed(&outcome).1, "ForeignEntry");
    assert_eq!(prepared(&outcome), [""; 0]);
    pass(&mut node, &nothing());
    assert_eq!(device(&mut node), (tunnel.name(), foreign));
    let mut node = host();
    node.kernel().set_gue_port(GUE, Some(Receiver::Other));
    let outcome = pass(&mut node, &api(&gue()));
    expect!["UDP port 6080 is used to unwrap something else, not of lvs-operator's doing: remove it with ip fou del, or choose another tunnel.port"].assert_eq(programmed(&outcome).2);
    pass(&mut node, &nothing());
    assert_eq!(node.kernel().gue_ports(), Ok([(GUE, Receiver::Other)].into()));
}

#[test]
fn an_address_that_is_not_here_unwraps_nothing_here() {
    let mut node = host();
    let outcome = pass(&mut node, &api(&TUN.replace("10.20.0.30", "10.20.0.31")));
    assert_eq!(prepared(&outcome), [""; 0]);
    expect!["10.20.0.31 is no address of this node: what is sent there is not unwrapped here"]
        .assert_eq(message(&outcome));
}

#[test]
fn gre_with_and_without_checksum_to_one_address_is_refused() {
    let first = "{name: rs0, addresses: [10.20.0.30], forwardingMethod: TUN, tunnel: {type: GRE}}, ";
    let spec = by("{type: GRE, checksum: Checksum}").replace("realServers: [", &format!("realServers: [{first}"));
    let mut node = host();
    let outcome = pass(&mut node, &api(&spec));
    expect!["two real servers by GRE with the address 10.20.0.30 on this node differ in their checksum: make tunnel.checksum equal"].assert_eq(programmed(&outcome).2);
    let report = status(&outcome).real_server.as_ref().unwrap();
    let shown: Vec<_> = report.real_servers.iter().map(|server| server.prepared.len()).collect();
    assert_eq!(shown, [1, 0]);
}

#[test]
fn f10_whenever_the_agent_dies_the_next_one_converges_and_then_leaves_nothing() {
    for writes in 0..8 {
        let mut node = host();
        node.kernel().crash_after(Some(writes));
        node.see(api(&gue()));
        let _: Result<Outcome, KernelError> = node.pass(Now::default());
        node.kernel().crash_after(None);
        let mut node = restarted(node);
        assert_eq!(prepared(&pass(&mut node, &api(&gue()))), [VIP]);
        node.kernel().crash_after(Some(writes));
        node.see(nothing());
        let _: Result<Outcome, KernelError> = node.pass(Now::default());
        node.kernel().crash_after(None);
        let mut node = restarted(node);
        pass(&mut node, &nothing());
        let outcome = pass(&mut node, &nothing());
        assert_eq!(outcome.done, []);
        assert!(node.ledger.is_empty() && node.kernel().tunnels().is_empty());
        assert_eq!(node.kernel().gue_ports(), Ok([].into()));
        assert!(!node.kernel().is_local(VIP.parse().unwrap()));
    }
}

#[test]
fn replies_of_nat_that_would_bypass_the_director_are_told_and_gate_nothing() {
    let nat = TUN.replace("forwardingMethod: TUN", "forwardingMethod: NAT");
    let mut node = host();
    let outcome = pass(&mut node, &api(&nat));
    assert_eq!((outcome.done.len(), prepared(&outcome)), (0, vec![VIP.to_owned()]));
    expect!["no default route through the director (10.20.0.20): replies of NAT would bypass it"]
        .assert_eq(message(&outcome));
    node.kernel().add_route(crate::state::Route {
        network: "0.0.0.0/0".parse().unwrap(),
        metric: 0,
        interface: "eth0".to_owned(),
        gateway: "10.20.0.20".parse().ok(),
        source: None,
    });
    node.network_changed();
    assert_eq!(message(&pass(&mut node, &api(&nat))), "");
}
