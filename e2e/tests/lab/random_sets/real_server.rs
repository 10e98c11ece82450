//! Random real servers: each is selected only by services that can have it.

use serde_json::{Map, Value, json};

use super::{Draft, METHODS, Place, REAL_SERVERS, Selector, is_six, manifest, one, tunnel};
use crate::random_sets::random::Random;

/// A real server that some of these services select, as far as they can have it.
pub(super) fn real_server(
    random: &mut Random,
    place: &Place<'_>,
    drafts: &[Draft],
    hosts: &mut Vec<&(&str, [String; 2])>,
    name: &'static str,
) -> Value {
    let mut spec = Map::new();
    let addresses = addresses(random, place, hosts, name, &mut spec);
    let method = random.chance(40).then(|| one(random, &METHODS));
    if let Some(method) = method {
        spec.insert("forwardingMethod".to_owned(), json!(method));
    }
    let tunnelled = match method {
        None => random.chance(15),
        Some(method) => method == "TUN" && random.chance(50),
    };
    if tunnelled {
        spec.insert("tunnel".to_owned(), tunnel(random, place));
    }
    let port = random.chance(25) && method.is_none_or(translates);
    if port {
        spec.insert("port".to_owned(), json!(one(random, &[1, 8080, 9090, 65535])));
    }
    if random.chance(70) {
        let weight = one(random, &[0, 1, 2, 3, 100, 65535]);
        spec.insert("weight".to_owned(), json!(weight));
    }
    if random.chance(25) {
        let upper: u32 = one(random, &[1, 10, 1000, 2_147_483_647]);
        spec.insert("upperThreshold".to_owned(), json!(upper));
        if random.chance(60) {
            spec.insert("lowerThreshold".to_owned(), json!(one(random, &[0, upper / 2, upper])));
        }
    }
    let mut labels = Map::from_iter([("app".to_owned(), json!("random"))]);
    for draft in drafts {
        let way = method.unwrap_or(draft.method);
        let fits = (!draft.translates || translates(way))
            && (!draft.one_packet || !translates(way))
            && (!port || (draft.single && translates(way)))
            && (way == "TUN"
                || addresses
                    .iter()
                    .any(|address| draft.families.contains(&is_six(address))));
        let selected = fits && random.chance(70);
        let label = label(random, draft.selector, selected);
        labels.extend(label.map(|label| (draft.name.to_owned(), json!(label))));
    }
    manifest(
        "RealServer",
        name,
        &place.namespace(),
        Value::Object(labels),
        Value::Object(spec),
    )
}

fn translates(method: &str) -> bool {
    matches!(method, "NAT" | "FullNAT")
}

/// The addresses that it will have. Two of a set are never on one host: they would have one address.
fn addresses(
    random: &mut Random,
    place: &Place<'_>,
    hosts: &mut Vec<&(&str, [String; 2])>,
    name: &'static str,
    spec: &mut Map<String, Value>,
) -> Vec<String> {
    let hosted = !hosts.is_empty() && random.chance(25);
    let own: [String; 2] = if hosted {
        let (node, addresses) = hosts.remove(random.below(hosts.len()));
        spec.insert("nodeName".to_owned(), json!(node));
        addresses.clone()
    } else {
        let (set, host) = (place.number + 1, 1 + random.below(200));
        let at = REAL_SERVERS.iter().position(|known| *known == name).unwrap_or_default() + 1;
        [format!("10.{set}.{at}.{host}"), format!("fd10:{set}::{at}:{host}")]
    };
    // Without a list it has all addresses of its node.
    if hosted && random.chance(60) {
        return own.to_vec();
    }
    let mut chosen = own.to_vec();
    match random.below(4) {
        0 => drop(chosen.pop()),
        1 => drop(chosen.remove(0)),
        2 => chosen.reverse(),
        _ => {}
    }
    spec.insert("addresses".to_owned(), json!(chosen));
    chosen
}

/// The label by which a real server is, or is not, selected.
fn label(random: &mut Random, selector: Selector, selected: bool) -> Option<&'static str> {
    let others: &[Option<&'static str>] = match (selector, selected) {
        (Selector::Labels, true) => &[Some("yes")],
        (Selector::Labels, false) => &[None, Some("no"), Some("perhaps")],
        (Selector::In, true) => &[Some("yes"), Some("perhaps")],
        (Selector::In, false) => &[None, Some("no")],
        (Selector::Exists, true) => &[Some("yes"), Some("no"), Some("")],
        (Selector::NotIn, true) => &[None, Some("yes")],
        (Selector::NotIn, false) => &[Some("no")],
        (Selector::Exists, false) | (Selector::DoesNotExist, true) => &[None],
        (Selector::DoesNotExist, false) => &[Some("yes"), Some("no")],
    };
    one(random, others)
}
