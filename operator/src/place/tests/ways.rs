//! Forwarding methods: what hosts are asked for, and how a real server comes to be reached in another way.

use super::{check, intended, to_node};
use crate::world::{RS1, RS2, WEB, World};
use crate::write::Write;
use expect_test::expect;

/// WEB, reached in this way.
fn web(way: &str) -> String {
    format!("{WEB}  forwardingMethod: {way}\n")
}

const IPIP: &str = "TUN";
const GUE: &str = "TUN\n  tunnel: {type: GUE, port: 6080}";
const GRE: &str = "TUN\n  tunnel: {type: GRE}";
const GRE_CHECKSUM: &str = "TUN\n  tunnel: {type: GRE, checksum: Checksum}";

/// WEB on rs1, reached in this way.
fn serving(way: &str) -> World {
    let mut world = World::new();
    world.apply(&web(way));
    world.apply(RS1);
    world.settle();
    world
}

#[test]
fn a_nat_real_server_is_served_at_once_and_its_host_looks_after_the_route_back() {
    let mut world = World::new();
    world.apply(&web("NAT"));
    world.apply(RS1);
    world.pass();
    check(
        &world,
        expect![[r"
        web@dir1 director 192.168.56.100 Reserved
        web@dir1 director serves Tcp/80/rr
        web@dir1 director to rs1 192.168.56.30 by NAT weight 1 for [192.168.56.100]
        web@rs1 host knows 192.168.56.10
        web@rs1 host of rs1 by NAT without VIP
    "]],
    );
    world.settle();
    world.check_rest();
    assert!(
        world
            .said_of_real_server("rs1", "Prepared")
            .starts_with("True NotRequired")
    );
    world.delete_real_server("rs1");
    world.settle();
    assert!(
        world.placement("web", "rs1").is_none(),
        "nothing of it is in the kernel"
    );
}

#[test]
fn a_full_nat_real_server_asks_nothing_of_its_host() {
    let world = serving("FullNAT");
    check(
        &world,
        expect![[r"
        web@dir1 director 192.168.56.100 Node
        web@dir1 director serves Tcp/80/rr
        web@dir1 director to rs1 192.168.56.30 by FullNAT weight 1 for [192.168.56.100]
    "]],
    );
}

#[test]
fn a_tunnel_is_unwrapped_from_the_directors_own_addresses_only() {
    let mut world = World::new();
    world.apply(&web(IPIP));
    world.apply(RS1);
    world.pass();
    check(
        &world,
        expect![[r"
        web@dir1 director 192.168.56.100 Reserved
        web@dir1 director serves Tcp/80/rr
        web@dir1 director to rs1 192.168.56.30 by TUN weight 1 for []
        web@rs1 host knows 192.168.56.10
        web@rs1 host of rs1 by TUN 192.168.56.100
    "]],
    );
    world.settle();
    let report = world
        .group_placement_mut("default", "dir1")
        .status
        .get_or_insert_default();
    let addresses = ["10.0.0.10", "192.168.56.10", "192.168.56.100"].map(str::to_owned);
    report.virtual_router = Some(crds::RouterReport {
        addresses: addresses.to_vec(),
    });
    world.pass();
    assert!(
        world
            .placements()
            .contains("web@rs1 host knows 10.0.0.10 192.168.56.10\n"),
        "never the VIP"
    );
    // After a boot nobody knows them, but the Node's.
    world.reboot("dir1", "another boot");
    world.renew("dir1");
    world.pass();
    assert!(world.placements().contains("web@rs1 host knows 192.168.56.10\n"));
}

#[test]
fn f21_a_director_sends_no_tunnel_packets_to_a_host_that_does_not_know_it() {
    let mut world = serving(IPIP);
    world.label("dir1", "lvs-operator.io/director", None);
    world.label("dir2", "lvs-operator.io/director", Some("true"));
    // Whoever writes dies each time before the host is told of dir2.
    for _ in 0..8 {
        for write in intended(&world) {
            if to_node(std::slice::from_ref(&write), "rs1").is_none() {
                let _ = world.carry_out(&write);
            }
        }
        world.agents();
        world.check();
    }
    assert!(
        world
            .placements()
            .contains("web@dir2 director to rs1 192.168.56.30 by TUN weight 1 for []")
    );
    world.settle();
    check(
        &world,
        expect![[r"
        web@dir2 director 192.168.56.100 Node
        web@dir2 director serves Tcp/80/rr
        web@dir2 director to rs1 192.168.56.30 by TUN weight 1 for [192.168.56.100]
        web@rs1 host knows 192.168.56.20
        web@rs1 host of rs1 by TUN 192.168.56.100
    "]],
    );
}

#[test]
fn from_nat_to_dr_the_host_is_prepared_first() {
    let mut world = serving("NAT");
    world.apply(&web("DR"));
    world.pass();
    check(
        &world,
        expect![[r"
        web@dir1 director 192.168.56.100 Node
        web@dir1 director serves Tcp/80/rr
        web@dir1 director to rs1 192.168.56.30 by NAT weight 1 for [192.168.56.100] then DR
        web@rs1 host of rs1 192.168.56.100
    "]],
    );
    assert_eq!(world.placement_writes(), [], "until the host has proven it");
    world.agents();
    world.pass();
    check(
        &world,
        expect![[r"
        web@dir1 director 192.168.56.100 Node
        web@dir1 director serves Tcp/80/rr
        web@dir1 director to rs1 192.168.56.30 weight 1 for [192.168.56.100]
        web@rs1 host of rs1 192.168.56.100
    "]],
    );
    world.settle();
    world.check_rest();
}

#[test]
fn from_nat_to_dr_a_target_port_stays_until_the_method_changes() {
    let mut world = World::new();
    world.apply(&web("NAT").replace("{port: 80}", "{port: 80, targetPort: 8080}"));
    world.apply(RS1);
    world.settle();
    world.apply(&web("DR"));
    world.pass();
    assert!(
        world.placements().contains("serves Tcp/80->8080/rr"),
        "rs1 listens there still"
    );
    world.settle();
    assert!(world.placements().contains("serves Tcp/80/rr"));
    assert!(
        world
            .placements()
            .contains("to rs1 192.168.56.30 weight 1 for [192.168.56.100]\n")
    );
}

#[test]
fn from_dr_to_nat_the_host_keeps_its_vip_until_the_director_let_go() {
    let mut world = serving("DR");
    world.apply(&web("NAT"));
    world.pass();
    check(
        &world,
        expect![[r"
        web@dir1 director 192.168.56.100 Node
        web@dir1 director serves Tcp/80/rr
        web@dir1 director to rs1 192.168.56.30 by NAT weight 1 for [192.168.56.100]
        web@rs1 host knows 192.168.56.10
        web@rs1 host of rs1,rs1 by NAT 192.168.56.100 leaving
    "]],
    );
    world.agent("rs1");
    assert_eq!(world.placement_writes(), [], "until the director says so");
    world.agent("dir1");
    world.pass();
    assert!(world.placements().contains("192.168.56.100 leaving withdraw\n"));
    world.settle();
    check(
        &world,
        expect![[r"
        web@dir1 director 192.168.56.100 Node
        web@dir1 director serves Tcp/80/rr
        web@dir1 director to rs1 192.168.56.30 by NAT weight 1 for [192.168.56.100]
        web@rs1 host knows 192.168.56.10
        web@rs1 host of rs1 by NAT without VIP
    "]],
    );
    world.check_rest();
}

#[test]
fn from_dr_to_nat_a_kernel_that_refuses_keeps_the_host() {
    let mut world = serving("DR");
    world.apply(&web("NAT"));
    world.pass();
    world.agents();
    // It is in the table, and not as the spec says: by its old method.
    let report = world.placement_mut("web", "dir1").status.get_or_insert_default();
    report.director.as_mut().unwrap().real_servers[0].state = crds::DestinationState::Pending;
    for _ in 0..3 {
        world.pass();
        world.agent("rs1");
    }
    assert!(
        world
            .placements()
            .contains("web@rs1 host of rs1,rs1 by NAT 192.168.56.100 leaving\n")
    );
}

#[test]
fn from_one_tunnel_to_another_the_host_has_both_until_the_director_changed() {
    let mut world = serving(IPIP);
    world.apply(&web(GUE));
    world.pass();
    check(
        &world,
        expect![[r"
        web@dir1 director 192.168.56.100 Node
        web@dir1 director serves Tcp/80/rr
        web@dir1 director to rs1 192.168.56.30 by TUN weight 1 for [192.168.56.100] then TUN Gue
        web@rs1 host knows 192.168.56.10
        web@rs1 host lets go of rs1 by TUN
        web@rs1 host of rs1 by TUN Gue 192.168.56.100
    "]],
    );
    world.agents();
    world.pass();
    check(
        &world,
        expect![[r"
        web@dir1 director 192.168.56.100 Node
        web@dir1 director serves Tcp/80/rr
        web@dir1 director to rs1 192.168.56.30 by TUN Gue weight 1 for [192.168.56.100]
        web@rs1 host knows 192.168.56.10
        web@rs1 host lets go of rs1 by TUN
        web@rs1 host of rs1 by TUN Gue 192.168.56.100
    "]],
    );
    world.agent("rs1");
    assert_eq!(world.placement_writes(), [], "until the director says so");
    world.settle();
    assert!(!world.placements().contains("lets go"));
    world.check_rest();
}

#[test]
fn a_host_that_cannot_do_the_new_way_leaves_the_old_one_in_place() {
    let mut world = serving("NAT");
    let fou = ("rs1".to_owned(), "rs1".to_owned(), "TUN");
    world
        .unable
        .insert(fou.clone(), "the kernel has no module fou".to_owned());
    world.apply(&web(GUE));
    world.settle();
    assert!(
        world
            .placements()
            .contains("by NAT weight 1 for [192.168.56.100] then TUN Gue")
    );
    expect!["False Unprepared: VirtualService web: rs1: the kernel has no module fou"]
        .assert_eq(&world.said_of_real_server("rs1", "Prepared"));
    assert!(world.said("web", "Ready").starts_with("True"), "it is served as before");
    // An old way that ends takes it out all the same.
    world.unable.remove(&fou);
    world.settle();
    assert!(
        world
            .placements()
            .contains("by TUN Gue weight 1 for [192.168.56.100]\n")
    );
}

#[test]
fn gre_with_and_without_checksum_are_not_had_at_once() {
    let mut world = serving(GRE);
    world.apply(&web(GRE_CHECKSUM));
    world.pass();
    check(
        &world,
        expect![[r"
        web@dir1 director 192.168.56.100 Node
        web@dir1 director serves Tcp/80/rr
        web@dir1 director to rs1 192.168.56.30 by TUN Gre Checksum weight 1 for []
        web@rs1 host knows 192.168.56.10
        web@rs1 host lets go of rs1 by TUN Gre
        web@rs1 host of  192.168.56.100
    "]],
    );
    world.settle();
    assert!(
        world
            .placements()
            .contains("by TUN Gre Checksum weight 1 for [192.168.56.100]\n")
    );
    world.check_rest();
}

#[test]
fn a_real_server_without_an_agent_changes_its_way_at_once() {
    let mut world = World::new();
    world.apply(WEB);
    world.apply("kind: RealServer\nmetadata: {name: far, labels: {app: web}}\nspec: {addresses: [192.168.56.50]}");
    world.settle();
    for way in ["NAT", GUE, "DR"] {
        world.apply(&web(way));
        assert_eq!(world.placement_writes().len(), 1);
        world.settle();
    }
}

#[test]
fn a_real_server_that_nobody_reaches_changes_its_way_at_once() {
    let mut world = World::new();
    world.silent.insert("rs1".to_owned());
    world.apply(WEB);
    world.apply(RS1);
    world.pass();
    world.apply(&web(GUE));
    world.pass();
    assert!(
        world
            .placements()
            .contains("to rs1 192.168.56.30 by TUN Gue weight 1 for []\n")
    );
}

#[test]
fn one_of_two_real_servers_on_a_host_leaves_and_the_vip_stays() {
    let mut world = World::serving();
    world.apply(&RS2.replace(
        "nodeName: rs2, addresses: [192.168.56.40]",
        "nodeName: rs1, addresses: [192.168.56.31]",
    ));
    world.settle();
    assert!(world.placements().contains("web@rs1 host of rs1,rs2 192.168.56.100\n"));
    world.delete_real_server("rs2");
    world.settle();
    assert!(world.placements().contains("web@rs1 host of rs1 192.168.56.100\n"));
    world.check_rest();
}

#[test]
fn f27_a_way_that_is_let_go_is_not_taken_up_again_unseen() {
    let mut world = serving(IPIP);
    world.apply(&web(GUE));
    for _ in 0..2 {
        world.pass();
        world.agents();
    }
    assert!(
        world
            .placements()
            .contains("by TUN Gue weight 1 for [192.168.56.100]\n")
    );
    // One operator decides to let IPIP go on the host, and is paused.
    let paused = intended(&world);
    assert!(to_node(&paused, "rs1").is_some());
    // The spec says IPIP again: another announces it, and may not use it before the host's mark is gone.
    world.apply(&web(IPIP));
    for _ in 0..3 {
        let writes = intended(&world);
        if let Some(write) = to_node(&writes, "dir1") {
            world.carry_out(write).unwrap();
        }
        world.agents();
        world.check();
    }
    assert!(
        world
            .placements()
            .contains("by TUN Gue weight 1 for [192.168.56.100] then TUN\n")
    );
    world.carry_out(to_node(&paused, "rs1").unwrap()).unwrap();
    world.check();
    world.settle();
    assert!(world.placements().contains("by TUN weight 1 for [192.168.56.100]\n"));
    world.check_rest();
}

#[test]
fn f27_a_change_of_way_decided_on_an_old_view_is_too_late() {
    let mut world = serving("NAT");
    world.apply(&web("DR"));
    world.pass();
    world.agents();
    // One operator decides that rs1 is reached by DR from now on, and is paused. The other sees NAT wanted again.
    let paused = intended(&world);
    assert!(to_node(&paused, "dir1").is_some());
    world.apply(&web("NAT"));
    world.settle();
    assert!(world.placements().contains("host of rs1 by NAT without VIP"));
    for write in paused.iter().filter(|write| matches!(write, Write::ApplyPlacement(_))) {
        assert!(world.carry_out(write).is_err());
    }
    world.check();
}

#[test]
fn a_way_that_cannot_serve_a_family_does_not_wait_for_it() {
    let mut world = World::new();
    world.apply(&crate::world::GROUP.replace("[192.168.56.0/24]", "[192.168.56.0/24, 'fd56::/64']"));
    let both = |way: &str| {
        web(way).replace(
            "[{address: 192.168.56.100}]",
            "[{address: 192.168.56.100}, {address: 'fd56::100'}]",
        )
    };
    world.apply(&both(IPIP));
    world.apply(RS1);
    world.settle();
    world.apply(&both("DR"));
    world.settle();
    check(
        &world,
        expect![[r"
        web@dir1 director 192.168.56.100 Node
        web@dir1 director fd56::100 Node
        web@dir1 director serves Tcp/80/rr
        web@dir1 director to rs1 192.168.56.30 weight 1 for [192.168.56.100]
        web@rs1 host of rs1 192.168.56.100
    "]],
    );
}
