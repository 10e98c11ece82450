//! Rules on the real servers of one service: families, methods, ports.

use crate::world::{GROUP, RS1, RS2, WEB, World};
use expect_test::{Expect, expect};

fn nat(ports: &str) -> String {
    format!("{}  forwardingMethod: NAT\n", WEB.replace("[{port: 80}]", ports))
}

fn real_server(name: &str, spec: &str) -> String {
    format!("kind: RealServer\nmetadata: {{name: {name}, labels: {{app: web}}}}\nspec: {{{spec}}}")
}

/// What is said of RealServer `odd` beside rs1.
fn refused(service: &str, odd: &str, expected: Expect) {
    let mut world = World::new();
    for document in [service, RS1, &real_server("odd", odd)] {
        world.apply(document);
    }
    world.settle();
    expected.assert_eq(&world.said_of_real_server("odd", "Accepted"));
    assert!(!world.placements().contains("to odd"));
    assert!(world.placements().contains("to rs1"), "nothing else is disturbed");
    assert!(
        world
            .said("web", "Ready")
            .ends_with("left out: odd (see the RealServers)")
    );
}

#[test]
fn dr_and_tun_do_not_translate_the_port_of_a_real_server() {
    refused(
        &nat("[{port: 80}]"),
        "addresses: [192.168.56.35], forwardingMethod: TUN, port: 8080",
        expect![
            "False Invalid: VirtualService web: TUN cannot translate to port 8080: remove port, or use NAT or FullNAT"
        ],
    );
    // The method is the service's here.
    refused(
        WEB,
        "addresses: [192.168.56.35], port: 8080",
        expect![
            "False Invalid: VirtualService web: DR cannot translate to port 8080: remove port, or use NAT or FullNAT"
        ],
    );
}

#[test]
fn a_real_server_by_dr_has_no_part_in_a_service_that_translates() {
    let nat = nat("[{port: 80, targetPort: 8080}]");
    refused(
        &nat,
        "addresses: [192.168.56.35], forwardingMethod: DR",
        expect![
            "False Invalid: VirtualService web: DR cannot translate port 80 to targetPort 8080: use NAT or FullNAT for it, or remove targetPort"
        ],
    );
}

#[test]
fn a_port_of_its_own_goes_with_services_of_one_port() {
    for ports in ["[{port: 80}, {port: 443}]", "[{port: 0}]"] {
        refused(
            &nat(ports),
            "addresses: [192.168.56.35], port: 8080",
            expect![
                "False Invalid: VirtualService web: port 8080 is meant for services of one port, and this one has several, or keeps ports: remove port, or select this real server by a service of its own"
            ],
        );
    }
}

#[test]
fn checks_of_a_real_server_suit_the_service() {
    let judged = |service: String, checks: &str| {
        let mut world = World::serving();
        world.apply(&service);
        world.apply(&RS1.replace("addresses:", &format!("healthChecks: {checks}, addresses:")));
        world.settle();
        world.said_of_real_server("rs1", "Accepted")
    };
    let marked = || WEB.replace("ports: [{port: 80}]", "firewallMark: 7\n  healthChecks: [{none: {}}]");
    assert!(judged(marked(), "[{port: 80}]").starts_with("True"));
    assert!(judged(marked(), "[{none: {}}]").starts_with("True"));
    assert!(judged(marked(), "[{ping: {}}]").starts_with("True"));
    assert!(judged(WEB.to_owned(), "[{tcp: {}}]").starts_with("True"));
    assert!(judged(marked(), "[{tcp: {}}]").contains("name the port of each check"));
    let dh = || WEB.replace("scheduler: rr", "scheduler: dh");
    assert!(judged(dh(), "[{onFailure: Remove}]").starts_with("True"));
    assert!(judged(dh(), "[{onFailure: Quiesce}]").contains("dh has no fallback"));
}

/// The checks of the service may be meant for real servers of another method than this one's.
#[test]
fn by_nat_there_is_no_forwarding_path_to_probe() {
    let web = WEB.replace(
        "ports: [{port: 80}]",
        "ports: [{port: 80}]\n  healthChecks: [{through: ForwardingPath}]",
    );
    refused(
        &web,
        "addresses: [192.168.56.35], forwardingMethod: NAT",
        expect![
            "False Invalid: VirtualService web: healthChecks: through: ForwardingPath is for DR and TUN, and this real server is reached by NAT: give it healthChecks of its own, without through"
        ],
    );
    let mut world = World::serving();
    world.apply(&web);
    let own = "forwardingMethod: NAT, healthChecks: [{through: RealServerAddress}], addresses:";
    world.apply(&RS1.replace("addresses:", own));
    world.settle();
    assert!(world.said_of_real_server("rs1", "Accepted").starts_with("True"));
}

#[test]
fn one_packet_does_not_go_with_nat() {
    let web = WEB.replace("[{port: 80}]", "[{port: 53, protocol: UDP}]\n  onePacket: true");
    refused(
        &web,
        "addresses: [192.168.56.35], forwardingMethod: FullNAT",
        expect![
            "False Invalid: VirtualService web: onePacket goes with DR or TUN, and this real server is reached by FullNAT: change one of them"
        ],
    );
}

#[test]
fn two_real_servers_on_one_address_are_told_apart_by_their_ports() {
    let mut world = World::new();
    world.apply(&nat("[{port: 80, targetPort: 8080}]"));
    for (name, port) in [
        ("a", ""),
        ("b", ", port: 8081"),
        ("c", ", port: 8080"),
        ("d", ", port: 8081"),
    ] {
        world.apply(&real_server(name, &format!("addresses: [192.168.56.35]{port}")));
    }
    world.settle();
    expect![[r"
        web@dir1 director 192.168.56.100 Node
        web@dir1 director serves Tcp/80->8080/rr
        web@dir1 director to a 192.168.56.35 by NAT weight 1 for [192.168.56.100]
        web@dir1 director to b 192.168.56.35 port 8081 by NAT weight 1 for [192.168.56.100]
    "]]
    .assert_eq(&world.placements());
    expect!["False AddressConflict: VirtualService web: 192.168.56.35 is already the address of RealServer a in this service, with port 8080: remove one of the two"].assert_eq(&world.said_of_real_server("c", "Accepted"));
    expect!["False AddressConflict: VirtualService web: 192.168.56.35 is already the address of RealServer b in this service, with port 8081: remove one of the two"].assert_eq(&world.said_of_real_server("d", "Accepted"));
}

#[test]
fn methods_may_differ_between_the_real_servers_of_one_service() {
    let mut world = World::new();
    world.apply(WEB);
    world.apply(&real_server("direct", "addresses: [192.168.56.31]"));
    world.apply(&real_server(
        "routed",
        "addresses: [192.168.56.32], forwardingMethod: NAT, port: 8080",
    ));
    world.apply(&real_server(
        "far",
        "addresses: [10.9.9.33], forwardingMethod: TUN, tunnel: {type: GUE, port: 6080, checksum: None}",
    ));
    world.apply(&real_server(
        "hidden",
        "addresses: [10.9.9.34], forwardingMethod: FullNAT, upperThreshold: 9",
    ));
    world.settle();
    expect![[r"
        web@dir1 director 192.168.56.100 Node
        web@dir1 director serves Tcp/80/rr
        web@dir1 director to direct 192.168.56.31 weight 1 for [192.168.56.100]
        web@dir1 director to far 10.9.9.33 by TUN Gue weight 1 for [192.168.56.100]
        web@dir1 director to hidden 10.9.9.34 by FullNAT weight 1 for [192.168.56.100]
        web@dir1 director to routed 192.168.56.32 port 8080 by NAT weight 1 for [192.168.56.100]
    "]]
    .assert_eq(&world.placements());
    let part = world.placement("web", "dir1").unwrap().spec.director.clone().unwrap();
    let hidden = part.real_servers.iter().find(|entry| entry.name == "hidden").unwrap();
    assert_eq!((hidden.upper_threshold, hidden.lower_threshold), (9, 0));
}

/// A service with a VIP of each family, and real servers of one, of the other and of both.
pub(super) fn two_families(method: &str) -> World {
    let mut world = World::new();
    world.apply(&GROUP.replace("[192.168.56.0/24]", "[192.168.56.0/24, 'fd56::/64']"));
    world.apply(&format!(
        "{}  forwardingMethod: {method}\n",
        WEB.replace(
            "[{address: 192.168.56.100}]",
            "[{address: 192.168.56.100}, {address: 'fd56::100'}]"
        )
    ));
    world.apply(&RS1.replace("[192.168.56.30]", "[192.168.56.30, 'fd56::30']"));
    world.apply(RS2);
    world.apply(&real_server("six", "addresses: ['fd56::50']"));
    world.settle();
    world
}

#[test]
fn a_vip_uses_the_real_servers_of_its_family_and_status_says_who_was_left_out() {
    let world = two_families("DR");
    expect![[r"
        web@dir1 director 192.168.56.100 Node
        web@dir1 director fd56::100 Node
        web@dir1 director serves Tcp/80/rr
        web@dir1 director to rs1 192.168.56.30,fd56::30 weight 1 for [192.168.56.100 fd56::100]
        web@dir1 director to rs2 192.168.56.40 weight 1 for [192.168.56.100]
        web@dir1 director to six fd56::50 weight 1 for [fd56::100]
        web@rs1 host of rs1 192.168.56.100
        web@rs1 host of rs1 fd56::100
        web@rs2 host of rs2 192.168.56.100
    "]]
    .assert_eq(&world.placements());
    expect!["True Ok: 3 real servers serve; without IPv4 address: six; without IPv6 address: rs2"]
        .assert_eq(&world.said("web", "Ready"));
    let rs2 = world.real_server("rs2").status.clone().unwrap();
    expect!["it is in this service, but not for fd56::100: it has no IPv6 address"].assert_eq(
        &crds::conditions::find(&rs2.virtual_services[0].conditions, "Accepted")
            .unwrap()
            .message,
    );
    assert!(world.said_of_real_server("rs2", "Ready").starts_with("True"));
}

#[test]
fn a_tunnel_carries_either_family() {
    let world = two_families("TUN");
    let both = "[192.168.56.100 fd56::100]";
    for name in ["rs1", "rs2", "six"] {
        let placements = world.placements();
        let line = placements
            .lines()
            .find(|line| line.contains(&format!("director to {name} ")))
            .unwrap();
        assert!(line.ends_with(&format!("for {both}")), "{line}");
    }
    assert!(world.placements().contains("web@rs2 host of rs2 by TUN fd56::100\n"));
}

#[test]
fn a_vip_without_a_real_server_of_its_family_is_not_ready() {
    let mut world = two_families("NAT");
    world.delete_real_server("six");
    world.apply(RS1);
    world.settle();
    expect![
        "False NoRealServers: no real server serves fd56::100: give one an IPv6 address; without IPv6 address: rs1, rs2"
    ]
    .assert_eq(&world.said("web", "Ready"));
}

#[test]
fn a_real_server_without_addresses_has_the_first_of_each_family_of_its_node() {
    let mut world = World::new();
    let addresses = "addresses: [{type: InternalIP, address: 10.0.0.9}, {type: InternalIP, address: 'fd56::9'}, \
                     {type: InternalIP, address: 10.0.0.10}]";
    let node = format!("metadata: {{name: rs9}}\nspec: {{}}\nstatus: {{{addresses}}}");
    world.objects.nodes.push(serde_yaml::from_str(&node).unwrap());
    world.apply(WEB);
    world.apply(&real_server("rs9", "nodeName: rs9, forwardingMethod: NAT"));
    world.pass();
    assert!(world.placements().contains("to rs9 10.0.0.9,fd56::9 by NAT"));
}

#[test]
fn f13_a_real_server_that_takes_a_full_nat_source_address_is_refused() {
    let mut world = World::serving();
    world.apply(&format!("{GROUP}  fullNAT: {{sourceAddresses: [192.168.56.77]}}\n"));
    world.settle();
    world.apply(&real_server("thief", "addresses: [192.168.56.77]"));
    world.settle();
    expect!["False Invalid: VirtualService web: 192.168.56.77 is a fullNAT source address of director dir1: give thief the address of its own machine"].assert_eq(&world.said_of_real_server("thief", "Accepted"));
}

fn gre(name: &str, vip: &str, checksum: &str) -> String {
    format!(
        "{}  forwardingMethod: TUN\n  tunnel: {{type: GRE, checksum: {checksum}}}\n",
        WEB.replace("name: web", &format!("name: {name}"))
            .replace("192.168.56.100", vip)
    )
}

#[test]
fn f21_a_host_unwraps_gre_in_one_mode() {
    let mut world = World::new();
    world.apply(&gre("web", "192.168.56.100", "Checksum"));
    world.apply(RS1);
    world.settle();
    world.apply(&gre("aaa", "192.168.56.101", "None"));
    world.settle();
    expect!["False Invalid: VirtualService aaa: 192.168.56.30 unwraps GRE with checksum Checksum for VirtualService shop/web, and a host has one mode: use the same tunnel.checksum, or GUE"].assert_eq(&world.said_of_real_server("rs1", "Accepted"));
    expect!["False NoRealServers: no RealServer may serve; left out: rs1 (see the RealServers)"]
        .assert_eq(&world.said("aaa", "Ready"));
    assert!(world.said("web", "Ready").starts_with("True"));
    world.apply(&gre("aaa", "192.168.56.101", "Checksum"));
    world.settle();
    assert!(world.said("aaa", "Ready").starts_with("True"));
    // The one that is taken back has to be gone first; until then it serves as it did.
    world.apply(&gre("aaa", "192.168.56.101", "None"));
    world.delete_service("web");
    world.pass();
    assert!(
        world
            .said_of_real_server("rs1", "Accepted")
            .ends_with("(the last accepted spec still serves)")
    );
    assert!(world.said("aaa", "Ready").starts_with("True"));
    world.settle();
    assert!(world.said_of_real_server("rs1", "Accepted").starts_with("True"));
    assert!(
        world
            .placements()
            .contains("aaa@dir1 director to rs1 192.168.56.30 by TUN Gre weight 1 for [192.168.56.101]")
    );
    assert!(world.said("aaa", "Ready").starts_with("True"));
}

#[test]
fn a_refused_service_reaches_its_real_servers_as_before() {
    let mut world = World::new();
    world.apply(&format!("{WEB}  forwardingMethod: FullNAT\n"));
    world.apply(RS1);
    world.settle();
    world.apply(&WEB.replace("192.168.56.100", "10.9.9.9"));
    world.settle();
    assert!(world.said("web", "Accepted").starts_with("False NotAllowed"));
    assert!(
        world
            .placements()
            .contains("to rs1 192.168.56.30 by FullNAT weight 1 for [192.168.56.100]")
    );
}

/// An edit that is refused is as if it had not been made; what is new is not let in by it.
#[test]
fn a_refused_edit_of_a_real_server_leaves_it_as_it_serves() {
    let mut world = World::new();
    world.apply(WEB);
    world.apply(RS1);
    world.apply(RS2);
    world.settle();
    let before = world.placements();
    // DR does not translate; and another's address is another's.
    for edit in [
        RS1.replace("spec: {", "spec: {port: 8080, "),
        RS1.replace("192.168.56.30", "192.168.56.40"),
        RS1.replace("192.168.56.30", "192.168.56.100"),
    ] {
        world.apply(&edit);
        world.settle();
        assert_eq!(world.placements(), before, "{edit}");
        let said = world.said_of_real_server("rs1", "Accepted");
        assert!(said.starts_with("False "), "{said}");
        assert!(said.ends_with("(the last accepted spec still serves)"), "{said}");
        assert!(world.said_of_real_server("rs1", "Prepared").starts_with("True"));
        expect!["True Ok: 2 real servers serve; refused and as before: rs1 (see the RealServers)"]
            .assert_eq(&world.said("web", "Ready"));
    }
    // What it still has is not another's either.
    world.apply(&real_server("late", "addresses: [192.168.56.30]"));
    world.settle();
    assert_eq!(world.placements(), before);
    world.apply(RS1);
    world.settle();
    assert!(world.said_of_real_server("rs1", "Ready").starts_with("True"));
}
