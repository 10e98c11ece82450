use crate::reconcile;
use crate::snapshot::Key;
use crate::world::{RS1, RS2, WEB, World};
use crate::write::Write;
use expect_test::{Expect, expect};
use jiff::SignedDuration;

mod groups;
mod leaving;
mod sorry;
mod ways;

fn check(world: &World, expected: Expect) {
    expected.assert_eq(&world.placements());
}

#[test]
fn a_service_comes_reserved_and_unprepared_then_owned_and_prepared() {
    let mut world = World::new();
    world.apply(WEB);
    world.apply(RS1);
    world.pass();
    check(
        &world,
        expect![[r#"
        web@dir1 director 192.168.56.100 Reserved
        web@dir1 director serves Tcp/80/rr
        web@dir1 director to rs1 192.168.56.30 weight 1 for []
        web@rs1 host of rs1 192.168.56.100
    "#]],
    );
    world.pass();
    check(
        &world,
        expect![[r#"
        web@dir1 director 192.168.56.100 Node
        web@dir1 director serves Tcp/80/rr
        web@dir1 director to rs1 192.168.56.30 weight 1 for []
        web@rs1 host of rs1 192.168.56.100
    "#]],
    );
    world.agents();
    world.pass();
    check(
        &world,
        expect![[r#"
        web@dir1 director 192.168.56.100 Node
        web@dir1 director serves Tcp/80/rr
        web@dir1 director to rs1 192.168.56.30 weight 1 for [192.168.56.100]
        web@rs1 host of rs1 192.168.56.100
    "#]],
    );
    world.agents();
    world.settle();
    assert!(world.decide().writes.is_empty());
}

#[test]
fn a_real_server_without_an_agent_is_prepared_from_the_beginning() {
    let mut world = World::new();
    world.apply(WEB);
    world.apply(
        "kind: RealServer\nmetadata: {name: far, labels: {app: web}}\nspec: {addresses: [192.168.56.50], weight: 0}",
    );
    world.pass();
    check(
        &world,
        expect![[r#"
        web@dir1 director 192.168.56.100 Reserved
        web@dir1 director serves Tcp/80/rr
        web@dir1 director to far 192.168.56.50 weight 0 for [192.168.56.100]
    "#]],
    );
}

#[test]
fn a_leaving_real_server_keeps_its_vip_until_the_director_let_go() {
    let mut world = World::serving();
    world.delete_real_server("rs2");
    world.pass();
    // Nobody new is sent there; whoever is in the middle of a handshake is not cut.
    check(
        &world,
        expect![[r#"
        web@dir1 director 192.168.56.100 Node
        web@dir1 director serves Tcp/80/rr
        web@dir1 director to rs1 192.168.56.30 weight 1 for [192.168.56.100]
        web@dir1 director to rs2 192.168.56.40 weight 1 leaving for [192.168.56.100]
        web@rs1 host of rs1 192.168.56.100
        web@rs2 host of rs2 192.168.56.100 leaving
    "#]],
    );
    world.agent("rs2");
    assert_eq!(world.placement_writes(), []);
    world.agent("dir1");
    world.pass();
    check(
        &world,
        expect![[r#"
        web@dir1 director 192.168.56.100 Node
        web@dir1 director serves Tcp/80/rr
        web@dir1 director to rs1 192.168.56.30 weight 1 for [192.168.56.100]
        web@rs1 host of rs1 192.168.56.100
        web@rs2 host of rs2 192.168.56.100 leaving
    "#]],
    );
    // The host's agent reports at once, the director's does not: nothing moves.
    world.agent("rs2");
    assert_eq!(world.placement_writes(), []);
    world.agent("dir1");
    world.pass();
    check(
        &world,
        expect![[r#"
        web@dir1 director 192.168.56.100 Node
        web@dir1 director serves Tcp/80/rr
        web@dir1 director to rs1 192.168.56.30 weight 1 for [192.168.56.100]
        web@rs1 host of rs1 192.168.56.100
        web@rs2 host of rs2 192.168.56.100 leaving withdraw
    "#]],
    );
    world.settle();
    check(
        &world,
        expect![[r#"
        web@dir1 director 192.168.56.100 Node
        web@dir1 director serves Tcp/80/rr
        web@dir1 director to rs1 192.168.56.30 weight 1 for [192.168.56.100]
        web@rs1 host of rs1 192.168.56.100
    "#]],
    );
}

#[test]
fn a_deleted_service_is_withdrawn_from_the_director_first() {
    let mut world = World::serving();
    world.delete_service("web");
    world.pass();
    check(
        &world,
        expect![[r#"
        web@dir1 director 192.168.56.100 Node withdraw
        web@dir1 director serves Tcp/80/rr
        web@dir1 director to rs1 192.168.56.30 weight 1 for [192.168.56.100]
        web@dir1 director to rs2 192.168.56.40 weight 1 for [192.168.56.100]
        web@rs1 host of rs1 192.168.56.100 leaving
        web@rs2 host of rs2 192.168.56.100 leaving
    "#]],
    );
    world.agent("dir1");
    world.pass();
    check(
        &world,
        expect![[r#"
        web@dir1 director 192.168.56.100 Node withdraw
        web@dir1 director serves Tcp/80/rr
        web@dir1 director to rs1 192.168.56.30 weight 1 for [192.168.56.100]
        web@dir1 director to rs2 192.168.56.40 weight 1 for [192.168.56.100]
        web@rs1 host of rs1 192.168.56.100 leaving withdraw
        web@rs2 host of rs2 192.168.56.100 leaving withdraw
    "#]],
    );
    world.settle();
    assert!(world.service_placements().is_empty());
}

#[test]
fn a_real_server_that_comes_back_while_leaving_stays() {
    let mut world = World::serving();
    world.delete_real_server("rs2");
    world.pass();
    world.apply(RS2);
    world.pass();
    check(
        &world,
        expect![[r#"
        web@dir1 director 192.168.56.100 Node
        web@dir1 director serves Tcp/80/rr
        web@dir1 director to rs1 192.168.56.30 weight 1 for [192.168.56.100]
        web@dir1 director to rs2 192.168.56.40 weight 1 for [192.168.56.100]
        web@rs1 host of rs1 192.168.56.100
        web@rs2 host of rs2 192.168.56.100
    "#]],
    );
    world.settle();
    assert!(
        world
            .placements()
            .contains("to rs2 192.168.56.40 weight 1 for [192.168.56.100]")
    );
}

/// Deletes rs2, until the director is told to let go of it.
fn let_go_of_rs2(world: &mut World) {
    world.delete_real_server("rs2");
    world.pass();
    world.agent("dir1");
    world.pass();
    assert!(!world.placements().contains("to rs2"));
}

#[test]
fn a_real_server_that_comes_back_after_it_was_let_go_is_proven_again() {
    let mut world = World::serving();
    let_go_of_rs2(&mut world);
    world.apply(RS2);
    world.pass();
    check(
        &world,
        expect![[r#"
        web@dir1 director 192.168.56.100 Node
        web@dir1 director serves Tcp/80/rr
        web@dir1 director to rs1 192.168.56.30 weight 1 for [192.168.56.100]
        web@dir1 director to rs2 192.168.56.40 weight 1 for []
        web@rs1 host of rs1 192.168.56.100
        web@rs2 host of rs2 192.168.56.100
    "#]],
    );
    world.settle();
    assert!(
        world
            .placements()
            .contains("to rs2 192.168.56.40 weight 1 for [192.168.56.100]")
    );
}

#[test]
fn a_real_server_whose_host_booted_leaves_at_once() {
    let mut world = World::serving();
    world.reboot("rs2", "boot 2");
    world.renew("rs2");
    world.delete_real_server("rs2");
    world.pass();
    assert!(!world.placements().contains("to rs2"));
}

#[test]
fn a_host_that_is_being_withdrawn_ends_first_and_comes_back_then() {
    let mut world = World::serving();
    let_go_of_rs2(&mut world);
    world.agent("dir1");
    world.pass();
    assert!(
        world
            .placements()
            .contains("web@rs2 host of rs2 192.168.56.100 leaving withdraw")
    );
    world.apply(RS2);
    world.pass();
    check(
        &world,
        expect![[r#"
        web@dir1 director 192.168.56.100 Node
        web@dir1 director serves Tcp/80/rr
        web@dir1 director to rs1 192.168.56.30 weight 1 for [192.168.56.100]
        web@dir1 director to rs2 192.168.56.40 weight 1 for []
        web@rs1 host of rs1 192.168.56.100
        web@rs2 host of rs2 192.168.56.100 leaving withdraw
    "#]],
    );
    world.settle();
    assert!(
        world
            .placements()
            .contains("to rs2 192.168.56.40 weight 1 for [192.168.56.100]")
    );
}

#[test]
fn another_vip_comes_while_the_old_one_goes() {
    let mut world = World::serving();
    world.apply(&WEB.replace("192.168.56.100", "192.168.56.101"));
    world.pass();
    check(
        &world,
        expect![[r#"
        web@dir1 director 192.168.56.100 Node withdraw
        web@dir1 director 192.168.56.101 Reserved
        web@dir1 director serves Tcp/80/rr
        web@dir1 director to rs1 192.168.56.30 weight 1 for [192.168.56.100]
        web@dir1 director to rs2 192.168.56.40 weight 1 for [192.168.56.100]
        web@rs1 host of rs1 192.168.56.100 leaving
        web@rs1 host of rs1 192.168.56.101
        web@rs2 host of rs2 192.168.56.100 leaving
        web@rs2 host of rs2 192.168.56.101
    "#]],
    );
    world.settle();
    check(
        &world,
        expect![[r#"
        web@dir1 director 192.168.56.101 Node
        web@dir1 director serves Tcp/80/rr
        web@dir1 director to rs1 192.168.56.30 weight 1 for [192.168.56.101]
        web@dir1 director to rs2 192.168.56.40 weight 1 for [192.168.56.101]
        web@rs1 host of rs1 192.168.56.101
        web@rs2 host of rs2 192.168.56.101
    "#]],
    );
}

#[test]
fn a_changed_weight_is_one_write_to_the_director() {
    let mut world = World::serving();
    world.apply(&RS1.replace("addresses:", "weight: 7, addresses:"));
    let writes = world.placement_writes();
    assert_eq!(writes.len(), 1);
    assert!(matches!(&writes[0], Write::ApplyPlacement(placement) if placement.spec.node_name == "dir1"));
    world.settle();
    assert!(
        world
            .placements()
            .contains("to rs1 192.168.56.30 weight 7 for [192.168.56.100]")
    );
}

fn move_director(world: &mut World) {
    world.label("dir1", "lvs-operator.io/director", None);
    world.label("dir2", "lvs-operator.io/director", Some("true"));
}

#[test]
fn a_vip_moves_when_the_old_director_says_that_it_let_go() {
    let mut world = World::serving();
    move_director(&mut world);
    world.pass();
    check(
        &world,
        expect![[r#"
        web@dir1 director 192.168.56.100 Node withdraw
        web@dir1 director serves Tcp/80/rr
        web@dir1 director to rs1 192.168.56.30 weight 1 for [192.168.56.100]
        web@dir1 director to rs2 192.168.56.40 weight 1 for [192.168.56.100]
        web@dir2 director 192.168.56.100 Reserved
        web@dir2 director serves Tcp/80/rr
        web@dir2 director to rs1 192.168.56.30 weight 1 for []
        web@dir2 director to rs2 192.168.56.40 weight 1 for []
        web@rs1 host of rs1 192.168.56.100
        web@rs2 host of rs2 192.168.56.100
    "#]],
    );
    world.agent("dir2");
    world.pass();
    assert!(world.placements().contains("web@dir2 director 192.168.56.100 Reserved"));
    world.settle();
    check(
        &world,
        expect![[r#"
        web@dir2 director 192.168.56.100 Node
        web@dir2 director serves Tcp/80/rr
        web@dir2 director to rs1 192.168.56.30 weight 1 for [192.168.56.100]
        web@dir2 director to rs2 192.168.56.40 weight 1 for [192.168.56.100]
        web@rs1 host of rs1 192.168.56.100
        web@rs2 host of rs2 192.168.56.100
    "#]],
    );
}

#[test]
fn a_silent_director_keeps_its_vip_until_somebody_says_that_it_is_off() {
    let mut world = World::serving();
    world.silent.insert("dir1".to_owned());
    move_director(&mut world);
    for _ in 0..5 {
        world.now += SignedDuration::from_secs(60);
        world.agents();
        world.pass();
        world.check();
    }
    assert!(
        world
            .placements()
            .contains("web@dir1 director 192.168.56.100 Node withdraw")
    );
    assert!(world.placements().contains("web@dir2 director 192.168.56.100 Reserved"));
    let mut other = world.clone();
    world.taint_out_of_service("dir1");
    world.settle();
    assert!(world.placements().contains("web@dir2 director 192.168.56.100 Node\n"));
    other.remove_node("dir1");
    other.settle();
    assert_eq!(other.placements(), world.placements());
}

#[test]
fn f28_a_watch_of_leases_that_hangs_makes_nobody_silent() {
    let mut world = World::serving();
    let_go_of_rs2(&mut world);
    world.now += SignedDuration::from_mins(5);
    assert_eq!(world.placement_writes(), []);
}

#[test]
fn the_next_look_is_when_a_lease_ends_and_when_patience_does() {
    let mut world = World::serving();
    let renewed = world.now;
    world.agents();
    let after = |seconds| renewed + SignedDuration::from_secs(seconds);
    assert_eq!(world.decide().next_deadline, Some(after(40)));
    world.now = after(50);
    assert_eq!(world.decide().next_deadline, Some(after(70)));
    // Nobody gave a sign since: whether one of them is silent is looked at again when signs are due.
    world.now = after(100);
    assert_eq!(world.decide().next_deadline, Some(after(110)));
    world.silent.insert("rs2".to_owned());
    world.agents();
    assert_eq!(world.decide().next_deadline, Some(after(140)));
}

#[test]
fn f35_a_node_that_boots_anew_is_unprepared_by_its_lease_alone() {
    let mut world = World::serving();
    world.boots.insert(
        "rs1".to_owned(),
        "another boot, or another machine of that name".to_owned(),
    );
    world.renew("rs1");
    world.pass();
    assert!(world.placements().contains("to rs1 192.168.56.30 weight 1 for []"));
    assert!(
        world
            .placements()
            .contains("to rs2 192.168.56.40 weight 1 for [192.168.56.100]")
    );
    world.settle();
    assert!(
        world
            .placements()
            .contains("to rs1 192.168.56.30 weight 1 for [192.168.56.100]")
    );
}

#[test]
fn silence_changes_nothing_in_the_data_plane() {
    let mut world = World::serving();
    let before = world.placements();
    world.now += SignedDuration::from_hours(1);
    assert_eq!(world.placement_writes(), []);
    world.pass();
    assert_eq!(world.placements(), before);
}

#[test]
fn a_new_real_server_on_a_silent_host_stays_out() {
    let mut world = World::new();
    world.apply(WEB);
    world.apply(RS1);
    world.settle();
    world.silent.insert("rs2".to_owned());
    world.now += SignedDuration::from_secs(60);
    world.apply(RS2);
    world.agents();
    world.settle();
    assert!(world.placements().contains("to rs2 192.168.56.40 weight 1 for []"));
}

#[test]
fn a_placement_without_owner_is_withdrawn_and_removed() {
    let mut world = World::new();
    world.apply(
        "kind: Placement\nmetadata: {name: stray, namespace: shop}\nspec:\n  subject: {kind: VirtualService, name: nobody}\n  \
         nodeName: rs1\n  realServer: {addresses: [{address: 192.168.56.77}], realServers: []}",
    );
    world.pass();
    assert!(world.placements().contains("192.168.56.77 leaving\n"));
    world.settle();
    assert!(world.service_placements().is_empty());
}

#[test]
fn a_placement_that_somebody_deletes_is_withdrawn_in_order_and_made_anew() {
    let mut world = World::serving();
    let name = crate::view::placement_name(&Key::new("shop", "web"), "rs2");
    let before = world.placements();
    world.delete_placement(&name);
    world.pass();
    check(
        &world,
        expect![[r#"
        web@dir1 director 192.168.56.100 Node
        web@dir1 director serves Tcp/80/rr
        web@dir1 director to rs1 192.168.56.30 weight 1 for [192.168.56.100]
        web@dir1 director to rs2 192.168.56.40 weight 1 leaving for [192.168.56.100]
        web@rs1 host of rs1 192.168.56.100
        web@rs2 host of rs2 192.168.56.100 leaving
        web@rs2 is being deleted
    "#]],
    );
    world.settle();
    assert_eq!(world.placements(), before);
}

#[test]
fn the_host_of_a_node_that_is_gone_ends_when_its_director_let_go() {
    let mut world = World::serving();
    world.remove_node("rs2");
    world.pass();
    world.pass();
    assert!(!world.placements().contains("to rs2"));
    assert!(
        world.placement("web", "rs2").is_some(),
        "an agent that lives there would take the VIP back too early"
    );
    world.settle();
    assert!(world.placement("web", "rs2").is_none());
}

#[test]
fn the_director_of_a_node_that_is_gone_ends_at_once() {
    let mut world = World::serving();
    world.remove_node("dir1");
    world.pass();
    world.pass();
    assert!(world.placement("web", "dir1").is_none());
    world.settle();
    assert_eq!(world.placements().trim(), "", "nobody sends to the hosts");
}

#[test]
fn a_group_that_selects_two_nodes_moves_nothing_and_places_nothing_new() {
    let mut world = World::serving();
    let before = world.placements();
    world.label("dir2", "lvs-operator.io/director", Some("true"));
    world.apply(&WEB.replace("web", "new").replace("192.168.56.100", "192.168.56.101"));
    world.settle();
    assert_eq!(world.placements(), before);
    world.apply(&RS1.replace("addresses:", "weight: 7, addresses:"));
    world.settle();
    assert!(
        world.placements().contains("to rs1 192.168.56.30 weight 7"),
        "what serves is kept up"
    );
}

#[test]
fn a_port_goes_to_another_service_when_the_first_has_let_go_of_it() {
    let mut world = World::serving();
    world.apply(&WEB.replace("port: 80", "port: 8080"));
    world.apply(&WEB.replace("name: web", "name: next"));
    world.pass();
    assert!(world.placement("next", "dir1").is_none(), "it waits");
    assert!(
        world
            .said("next", "Programmed")
            .contains("192.168.56.100:80/TCP is still being withdrawn")
    );
    assert!(world.said("next", "Accepted").starts_with("True"));
    world.settle();
    assert!(world.placements().contains("next@dir1 director serves Tcp/80/rr"));
    assert!(world.placements().contains("web@dir1 director serves Tcp/8080/rr"));
}

/// Writes to Placements that an operator with this view would make.
fn intended(view: &World) -> Vec<Write> {
    view.placement_writes()
}

#[test]
fn f27_two_operators_that_disagree_on_the_director_never_make_two_owners() {
    let mut world = World::new();
    world.apply(WEB);
    // One has not seen yet that the label moved.
    let mut old_view = world.clone();
    move_director(&mut world);
    let first = intended(&old_view);
    let second = intended(&world);
    for write in first.iter().chain(&second) {
        world.carry_out(write).unwrap();
    }
    assert!(world.placements().contains("web@dir1 director 192.168.56.100 Reserved"));
    assert!(world.placements().contains("web@dir2 director 192.168.56.100 Reserved"));
    // Both look again at the Placements, the first still with its old Nodes: it sees the other's reservation.
    old_view.objects.placements.clone_from(&world.objects.placements);
    for write in intended(&old_view) {
        let _ = world.carry_out(&write);
    }
    world.check();
    assert!(!world.placements().contains("Node"));
    world.settle();
    assert!(world.placements().contains("web@dir2 director 192.168.56.100 Node\n"));
}

#[test]
fn f27_an_operator_that_saw_only_its_own_reservation_is_too_late_or_seen() {
    let mut world = World::new();
    world.apply(WEB);
    let _ = world.pass();
    // It decides to activate on dir1, and is paused before it writes.
    let activation = intended(&world);
    let mut other = world.clone();
    move_director(&mut other);
    // Another moves the VIP: dir1's reservation is withdrawn, dir2's made.
    world.objects.nodes.clone_from(&other.objects.nodes);
    world.settle();
    assert!(world.placements().contains("web@dir2 director 192.168.56.100 Node\n"));
    for write in &activation {
        assert!(world.carry_out(write).is_err(), "it was decided on an old version");
    }
    world.check();
}

#[test]
fn f28_a_withdrawal_decided_on_an_old_view_does_not_meet_a_prepared_real_server() {
    let mut world = World::serving();
    world.delete_real_server("rs2");
    world.pass();
    world.agent("dir1");
    // The first operator decides to withdraw the host, and is paused.
    let withdrawal = intended(&world);
    assert!(!withdrawal.is_empty());
    // rs2 comes back: the second clears the mark, lists it, and after the host's word prepares it.
    world.apply(RS2);
    world.settle();
    assert!(
        world
            .placements()
            .contains("to rs2 192.168.56.40 weight 1 for [192.168.56.100]")
    );
    for write in &withdrawal {
        assert!(world.carry_out(write).is_err());
    }
    world.check();
}

#[test]
fn f28_a_real_server_prepared_on_an_old_view_does_not_meet_a_withdrawn_host() {
    let mut world = World::new();
    world.apply(WEB);
    world.apply(RS1);
    world.pass();
    world.agents();
    // The first operator decides that rs1 is prepared, and is paused. The second sees it go.
    let preparation = intended(&world);
    world.delete_real_server("rs1");
    world.settle();
    assert!(world.placement("web", "rs1").is_none());
    for write in &preparation {
        assert!(world.carry_out(write).is_err());
    }
}

/// The one of these writes that changes a node's Placement.
fn to_node<'w>(writes: &'w [Write], node: &str) -> Option<&'w Write> {
    let is_meant = |write: &&Write| matches!(write, Write::CreatePlacement(there) | Write::ApplyPlacement(there) if there.spec.node_name == node);
    writes.iter().find(is_meant)
}

#[test]
fn f27_a_real_server_is_not_prepared_while_its_host_is_marked_as_leaving() {
    let mut world = World::serving();
    let_go_of_rs2(&mut world);
    world.agents();
    let paused = intended(&world);
    // rs2 comes back. Whoever lists it dies each time before the mark is cleared.
    world.apply(RS2);
    for _ in 0..3 {
        let writes = intended(&world);
        if let Some(write) = to_node(&writes, "dir1") {
            world.carry_out(write).unwrap();
        }
        world.agents();
        world.check();
    }
    assert!(world.placements().contains("to rs2 192.168.56.40 weight 1 for []"));
    let _ = world.carry_out(to_node(&paused, "rs2").unwrap());
    world.check();
    world.settle();
    assert!(
        world
            .placements()
            .contains("to rs2 192.168.56.40 weight 1 for [192.168.56.100]")
    );
}

#[test]
fn f27_nobody_takes_a_host_back_who_did_not_see_it_marked() {
    let mut world = World::new();
    world.apply(WEB);
    world.apply(RS1);
    world.settle();
    // One operator sees rs2 come, and dies when only the host is told. The other has not seen rs2.
    let mut behind = world.clone();
    world.apply(RS2);
    let writes = intended(&world);
    world.carry_out(to_node(&writes, "rs2").unwrap()).unwrap();
    behind.objects.placements.clone_from(&world.objects.placements);
    for write in intended(&behind) {
        world.carry_out(&write).unwrap();
    }
    assert!(
        world
            .placements()
            .contains("web@rs2 host of rs2 192.168.56.100 leaving\n")
    );
}

#[test]
fn f28_a_report_about_an_older_order_releases_nobody() {
    let mut world = World::new();
    world.apply(WEB);
    world.apply(RS1);
    world.pass();
    world.agents();
    // dir1 reported rs1 as unprepared. It is told to send, does, and dies before it reports.
    world.pass();
    assert!(
        world
            .placements()
            .contains("to rs1 192.168.56.30 weight 1 for [192.168.56.100]")
    );
    world.delete_real_server("rs1");
    for _ in 0..3 {
        world.pass();
        world.agent("rs1");
    }
    assert!(
        world
            .placements()
            .contains("web@rs1 host of rs1 192.168.56.100 leaving\n")
    );
}

#[test]
fn f28_a_vip_is_not_gone_because_an_older_report_lacks_it() {
    let mut world = World::new();
    world.apply(WEB);
    world.pass();
    // dir1 reported on nothing yet. It is told to hold the VIP, does, and dies before it reports.
    world.pass();
    assert!(world.placements().contains("web@dir1 director 192.168.56.100 Node\n"));
    world.renew("dir1");
    let report = &mut world.placement_mut("web", "dir1").status.get_or_insert_default();
    report.boot_id = Some("boot-dir1".to_owned());
    report.observed_generation = Some(1);
    move_director(&mut world);
    for _ in 0..3 {
        world.pass();
        world.check();
    }
    assert!(
        world
            .placements()
            .contains("web@dir1 director 192.168.56.100 Node withdraw")
    );
}

#[test]
fn a_vip_that_its_director_could_not_bring_up_is_taken_back_all_the_same() {
    let mut world = World::serving();
    // dir1 works on the newest order, and reports that it has nothing of the VIP (yet).
    let report = world.placement_mut("web", "dir1").status.get_or_insert_default();
    report.director = None;
    world.delete_service("web");
    world.pass();
    assert!(
        world
            .placements()
            .contains("web@dir1 director 192.168.56.100 Node withdraw")
    );
}

#[test]
fn an_enum_value_of_the_future_keeps_its_placements_as_they_are() {
    let mut world = World::serving();
    let mut snapshot = world.snapshot();
    let stored = snapshot.virtual_services.remove(&Key::new("shop", "web")).unwrap();
    let unread = crate::snapshot::Undecoded {
        meta: stored.meta.clone(),
        error: "unknown variant `maglev`, expected one of `rr`, `wrr`".to_owned(),
        status: stored.status.clone(),
        raw: serde_json::Value::Null,
    };
    snapshot
        .undecodable
        .virtual_services
        .insert(stored.meta.key.clone(), unread);
    let decisions = reconcile(&snapshot, world.now);
    let is_placement = |write: &&Write| !matches!(write, Write::Status(_) | Write::Event(_));
    assert_eq!(decisions.writes.iter().find(is_placement), None);
    for write in &decisions.writes {
        world.carry_out(write).unwrap();
    }
    expect!["False Invalid: unknown variant `maglev`, expected one of `rr`, `wrr`: this operator does not know it; upgrade lvs-operator or change the field (the last accepted spec still serves)"].assert_eq(&world.said("web", "Accepted"));
    assert!(world.said("web", "Programmed").starts_with("True"));
    assert!(world.said("web", "Stalled").starts_with("True"));
}

#[test]
fn a_placement_that_cannot_be_read_is_left_alone_and_keeps_its_vips() {
    let mut world = World::serving();
    move_director(&mut world);
    let mut snapshot = world.snapshot();
    let name = crate::view::placement_name(&Key::new("shop", "web"), "dir1");
    let key = Key::new("shop", name);
    let stored = snapshot.placements.remove(&key).unwrap();
    let raw = serde_json::json!({"spec": {
        "subject": {"kind": "VirtualService", "name": "web"}, "nodeName": "dir1",
        "director": {"addresses": [{"address": "192.168.56.100", "addressOwner": "Future"}]},
    }});
    let unread = crate::snapshot::Undecoded {
        meta: stored.meta.clone(),
        error: "unknown variant `Future`".to_owned(),
        status: stored.status.clone(),
        raw,
    };
    snapshot.undecodable.placements.insert(key.clone(), unread);
    world
        .objects
        .placements
        .retain(|there| there.metadata.name.as_deref() != Some(key.name.as_str()));
    for _ in 0..3 {
        let mut view = world.snapshot();
        view.undecodable = snapshot.undecodable.clone();
        for write in reconcile(&view, world.now).writes {
            world.carry_out(&write).unwrap();
        }
        world.agents();
    }
    assert!(world.placements().contains("web@dir2 director 192.168.56.100 Reserved"));
    assert!(
        !world.placements().contains("withdraw"),
        "no host is taken back while nobody knows what dir1 does"
    );
}
