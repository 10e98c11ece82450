use crate::snapshot::{Key, Undecoded};
use crate::world::{GROUP, RS1, RS2, WEB, World};
use expect_test::{Expect, expect};

mod checks;
mod groups;
mod marks;
mod members;
mod sorry;

/// What is said of VirtualService `web` about `condition` after these documents.
fn check(documents: &[&str], condition: &str, expected: Expect) {
    let mut world = World::new();
    for document in documents {
        world.apply(document);
    }
    world.settle();
    expected.assert_eq(&world.said("web", condition));
}

fn service(name: &str, vip: &str, port: i32) -> String {
    let web = WEB
        .replace("192.168.56.100", vip)
        .replace("port: 80", &format!("port: {port}"));
    web.replace("name: web", &format!("name: {name}"))
}

#[test]
fn f13_a_vip_that_is_a_nodes_address_is_refused() {
    check(
        &[&service("web", "192.168.56.30", 80)],
        "Accepted",
        expect![
            "False Invalid: 192.168.56.30 is an InternalIP of Node rs1: a VIP must be an address of its own, choose another"
        ],
    );
}

#[test]
fn f13_a_vip_that_is_the_api_servers_address_is_refused() {
    let mut world = World::new();
    world.objects.api_servers.push("192.168.56.250".parse().unwrap());
    world.apply(&service("web", "192.168.56.250", 80));
    world.settle();
    expect!["False Invalid: 192.168.56.250 is the API server's own address: a VIP must be an address of its own, choose another"].assert_eq(&world.said("web", "Accepted"));
}

#[test]
fn f13_a_vip_that_is_a_real_servers_address_is_refused() {
    let far = "kind: RealServer\nmetadata: {name: far, namespace: blog}\nspec: {addresses: [192.168.56.66]}";
    check(
        &[far, &service("web", "192.168.56.66", 80)],
        "Accepted",
        expect![
            "False Invalid: 192.168.56.66 is the address of RealServer blog/far: a VIP must be an address of its own, choose another"
        ],
    );
}

#[test]
fn a_real_server_that_takes_a_serving_vip_is_the_one_refused() {
    let mut world = World::serving();
    world.apply("kind: RealServer\nmetadata: {name: thief, labels: {app: web}}\nspec: {addresses: [192.168.56.100]}");
    world.settle();
    assert!(world.said("web", "Ready").starts_with("True"));
    expect!["False Invalid: VirtualService web: 192.168.56.100 is a VIP of VirtualService shop/web: give thief the address of its own machine"].assert_eq(&world.said_of_real_server("thief", "Accepted"));
}

#[test]
fn a_vip_outside_the_allowed_networks_is_refused() {
    check(
        &[&service("web", "10.9.9.9", 80)],
        "Accepted",
        expect![
            "False NotAllowed: 10.9.9.9 is outside the allowedCIDRs of DirectorGroup default (192.168.56.0/24): choose an address within"
        ],
    );
}

const SELECTED: &str = "{from: Selector, namespaceSelector: {matchLabels: {team: blog}}}";

#[test]
fn a_namespace_that_the_group_does_not_allow_is_refused() {
    let group = GROUP.replace("{from: All}", SELECTED);
    check(
        &[&group, WEB],
        "Accepted",
        expect![
            "False NotAllowed: DirectorGroup default does not allow namespace shop: use another group, or ask its administrator to allow it in allowedNamespaces"
        ],
    );
}

#[test]
fn a_group_that_does_not_exist_is_said_in_resolved_refs() {
    let web = format!("{WEB}  directorGroupName: edge\n");
    check(
        &[&web],
        "ResolvedRefs",
        expect!["False NoSuchDirectorGroup: no DirectorGroup edge: create it, or name another in directorGroupName"],
    );
    check(
        &[&web],
        "Stalled",
        expect!["True NoSuchDirectorGroup: no DirectorGroup edge: create it, or name another in directorGroupName"],
    );
}

#[test]
fn more_real_servers_than_a_service_may_have_are_refused() {
    let mut world = World::new();
    world.apply(WEB);
    for number in 0..513 {
        world.apply(&format!(
            "kind: RealServer\nmetadata: {{name: r{number}, labels: {{app: web}}}}\nspec: {{addresses: [10.1.{}.{}]}}",
            number / 250,
            number % 250 + 1
        ));
    }
    world.settle();
    expect!["False TooManyRealServers: realServerSelector finds 513 RealServers, a service has at most 512: narrow the selector"].assert_eq(&world.said("web", "Accepted"));
    world.delete_real_server("r7");
    world.settle();
    assert!(world.said("web", "Ready").starts_with("True"));
}

#[test]
fn of_two_new_claims_the_older_has_it() {
    let mut world = World::new();
    world.apply(&service("zzz-older", "192.168.56.100", 80));
    world.apply(WEB);
    world.settle();
    assert!(world.said("zzz-older", "Accepted").starts_with("True"));
    expect!["False AddressConflict: 192.168.56.100:80/TCP is held by VirtualService shop/zzz-older: choose another port or address"].assert_eq(&world.said("web", "Accepted"));
}

#[test]
fn an_older_service_that_is_edited_onto_a_claim_does_not_take_it() {
    let mut world = World::new();
    world.apply(&service("older", "192.168.56.101", 80));
    world.apply(WEB);
    world.settle();
    world.apply(&service("older", "192.168.56.100", 80));
    world.settle();
    assert!(world.said("web", "Accepted").starts_with("True"));
    expect!["False AddressConflict: 192.168.56.100:80/TCP is held by VirtualService shop/web: choose another port or address (the last accepted spec still serves)"].assert_eq(&world.said("older", "Accepted"));
    assert!(
        world.placements().contains("older@dir1 director 192.168.56.101 Node\n"),
        "the last accepted spec serves"
    );
}

#[test]
fn another_port_of_a_vip_may_be_another_services() {
    let mut world = World::serving();
    world.apply(&service("tls", "192.168.56.100", 443));
    world.settle();
    assert!(world.said("tls", "Ready").starts_with("True"));
    assert!(world.said("web", "Ready").starts_with("True"));
}

fn of_blog(name: &str) -> String {
    service(name, "192.168.56.100", 443).replace(&format!("name: {name}"), &format!("name: {name}, namespace: blog"))
}

#[test]
fn a_vip_belongs_to_the_namespace_that_holds_it() {
    let mut world = World::serving();
    world.apply(&of_blog("tls"));
    world.settle();
    expect!["False AddressConflict: 192.168.56.100 belongs to namespace shop (VirtualService web): choose another address, or ask the administrator for sharedAddresses in the DirectorGroup"].assert_eq(&world.said("tls", "Accepted"));
    world.apply(&format!("{GROUP}  sharedAddresses: true\n"));
    world.settle();
    assert!(world.said("tls", "Accepted").starts_with("True"));
    // What shares by permission goes on when the permission to share ends, and cannot be edited.
    world.apply(GROUP);
    world.settle();
    expect!["False AddressConflict: 192.168.56.100 belongs to namespace shop (VirtualService web): choose another address, or ask the administrator for sharedAddresses in the DirectorGroup (the last accepted spec still serves)"].assert_eq(&world.said("tls", "Accepted"));
    assert!(world.placements().contains("tls@dir1 director 192.168.56.100 Node\n"));
}

#[test]
fn a_vip_is_placed_through_one_group() {
    let mut world = World::serving();
    world.apply(&GROUP.replace("name: default", "name: edge"));
    world.apply(&format!(
        "{}  directorGroupName: edge\n",
        service("tls", "192.168.56.100", 443)
    ));
    world.settle();
    expect!["False AddressConflict: 192.168.56.100 is placed through DirectorGroup default by VirtualService shop/web: use that group, or choose another address"].assert_eq(&world.said("tls", "Accepted"));
}

#[test]
fn services_that_share_a_vip_move_to_another_group_together() {
    let mut world = World::serving();
    world.apply(&service("tls", "192.168.56.100", 443));
    world.settle();
    world.apply(&GROUP.replace("name: default", "name: edge"));
    world.apply(&format!("{WEB}  directorGroupName: edge\n"));
    world.settle();
    expect!["False AddressConflict: 192.168.56.100 is placed through DirectorGroup default by VirtualService shop/tls: use that group, or choose another address (the last accepted spec still serves)"].assert_eq(&world.said("web", "Accepted"));
    world.apply(&format!(
        "{}  directorGroupName: edge\n",
        service("tls", "192.168.56.100", 443)
    ));
    world.settle();
    assert!(world.said("web", "Ready").starts_with("True"));
    assert!(world.said("tls", "Ready").starts_with("True"));
}

#[test]
fn of_two_real_servers_with_one_address_the_placed_one_stays() {
    let mut world = World::serving();
    world.apply("kind: RealServer\nmetadata: {name: again, labels: {app: web}}\nspec: {addresses: [192.168.56.30]}");
    world.settle();
    expect!["False AddressConflict: VirtualService web: 192.168.56.30 is already the address of RealServer rs1 in this service: remove one of the two"].assert_eq(&world.said_of_real_server("again", "Accepted"));
    assert!(world.said_of_real_server("rs1", "Ready").starts_with("True"));
    assert!(world.said("web", "Ready").starts_with("True"));
}

#[test]
fn a_real_server_on_a_node_that_does_not_exist_is_not_in_the_table() {
    let mut world = World::serving();
    world.apply(&RS2.replace("nodeName: rs2", "nodeName: rs9"));
    world.settle();
    expect!["False NodeNotFound: no Node rs9: correct nodeName, or add the node"]
        .assert_eq(&world.said_of_real_server("rs2", "ResolvedRefs"));
    assert!(
        world
            .said_of_real_server("rs2", "Stalled")
            .starts_with("True NodeNotFound")
    );
    assert!(!world.placements().contains("to rs2"));
}

#[test]
fn a_real_server_without_an_address_of_the_family_is_left_out_and_said() {
    let mut world = World::serving();
    world.apply("kind: RealServer\nmetadata: {name: six, labels: {app: web}}\nspec: {addresses: ['2001:db8::30']}");
    world.settle();
    expect!["False Invalid: VirtualService web: no IPv4 address, and DR needs one for the VIPs of this service (192.168.56.100): add one to addresses"]
        .assert_eq(&world.said_of_real_server("six", "Accepted"));
    expect!["True Ok: 2 real servers serve; left out: six (see the RealServers)"]
        .assert_eq(&world.said("web", "Ready"));
}

#[test]
fn a_real_server_without_addresses_has_its_nodes() {
    let mut world = World::new();
    world.apply(WEB);
    world.apply("kind: RealServer\nmetadata: {name: rs1, labels: {app: web}}\nspec: {nodeName: rs1}");
    world.settle();
    assert!(
        world
            .placements()
            .contains("to rs1 192.168.56.30 weight 1 for [192.168.56.100]")
    );
}

#[test]
fn a_refused_service_keeps_its_real_servers_up_and_gets_no_new_ones() {
    let mut world = World::serving();
    world.apply(&service("web", "10.9.9.9", 8080));
    world.settle();
    expect!["False NotAllowed: 10.9.9.9 is outside the allowedCIDRs of DirectorGroup default (192.168.56.0/24): choose an address within (the last accepted spec still serves)"].assert_eq(&world.said("web", "Accepted"));
    world.apply(&RS1.replace("addresses:", "weight: 9, addresses:"));
    world.delete_real_server("rs2");
    world.apply("kind: RealServer\nmetadata: {name: new, labels: {app: web}}\nspec: {addresses: [192.168.56.50]}");
    world.settle();
    expect![[r#"
        web@dir1 director 192.168.56.100 Node
        web@dir1 director serves Tcp/80/rr
        web@dir1 director to rs1 192.168.56.30 weight 9 for [192.168.56.100]
        web@rs1 host of rs1 192.168.56.100
    "#]]
    .assert_eq(&world.placements());
}

#[test]
fn a_permission_that_is_withdrawn_withdraws() {
    for group in [
        GROUP.replace("192.168.56.0/24", "10.0.0.0/8"),
        GROUP.replace("{from: All}", SELECTED),
    ] {
        let mut world = World::serving();
        world.apply(&group);
        world.settle();
        assert!(world.said("web", "Accepted").starts_with("False NotAllowed"));
        assert!(world.service_placements().is_empty());
    }
}

#[test]
fn a_namespace_that_is_not_seen_withdraws_nothing() {
    let mut world = World::new();
    world.apply(&GROUP.replace("{from: All}", &SELECTED.replace("blog", "shop")));
    world.apply(WEB);
    world.settle();
    let placed = world.placements();
    assert!(placed.contains("Node\n"));
    world.objects.namespaces.clear();
    world.settle();
    assert_eq!(world.placements(), placed);
}

#[test]
fn a_group_that_vanishes_withdraws_nothing() {
    let mut world = World::serving();
    let placed = world.placements();
    world.objects.director_groups.clear();
    world.settle();
    assert_eq!(world.placements(), placed);
    assert!(
        world
            .said("web", "ResolvedRefs")
            .starts_with("False NoSuchDirectorGroup")
    );
}

#[test]
fn of_two_that_carry_one_claim_the_owner_stays_and_the_other_is_withdrawn() {
    // Two operators that saw one service each have placed both.
    let mut world = World::new();
    world.apply(&service("older", "192.168.56.100", 80));
    let mut behind = world.clone();
    behind.objects.virtual_services.clear();
    behind.apply(WEB);
    let mut both = behind.decide().writes;
    world.apply(WEB);
    both.extend(
        crate::reconcile(
            &{
                let mut view = world.snapshot();
                view.virtual_services.remove(&Key::new("shop", "web"));
                view
            },
            world.now,
        )
        .writes,
    );
    for write in &both {
        let _ = world.carry_out(write);
    }
    assert_eq!(world.placements().matches("serves Tcp/80").count(), 2);
    world.settle();
    assert_eq!(world.placements().matches("serves Tcp/80").count(), 1);
    assert!(world.said("older", "Ready").starts_with("False NoRealServers"));
    expect!["False AddressConflict: 192.168.56.100:80/TCP is held by VirtualService shop/older: choose another port or address"].assert_eq(&world.said("web", "Accepted"));
}

#[test]
fn a_vip_in_a_placement_that_cannot_be_read_is_held() {
    let mut world = World::new();
    world.apply(WEB);
    let mut snapshot = world.snapshot();
    let unread = Undecoded {
        meta: crate::Meta::default(),
        error: String::new(),
        status: crds::PlacementStatus::default(),
        raw: serde_json::json!({"spec": {
            "subject": {"kind": "VirtualService", "name": "other"}, "nodeName": "dir1",
            "director": {"addresses": [{"address": "192.168.56.100"}]},
        }}),
    };
    snapshot
        .undecodable
        .placements
        .insert(Key::new("blog", "other-dir1-x"), unread);
    for write in crate::reconcile(&snapshot, world.now).writes {
        world.carry_out(&write).unwrap();
    }
    expect!["False AddressConflict: 192.168.56.100 is in a Placement of VirtualService blog/other that this operator cannot read: upgrade lvs-operator, or choose another address"].assert_eq(&world.said("web", "Accepted"));
}
