//! A narrow answer is the whole one: random Placements that meet on VIPs, marks and nodes, and random edits of one of them.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::desired::{desired, hosted};
use crate::state::Interface;
use crate::view::{PlacementKey, Source, View};

const METHODS: [&str; 4] = ["DR", "NAT", "TUN", "FullNAT"];
const SCHEDULERS: [&str; 3] = ["rr", "wlc", "sh"];

fn key(name: usize) -> PlacementKey {
    PlacementKey {
        namespace: "shop".to_owned(),
        name: format!("web-{name}"),
    }
}

fn placed(spec: Value) -> Placed {
    Placed {
        uid: "u".to_owned(),
        generation: 1,
        spec: serde_json::from_value(spec).unwrap(),
        not_understood: None,
        down: Default::default(),
        untested: Default::default(),
        serving: Default::default(),
    }
}

fn facts() -> Facts {
    let mut facts = Facts::default();
    let eth0 = Interface {
        index: 2,
        up: true,
        arp: true,
        mtu: 1500,
        ..Interface::default()
    };
    facts.interfaces.insert("eth0".to_owned(), eth0);
    facts
        .foreign_addresses
        .insert("10.0.0.1".parse().unwrap(), "eth0".to_owned());
    facts.routes.insert(crate::state::Route {
        network: "10.0.0.0/8".parse().unwrap(),
        metric: 0,
        interface: "eth0".to_owned(),
        gateway: None,
        source: None,
    });
    facts
}

/// Few numbers, so that Placements meet.
fn real_server() -> impl Strategy<Value = Value> {
    (0..6_u8, 0..3_i32, 0..8_usize, any::<[bool; 2]>()).prop_map(|(last, weight, method, [prepared, hosted])| {
        // Mostly DR: each other method needs more than services.
        let method = METHODS.get(method).unwrap_or(&"DR");
        let prepared = if prepared {
            json!(["10.1.0.0", "10.1.0.1", "10.1.0.2"])
        } else {
            json!([])
        };
        let mut server = json!({"name": format!("rs{last}"), "addresses": [format!("10.0.0.{last}")], "weight": weight,
            "forwardingMethod": method, "prepared": prepared});
        if hosted {
            server["nodeName"] = json!("node");
        }
        server
    })
}

fn service() -> impl Strategy<Value = Value> {
    (0..3_usize, 0..4_i32, any::<bool>()).prop_map(|(scheduler, port, mark)| {
        let scheduler = SCHEDULERS[scheduler];
        match mark && port > 0 {
            true => json!({"firewallMark": port, "scheduler": scheduler}),
            false => json!({"protocol": "TCP", "port": 80 + port, "scheduler": scheduler}),
        }
    })
}

fn director() -> impl Strategy<Value = Value> {
    let vips = proptest::collection::btree_set(0..3_u8, 1..3);
    let services = proptest::collection::vec(service(), 1..3);
    let real_servers = proptest::collection::vec(real_server(), 0..4);
    (vips, any::<[bool; 2]>(), services, real_servers).prop_map(|(vips, [held, checked], services, real_servers)| {
        let owner = if held { "Node" } else { "Reserved" };
        let address = |vip: &u8| json!({"address": format!("10.1.0.{vip}"), "addressOwner": owner});
        let addresses: Vec<Value> = vips.iter().map(address).collect();
        let checks = if checked { json!([{"port": 80}]) } else { json!([]) };
        json!({"addresses": addresses, "services": services, "realServers": real_servers, "healthChecks": checks})
    })
}

fn host() -> impl Strategy<Value = Value> {
    (0..3_u8).prop_map(|vip| {
        json!({"addresses": [{"address": format!("10.1.0.{vip}")}],
            "realServers": [{"name": "own", "addresses": ["10.0.0.1"], "forwardingMethod": "DR"}]})
    })
}

fn placement() -> impl Strategy<Value = Value> {
    (director(), proptest::option::weighted(0.3, host())).prop_map(|(director, host)| {
        let mut spec = json!({"subject": {"kind": "VirtualService", "name": "web"}, "nodeName": "dir1"});
        spec["director"] = director;
        if let Some(host) = host {
            spec["realServer"] = host;
        }
        spec
    })
}

/// An edit as people make them, or any other spec.
fn edited(former: &Value, other: &Value, edit: u8, weight: i32) -> Value {
    let mut spec = former.clone();
    let servers = spec["director"]["realServers"].as_array_mut().unwrap();
    match edit {
        0 => servers
            .iter_mut()
            .take(1)
            .for_each(|server| server["weight"] = json!(weight)),
        1 => servers.truncate(1),
        2 => servers.push(json!({"name": "new", "addresses": ["10.0.0.9"], "weight": weight,
            "forwardingMethod": "DR", "prepared": ["10.1.0.0", "10.1.0.1", "10.1.0.2"]})),
        3 => spec["director"]["services"][0]["scheduler"] = json!("lc"),
        4 => spec["director"]["services"] = other["director"]["services"].clone(),
        _ => return other.clone(),
    }
    spec
}

proptest! {
    #[test]
    fn the_services_of_a_change_are_those_of_all_placements(
        specs in proptest::collection::vec(placement(), 1..4),
        which in 0..3_usize,
        other in placement(),
        edit in 0..6_u8,
        weight in 0..9_i32,
    ) {
        let facts = facts();
        let which = which % specs.len();
        let mut view = View {
            source: Source::Api,
            placements: specs.iter().enumerate().map(|(name, spec)| (key(name), placed(spec.clone()))).collect(),
        };
        let mut known = desired(&view, &facts);
        let former = view.placements[&key(which)].clone();
        let now = placed(edited(&specs[which], &other, edit, weight));
        let change = service_change(&former, &now, &known, &hosted(&view), &facts);
        view.placements.insert(key(which), now);
        if let Some(change) = change {
            known.change(&change);
            prop_assert_eq!(known, desired(&view, &facts));
        }
    }
}

/// What a narrow pass is for must not silently become a whole one's.
#[test]
fn edits_of_weights_members_and_schedulers_are_changes_of_services_alone() {
    let facts = facts();
    let former = json!({"subject": {"kind": "VirtualService", "name": "web"}, "nodeName": "dir1", "director": {
        "addresses": [{"address": "10.1.0.1", "addressOwner": "Node"}],
        "services": [{"protocol": "TCP", "port": 80, "scheduler": "rr"}],
        "realServers": [{"name": "a", "addresses": ["10.0.0.3"], "weight": 1, "forwardingMethod": "DR", "prepared": ["10.1.0.1"]},
            {"name": "b", "addresses": ["10.0.0.4"], "weight": 1, "forwardingMethod": "DR", "prepared": ["10.1.0.1"]}],
    }});
    let view = View {
        source: Source::Api,
        placements: [(key(0), placed(former.clone()))].into(),
    };
    let known = desired(&view, &facts);
    for edit in 0..4 {
        let now = placed(edited(&former, &Value::Null, edit, 7));
        let change = service_change(&placed(former.clone()), &now, &known, &hosted(&view), &facts);
        assert_eq!(change.map(|change| change.len()), Some(1), "edit {edit}");
    }
}
