//! The stage of the examples: dir1, rs1 and rs2 with agents, an operator, and the chart's own manifests.

use std::fs;
use std::time::Duration;

use crate::product::{self, AgentOptions};
use crate::program::Program;
use crate::scene::Scene;
use crate::snapshot::Snapshot;
use crate::topology::{Host, HostPlan};
use crate::{clock, oracle, parallel, traffic};
use anyhow::{Context, Result};
use serde_json::Value;

/// The nodes of the examples, with the last byte of their addresses.
pub const NODES: [(&str, u8); 3] = [("dir1", 10), ("rs1", 30), ("rs2", 40)];

/// Where nginx listens on every real server, without TLS: the examples' ports.
pub const PORTS: [u16; 3] = [80, 443, 8080];

/// What is waited for at most, where nothing else is said. The guest may be emulated.
pub const LIMIT: Duration = Duration::from_secs(60);

/// What every node looked like before anything was applied.
pub type Before = Vec<(&'static str, Snapshot)>;

/// Lays the hosts, starts agents and operator, and nginx on the real servers.
///
/// # Errors
/// When something does not come about in time.
pub fn open(scene: &Scene, plans: &[HostPlan], options: &AgentOptions) -> Result<Before> {
    scene.lay(plans)?;
    // All of them before any agent runs: a module that it loads may give every host a device.
    let before = parallel::each(&NODES, |(name, _)| {
        scene.register(name)?;
        Ok((*name, Snapshot::of(&*scene.host(name)?)?))
    })?;
    scene.start_operator()?;
    parallel::each(&NODES, |(name, _)| {
        scene.start_agent(name, options)?;
        if name.starts_with("rs") {
            scene.keep(traffic::nginx(&*scene.host(name)?, &PORTS)?);
        }
        Ok(())
    })?;
    Ok(before)
}

/// Expects nodes to be as they were.
///
/// # Errors
/// What differs, of all of them.
pub fn unchanged(scene: &Scene, before: &Before) -> Result<()> {
    parallel::each(before, |(name, snapshot)| {
        let now = Snapshot::of(&*scene.host(name)?)?;
        snapshot.diff(&now).expect_empty(name)
    })
    .context("after everything was deleted")
    .map(drop)
}

/// Adds a node that could carry a real server: an agent, and nginx.
///
/// # Errors
/// When something does not come about in time.
pub fn add_host(scene: &Scene, name: &str, last_byte: u8, options: &AgentOptions) -> Result<()> {
    scene.lay(&[HostPlan::node(name, last_byte)])?;
    scene.register(name)?;
    scene.start_agent(name, options)?;
    scene.keep(traffic::nginx(&*scene.host(name)?, &PORTS)?);
    Ok(())
}

/// Waits until an agent has made its first pass, as a DaemonSet's readiness probe does.
///
/// # Errors
/// When it does not.
pub fn agent_ready(scene: &Scene, name: &str) -> Result<Duration> {
    let host = scene.host(name)?;
    let ask = Program::line("curl -sf --max-time 5 http://127.0.0.1:9479/readyz");
    let ready = || Ok((host.attempt(ask.clone())?.status == 0).then_some(()));
    Ok(clock::until("the agent is ready", LIMIT, ready)?.1)
}

/// The manifest of a real server of the web shop on the node of its name.
#[must_use]
pub fn real_server(name: &str) -> String {
    format!(
        "apiVersion: lvs-operator.io/v1alpha1\nkind: RealServer\n\
         metadata: {{name: {name}, namespace: shop, labels: {{app: web}}}}\nspec: {{nodeName: {name}}}\n"
    )
}

/// Changes the spec of an object of the shop, as `kubectl patch` does.
///
/// # Errors
/// When it is refused.
pub fn patch(scene: &Scene, object: &str, spec: &str) -> Result<()> {
    let patch = format!("{{\"spec\":{spec}}}");
    let line = ["-n", "shop", "patch", object, "--type=merge", "-p", &patch];
    scene.control_plane().kubectl(&line, None).map(drop)
}

/// Waits until `ipvsadm -Sn` of a host pleases; says how long that took.
///
/// # Errors
/// When it does not, with the table as it is.
pub fn table(host: &Host, what: &str, pleases: impl Fn(&[String]) -> bool) -> Result<Duration> {
    let mut last = Vec::new();
    let found = clock::until(what, LIMIT, || {
        last = oracle::ipvs(host)?;
        Ok(pleases(&last).then_some(()))
    });
    let ((), took) = found.with_context(|| format!("the table is {last:#?}"))?;
    Ok(took)
}

/// Waits until all destinations of an address, of which there are some, have weight 0; says how long that took.
///
/// # Errors
/// When they do not come to it.
pub fn takes_nobody_new(host: &Host, address: &str) -> Result<Duration> {
    let destination = format!("-r {address}:");
    table(host, &format!("{address} takes nobody new"), |lines| {
        let mut of_address = lines.iter().filter(|line| line.contains(&destination)).peekable();
        of_address.peek().is_some() && of_address.all(|line| line.ends_with("-w 0"))
    })
}

/// The manifests of an example of the chart, in the order of their files.
///
/// # Errors
/// When something does not come about in time.
pub fn example(name: &str) -> Result<String> {
    let folder = product::chart().join("examples").join(name);
    let mut files: Vec<_> = fs::read_dir(&folder)?.collect::<Result<_, _>>()?;
    files.sort_by_key(fs::DirEntry::file_name);
    let manifests = files
        .iter()
        .map(fs::DirEntry::path)
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"));
    let texts: Vec<String> = manifests.map(fs::read_to_string).collect::<Result<_, _>>()?;
    Ok(texts.join("\n---\n"))
}

/// Applies an example and waits until its service is ready, and all its real servers serve; says how long that took.
///
/// # Errors
/// When something does not come about in time.
pub fn serve(scene: &Scene, name: &str, service: &str) -> Result<Duration> {
    scene.apply(&example(name)?)?;
    all_serve(scene, service)
}

/// Sets what a director does with a client that uses a source port again. It remembers a DR connection for two minutes after its
/// end, and with 1, the kernel's default, sends that client to the same real server: one that is gone by now gets nothing
/// (measured with ipvsadm alone: 23 of 2,000 requests of one client around 8 removals). With 3 it is scheduled anew (0 of 7,000).
///
/// # Errors
/// When the director has no IPVS.
pub fn set_conn_reuse_mode(director: &Host, mode: u8) -> Result<()> {
    director.run(&format!("sysctl -qw {CONN_REUSE_MODE}={mode}")).map(drop)
}

/// The knob of [`set_conn_reuse_mode`].
pub const CONN_REUSE_MODE: &str = "net.ipv4.vs.conn_reuse_mode";

/// Waits until a service of the shop is ready, and every real server that it matches serves.
///
/// # Errors
/// When something does not come about in time.
pub fn all_serve(scene: &Scene, service: &str) -> Result<Duration> {
    let took = ready(scene, service)?;
    let all = |counts: Counts| counts.matched == counts.prepared && counts.prepared == counts.healthy;
    Ok(took + counted(scene, service, "every real server serves", all)?)
}

/// Waits until a service of the shop is ready, and no real server that could serve waits for its first probe: the first one
/// to pass makes the service ready.
///
/// # Errors
/// When something does not come about in time.
pub fn ready(scene: &Scene, service: &str) -> Result<Duration> {
    let object = format!("virtualservice/{service}");
    let took = scene
        .control_plane()
        .wait_for_condition("shop", &object, ("Ready", "True"), LIMIT)?;
    let probed = |counts: Counts| counts.healthy >= counts.prepared;
    Ok(took + counted(scene, service, "every prepared real server is healthy", probed)?)
}

/// `status.realServers`.
struct Counts {
    matched: u64,
    prepared: u64,
    healthy: u64,
}

fn counted(scene: &Scene, service: &str, what: &str, pleases: impl Fn(Counts) -> bool) -> Result<Duration> {
    let object = format!("virtualservice/{service}");
    let is_so = |object: &Value| {
        let count = |field: &str| object["status"]["realServers"][field].as_u64().unwrap_or_default();
        pleases(Counts {
            matched: count("matched"),
            prepared: count("prepared"),
            healthy: count("healthy"),
        })
    };
    let plane = scene.control_plane();
    plane
        .wait_for(what, LIMIT, &["-n", "shop", &object], is_so)
        .map(|(_, took)| took)
}

/// Waits until no node has a part of any service; a group's own part stays with the group.
///
/// # Errors
/// When one stays.
pub fn services_gone(scene: &Scene) -> Result<()> {
    let of_group = |placement: &Value| placement["spec"]["subject"]["kind"] == "DirectorGroup";
    let gone = |list: &Value| list["items"].as_array().is_some_and(|all| all.iter().all(of_group));
    let what = "no placement of a service is left";
    scene
        .control_plane()
        .wait_for(what, 2 * LIMIT, &["placements", "-A"], gone)
        .map(drop)
}

/// Deletes an example, and expects every node to be as it was.
///
/// # Errors
/// When something does not come about in time.
pub fn close(scene: &Scene, name: &str, before: &Before) -> Result<()> {
    // As the README says: the services first, the group when nobody names it any more.
    let example = example(name)?;
    let (group, services): (Vec<&str>, Vec<&str>) = example
        .split("\n---\n")
        .partition(|manifest| manifest.contains("kind: DirectorGroup"));
    scene.delete(&services.join("\n---\n"))?;
    services_gone(scene)?;
    let deleted = || Ok(scene.delete(&group.join("\n---\n")).ok());
    clock::until("the group goes, too", LIMIT, deleted)?;
    let gone = |list: &Value| list["items"].as_array().is_some_and(Vec::is_empty);
    scene
        .control_plane()
        .wait_for("no placement is left", LIMIT, &["placements", "-A"], gone)?;
    unchanged(scene, before)
}
