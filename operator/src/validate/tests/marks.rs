//! Firewall marks, all ports, scheduler flags: what a service takes, and who else may.

use super::{of_blog, service};
use crate::world::{GROUP, RS1, WEB, World};
use crds::{PlacedService, Scheduler, SchedulerFlag};
use expect_test::expect;

fn marked(name: &str, vip: &str, mark: i64) -> String {
    service(name, vip, 80).replace("ports: [{port: 80}]", &format!("firewallMark: {mark}"))
}

fn placed(world: &World, name: &str) -> Vec<PlacedService> {
    let placement = world.placement(name, "dir1").unwrap();
    placement.spec.director.clone().unwrap().services
}

#[test]
fn a_service_of_a_mark_is_placed_with_its_vips() {
    let mut world = World::new();
    world.apply(&marked("web", "192.168.56.100", 10));
    world.apply(RS1);
    world.settle();
    assert!(world.placements().contains("web@dir1 director serves mark 10/rr\n"));
    assert!(world.said("web", "Ready").starts_with("True"));
    let summary = world.service("web").status.clone().unwrap().summary.unwrap();
    assert_eq!(summary.ports, "mark 10");
}

#[test]
fn of_two_services_of_one_mark_the_placed_one_has_it() {
    let mut world = World::new();
    world.apply(&marked("zzz", "192.168.56.101", 10));
    world.settle();
    world.apply(&marked("web", "192.168.56.100", 10));
    world.settle();
    expect!["False AddressConflict: firewall mark 10 of IPv4 is held by VirtualService shop/zzz: choose another mark"]
        .assert_eq(&world.said("web", "Accepted"));
    assert!(world.said("zzz", "Accepted").starts_with("True"));
    // An edit onto a held mark takes nothing, and what serves goes on.
    world.apply(&marked("web", "192.168.56.100", 11));
    world.settle();
    world.apply(&marked("web", "192.168.56.100", 10));
    world.settle();
    expect!["False AddressConflict: firewall mark 10 of IPv4 is held by VirtualService shop/zzz: choose another mark (the last accepted spec still serves)"].assert_eq(&world.said("web", "Accepted"));
    assert!(world.placements().contains("web@dir1 director serves mark 11/rr\n"));
    // Let go of, it goes to the other when it is withdrawn.
    world.apply(&marked("zzz", "192.168.56.101", 12));
    world.pass();
    assert!(
        world
            .said("web", "Programmed")
            .contains("firewall mark 10 is still being withdrawn")
    );
    world.settle();
    assert!(world.placements().contains("web@dir1 director serves mark 10/rr\n"));
}

#[test]
fn the_families_have_tables_of_their_own() {
    let mut world = World::new();
    world.apply(&GROUP.replace("[192.168.56.0/24]", "[192.168.56.0/24, 'fd56::/64']"));
    world.apply(&marked("web", "192.168.56.100", 10));
    world.apply(&marked("six", "'fd56::100'", 10));
    world.settle();
    assert!(world.said("web", "Accepted").starts_with("True"));
    assert!(world.said("six", "Accepted").starts_with("True"));
}

#[test]
fn groups_on_other_nodes_have_marks_of_their_own_until_they_meet() {
    let mut world = World::new();
    let edge = GROUP
        .replace("name: default", "name: edge")
        .replace("lvs-operator.io/director", "edge");
    world.apply(&edge);
    world.label("dir2", "edge", Some("true"));
    world.apply(&marked("web", "192.168.56.100", 10));
    world.apply(&format!(
        "{}  directorGroupName: edge\n",
        marked("far", "192.168.56.101", 10)
    ));
    world.settle();
    assert!(world.said("web", "Accepted").starts_with("True"));
    assert!(world.said("far", "Accepted").starts_with("True"));
    // The administrator brings both to one node, where one table has one service of the mark.
    world.label("dir2", "edge", None);
    world.label("dir1", "edge", Some("true"));
    world.settle();
    world.check_rest();
    assert!(world.said("web", "Accepted").starts_with("True"));
    assert!(
        world
            .said("far", "Accepted")
            .starts_with("False AddressConflict: firewall mark 10 of IPv4")
    );
}

fn across(name: &str, vip: &str) -> String {
    format!(
        "{}  persistence: {{acrossPorts: true}}\n",
        service(name, vip, 80).replace("[{port: 80}]", "[{port: 80}, {port: 443}]")
    )
}

#[test]
fn across_ports_gets_a_mark_of_the_range_and_keeps_it() {
    let mut world = World::new();
    world.apply(&across("web", "192.168.56.100"));
    world.settle();
    let first = placed(&world, "web");
    let mark = first[0].firewall_mark.unwrap();
    assert!(
        (0x1f00_0000..=0x1fff_ffff).contains(&mark) && mark & 0xc000 == 0,
        "{mark:#x}"
    );
    assert_eq!((first.len(), first[0].marked_ports.len()), (1, 2));
    assert!(world.placements().contains("on Tcp/80 on Tcp/443"));
    // A service of every other name begins its search elsewhere; whatever comes and goes, this one keeps its mark.
    for name in ["aaa", "bbb", "zzz"] {
        world.apply(&across(
            name,
            &format!("192.168.56.1{}", name.len() + usize::from(name.as_bytes()[0] % 50) + 10),
        ));
    }
    world.objects.settings.firewall_marks = "7-9".parse().unwrap();
    world.settle();
    assert_eq!(placed(&world, "web"), first);
}

#[test]
fn marks_of_ours_and_of_people_are_one_space() {
    let mut world = World::new();
    world.objects.settings.firewall_marks = "7-8".parse().unwrap();
    world.apply(&marked("theirs", "192.168.56.101", 8));
    world.apply(&across("web", "192.168.56.100"));
    world.settle();
    assert_eq!(placed(&world, "web")[0].firewall_mark, Some(7));
    world.apply(&across("next", "192.168.56.102"));
    world.apply(&marked("late", "192.168.56.103", 7));
    world.settle();
    expect!["False Invalid: persistence.acrossPorts: every firewall mark of 0x7-0x8 is in use: give lvs-operator a wider --firewall-mark-range"].assert_eq(&world.said("next", "Accepted"));
    expect!["False AddressConflict: firewall mark 7 of IPv4 is held by VirtualService shop/web: choose another mark"]
        .assert_eq(&world.said("late", "Accepted"));
}

#[test]
fn f27_two_operators_that_gave_one_mark_twice_leave_it_to_one() {
    let mut world = World::new();
    world.objects.settings.firewall_marks = "7-8".parse().unwrap();
    let (before, mut writes) = (world.clone(), Vec::new());
    for (name, vip) in [("web", "192.168.56.100"), ("two", "192.168.56.101")] {
        let mut view = before.clone();
        view.objects.settings.firewall_marks = "7-7".parse().unwrap();
        view.apply(&across(name, vip));
        writes.extend(view.placement_writes());
        world.apply(&across(name, vip));
    }
    for write in &writes {
        let _ = world.carry_out(write);
    }
    assert_eq!(
        placed(&world, "web")[0].firewall_mark,
        placed(&world, "two")[0].firewall_mark
    );
    world.settle();
    world.check_rest();
    assert_eq!(placed(&world, "web")[0].firewall_mark, Some(7));
    assert_eq!(placed(&world, "two")[0].firewall_mark, Some(8));
}

#[test]
fn the_ports_that_a_mark_stands_for_are_held() {
    let mut world = World::new();
    world.apply(&across("web", "192.168.56.100"));
    world.settle();
    world.apply(&service("tls", "192.168.56.100", 443));
    world.settle();
    expect!["False AddressConflict: 192.168.56.100:443/TCP is held by VirtualService shop/web: choose another port or address"].assert_eq(&world.said("tls", "Accepted"));
}

fn every_port(document: &str) -> String {
    document.replace("{port: 443}", "{port: 0}") + "  persistence: {}\n"
}

#[test]
fn every_port_of_a_vip_is_no_other_namespaces() {
    let mut world = World::new();
    world.apply(&format!("{GROUP}  sharedAddresses: true\n"));
    world.apply(WEB);
    world.apply(&service("tls", "192.168.56.100", 443));
    world.apply(&every_port(&service("rest", "192.168.56.100", 443)));
    world.settle();
    assert!(
        world.said("rest", "Accepted").starts_with("True"),
        "{}",
        world.said("rest", "Accepted")
    );
    let summary = world.service("rest").status.clone().unwrap().summary.unwrap();
    assert_eq!(summary.ports, "all/TCP");
    // The other namespace may not declare a port beside it, nor take every port beside others.
    world.apply(&of_blog("theirs").replace("443", "8443"));
    world.settle();
    expect!["False AddressConflict: 192.168.56.100 has ports of VirtualService shop/rest, of another namespace, and port 0 takes every TCP port that is not declared: name the ports, or choose another address"].assert_eq(&world.said("theirs", "Accepted"));
    world.delete_service("rest");
    world.apply(&every_port(&of_blog("theirs")));
    world.settle();
    expect!["False AddressConflict: 192.168.56.100 has ports of VirtualService shop/web, of another namespace, and port 0 takes every TCP port that is not declared: name the ports, or choose another address"].assert_eq(&world.said("theirs", "Accepted"));
}

#[test]
fn two_services_of_every_port_of_one_vip_conflict() {
    let mut world = World::new();
    world.apply(&every_port(&service("web", "192.168.56.100", 443)));
    world.apply(&every_port(&service("two", "192.168.56.100", 443)));
    world.settle();
    expect!["False AddressConflict: 192.168.56.100:all/TCP is held by VirtualService shop/web: choose another port or address"].assert_eq(&world.said("two", "Accepted"));
}

#[test]
fn an_address_or_a_port_twice_is_refused() {
    for (twice, words) in [
        (
            WEB.replace("[{port: 80}]", "[{port: 80}, {port: 80, protocol: TCP}]"),
            "False Invalid: ports: 80/TCP is there twice: remove one",
        ),
        (
            WEB.replace(
                "[{address: 192.168.56.100}]",
                "[{address: 192.168.56.100}, {address: 192.168.56.100}]",
            ),
            "False Invalid: addresses: 192.168.56.100 is there twice: remove one",
        ),
    ] {
        let mut world = World::new();
        world.apply(&twice);
        world.settle();
        assert_eq!(world.said("web", "Accepted"), words);
    }
}

#[test]
fn a_hash_falls_back_unless_it_is_told_not_to() {
    use SchedulerFlag::{MhFallback, ShFallback, ShPort};
    for (scheduler, flags, expected) in [
        ("sh", "", vec![ShFallback]),
        ("mh", "", vec![MhFallback]),
        ("wlc", "", vec![]),
        ("sh", "  schedulerFlags: []\n", vec![]),
        ("sh", "  schedulerFlags: [sh-port]\n", vec![ShPort]),
        (
            "sh",
            "  schedulerFlags: [sh-port, sh-fallback]\n",
            vec![ShFallback, ShPort],
        ),
    ] {
        let mut world = World::new();
        world.apply(&format!(
            "{}{flags}",
            WEB.replace("scheduler: rr", &format!("scheduler: {scheduler}"))
        ));
        world.settle();
        assert_eq!(
            placed(&world, "web")[0].scheduler_flags,
            expected,
            "{scheduler} {flags}"
        );
    }
}

#[test]
fn what_a_service_says_of_its_connections_is_placed_by_value() {
    let mut world = World::new();
    let ports = "[{port: 5060, protocol: UDP}, {port: 7, protocol: SCTP}]";
    world.apply(&format!(
        "{}  persistence: {{timeoutSeconds: 120, ipv4PrefixLength: 24, engine: sip}}\n  onePacket: true\n",
        WEB.replace("[{port: 80}]", ports).replace("rr", "mh")
    ));
    world.settle();
    let services = placed(&world, "web");
    assert_eq!(services.len(), 2);
    for service in &services {
        assert_eq!((service.scheduler, service.one_packet), (Scheduler::Mh, true));
        let persistence = service.persistence.clone().unwrap();
        assert_eq!((persistence.timeout_seconds, persistence.ipv4_prefix_length), (120, 24));
        assert_eq!(
            (persistence.ipv6_prefix_length, persistence.engine.is_some()),
            (128, true)
        );
    }
    let summary = world.service("web").status.clone().unwrap().summary.unwrap();
    assert_eq!(summary.ports, "5060/UDP,7/SCTP");
}
