//! The sorry server: prepared like any other, and listed apart.

use super::check;
use crate::world::{RS1, RS2, WEB, World};
use expect_test::expect;

fn web(sorry: &str) -> String {
    format!("{WEB}  sorryServer: {{realServerName: {sorry}}}\n")
}

/// rs2 under another label, and of this name.
fn unselected(name: &str) -> String {
    RS2.replace("name: rs2, labels: {app: web}", &format!("name: {name}"))
}

fn with_sorry() -> World {
    let mut world = World::new();
    world.apply(&web("sorry"));
    world.apply(RS1);
    world.apply(&unselected("sorry"));
    world.settle();
    world
}

const SORRY: &str = "to sorry 192.168.56.40 weight 1 sorry for [192.168.56.100]";

#[test]
fn a_sorry_server_is_prepared_like_any_other() {
    let mut world = World::new();
    world.apply(&web("sorry"));
    world.apply(RS1);
    world.apply(&unselected("sorry"));
    world.pass();
    assert!(
        world
            .placements()
            .contains("to sorry 192.168.56.40 weight 1 sorry for []")
    );
    world.settle();
    world.check_rest();
    check(
        &world,
        expect![[r"
        web@dir1 director 192.168.56.100 Node
        web@dir1 director serves Tcp/80/rr
        web@dir1 director to rs1 192.168.56.30 weight 1 for [192.168.56.100]
        web@dir1 director to sorry 192.168.56.40 weight 1 sorry for [192.168.56.100]
        web@rs1 host of rs1 192.168.56.100
        web@rs2 host of sorry 192.168.56.100
    "]],
    );
}

#[test]
fn one_that_is_selected_too_is_the_sorry_server() {
    let mut world = World::serving();
    world.apply(&web("rs2"));
    world.settle();
    assert!(
        world
            .placements()
            .contains("to rs2 192.168.56.40 weight 1 sorry for [192.168.56.100]")
    );
    world.apply(WEB);
    world.settle();
    assert!(
        world
            .placements()
            .contains("to rs2 192.168.56.40 weight 1 for [192.168.56.100]")
    );
}

#[test]
fn one_that_is_named_no_more_leaves_and_so_does_its_host() {
    let mut world = with_sorry();
    world.clinging.insert("sorry".to_owned());
    world.down.insert("rs1".to_owned());
    world.agents();
    world.apply(WEB);
    world.pass();
    world.agents();
    assert!(
        world
            .placements()
            .contains("to sorry 192.168.56.40 weight 1 sorry leaving for [192.168.56.100]")
    );
    assert_eq!(world.placement_writes(), [], "it drains");
    world.clinging.clear();
    world.settle();
    assert!(!world.placements().contains("sorry"));
    world.check_rest();
}

#[test]
fn another_one_comes_while_the_old_one_leaves() {
    let mut world = with_sorry();
    world.apply("kind: RealServer\nmetadata: {name: better}\nspec: {addresses: [192.168.56.50]}");
    world.apply(&web("better"));
    world.pass();
    assert!(
        world
            .placements()
            .contains("to better 192.168.56.50 weight 1 sorry for [192.168.56.100]")
    );
    assert!(
        world
            .placements()
            .contains("to sorry 192.168.56.40 weight 1 sorry leaving for")
    );
    world.settle();
    assert!(!world.placements().contains("to sorry"));
    world.check_rest();
}

#[test]
fn a_cordoned_sorry_server_is_both() {
    let mut world = with_sorry();
    world.apply(&unselected("sorry").replace("spec: {", "spec: {cordoned: true, "));
    world.settle();
    assert!(
        world
            .placements()
            .contains("to sorry 192.168.56.40 weight 1 sorry leaving for")
    );
    world.apply(&unselected("sorry"));
    world.pass();
    assert!(world.placements().contains(SORRY));
}

#[test]
fn a_name_that_does_not_exist_leaves_the_sorry_server_that_is_there() {
    let mut world = with_sorry();
    let before = world.placements();
    world.apply(&web("misspelt").replace("scheduler: rr", "scheduler: wlc"));
    world.settle();
    assert_eq!(world.placements(), before.replace("/rr", "/wlc"), "the rest is done");
    world.delete_real_server("sorry");
    world.settle();
    assert!(!world.placements().contains("to sorry"));
    assert!(
        world
            .placements()
            .contains("to rs1 192.168.56.30 weight 1 for [192.168.56.100]")
    );
}

#[test]
fn a_refused_spec_leaves_the_sorry_server_as_it_is() {
    let mut world = with_sorry();
    let before = world.placements();
    world.apply(&web("rs1").replace("192.168.56.100", "10.9.9.9"));
    assert_eq!(world.placement_writes(), []);
    world.settle();
    assert_eq!(world.placements(), before);
}

#[test]
fn a_sorry_server_that_is_refused_stays_as_it_is_placed() {
    let mut world = with_sorry();
    world.apply(&unselected("sorry").replace("192.168.56.40", "192.168.56.30"));
    world.settle();
    assert!(world.placements().contains(SORRY), "{}", world.placements());
}

#[test]
fn one_that_leaves_is_no_sorry_server_of_a_name_that_does_not_exist() {
    let mut world = with_sorry();
    world.clinging.insert("sorry".to_owned());
    world.down.insert("rs1".to_owned());
    world.agents();
    world.apply(WEB);
    world.settle();
    let before = world.placements();
    assert!(before.contains("sorry leaving"));
    world.apply(&web("misspelt"));
    world.settle();
    assert_eq!(world.placements(), before);
    assert!(
        world
            .said("web", "ResolvedRefs")
            .ends_with("(the service has no sorry server meanwhile)")
    );
}

#[test]
fn one_that_is_refused_for_its_tunnel_stays_as_it_is_placed_in_its_new_role() {
    let mut world = World::serving();
    world.apply(&format!(
        "{WEB}  forwardingMethod: TUN\n  tunnel: {{type: GUE, port: 6080}}\n"
    ));
    let api = WEB.replace("name: web", "name: api").replace("port: 80", "port: 81");
    world.apply(&format!("{api}  forwardingMethod: TUN\n  tunnel: {{type: GRE}}\n"));
    world.settle();
    let gre = "forwardingMethod: TUN\n  tunnel: {type: GRE, checksum: Checksum}\n";
    world.apply(&format!("{}  {gre}", web("rs2")));
    world.settle();
    assert!(
        world
            .placements()
            .contains("web@dir1 director to rs2 192.168.56.40 by TUN Gue weight 1 sorry for [192.168.56.100]"),
        "{}",
        world.placements()
    );
}
