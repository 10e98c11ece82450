//! What goes wrong in clusters, and whether everything else goes on: claims, references, kernels, versions, nodes.
//!
//! Everywhere a client of the example's service runs, and none of its requests may fail where nothing else is said.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::cluster::condition_of;
use e2e::product::AgentOptions;
use e2e::scene::{Scene, Test};
use e2e::traffic::{self, RunningClient};
use e2e::{clock, oracle, topology};
use serde_json::{Value, json};

use crate::shop::{self, NODES};

#[path = "faults/claims.rs"]
mod claims;
#[path = "faults/kernel.rs"]
mod kernel;
#[path = "faults/nodes.rs"]
mod nodes;
#[path = "faults/versions.rs"]
mod versions;

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("faults::claims_and_references_that_cannot_be_had", claims::claims),
    ("faults::permission_withdrawn_and_groups_in_use", claims::permission),
    ("faults::what_the_kernel_refuses_or_lacks", kernel::kernel),
    ("faults::objects_of_a_later_version", versions::versions),
    ("faults::nodes_that_go", nodes::nodes_that_go),
    ("faults::a_director_that_moves", nodes::director_moves),
];

/// The VIP of the example.
const VIP: &str = "192.168.56.100";
/// Everything in Kubernetes that the tests make is in the example's namespace.
const SHOP: &str = "shop";

/// The example serves, and a client uses it.
fn open(scene: &Scene, nodes: &[(&str, u8)]) -> Result<(shop::Before, RunningClient)> {
    let before = shop::open(scene, &topology::one_lan(nodes), &AgentOptions::default())?;
    shop::serve(scene, "dr", "web")?;
    let client = RunningClient::start(&*scene.host("client")?, &format!("http://{VIP}/"), 5)?;
    Ok((before, client))
}

/// Ends the client, which must not have noticed anything.
fn undisturbed(scene: &Scene, client: RunningClient) -> Result<()> {
    let answers = client.stop()?;
    scene.step(&format!("the running client: {answers}"));
    answers.expect_all()
}

/// A VirtualService over the example's real servers, as JSON, which kubectl takes for YAML.
fn service(name: &str, vip: &str, more: &Value) -> String {
    let mut spec = json!({
        "addresses": [{"address": vip}], "ports": [{"port": 80}], "scheduler": "rr",
        "realServerSelector": {"matchLabels": {"app": "web"}},
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    object("VirtualService", name, &spec)
}

fn object(kind: &str, name: &str, spec: &Value) -> String {
    json!({
        "apiVersion": "lvs-operator.io/v1alpha1", "kind": kind,
        "metadata": {"name": name, "namespace": SHOP, "labels": {"app": "web"}}, "spec": spec,
    })
    .to_string()
}

fn patch(scene: &Scene, object: &str, patch: &Value) -> Result<()> {
    let patch = format!("--patch={patch}");
    let all = ["-n", SHOP, "patch", object, "--type=merge", &patch];
    scene.control_plane().kubectl(&all, None).map(drop)
}

fn delete(scene: &Scene, objects: &[&str]) -> Result<()> {
    let all = [&["-n", SHOP, "delete", "--timeout=60s"], objects].concat();
    scene.control_plane().kubectl(&all, None).map(drop)
}

/// Waits until a condition is said with these words, and prints them.
fn said(scene: &Scene, object: &str, condition: (&str, &str, &str), words: &str) -> Result<Value> {
    let (found, took) = scene.control_plane().wait_until_said(SHOP, object, condition, words)?;
    let message = condition_of(&found, condition.0).map(|found| found["message"].clone());
    let (type_, status, reason) = condition;
    scene.step(&format!(
        "{object} {type_}={status} {reason} after {:.1} s: {}",
        took.as_secs_f64(),
        message.unwrap_or_default()
    ));
    Ok(found)
}

fn stalled(object: &Value) -> bool {
    condition_of(object, "Stalled").is_some()
}

/// That a VIP answers, by both real servers.
fn serves(scene: &Scene, vip: &str) -> Result<()> {
    let answers = traffic::requests(&*scene.host("client")?, &format!("http://{vip}/"), 4)?;
    answers.expect_all().with_context(|| format!("http://{vip}/"))?;
    // The running client's requests stand between these.
    ensure!(answers.of("rs1") > 0 && answers.of("rs2") > 0, "{vip}: {answers}");
    Ok(())
}

/// Waits until a director's table is this: lines of `ipvsadm -Sn`, in any order: real servers come as their probes pass.
fn table(scene: &Scene, director: &str, lines: &[String]) -> Result<Duration> {
    let host = scene.host(director)?;
    let (mut lines, mut last) = (lines.to_vec(), Vec::new());
    lines.sort();
    let is_so = || {
        last = oracle::ipvs(&host)?;
        last.sort();
        Ok((last == lines).then_some(()))
    };
    let waited = clock::until("the table is as it should be", shop::LIMIT, is_so);
    Ok(waited.with_context(|| format!("{last:#?} is not {lines:#?}"))?.1)
}

/// A service with its destinations, as `ipvsadm -Sn` prints them.
fn entries(vip: &str, destinations: &[&str]) -> Vec<String> {
    let mut lines = vec![format!("-A -t {vip}:80 -s rr")];
    lines.extend(
        destinations
            .iter()
            .map(|address| format!("-a -t {vip}:80 -r {address}:80 -g -w 1")),
    );
    lines
}
