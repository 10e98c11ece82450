//! Real servers that leave: deleted, deselected, cordoned; and what directors are told of it.

use super::{check, to_node};
use crate::world::{RS1, RS2, WEB, World};
use expect_test::expect;
use jiff::SignedDuration;

/// WEB with these lines.
fn web(more: &str) -> String {
    format!("{WEB}  {more}\n")
}

/// A service on two hosts with these lines.
fn serving(more: &str) -> World {
    let mut world = World::serving();
    world.apply(&web(more));
    world.settle();
    world
}

fn cordoned() -> String {
    RS2.replace("spec: {", "spec: {cordoned: true, ")
}

fn later(world: &mut World, seconds: i64) {
    world.now += SignedDuration::from_secs(seconds);
    world.agents();
}

const LEAVES: &str = "to rs2 192.168.56.40 weight 1 leaving for [192.168.56.100]";
const STAYS: &str = "to rs2 192.168.56.40 weight 1 for [192.168.56.100]";

#[test]
fn a_real_server_drains_until_nobody_clings_to_it_or_its_time_is_over() {
    for leave in [
        (|world| world.delete_real_server("rs2")) as fn(&mut World),
        |world| world.apply(&RS2.replace("app: web", "app: other")),
        |world| {
            world.apply(&WEB.replace(
                "{app: web}",
                "{app: web}, matchExpressions: [{key: old, operator: Exists}]",
            ))
        },
    ] {
        let mut world = World::serving();
        world.apply(&RS1.replace("app: web", "app: web, old: 'yes'"));
        world.settle();
        world.clinging.insert("rs2".to_owned());
        leave(&mut world);
        world.pass();
        world.agents();
        assert!(world.placements().contains(LEAVES), "{}", world.placements());
        let mut early = world.clone();
        early.clinging.clear();
        for _ in 0..5 {
            later(&mut world, 11);
            assert_eq!(world.placement_writes(), [], "a drain of 60 s");
            world.check();
        }
        assert!(
            world
                .placements()
                .contains("web@rs2 host of rs2 192.168.56.100 leaving\n")
        );
        later(&mut world, 6);
        for mut world in [world, early] {
            world.settle();
            assert!(!world.placements().contains("rs2"), "{}", world.placements());
            world.check_rest();
        }
    }
}

#[test]
fn an_operator_that_was_away_finds_where_the_drain_is() {
    let mut world = World::serving();
    world.clinging.insert("rs2".to_owned());
    world.delete_real_server("rs2");
    world.pass();
    later(&mut world, 1);
    let mut soon = world.clone();
    later(&mut soon, 10);
    assert_eq!(soon.placement_writes(), []);
    // It comes back when the drain is long over.
    later(&mut world, 600);
    world.pass();
    check(
        &world,
        expect![[r"
        web@dir1 director 192.168.56.100 Node
        web@dir1 director serves Tcp/80/rr
        web@dir1 director to rs1 192.168.56.30 weight 1 for [192.168.56.100]
        web@rs1 host of rs1 192.168.56.100
        web@rs2 host of rs2 192.168.56.100 leaving
    "]],
    );
}

#[test]
fn a_report_on_an_earlier_order_is_no_word_of_the_drain() {
    let mut world = World::serving();
    world.clinging.insert("rs2".to_owned());
    world.apply(&cordoned());
    world.pass();
    world.clinging.clear();
    world.agents();
    // Drained; then it serves again, and goes for good before its director heard of either.
    world.apply(RS2);
    world.pass();
    world.delete_real_server("rs2");
    world.clinging.insert("rs2".to_owned());
    world.pass();
    assert!(world.placements().contains(LEAVES));
    assert_eq!(world.placement_writes(), []);
}

#[test]
fn a_director_that_booted_meanwhile_speaks_for_itself() {
    let mut world = World::serving();
    world.clinging.insert("rs2".to_owned());
    world.delete_real_server("rs2");
    world.pass();
    world.clinging.clear();
    world.agents();
    world.reboot("dir1", "boot 2");
    world.renew("dir1");
    assert_eq!(world.placement_writes(), [], "the report is of another boot");
    world.settle();
    assert!(!world.placements().contains("rs2"));
}

#[test]
fn a_cordoned_real_server_stays_a_member_that_leaves_and_is_back_at_once() {
    let mut world = World::serving();
    world.clinging.insert("rs2".to_owned());
    world.apply(&cordoned());
    assert_eq!(world.placement_writes().len(), 1, "its host is told nothing");
    world.settle();
    world.check_rest();
    check(
        &world,
        expect![[r"
        web@dir1 director 192.168.56.100 Node
        web@dir1 director serves Tcp/80/rr
        web@dir1 director to rs1 192.168.56.30 weight 1 for [192.168.56.100]
        web@dir1 director to rs2 192.168.56.40 weight 1 leaving for [192.168.56.100]
        web@rs1 host of rs1 192.168.56.100
        web@rs2 host of rs2 192.168.56.100
    "]],
    );
    // Long after it has drained, too.
    later(&mut world, 600);
    world.settle();
    world.check_rest();
    assert!(world.placements().contains(LEAVES));
    assert!(world.placements().contains("web@rs2 host of rs2 192.168.56.100\n"));
    world.apply(RS2);
    let writes = world.placement_writes();
    assert_eq!(writes.len(), 1);
    assert!(to_node(&writes, "dir1").is_some());
    world.pass();
    assert!(world.placements().contains(STAYS));
}

#[test]
fn a_real_server_that_comes_cordoned_is_prepared_and_leaves() {
    let mut world = World::new();
    world.apply(WEB);
    world.apply(&cordoned());
    world.settle();
    assert!(world.placements().contains(LEAVES));
    world.check_rest();
}

#[test]
fn a_cordoned_real_server_that_goes_drains_on_and_then_its_host_is_free() {
    let mut world = World::serving();
    world.clinging.insert("rs2".to_owned());
    world.apply(&cordoned());
    world.pass();
    later(&mut world, 0);
    world.delete_real_server("rs2");
    later(&mut world, 30);
    world.pass();
    assert!(world.placements().contains(LEAVES));
    assert!(
        world
            .placements()
            .contains("web@rs2 host of rs2 192.168.56.100 leaving\n")
    );
    let report = world.placement("web", "dir1").unwrap().status.clone().unwrap();
    let until = report.director.unwrap().real_servers[1].drains_until.clone();
    assert!(until.is_some());
    later(&mut world, 30);
    world.settle();
    assert!(!world.placements().contains("rs2"), "{}", world.placements());
}

#[test]
fn real_servers_that_need_nothing_of_a_host_drain_alike() {
    let mut world = serving("forwardingMethod: NAT");
    world.clinging.insert("rs2".to_owned());
    world.delete_real_server("rs2");
    world.pass();
    later(&mut world, 1);
    world.settle();
    assert!(
        world
            .placements()
            .contains("to rs2 192.168.56.40 by NAT weight 1 leaving for [192.168.56.100]")
    );
    later(&mut world, 60);
    world.settle();
    assert!(!world.placements().contains("rs2"));
}

#[test]
fn a_host_that_is_off_has_nobody_to_drain() {
    let mut world = World::serving();
    world.clinging.insert("rs2".to_owned());
    world.delete_real_server("rs2");
    world.pass();
    world.agents();
    world.taint_out_of_service("rs2");
    world.pass();
    assert!(!world.placements().contains("to rs2"));
}

#[test]
fn a_deleted_service_drains_nobody() {
    let mut world = World::serving();
    world.clinging.insert("rs2".to_owned());
    world.apply(&cordoned());
    world.pass();
    world.agents();
    world.delete_service("web");
    world.settle();
    assert!(world.service_placements().is_empty());
}

/// A silent director is told and waited for as long as its Lease, its longest drain and 30 seconds last.
#[test]
fn a_silent_director_holds_a_host_for_its_lease_its_longest_drain_and_thirty_seconds() {
    for (drain, patience) in [
        ("{timeoutSeconds: 0}", 70),
        ("{timeoutSeconds: 60}", 130),
        ("{timeoutSeconds: 600}", 670),
    ] {
        let mut world = serving(&format!("drain: {drain}"));
        world.clinging.insert("rs2".to_owned());
        world.silent.insert("dir1".to_owned());
        world.delete_real_server("rs2");
        world.pass();
        let silent_since = world.now;
        for (seconds, is_given_up) in [(39, false), (patience - 1, false), (patience + 1, true)] {
            world.now = silent_since + SignedDuration::from_secs(seconds);
            world.agents();
            let mut later = world.clone();
            later.pass();
            assert_eq!(
                !later.placements().contains(LEAVES),
                is_given_up,
                "{drain}, after {seconds} s"
            );
            later.pass();
            assert_eq!(
                later.placements().contains("leaving withdraw"),
                is_given_up,
                "{drain}, after {seconds} s"
            );
        }
    }
}

#[test]
fn the_longest_drain_of_any_service_is_what_a_silent_director_is_waited_for() {
    let mut world = serving("drain: {timeoutSeconds: 0}");
    let other = WEB.replace("name: web", "name: api").replace(".100", ".101");
    world.apply(&format!("{other}  drain: {{timeoutSeconds: 900}}\n"));
    world.settle();
    world.silent.insert("dir1".to_owned());
    let renewed = world.now;
    world.now += SignedDuration::from_secs(800);
    world.agents();
    // All others have just been heard.
    let deadline = |world: &World| world.decide().next_deadline.unwrap().duration_since(renewed);
    assert_eq!(deadline(&world), SignedDuration::from_secs(840));
    world.now += SignedDuration::from_secs(160);
    world.agents();
    assert_eq!(deadline(&world), SignedDuration::from_secs(970), "40 + 900 + 30");
}

#[test]
fn a_director_that_is_off_is_not_waited_for() {
    let mut world = World::serving();
    world.silent.insert("dir1".to_owned());
    world.delete_real_server("rs2");
    world.pass();
    assert!(world.placements().contains(LEAVES));
    world.taint_out_of_service("dir1");
    world.pass();
    assert!(!world.placements().contains("to rs2"));
}

#[test]
fn dh_cuts_where_others_drain() {
    let drains = |more: &str| {
        let mut world = World::new();
        world.apply(&WEB.replace("scheduler: rr", more));
        world.settle();
        let part = world.placement("web", "dir1").unwrap().spec.director.clone().unwrap();
        part.drain.unwrap().timeout_seconds
    };
    assert_eq!(drains("scheduler: rr"), 60);
    assert_eq!(drains("scheduler: dh"), 0);
    assert_eq!(drains("drain: {timeoutSeconds: 7}"), 7);
    assert_eq!(drains("scheduler: dh\n  drain: {timeoutSeconds: 0}"), 0);
}

const MANNER: &str =
    "drain: {timeoutSeconds: 9}\n  quorum: {minimumWeight: 2, hysteresis: 1}\n  slowStart: {durationSeconds: 30}";

/// A VIP that is refused.
fn refused(more: &str) -> String {
    web(more).replace("192.168.56.100", "10.9.9.9")
}

#[test]
fn a_refused_spec_leaves_quorum_drain_and_slow_start_as_they_are() {
    let mut world = serving(MANNER);
    let before = world.placements();
    assert!(before.contains("web@dir1 director quorum 2 ± 1, drains 9 s, starts slowly for 30 s\n"));
    world.apply(&refused("drain: {timeoutSeconds: 5}"));
    assert_eq!(world.placement_writes(), []);
    world.settle();
    assert_eq!(world.placements(), before);
    world.apply(WEB);
    world.settle();
    assert!(!world.placements().contains("quorum"));
}

#[test]
fn what_an_operator_placed_that_knew_no_drains_gets_its_default() {
    for (scheduler, seconds) in [("rr", 60), ("dh", 0)] {
        let mut world = World::new();
        world.apply(&WEB.replace("scheduler: rr", &format!("scheduler: {scheduler}")));
        world.settle();
        world.placement_mut("web", "dir1").spec.director.as_mut().unwrap().drain = None;
        world.apply(&refused(""));
        world.settle();
        let part = world.placement("web", "dir1").unwrap().spec.director.clone().unwrap();
        assert_eq!(part.drain.unwrap().timeout_seconds, seconds);
    }
}

#[test]
fn under_a_refused_spec_real_servers_are_cordoned_and_come_back() {
    let mut world = World::serving();
    world.apply(&refused(""));
    world.apply(&cordoned());
    world.settle();
    assert!(world.placements().contains(LEAVES));
    world.apply(RS2);
    world.pass();
    assert!(world.placements().contains(STAYS));
}

#[test]
fn under_a_refused_spec_who_was_to_go_goes() {
    let mut world = World::serving();
    world.clinging.insert("rs2".to_owned());
    world.apply(&RS2.replace("app: web", "app: other"));
    world.pass();
    world.agents();
    world.apply(&refused(""));
    world.settle();
    assert!(world.placements().contains(LEAVES), "{}", world.placements());
    later(&mut world, 60);
    world.settle();
    assert!(!world.placements().contains("rs2"));
}

#[test]
fn one_that_leaves_and_comes_back_refused_leaves_to_its_end() {
    let mut world = World::serving();
    world.clinging.insert("rs2".to_owned());
    world.delete_real_server("rs2");
    world.pass();
    world.agents();
    world.apply(&RS2.replace("192.168.56.40", "192.168.56.100"));
    world.settle();
    assert!(world.placements().contains(LEAVES), "{}", world.placements());
    world.clinging.clear();
    world.settle();
    assert!(!world.placements().contains("rs2"));
}

#[test]
fn under_a_refused_spec_who_is_cordoned_stays_though_it_is_asked_for_no_more() {
    let mut world = World::serving();
    world.apply(&cordoned());
    world.settle();
    let before = world.placements();
    world.apply(&refused("").replace("app: web", "app: other"));
    world.settle();
    assert_eq!(world.placements(), before);
}
