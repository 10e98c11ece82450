//! What the API says of the sets, and what is told of those that are not as they should be.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Result, ensure};
use e2e::cluster::condition_of;
use e2e::scene::Scene;
use serde_json::Value;

use super::read::Read;
use super::rendered::{Expected, Wanted};

/// How many sets are told of.
const SHOWN: usize = 3;

/// That every service is accepted and programmed, and no real server is refused.
pub(crate) fn programmed(scene: &Scene) -> Result<()> {
    let unsaid = unsaid(scene)?;
    let shown: Vec<_> = unsaid.iter().take(SHOWN).map(|(_, words)| words.as_str()).collect();
    ensure!(unsaid.is_empty(), "{} objects: {}", unsaid.len(), shown.join("; "));
    Ok(())
}

/// By namespace: who is not accepted or programmed, and the words for it.
fn unsaid(scene: &Scene) -> Result<Vec<(String, String)>> {
    let list = scene
        .control_plane()
        .look(&["virtualservices.lvs-operator.io,realservers", "-A"])?;
    let mut unsaid = Vec::new();
    for object in list["items"].as_array().into_iter().flatten() {
        let needed: &[&str] = match object["kind"].as_str() {
            Some("VirtualService") => &["Accepted", "Programmed"],
            _ => &["Accepted"],
        };
        for kind in needed {
            let condition = condition_of(object, kind).cloned().unwrap_or_default();
            let is_new = condition["observedGeneration"] == object["metadata"]["generation"];
            if !is_new || condition["status"] != "True" {
                let metadata = &object["metadata"];
                let namespace = metadata["namespace"].as_str().unwrap_or_default().to_owned();
                let words = format!(
                    "{namespace}/{} {}={} of generation {}, not {}: {}",
                    metadata["name"],
                    kind,
                    condition["status"],
                    condition["observedGeneration"],
                    metadata["generation"],
                    condition["message"]
                );
                unsaid.push((namespace, words));
            }
        }
    }
    Ok(unsaid)
}

/// The manifests of sets of which the API does not say what it should.
pub(crate) fn about_unsaid(scene: &Scene, manifests: &[Value], earlier: &[Value]) -> String {
    let mut sets: Vec<String> = unsaid(scene)
        .into_iter()
        .flatten()
        .map(|(namespace, _)| namespace)
        .collect();
    sets.dedup();
    sets.truncate(SHOWN);
    sets.iter().map(|set| about(set, manifests, earlier)).collect()
}

/// What differs, with the manifests of the sets that it is about; empty when nothing does.
pub(crate) fn difference(expected: &Expected, read: &Read, manifests: &[Value], earlier: &[Value]) -> String {
    let mut told = String::new();
    let mut sets = Vec::new();
    for (node, wanted) in expected {
        let mut surplus: BTreeMap<&str, usize> = BTreeMap::new();
        for lines in read.get(node).into_iter().flatten() {
            *surplus.entry(lines).or_default() += 1;
        }
        for Wanted { lines, set } in wanted {
            match surplus.get_mut(lines.as_str()).filter(|left| **left > 0) {
                Some(left) => *left -= 1,
                None => {
                    say(
                        &mut told,
                        format_args!("{node}, {set}: expected and not there:\n{lines}"),
                    );
                    sets.push(set.as_str());
                }
            }
        }
        for (lines, _) in surplus.iter().filter(|(_, left)| **left > 0) {
            say(&mut told, format_args!("{node}: there and not expected:\n{lines}"));
        }
    }
    sets.sort_unstable();
    sets.dedup();
    let shown = sets.iter().filter(|set| !set.is_empty()).take(SHOWN);
    shown.for_each(|set| told += &about(set, manifests, earlier));
    told
}

/// The manifests of a set, and those that it came after.
fn about(set: &str, manifests: &[Value], earlier: &[Value]) -> String {
    let mut told = String::new();
    for (when, all) in [("after", earlier), ("as applied", manifests)] {
        for manifest in all.iter().filter(|manifest| manifest["metadata"]["namespace"] == set) {
            say(&mut told, format_args!("{set}, {when}: {manifest}"));
        }
    }
    told
}

fn say(told: &mut String, words: std::fmt::Arguments<'_>) {
    writeln!(told, "{words}").unwrap_or_default(); // a String takes everything
}
