//! What forwarding methods, persistence and memberships need of a director's own stack, and how it is given back.

use super::*;
use crate::state::Route;
use ipvs::Timeouts;

const NAT: &str = "
subject: {kind: VirtualService, name: web}
nodeName: dir1
director:
  addresses: [{address: 192.168.56.100, addressOwner: Node}]
  services: [{protocol: TCP, port: 80, targetPort: 8080, scheduler: rr}]
  realServers:
  - {name: rs1, addresses: [10.0.0.30], weight: 1, forwardingMethod: NAT, prepared: [192.168.56.100]}
";

const GROUP: &str = "
subject: {kind: DirectorGroup, name: default}
nodeName: dir1
virtualRouter:
  masquerade: [{sourceCIDR: 10.0.0.0/24, outInterface: eth0}]
  timeouts: {tcpSeconds: 1200}
";

/// A director with an inside network, and a default route outside.
pub(super) fn director() -> TestNode {
    on(gateway(), Vec::new())
}

fn gateway() -> FakeKernel {
    let mut kernel = FakeKernel::with_node_address("192.168.56.10".parse().unwrap());
    let eth1 = Interface {
        index: 3,
        up: true,
        arp: true,
        ..Interface::default()
    };
    kernel.set_interface("eth1", eth1);
    kernel.add_foreign_address("eth1", "10.0.0.1".parse().unwrap(), 24);
    for (network, interface, gateway) in [
        ("10.0.0.0/24", "eth1", None),
        ("0.0.0.0/0", "eth0", Some("192.168.56.1")),
        ("fd10::/64", "eth1", None),
        ("::/0", "eth0", Some("fe80::1")),
    ] {
        kernel.add_route(Route {
            network: network.parse().unwrap(),
            metric: 0,
            interface: interface.to_owned(),
            gateway: gateway.map(|text| text.parse().unwrap()),
            source: None,
        });
    }
    kernel
}

/// What a pass over the spec does, and that what follows gives everything back.
fn up_and_down(spec: &str, expected: &Expect) {
    let before = knobs(&mut gateway());
    let mut node = director();
    let outcome = pass(&mut node, &api(spec));
    assert_eq!(outcome.refusals, []);
    assert!(!outcome.unfinished, "{}", programmed(&outcome).2);
    check(&outcome.done, expected);
    assert_eq!(pass(&mut node, &api(spec)).done, [], "a second pass has nothing to do");
    let mut node = restarted(node);
    assert_eq!(
        pass(&mut node, &api(spec)).done,
        [],
        "nor has the first one of the next agent"
    );
    pass(&mut node, &nothing());
    assert_eq!(pass(&mut node, &nothing()).done, []);
    assert!(node.ledger.is_empty(), "{:?}", node.ledger);
    assert_eq!(knobs(node.kernel()), before);
}

fn knobs(kernel: &mut FakeKernel) -> Vec<(String, Option<i64>)> {
    let on = ["all", "eth0", "eth1"].map(|interface| {
        [Knob::Forwarding, Knob::SendRedirects, Knob::AcceptRa].map(|knob| Sysctl::on(interface, knob))
    });
    let once = [Knob::Ipv6Forwarding, Knob::Conntrack, Knob::ExpireQuiescentTemplate].map(Sysctl::of_node);
    let all = on.into_iter().flatten().chain(once);
    all.map(|sysctl| (sysctl.to_string(), kernel.sysctl(&sysctl).unwrap()))
        .collect()
}

#[test]
fn nat_forwards_replies_from_inside_and_tells_nobody_of_a_shorter_way() {
    up_and_down(
        NAT,
        &expect![[r#"
            nft add table inet lvs_operator
            nft add set inet lvs_operator replies4 { type ipv4_addr . inet_proto . inet_service; }
            nft add set inet lvs_operator vips4 { type ipv4_addr; }
            nft add chain inet lvs_operator guard { type filter hook input priority 110; policy accept; }
            nft add chain inet lvs_operator missed_replies { type filter hook forward priority 110; policy accept; }
            nft add element inet lvs_operator replies4 { 10.0.0.30 . 6 . 8080 }
            nft add element inet lvs_operator vips4 { 192.168.56.100 }
            nft add rule inet lvs_operator guard meta l4proto { 1, 58 } accept
            nft add rule inet lvs_operator guard ip saddr @vips4 accept
            nft add rule inet lvs_operator guard ip daddr @vips4 counter drop
            nft add rule inet lvs_operator missed_replies ip saddr . meta l4proto . th sport @replies4 counter drop
            sysctl -w net.ipv4.conf.all.send_redirects=0
            sysctl -w net.ipv4.conf.eth1.send_redirects=0
            sysctl -w net.ipv4.conf.eth1.forwarding=1
            ipvsadm -A -t 192.168.56.100:80 -s rr
            ipvsadm -a -t 192.168.56.100:80 -r 10.0.0.30:8080 -m -w 1
            ip address add 192.168.56.100/32 dev eth0 proto 77
            arping -U -c 1 -I eth0 192.168.56.100
        "#]],
    );
}

#[test]
fn full_nat_needs_conntrack_and_no_silence_about_redirects() {
    up_and_down(
        &NAT.replace("forwardingMethod: NAT", "forwardingMethod: FullNAT"),
        &expect![[r#"
            nft add table inet lvs_operator
            nft add map inet lvs_operator fullnat_ports4 { type ipv4_addr . inet_proto . ipv4_addr . inet_service : verdict; }
            nft add set inet lvs_operator vips4 { type ipv4_addr; }
            nft add chain inet lvs_operator connections { type filter hook postrouting priority 99; policy accept; }
            nft add chain inet lvs_operator fullnat_interface
            nft add chain inet lvs_operator guard { type filter hook input priority 110; policy accept; }
            nft add chain inet lvs_operator source_nat { type nat hook postrouting priority 99; policy accept; }
            nft add element inet lvs_operator fullnat_ports4 { 192.168.56.100 . 6 . 10.0.0.30 . 8080 : goto fullnat_interface }
            nft add element inet lvs_operator vips4 { 192.168.56.100 }
            nft add rule inet lvs_operator connections ct state invalid counter
            nft add rule inet lvs_operator fullnat_interface masquerade
            nft add rule inet lvs_operator guard meta l4proto { 1, 58 } accept
            nft add rule inet lvs_operator guard ip saddr @vips4 accept
            nft add rule inet lvs_operator guard ct direction 1 accept
            nft add rule inet lvs_operator guard ip daddr @vips4 counter drop
            nft add rule inet lvs_operator source_nat ct original ip daddr . meta l4proto . ip daddr . th dport vmap @fullnat_ports4
            sysctl -w net.ipv4.conf.eth1.forwarding=1
            sysctl -w net.ipv4.vs.conntrack=1
            ipvsadm -A -t 192.168.56.100:80 -s rr
            ipvsadm -a -t 192.168.56.100:80 -r 10.0.0.30:8080 -m -w 1
            ip address add 192.168.56.100/32 dev eth0 proto 77
            arping -U -c 1 -I eth0 192.168.56.100
        "#]],
    );
}

#[test]
fn ipv6_nat_keeps_the_learned_default_route() {
    let spec = NAT
        .replace("192.168.56.100", "'fd56::100'")
        .replace("10.0.0.30", "'fd10::30'");
    let mut node = director();
    node.kernel().add_route(Route {
        network: "fd56::/64".parse().unwrap(),
        metric: 0,
        interface: "eth0".to_owned(),
        gateway: None,
        source: None,
    });
    let outcome = pass(&mut node, &api(&spec));
    check(
        &outcome.done,
        &expect![[r#"
            nft add table inet lvs_operator
            nft add set inet lvs_operator replies6 { type ipv6_addr . inet_proto . inet_service; }
            nft add set inet lvs_operator vips6 { type ipv6_addr; }
            nft add chain inet lvs_operator guard { type filter hook input priority 110; policy accept; }
            nft add chain inet lvs_operator missed_replies { type filter hook forward priority 110; policy accept; }
            nft add element inet lvs_operator replies6 { fd10::30 . 6 . 8080 }
            nft add element inet lvs_operator vips6 { fd56::100 }
            nft add rule inet lvs_operator guard meta l4proto { 1, 58 } accept
            nft add rule inet lvs_operator guard meta l4proto 6 ip6 saddr @vips6 accept
            nft add rule inet lvs_operator guard ip6 daddr @vips6 counter drop
            nft add rule inet lvs_operator missed_replies ip6 saddr . meta l4proto . th sport @replies6 counter drop
            sysctl -w net.ipv6.conf.eth0.accept_ra=2
            sysctl -w net.ipv6.conf.eth1.accept_ra=2
            sysctl -w net.ipv6.conf.all.forwarding=1
            ipvsadm -A -t [fd56::100]:80 -s rr
            ipvsadm -a -t [fd56::100]:80 -r [fd10::30]:8080 -m -w 1
            ip address add fd56::100/128 dev eth0 nodad preferred_lft 0 proto 77
            ndsend fd56::100 eth0
        "#]],
    );
    let learned = |route: &Route| route.network.prefix_len() == 0 && route.network.addr().is_ipv6();
    assert!(node.kernel().network().unwrap().1.routes.iter().any(learned));
    let down = pass(&mut node, &nothing());
    check(
        &down.done,
        &expect![[r#"
            ip address del fd56::100/128 dev eth0
            ipvsadm -D -t [fd56::100]:80
            nft delete table inet lvs_operator
            sysctl -w net.ipv6.conf.all.forwarding=0
            sysctl -w net.ipv6.conf.eth1.accept_ra=1
            sysctl -w net.ipv6.conf.eth0.accept_ra=1
        "#]],
    );
    assert!(node.kernel().network().unwrap().1.routes.iter().any(learned));
}

#[test]
fn f7_persistence_lets_clients_leave_a_real_server_of_weight_0() {
    let persistent = "scheduler: rr, persistence: {timeoutSeconds: 60, ipv4PrefixLength: 32, ipv6PrefixLength: 128}";
    up_and_down(
        &DIRECTOR.replace("scheduler: rr", persistent),
        &expect![[r#"
            nft add table inet lvs_operator
            nft add set inet lvs_operator vips4 { type ipv4_addr; }
            nft add chain inet lvs_operator guard { type filter hook input priority 110; policy accept; }
            nft add element inet lvs_operator vips4 { 192.168.56.100 }
            nft add rule inet lvs_operator guard meta l4proto { 1, 58 } accept
            nft add rule inet lvs_operator guard ip saddr @vips4 accept
            nft add rule inet lvs_operator guard ip daddr @vips4 counter drop
            sysctl -w net.ipv4.vs.expire_quiescent_template=1
            ipvsadm -A -t 192.168.56.100:80 -s rr -p 60
            ipvsadm -a -t 192.168.56.100:80 -r 192.168.56.30:80 -g -w 1
            ipvsadm -a -t 192.168.56.100:80 -r 192.168.56.40:80 -g -w 3
            ip address add 192.168.56.100/32 dev eth0 proto 77
            arping -U -c 1 -I eth0 192.168.56.100
        "#]],
    );
}

#[test]
fn a_membership_forwards_both_ways_and_sets_timeouts() {
    up_and_down(
        GROUP,
        &expect![[r#"
            nft add table inet lvs_operator
            nft add chain inet lvs_operator connections { type filter hook postrouting priority 99; policy accept; }
            nft add chain inet lvs_operator source_nat { type nat hook postrouting priority 99; policy accept; }
            nft add rule inet lvs_operator connections ct state invalid counter
            nft add rule inet lvs_operator source_nat oifname "eth0" ip saddr 10.0.0.0/24 masquerade
            sysctl -w net.ipv4.conf.eth0.forwarding=1
            sysctl -w net.ipv4.conf.eth1.forwarding=1
            ipvsadm --set 1200 0 0
        "#]],
    );
}

#[test]
fn a_masquerade_by_any_interface_takes_replies_back_by_any() {
    let mut kernel = gateway();
    kernel.remove_routes("0.0.0.0/0".parse().unwrap());
    let mut node = on(kernel, Vec::new());
    pass(&mut node, &api(&GROUP.replace(", outInterface: eth0", "")));
    for interface in ["eth0", "eth1"] {
        let forwarding = Sysctl::on(interface, Knob::Forwarding);
        assert_eq!(node.kernel().sysctl(&forwarding), Ok(Some(1)), "{interface}");
    }
}

#[test]
fn timeouts_that_somebody_set_since_are_his() {
    let mut node = director();
    pass(&mut node, &api(GROUP));
    let since = Timeouts {
        tcp: 77,
        tcp_fin: 0,
        udp: 0,
    };
    node.kernel().set_timeouts(since);
    pass(&mut node, &nothing());
    assert_eq!(node.kernel().timeouts().unwrap().tcp, 77);
    assert!(node.ledger.is_empty());
}

#[test]
fn an_administrators_stronger_value_stays_and_his_weaker_one_comes_back() {
    let mut node = director();
    let redirects = Sysctl::of_all(Knob::SendRedirects);
    node.kernel().set_sysctl(redirects.clone(), 0);
    let forwarding = Sysctl::on("eth1", Knob::Forwarding);
    node.kernel().set_sysctl(forwarding.clone(), 1);
    let outcome = pass(&mut node, &api(NAT));
    let written: Vec<String> = outcome.done.iter().map(ToString::to_string).collect();
    let touches = |sysctl: &Sysctl| written.iter().any(|line| line.contains(&sysctl.to_string()));
    assert!(!touches(&redirects) && !touches(&forwarding), "{written:?}");
    node.kernel().set_sysctl(forwarding.clone(), 0);
    node.network_changed();
    pass(&mut node, &api(NAT));
    assert_eq!(node.kernel().sysctl(&forwarding), Ok(Some(1)), "drift is repaired");
    pass(&mut node, &nothing());
    assert_eq!(
        node.kernel().sysctl(&forwarding),
        Ok(Some(0)),
        "what it was when we came to set it"
    );
    assert_eq!(node.kernel().sysctl(&redirects), Ok(Some(0)));
}

#[test]
fn a_director_that_only_waits_and_is_a_real_server_keeps_its_own_destinations_alone() {
    let both = DIRECTOR
        .replace("addressOwner: Node", "addressOwner: Reserved")
        .replace("192.168.56.40", "192.168.56.10")
        + "realServer:
  addresses: [{address: 192.168.56.100}]
  realServers: [{name: rs2, addresses: [192.168.56.10], forwardingMethod: DR}]
";
    let mut node = director();
    pass(&mut node, &api(&both));
    let table = node.kernel().ipvs().table().clone();
    let service = table.services.values().next().unwrap();
    let own: Vec<String> = service.destinations.keys().map(ToString::to_string).collect();
    assert_eq!(
        own,
        ["192.168.56.10:80"],
        "else two directors pass a SYN back and forth"
    );
}

#[test]
fn a_mark_makes_its_vips_worth_holding() {
    let marked = DIRECTOR.replace(
        "{protocol: TCP, port: 80, scheduler: rr}",
        "{firewallMark: 10, scheduler: rr}",
    );
    up_and_down(
        &marked,
        &expect![[r#"
            nft add table inet lvs_operator
            nft add set inet lvs_operator vips4 { type ipv4_addr; }
            nft add chain inet lvs_operator guard { type filter hook input priority 110; policy accept; }
            nft add element inet lvs_operator vips4 { 192.168.56.100 }
            nft add rule inet lvs_operator guard meta l4proto { 1, 58 } accept
            nft add rule inet lvs_operator guard ip saddr @vips4 accept
            nft add rule inet lvs_operator guard ip daddr @vips4 counter drop
            ipvsadm -A -f 10 -s rr
            ipvsadm -a -f 10 -r 192.168.56.30:0 -g -w 1
            ipvsadm -a -f 10 -r 192.168.56.40:0 -g -w 3
            ip address add 192.168.56.100/32 dev eth0 proto 77
            arping -U -c 1 -I eth0 192.168.56.100
        "#]],
    );
}

#[test]
fn full_nats_own_addresses_come_and_go_with_the_vips() {
    let sources =
        NAT.replace("forwardingMethod: NAT", "forwardingMethod: FullNAT") + "  fullNATSourceAddresses: [10.0.0.5]\n";
    up_and_down(
        &sources,
        &expect![[r#"
            nft add table inet lvs_operator
            nft add map inet lvs_operator fullnat_ports4 { type ipv4_addr . inet_proto . ipv4_addr . inet_service : verdict; }
            nft add set inet lvs_operator vips4 { type ipv4_addr; }
            nft add chain inet lvs_operator connections { type filter hook postrouting priority 99; policy accept; }
            nft add chain inet lvs_operator fullnat_from_dabeb841
            nft add chain inet lvs_operator guard { type filter hook input priority 110; policy accept; }
            nft add chain inet lvs_operator source_nat { type nat hook postrouting priority 99; policy accept; }
            nft add element inet lvs_operator fullnat_ports4 { 192.168.56.100 . 6 . 10.0.0.30 . 8080 : goto fullnat_from_dabeb841 }
            nft add element inet lvs_operator vips4 { 192.168.56.100 }
            nft add rule inet lvs_operator connections ct state invalid counter
            nft add rule inet lvs_operator fullnat_from_dabeb841 snat ip to 10.0.0.5
            nft add rule inet lvs_operator guard meta l4proto { 1, 58 } accept
            nft add rule inet lvs_operator guard ip saddr @vips4 accept
            nft add rule inet lvs_operator guard ct direction 1 accept
            nft add rule inet lvs_operator guard ip daddr @vips4 counter drop
            nft add rule inet lvs_operator source_nat ct original ip daddr . meta l4proto . ip daddr . th dport vmap @fullnat_ports4
            sysctl -w net.ipv4.conf.eth1.forwarding=1
            sysctl -w net.ipv4.vs.conntrack=1
            ipvsadm -A -t 192.168.56.100:80 -s rr
            ipvsadm -a -t 192.168.56.100:80 -r 10.0.0.30:8080 -m -w 1
            ip address add 10.0.0.5/32 dev eth1 proto 77
            ip address add 192.168.56.100/32 dev eth0 proto 77
            arping -U -c 1 -I eth1 10.0.0.5
            arping -U -c 1 -I eth0 192.168.56.100
        "#]],
    );
}

/// The mark's service goes on for the other VIP; of the one that was taken back nothing is left, and it may move.
#[test]
fn a_withdrawn_vip_of_a_mark_is_gone_though_the_mark_serves_another() {
    for marked in ["", ", markedPorts: [{protocol: TCP, port: 80}]"] {
        let spec = format!(
            "
subject: {{kind: VirtualService, name: web}}
nodeName: dir1
director:
  addresses: [{{address: 192.168.56.100, addressOwner: Node}}, {{address: 192.168.56.101, addressOwner: Node}}]
  services: [{{firewallMark: 8, scheduler: rr{marked}}}]
  realServers: []
"
        );
        let mut node = node();
        pass(&mut node, &api(&spec));
        let withdrawn = spec.replace("101, addressOwner: Node", "101, addressOwner: Node, withdraw: true");
        let outcome = pass(&mut node, &api(&withdrawn));
        let report = status(&outcome).director.as_ref().unwrap();
        let held: Vec<_> = report.addresses.iter().map(|held| held.address.as_str()).collect();
        assert_eq!(held, [VIP], "{marked}");
    }
}

#[test]
fn f25_a_knob_that_the_node_has_not_is_named_and_looked_for_again() {
    let mut node = node();
    let knob = Sysctl::of_node(Knob::Conntrack);
    node.kernel().remove_sysctl(&knob);
    let full_nat = DIRECTOR.replace("forwardingMethod: DR", "forwardingMethod: FullNAT");
    let outcome = pass(&mut node, &api(&full_nat));
    assert_eq!(
        programmed(&outcome),
        (
            "False",
            "ModuleMissing",
            "the kernel has no net.ipv4.vs.conntrack: load the module that it belongs to on this node"
        )
    );
    assert!(outcome.unfinished);
    node.kernel().set_sysctl(knob.clone(), 0);
    let outcome = pass(&mut node, &api(&full_nat));
    assert_eq!(programmed(&outcome).0, "True");
    assert_eq!(node.observed().sysctl(&knob), Some(1));
}
