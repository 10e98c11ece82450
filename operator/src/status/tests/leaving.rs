//! What is said of drains, cordons, quorums and sorry servers.

use crate::view::DrainFact;
use crate::world::{RS1, RS2, WEB, World};
use expect_test::{Expect, expect};
use jiff::SignedDuration;

fn cordoned(real_server: &str) -> String {
    real_server.replace("spec: {", "spec: {cordoned: true, ")
}

fn counts(world: &World) -> (i32, i32, i32) {
    let counts = world.service("web").status.clone().unwrap().real_servers.unwrap();
    (counts.matched, counts.prepared, counts.healthy)
}

fn check(world: &World, real_server: Expect, service: Expect) {
    real_server.assert_eq(&world.said_of_real_server("rs2", "Ready"));
    service.assert_eq(&world.said("web", "Ready"));
}

#[test]
fn a_cordoned_real_server_says_until_when_it_drains() {
    let mut world = World::serving();
    world.clinging.insert("rs2".to_owned());
    world.now = "2026-11-22T12:10:00.75Z".parse().unwrap();
    world.agents();
    world.pass();
    world.apply(&cordoned(RS2));
    world.pass();
    world.pass();
    check(
        &world,
        expect!["False Cordoned: cordoned, its director is being told; set cordoned to false to have it back"],
        expect!["False Pending: dir1 has not reported on its latest Placement yet"],
    );
    world.agents();
    world.pass();
    check(
        &world,
        expect!["False Cordoned: cordoned, drains until 2026-11-22T12:11:01Z; set cordoned to false to have it back"],
        expect!["True Ok: 1 real server serves; cordoned: rs2; draining: rs2"],
    );
    assert_eq!(counts(&world), (2, 2, 2));
    assert!(world.said_of_real_server("rs2", "Prepared").starts_with("True"));
    world.now += SignedDuration::from_secs(30);
    world.agents();
    assert!(world.decide().writes.is_empty(), "nothing that changes by itself");
    let mut silent = world.clone();
    silent.silent.insert("dir1".to_owned());
    silent.now += SignedDuration::from_secs(45);
    silent.agents();
    silent.pass();
    check(
        &silent,
        expect!["False Cordoned: cordoned, its director is silent; set cordoned to false to have it back"],
        expect![
            "Unknown AgentLost: the agent of dir1 is silent: what it programmed goes on; look after lvs-agent on that node"
        ],
    );
    world.now += SignedDuration::from_secs(31);
    world.settle();
    check(
        &world,
        expect!["False Cordoned: cordoned, drained; set cordoned to false to have it back"],
        expect!["True Ok: 1 real server serves; cordoned: rs2"],
    );
    world.apply(RS2);
    world.settle();
    check(
        &world,
        expect!["True Ok: it may take traffic"],
        expect!["True Ok: 2 real servers serve"],
    );
}

#[test]
fn one_that_is_cordoned_in_several_services_says_how_far_each_is() {
    let mut world = World::serving();
    let api = WEB.replace("name: web", "name: api").replace("port: 80", "port: 81");
    world.apply(&format!("{api}  drain: {{timeoutSeconds: 300}}\n"));
    world.settle();
    world.clinging.insert("rs2".to_owned());
    world.apply(&cordoned(RS2));
    world.settle();
    world.now += SignedDuration::from_secs(100);
    world.settle();
    expect!["False Cordoned: cordoned, VirtualService api: drains until 2026-11-22T12:05:08Z, VirtualService web: drained; set cordoned to false to have it back"]
        .assert_eq(&world.said_of_real_server("rs2", "Ready"));
    world.clinging.clear();
    world.settle();
    expect!["False Cordoned: cordoned, drained; set cordoned to false to have it back"]
        .assert_eq(&world.said_of_real_server("rs2", "Ready"));
}

#[test]
fn one_that_was_deleted_is_named_while_it_drains() {
    let mut world = World::serving();
    world.clinging.insert("rs2".to_owned());
    world.delete_real_server("rs2");
    world.settle();
    expect!["True Ok: 1 real server serves; draining: rs2"].assert_eq(&world.said("web", "Ready"));
    assert_eq!(counts(&world), (1, 1, 1));
    world.clinging.clear();
    world.settle();
    expect!["True Ok: 1 real server serves"].assert_eq(&world.said("web", "Ready"));
}

#[test]
fn nobody_serves_when_all_are_cordoned() {
    let mut world = World::serving();
    world.apply(&cordoned(RS1));
    world.apply(&cordoned(RS2));
    world.settle();
    expect!["False NoRealServers: every prepared real server is cordoned (rs1, rs2) or has weight 0: set cordoned to false on one"]
        .assert_eq(&world.said("web", "Ready"));
}

#[test]
fn a_cordoned_real_server_that_nobody_selects_is_not_selected() {
    let mut world = World::serving();
    world.apply(&cordoned(RS2).replace("app: web", "app: other"));
    world.settle();
    assert!(
        world
            .said_of_real_server("rs2", "Ready")
            .starts_with("False NotSelected")
    );
}

#[test]
fn below_its_quorum_a_service_says_how_much_is_missing() {
    let mut world = World::serving();
    world.apply(&RS1.replace("addresses:", "weight: 3, addresses:"));
    world.apply(&format!("{WEB}  quorum: {{minimumWeight: 4}}\n"));
    world.settle();
    assert!(world.said("web", "Ready").starts_with("True"));
    world.down.insert("rs2".to_owned());
    world.settle();
    expect!["False BelowQuorum: weight 3 is healthy, and the quorum is 4: see the RealServers"]
        .assert_eq(&world.said("web", "Ready"));
    world.down.clear();
    world.apply(&cordoned(RS2));
    world.apply(&format!("{WEB}  quorum: {{minimumWeight: 4, hysteresis: 2}}\n"));
    world.settle();
    expect!["False BelowQuorum: weight 3 is healthy, and the quorum is back with 6 (4, and hysteresis 2); cordoned: rs2: see the RealServers"]
        .assert_eq(&world.said("web", "Ready"));
    world.down.insert("rs1".to_owned());
    world.settle();
    expect!["False NoRealServers: no real server passes its health checks (rs1): see the RealServers"]
        .assert_eq(&world.said("web", "Ready"));
}

fn with_sorry() -> World {
    let mut world = World::new();
    world.apply(&format!("{WEB}  sorryServer: {{realServerName: rs2}}\n"));
    world.apply(RS1);
    world.apply(RS2);
    world.settle();
    world
}

#[test]
fn a_sorry_server_stands_by_and_counts_for_nothing() {
    let world = with_sorry();
    check(
        &world,
        expect!["True Ok: it stands by as the sorry server"],
        expect!["True Ok: 1 real server serves"],
    );
    expect!["True NotRequired: nothing is probed of a sorry server"]
        .assert_eq(&world.said_of_real_server("rs2", "Healthy"));
    assert_eq!(counts(&world), (1, 1, 1));
    assert_eq!(
        world
            .service("web")
            .status
            .clone()
            .unwrap()
            .summary
            .unwrap()
            .real_servers,
        "1/1"
    );
}

#[test]
fn a_sorry_server_that_answers_is_said_to() {
    let mut world = with_sorry();
    world.down.insert("rs1".to_owned());
    world.settle();
    check(
        &world,
        expect!["True Ok: it answers as the sorry server of VirtualService web"],
        expect![
            "False SorryServer: rs2 answers in place of the real servers: weight 0 is healthy, and the quorum is 1"
        ],
    );
    assert_eq!(counts(&world), (1, 1, 0));
    // A cordoned one does not take over.
    world.apply(&cordoned(RS2));
    world.settle();
    check(
        &world,
        expect!["False Cordoned: cordoned, drained; set cordoned to false to have it back"],
        expect!["False NoRealServers: no real server passes its health checks (rs1): see the RealServers"],
    );
}

#[test]
fn one_that_serves_elsewhere_may_take_traffic() {
    let mut world = with_sorry();
    world.apply(&WEB.replace("name: web", "name: api").replace("port: 80", "port: 81"));
    world.settle();
    expect!["True Ok: it may take traffic"].assert_eq(&world.said_of_real_server("rs2", "Ready"));
}

#[test]
fn a_service_of_a_sorry_server_alone_has_no_real_servers() {
    let mut world = with_sorry();
    world.delete_real_server("rs1");
    world.down.insert("rs1".to_owned());
    world.settle();
    assert!(world.said("web", "Ready").starts_with("False SorryServer"));
    world.apply(&cordoned(RS2));
    world.settle();
    expect!["False NoRealServers: realServerSelector finds no RealServer in namespace shop: label some, or correct it"]
        .assert_eq(&world.said("web", "Ready"));
}

#[test]
fn of_several_directors_the_slowest_counts() {
    let [soon, late] = [5, 9].map(|second| DrainFact::Draining(jiff::Timestamp::from_second(second).ok()));
    let drained = DrainFact::Drained;
    for (said, counts) in [
        (vec![drained, soon, drained], Some(soon)),
        (vec![late, soon], Some(late)),
        (vec![late, DrainFact::Pending, soon], Some(DrainFact::Pending)),
        (vec![DrainFact::Unknown, DrainFact::Pending], Some(DrainFact::Unknown)),
        (vec![], None),
    ] {
        assert_eq!(DrainFact::slowest(said.iter().copied()), counts, "{said:?}");
    }
}
