//! What a DirectorGroup says for all its services, and when that is refused.

use crate::world::{GROUP, WEB, World};
use crds::UndeclaredPorts;
use expect_test::expect;

fn edge(more: &str) -> String {
    format!("{}{more}", GROUP.replace("name: default", "name: edge"))
}

#[test]
fn groups_that_meet_on_a_node_agree_on_timeouts() {
    let mut world = World::new();
    world.apply(&format!("{GROUP}  timeouts: {{tcpSeconds: 900, udpSeconds: 60}}\n"));
    world.settle();
    // The other is older by its name alone, and comes when the first is placed.
    world.apply(&edge("  timeouts: {tcpFinSeconds: 10, udpSeconds: 61}\n"));
    world.settle();
    expect!["False Invalid: timeouts.udpSeconds differs from that of DirectorGroup default, which meets this one on dir1, and a node has one: make them equal"].assert_eq(&world.said_of_group("edge", "Accepted"));
    expect!["False Invalid: timeouts.udpSeconds differs from that of DirectorGroup default, which meets this one on dir1, and a node has one: make them equal"].assert_eq(&world.said_of_group("edge", "Ready"));
    assert!(world.said_of_group("default", "Ready").starts_with("True"));
    expect![[r#"
        lvs-system/default@dir1 {"timeouts":{"tcpSeconds":900,"udpSeconds":60}}
        lvs-system/edge@dir1 {}
    "#]]
    .assert_eq(&world.group_placements());
    world.apply(&edge("  timeouts: {tcpFinSeconds: 10, udpSeconds: 60}\n"));
    world.settle();
    assert!(world.said_of_group("edge", "Ready").starts_with("True"));
    assert!(
        world
            .group_placements()
            .contains(r#"edge@dir1 {"timeouts":{"tcpFinSeconds":10,"udpSeconds":60}}"#)
    );
    // An edit that disagrees is refused, and what is placed stays.
    world.apply(&format!("{GROUP}  timeouts: {{tcpSeconds: 900, udpSeconds: 5}}\n"));
    world.settle();
    assert!(
        world
            .said_of_group("default", "Accepted")
            .starts_with("False Invalid: timeouts.udpSeconds")
    );
    assert!(world.said_of_group("edge", "Accepted").starts_with("True"));
    assert!(
        world
            .group_placements()
            .contains(r#"default@dir1 {"timeouts":{"tcpSeconds":900,"udpSeconds":60}}"#)
    );
}

#[test]
fn groups_that_do_not_meet_have_timeouts_of_their_own() {
    let mut world = World::new();
    world.label("dir2", "edge", Some("true"));
    world.apply(&format!("{GROUP}  timeouts: {{udpSeconds: 60}}\n"));
    world.apply(&edge("  timeouts: {udpSeconds: 61}\n").replace("lvs-operator.io/director", "edge"));
    world.settle();
    assert!(world.said_of_group("default", "Ready").starts_with("True"));
    assert!(world.said_of_group("edge", "Ready").starts_with("True"));
}

fn sources(addresses: &str) -> String {
    format!("{GROUP}  fullNAT: {{sourceAddresses: [{addresses}]}}\n")
}

#[test]
fn f13_a_full_nat_source_address_is_an_address_of_its_own() {
    let mut world = World::serving();
    world.objects.api_servers.push("192.168.56.250".parse().unwrap());
    world.apply("kind: RealServer\nmetadata: {name: other, namespace: blog}\nspec: {addresses: [192.168.56.66]}");
    world.apply(&format!(
        "{}  fullNAT: {{sourceAddresses: [192.168.56.88]}}\n",
        GROUP.replace("name: default", "name: edge")
    ));
    for (address, whose) in [
        ("192.168.56.30", "an InternalIP of Node rs1"),
        ("192.168.56.250", "the API server's own address"),
        ("192.168.56.100", "a VIP of VirtualService shop/web"),
        ("192.168.56.66", "the address of RealServer blog/other"),
    ] {
        world.apply(&sources(&format!("192.168.56.77, {address}")));
        world.settle();
        assert_eq!(
            world.said_of_group("default", "Accepted"),
            format!(
                "False Invalid: fullNAT.sourceAddresses: {address} is {whose}: a source address must be an address of its \
                 own, choose another"
            )
        );
        assert!(world.said("web", "Ready").starts_with("True"), "what serves goes on");
    }
    // Of two groups the older has it.
    world.apply(&sources("192.168.56.88"));
    world.settle();
    assert!(world.said_of_group("default", "Accepted").starts_with("True"));
    expect!["False Invalid: fullNAT.sourceAddresses: 192.168.56.88 is a fullNAT source address of DirectorGroup default: a source address must be an address of its own, choose another"].assert_eq(&world.said_of_group("edge", "Accepted"));
}

#[test]
fn f13_a_vip_that_is_a_full_nat_source_address_is_refused() {
    let mut world = World::new();
    world.apply(&sources("192.168.56.100"));
    world.apply(WEB);
    world.settle();
    expect!["False Invalid: 192.168.56.100 is a fullNAT source address of DirectorGroup default: a VIP must be an address of its own, choose another"].assert_eq(&world.said("web", "Accepted"));
}

#[test]
fn what_a_group_says_is_placed_with_each_service_and_follows_it() {
    let mut world = World::serving();
    let said = |world: &World| {
        let part = world.placement("web", "dir1").unwrap().spec.director.clone().unwrap();
        (part.undeclared_ports, part.full_nat_source_addresses)
    };
    assert_eq!(said(&world), (UndeclaredPorts::Drop, vec![]));
    world.apply(&format!("{}  undeclaredPorts: Accept\n", sources("192.168.56.77")));
    world.settle();
    let both = (UndeclaredPorts::Accept, vec!["192.168.56.77".to_owned()]);
    assert_eq!(said(&world), both);
    // Also for a service that is refused, as long as the group permits what it has.
    world.apply(&WEB.replace("192.168.56.100", "10.9.9.9"));
    world.apply(&sources("192.168.56.77, 192.168.56.78"));
    world.settle();
    assert_eq!(said(&world).1, ["192.168.56.77", "192.168.56.78"]);
    // What is refused changes nothing; nor does a group that vanishes.
    world.apply(&sources("192.168.56.30"));
    world.settle();
    assert_eq!(said(&world).1, ["192.168.56.77", "192.168.56.78"]);
    world.objects.director_groups.clear();
    world.settle();
    assert_eq!(said(&world).1, ["192.168.56.77", "192.168.56.78"]);
}
