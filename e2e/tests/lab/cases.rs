//! Sharp cases, each by its number: what kernels, clients and other people's tools do where directors often go wrong.
//!
//! `case_N` are the test cases of the measurements that this project rests on, `fN` the failure modes of its catalogue.
//! What belongs to one network is one test, which says each number before its steps.

use anyhow::{Context, Result, ensure};
use e2e::endpoint::{Endpoint, Transport};
use e2e::guest_process::GuestProcess;
use e2e::program::Program;
use e2e::scene::{Scene, Test};
use e2e::topology::Host;
use e2e::traffic::{self, Answers};
use serde_json::{Value, json};

use crate::shop;

#[path = "cases/esp.rs"]
mod esp;
#[path = "cases/firewalls.rs"]
mod firewalls;
#[path = "cases/flush.rs"]
mod flush;
#[path = "cases/full_nat.rs"]
mod full_nat;
#[path = "cases/guard.rs"]
mod guard;
#[path = "cases/hashing.rs"]
mod hashing;
#[path = "cases/ipv6.rs"]
mod ipv6;
#[path = "cases/leaving.rs"]
mod leaving;
#[path = "cases/overlay.rs"]
mod overlay;
#[path = "cases/programming.rs"]
mod programming;
#[path = "cases/same_port.rs"]
mod same_port;
#[path = "cases/source_ports.rs"]
mod source_ports;
#[path = "cases/three_ways.rs"]
mod three_ways;
#[path = "cases/thresholds.rs"]
mod thresholds;
#[path = "cases/tunnels.rs"]
mod tunnels;
#[path = "cases/udp.rs"]
mod udp;

pub(crate) const TESTS: &[(&str, Test)] = &[
    (
        "cases::case_02_a_deleted_service_leaves_the_director_first",
        leaving::deleted,
    ),
    (
        "cases::case_03_04_hashes_refuse_nobody_for_one_real_server",
        hashing::hashing,
    ),
    (
        "cases::case_05_06_f33_five_thousand_destinations",
        programming::programming,
    ),
    ("cases::case_07_23_f6_connections_outlive_a_flush", flush::flush),
    ("cases::case_08_09_undeclared_ports", guard::guard),
    ("cases::case_11_12_13_14_full_nat", full_nat::full_nat),
    (
        "cases::case_14_source_ports_before_they_are_used_up",
        source_ports::source_ports,
    ),
    ("cases::case_15_16_ipv6_addresses_of_a_director", ipv6::ipv6),
    ("cases::case_25_esp_follows_its_isakmp", esp::esp),
    ("cases::case_26_27_tunnels", tunnels::tunnels),
    ("cases::case_29_foreign_firewalls", firewalls::firewalls),
    (
        "cases::case_30_one_address_twice_and_thresholds",
        thresholds::thresholds,
    ),
    ("cases::f4_f5_a_client_that_uses_its_port_again", same_port::same_port),
    ("cases::f8_f9_udp_from_one_port_after_a_removal", udp::removals),
    ("cases::f23_full_nat_through_vxlan", overlay::overlay),
];

/// Everything in Kubernetes that the cases make is here.
const SHOP: &str = "shop";

/// An object, as JSON, which kubectl takes for YAML.
fn object(kind: &str, name: &str, app: &str, spec: &Value) -> String {
    let head = json!({"name": name, "namespace": SHOP, "labels": {"app": app}});
    json!({"apiVersion": "lvs-operator.io/v1alpha1", "kind": kind, "metadata": head, "spec": spec}).to_string()
}

/// The namespace, and the group that every case's services name by naming none.
fn group(more: &Value) -> String {
    let spec = json!({
        "nodeSelector": {"matchLabels": {"lvs-operator.io/director": "true"}}, "interface": "eth0",
        "allowedNamespaces": {"from": "All"}, "allowedCIDRs": ["192.168.56.0/24", "fd56::/64"],
    });
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SHOP}});
    let group = json!({
        "apiVersion": "lvs-operator.io/v1alpha1", "kind": "DirectorGroup", "metadata": {"name": "default"},
        "spec": with(spec, more),
    });
    format!("{namespace}\n---\n{group}")
}

/// A VirtualService over the real servers of an app, which probes nothing.
fn service(name: &str, app: &str, vips: &[&str], ports: &Value, more: &Value) -> String {
    let addresses: Vec<Value> = vips.iter().map(|vip| json!({"address": vip})).collect();
    let spec = json!({
        "addresses": addresses, "ports": ports, "scheduler": "rr", "healthChecks": [{"none": {}}],
        "realServerSelector": {"matchLabels": {"app": app}},
    });
    object("VirtualService", name, app, &with(spec, more))
}

/// A RealServer of an app.
fn real_server(name: &str, app: &str, spec: &Value) -> String {
    object("RealServer", name, app, spec)
}

fn with(mut spec: Value, more: &Value) -> Value {
    for (field, value) in more.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    spec
}

/// Applies objects, and waits until these services are ready.
fn serve(scene: &Scene, objects: &[String], services: &[&str]) -> Result<()> {
    scene.apply(&objects.join("\n---\n"))?;
    services
        .iter()
        .try_for_each(|service| shop::ready(scene, service).map(drop))
}

fn delete(scene: &Scene, objects: &[&str]) -> Result<()> {
    let all = [&["-n", SHOP, "delete", "--timeout=60s"], objects].concat();
    scene.control_plane().kubectl(&all, None).map(drop)
}

fn tcp(address: &str, port: u16) -> Result<Endpoint> {
    Endpoint::new(Transport::Tcp, address, port)
}

fn udp(address: &str, port: u16) -> Result<Endpoint> {
    Endpoint::new(Transport::Udp, address, port)
}

/// Asks one endpoint.
fn ask(client: &Host, at: Endpoint, number: u32) -> Result<Answers> {
    traffic::ask(client, &[(at, number)])?.remove(&at).context("no answers")
}

/// Asks one endpoint, and expects these servers to answer as often as each other, and nobody else.
fn in_turn(client: &Host, at: Endpoint, number: u32, servers: &[&str]) -> Result<Answers> {
    let answers = ask(client, at, number)?;
    answers.expect_all()?;
    let each = number as usize / servers.len();
    ensure!(
        servers.iter().all(|server| answers.of(server) == each),
        "{at}: {answers}, not {each} of each of {servers:?}"
    );
    Ok(answers)
}

/// Who asked, as the real servers saw it.
fn seen(answers: &Answers) -> Vec<&str> {
    answers.by_client.keys().map(String::as_str).collect()
}

/// Says how many bytes were sent to port 8081.
fn upload_server(host: &Host) -> Result<GuestProcess> {
    let words = ["socat", "TCP4-LISTEN:8081,fork,reuseaddr", "SYSTEM:wc -c"];
    host.start(Program::new(words), "upload", false)
}
