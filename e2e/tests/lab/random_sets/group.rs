//! Random DirectorGroups.

use serde_json::{Map, Value, json};

use super::{one, some};
use crate::random_sets::random::Random;

/// A DirectorGroup for one director; its number tells its addresses from those of others.
pub(crate) fn group(random: &mut Random, director: &str, number: usize) -> Value {
    let mut spec = json!({
        "nodeSelector": {"matchLabels": {"kubernetes.io/hostname": director}},
        "allowedNamespaces": {"from": "All"},
        "allowedCIDRs": ["192.168.56.0/24", "fd56::/64"],
    });
    if random.chance(50) {
        spec["interface"] = json!("eth0");
    }
    if random.chance(60) {
        spec["undeclaredPorts"] = json!(one(random, &["Drop", "Accept"]));
    }
    if random.chance(30) {
        spec["sharedAddresses"] = json!(random.chance(50));
    }
    let sources = [
        format!("192.168.56.{}", 231 + number),
        format!("fd56::{}", 231 + number),
    ];
    if random.chance(60) {
        let sources = [&sources[..1], &sources[1..], &sources[..]][random.below(3)].to_vec();
        spec["fullNAT"] = json!({"sourceAddresses": sources});
    }
    if random.chance(60) {
        let mut timeouts = Map::new();
        for field in some(random, &["tcpSeconds", "tcpFinSeconds", "udpSeconds"], &[40, 30, 30]) {
            timeouts.insert(field.to_owned(), json!(one(random, &[1, 77, 3600, 2_147_483])));
        }
        spec["timeouts"] = Value::Object(timeouts);
    }
    if random.chance(60) {
        let rules = [
            json!({"sourceCIDR": "172.16.0.0/12"}),
            json!({"sourceCIDR": "fd10::/16", "outInterface": "eth0"}),
            json!({"sourceCIDR": "10.200.0.0/16", "sourceAddresses": ["203.0.113.5"]}),
        ];
        spec["masquerade"] = json!(
            some(random, &[0, 1, 2], &[50, 30, 20])
                .into_iter()
                .map(|at| rules[at].clone())
                .collect::<Vec<_>>()
        );
    }
    json!({
        "apiVersion": "lvs-operator.io/v1alpha1", "kind": "DirectorGroup",
        "metadata": {"name": format!("at-{director}")}, "spec": spec,
    })
}
