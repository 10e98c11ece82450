//! The Placements of DirectorGroups.

use super::move_director;
use crate::world::{GROUP, RS1, WEB, World};
use expect_test::expect;
use jiff::SignedDuration;

fn masquerading() -> World {
    let mut world = World::new();
    world.apply(&format!(
        "{GROUP}  masquerade: [{{sourceCIDR: 10.0.0.0/24}}]\n  timeouts: {{udpSeconds: 60}}\n"
    ));
    world.apply(WEB);
    world.settle();
    world
}

#[test]
fn a_group_has_a_placement_on_its_node_in_the_operators_namespace() {
    let mut world = World::new();
    world.settle();
    expect![[r"
        lvs-system/default@dir1 {}
    "]]
    .assert_eq(&world.group_placements());
    let placement = world.group_placement("default", "dir1").unwrap();
    let labels = placement.metadata.labels.clone().unwrap();
    assert_eq!(labels.get(crds::names::DIRECTOR_GROUP_LABEL).unwrap(), "default");
    assert_eq!(labels.len(), 1);
    let owner = &placement.metadata.owner_references.as_ref().unwrap()[0];
    assert_eq!(
        (owner.kind.as_str(), owner.block_owner_deletion),
        ("DirectorGroup", Some(false))
    );
    assert_eq!(
        placement.metadata.finalizers.clone().unwrap(),
        [crds::names::WITHDRAW_FINALIZER]
    );
    let world = masquerading();
    expect![[r#"
        lvs-system/default@dir1 {"masquerade":[{"sourceCIDR":"10.0.0.0/24"}],"timeouts":{"udpSeconds":60}}
    "#]]
    .assert_eq(&world.group_placements());
    world.check_rest();
}

#[test]
fn what_a_group_does_stays_while_its_services_are_there() {
    let mut world = masquerading();
    move_director(&mut world);
    world.pass();
    expect![[r#"
        lvs-system/default@dir1 {"masquerade":[{"sourceCIDR":"10.0.0.0/24"}],"timeouts":{"udpSeconds":60}}
        lvs-system/default@dir2 {"masquerade":[{"sourceCIDR":"10.0.0.0/24"}],"timeouts":{"udpSeconds":60}}
    "#]]
    .assert_eq(&world.group_placements());
    world.agents();
    for _ in 0..3 {
        world.pass();
    }
    assert!(world.group_placements().contains(
        r#"default@dir1 {"masquerade":[{"sourceCIDR":"10.0.0.0/24"}],"timeouts":{"udpSeconds":60},"withdraw":true}"#
    ));
    // A report of before the order says nothing.
    world.pass();
    assert!(world.group_placement("default", "dir1").is_some());
    world.settle();
    assert!(world.group_placement("default", "dir1").is_none());
    world.check_rest();
}

#[test]
fn a_group_that_goes_is_withdrawn_behind_its_services() {
    let mut world = masquerading();
    world.objects.director_groups.clear();
    let before = (world.placements(), world.group_placements());
    world.settle();
    assert_eq!(
        (world.placements(), world.group_placements()),
        before,
        "its service serves"
    );
    world.delete_service("web");
    world.settle();
    assert_eq!(world.objects.placements, []);
}

#[test]
fn a_silent_node_keeps_its_share_until_somebody_says_that_it_is_off() {
    let mut world = masquerading();
    world.delete_service("web");
    world.settle();
    world.silent.insert("dir1".to_owned());
    world.objects.director_groups.clear();
    for _ in 0..4 {
        world.now += SignedDuration::from_secs(60);
        world.agents();
        world.pass();
    }
    assert!(world.group_placements().contains(r#""withdraw":true"#));
    world.taint_out_of_service("dir1");
    world.settle();
    assert_eq!(world.objects.placements, []);
}

#[test]
fn a_group_that_selects_two_nodes_does_nothing_new_and_keeps_what_it_does() {
    let mut world = masquerading();
    let before = world.group_placements();
    world.label("dir2", "lvs-operator.io/director", Some("true"));
    world.settle();
    assert_eq!(world.group_placements(), before);
}

#[test]
fn a_group_placement_that_somebody_deletes_is_withdrawn_and_made_anew() {
    let mut world = masquerading();
    let name = crate::view::group_placement_name("lvs-system", "default", "dir1");
    let before = world.group_placements();
    world.delete_placement(&name);
    world.pass();
    assert!(world.group_placements().contains(r#""withdraw":true"#));
    world.settle();
    assert_eq!(world.group_placements(), before);
}

#[test]
fn a_placement_of_a_group_elsewhere_is_nobodys() {
    let mut world = masquerading();
    let before = world.group_placements();
    world.apply(
        "kind: Placement\nmetadata: {name: stray, namespace: shop}\nspec:\n  subject: {kind: DirectorGroup, name: default}\n  \
         nodeName: dir1\n  virtualRouter: {timeouts: {tcpSeconds: 1}}",
    );
    world.settle();
    assert_eq!(world.group_placements(), before);
}

#[test]
fn a_group_that_cannot_be_read_keeps_its_placements() {
    let mut world = masquerading();
    let mut snapshot = world.snapshot();
    let stored = snapshot.director_groups.remove("default").unwrap();
    let unread = crate::snapshot::Undecoded {
        meta: stored.meta,
        error: "unknown variant".to_owned(),
        status: stored.status,
        raw: serde_json::Value::Null,
    };
    snapshot
        .undecodable
        .director_groups
        .insert("default".to_owned(), unread);
    let before = (world.placements(), world.group_placements());
    for write in crate::reconcile(&snapshot, world.now).writes {
        world.carry_out(&write).unwrap();
    }
    assert_eq!((world.placements(), world.group_placements()), before);
}

#[test]
fn f17_a_full_nat_source_address_moves_when_every_service_that_holds_it_is_gone() {
    let mut world = World::new();
    world.apply(&format!("{GROUP}  fullNAT: {{sourceAddresses: [192.168.56.77]}}\n"));
    world.apply(&format!("{WEB}  forwardingMethod: FullNAT\n"));
    world.apply(&WEB.replace("name: web", "name: two").replace("56.100", "56.101"));
    world.apply(RS1);
    world.settle();
    move_director(&mut world);
    world.pass();
    // One service is gone from dir1, whose agent has not come to the other.
    let two = world.placement("two", "dir1").unwrap().clone();
    world.agent("dir1");
    world.placement_mut("two", "dir1").status = two.status;
    for _ in 0..4 {
        world.pass();
        world.agent("dir2");
    }
    assert!(world.placement("web", "dir1").is_none());
    assert!(
        world
            .placements()
            .contains("web@dir2 director 192.168.56.100 Reserved\n")
    );
    world.settle();
    assert!(world.placements().contains("web@dir2 director 192.168.56.100 Node\n"));
    world.check_rest();
}

#[test]
fn a_group_that_moves_to_where_its_timeouts_are_refused_brings_the_rest() {
    let mut world = masquerading();
    let edge = GROUP
        .replace("name: default", "name: edge")
        .replace("lvs-operator.io/director", "edge");
    world.apply(&format!("{edge}  timeouts: {{udpSeconds: 61}}\n"));
    world.label("dir2", "edge", Some("true"));
    world.settle();
    move_director(&mut world);
    world.settle();
    assert!(
        world
            .said_of_group("default", "Accepted")
            .starts_with("False Invalid: timeouts.udpSeconds")
    );
    expect![[r#"
        lvs-system/default@dir2 {"masquerade":[{"sourceCIDR":"10.0.0.0/24"}]}
        lvs-system/edge@dir2 {"timeouts":{"udpSeconds":61}}
    "#]]
    .assert_eq(&world.group_placements());
    assert!(world.placements().contains("web@dir2 director 192.168.56.100 Node\n"));
}

#[test]
fn f27_two_operators_that_placed_timeouts_that_disagree_leave_them_to_one_group() {
    let mut world = World::new();
    let timeouts = |seconds| format!("  timeouts: {{udpSeconds: {seconds}}}\n");
    let before = world.clone();
    let mut writes = Vec::new();
    for group in [
        format!("{GROUP}{}", timeouts(60)),
        format!("{}{}", GROUP.replace("name: default", "name: edge"), timeouts(61)),
    ] {
        let mut view = before.clone();
        view.apply(&group);
        writes.extend(view.placement_writes());
        world.apply(&group);
    }
    for write in &writes {
        let _ = world.carry_out(write);
    }
    world.settle();
    expect![[r#"
        lvs-system/default@dir1 {"timeouts":{"udpSeconds":60}}
        lvs-system/edge@dir1 {}
    "#]]
    .assert_eq(&world.group_placements());
    assert!(world.said_of_group("edge", "Accepted").starts_with("False Invalid"));
}
