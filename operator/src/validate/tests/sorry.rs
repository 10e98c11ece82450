//! `sorryServer`: who it may be, and what is said when it may not.

use crate::world::{GROUP, RS1, RS2, WEB, World};
use expect_test::expect;

fn web(sorry: &str) -> String {
    format!("{WEB}  sorryServer: {{realServerName: {sorry}}}\n")
}

fn real_server(name: &str, spec: &str) -> String {
    format!("kind: RealServer\nmetadata: {{name: {name}}}\nspec: {{{spec}}}")
}

/// A service on rs1 with this sorry server.
fn serving(sorry: &str) -> World {
    let mut world = World::new();
    world.apply(&web("sorry"));
    world.apply(RS1);
    if !sorry.is_empty() {
        world.apply(sorry);
    }
    world.settle();
    world
}

const FAR: &str = "addresses: [192.168.56.50]";

#[test]
fn one_that_does_not_exist_is_said_and_the_service_serves() {
    let mut world = serving("");
    let missing = "no RealServer sorry in namespace shop: create it, or name another in sorryServer (the service has no sorry server meanwhile)";
    for (type_, status) in [("ResolvedRefs", "False"), ("Stalled", "True"), ("Ready", "False")] {
        assert_eq!(
            world.said("web", type_),
            format!("{status} RealServerNotFound: {missing}")
        );
    }
    assert!(world.said("web", "Accepted").starts_with("True"));
    assert!(world.said("web", "Programmed").starts_with("True"));
    assert!(
        world
            .placements()
            .contains("to rs1 192.168.56.30 weight 1 for [192.168.56.100]")
    );
    // In another namespace it is another's.
    world.apply(&real_server("sorry", FAR).replace("name: sorry", "name: sorry, namespace: blog"));
    world.settle();
    assert!(world.said("web", "ResolvedRefs").starts_with("False"));
    world.apply(&real_server("sorry", FAR));
    world.settle();
    assert!(world.said("web", "ResolvedRefs").starts_with("True Ok"));
    assert!(world.said("web", "Ready").starts_with("True"));
    assert_eq!(world.said("web", "Stalled"), "not said");
}

#[test]
fn the_one_that_is_there_stays_while_another_is_missing() {
    let mut world = serving(&real_server("sorry", FAR));
    world.apply(&web("misspelt"));
    world.settle();
    expect!["False RealServerNotFound: no RealServer misspelt in namespace shop: create it, or name another in sorryServer (sorry stays the sorry server meanwhile)"]
        .assert_eq(&world.said("web", "ResolvedRefs"));
}

/// Nobody probes it: it need not be where the others' probes can go.
#[test]
fn a_sorry_server_by_nat_needs_no_forwarding_path() {
    let mut world = World::new();
    world.apply(&format!(
        "{}  healthChecks: [{{through: ForwardingPath}}]\n",
        web("sorry")
    ));
    world.apply(RS1);
    world.apply(&real_server("sorry", &format!("{FAR}, forwardingMethod: NAT")));
    world.settle();
    let said = world.said_of_real_server("sorry", "Accepted");
    assert!(said.starts_with("True"), "{said}");
}

#[test]
fn a_sorry_server_is_judged_like_any_real_server() {
    let mut taken = serving(&real_server("sorry", "addresses: [192.168.56.30]"));
    expect!["False AddressConflict: VirtualService web: 192.168.56.30 is already the address of RealServer rs1 in this service: remove one of the two"]
        .assert_eq(&taken.said_of_real_server("sorry", "Accepted"));
    assert!(!taken.placements().contains("to sorry"));
    expect!["True Ok: 1 real server serves; sorry server left out: sorry (see the RealServer)"]
        .assert_eq(&taken.said("web", "Ready"));
    taken.apply(&real_server("sorry", "addresses: [192.168.56.50], port: 8080"));
    taken.settle();
    expect!["False Invalid: VirtualService web: DR cannot translate to port 8080: remove port, or use NAT or FullNAT"]
        .assert_eq(&taken.said_of_real_server("sorry", "Accepted"));
    taken.apply(&real_server("sorry", FAR));
    taken.settle();
    expect!["True Ok: 1 real server serves"].assert_eq(&taken.said("web", "Ready"));
    taken.apply(&real_server("sorry", "addresses: [192.168.56.100]"));
    taken.settle();
    expect!["False Invalid: VirtualService web: 192.168.56.100 is a VIP of VirtualService shop/web: give sorry the address of its own machine (the last accepted spec still serves)"]
        .assert_eq(&taken.said_of_real_server("sorry", "Accepted"));
    expect!["True Ok: 1 real server serves; sorry server refused and as before: sorry (see the RealServer)"]
        .assert_eq(&taken.said("web", "Ready"));
    let nowhere = serving(&real_server("sorry", "nodeName: nowhere"));
    assert!(
        nowhere
            .said_of_real_server("sorry", "ResolvedRefs")
            .starts_with("False NodeNotFound")
    );
    assert!(nowhere.said("web", "ResolvedRefs").starts_with("True"));
}

/// Nothing probes it, so its checks need not suit the service.
#[test]
fn its_checks_are_not_judged() {
    let mut world = World::new();
    let marked = web("sorry").replace("ports: [{port: 80}]", "firewallMark: 7\n  healthChecks: [{none: {}}]");
    world.apply(&marked);
    world.apply(&real_server("sorry", &format!("{FAR}, healthChecks: [{{tcp: {{}}}}]")));
    world.settle();
    assert!(world.said_of_real_server("sorry", "Accepted").starts_with("True"));
}

#[test]
fn it_takes_one_of_the_places_of_a_service() {
    let mut world = World::new();
    world.apply(&web("sorry"));
    world.apply(&real_server("sorry", FAR));
    for number in 0..512 {
        let address = format!("addresses: [10.1.{}.{}]", number / 250, number % 250 + 1);
        world.apply(&real_server(&format!("r{number}"), &address).replace("}\n", ", labels: {app: web}}\n"));
    }
    world.settle();
    expect!["False TooManyRealServers: realServerSelector and sorryServer together find 513 RealServers, a service has at most 512: narrow the selector"]
        .assert_eq(&world.said("web", "Accepted"));
    // One that is selected, too, takes no other.
    world.apply(&web("r7"));
    world.settle();
    assert!(
        world.said("web", "Ready").starts_with("True"),
        "{}",
        world.said("web", "Ready")
    );
}

#[test]
fn without_the_group_nothing_is_said_of_it() {
    let mut world = serving(&real_server("sorry", FAR));
    let edge = format!("{}  directorGroupName: edge\n", web("misspelt"));
    world.apply(&edge);
    world.settle();
    assert!(
        world
            .said("web", "ResolvedRefs")
            .starts_with("False NoSuchDirectorGroup")
    );
    assert!(
        world
            .placements()
            .contains("to sorry 192.168.56.50 weight 1 sorry for [192.168.56.100]")
    );
    world.apply(&GROUP.replace("name: default", "name: edge"));
    world.apply(RS2);
    world.settle();
    assert!(
        world
            .said("web", "ResolvedRefs")
            .starts_with("False RealServerNotFound")
    );
}
