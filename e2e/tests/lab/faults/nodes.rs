//! Nodes that go and come, a director that becomes another one, and a Placement that nobody asked for.

use e2e::cluster::SYSTEM;
use e2e::guest_process::GuestProcess;
use e2e::process::Signal;
use e2e::program::Program;
use e2e::snapshot::Snapshot;
use e2e::traffic::Failure;

use super::*;

pub(super) fn nodes_that_go(scene: &Scene) -> Result<()> {
    let (before, client) = open(scene, &NODES)?;
    nobodys_placement(scene)?;
    // Of a real server. It is taken out at once, as one that is off: who is being answered by it then is cut.
    shop::set_conn_reuse_mode(&*scene.host("dir1")?, 3)?;
    scene.control_plane().kubectl(&["delete", "node", "rs2"], None)?;
    let took = table(scene, "dir1", &entries(VIP, &["192.168.56.30"]))?;
    let out = scene.guest().clock()?;
    scene.step(&format!(
        "rs2 is out of the table {:.1} s after its Node was deleted",
        took.as_secs_f64()
    ));
    said(
        scene,
        "realserver/rs2",
        ("ResolvedRefs", "False", "NodeNotFound"),
        "no Node rs2",
    )?;
    no_placement_of(scene, "rs2")?;
    said(scene, "virtualservice/web", ("Ready", "True", "Ok"), "left out: rs2")?;
    returns(scene, "rs2")?;
    table(scene, "dir1", &entries(VIP, &["192.168.56.30", "192.168.56.40"]))?;
    let answers = client.stop()?;
    scene.step(&format!("the running client: {answers}"));
    let began = |failure: &Failure| failure.clock_milliseconds.saturating_sub(failure.waited_milliseconds);
    let (cut, lost): (Vec<_>, Vec<_>) = answers
        .failed
        .iter()
        .partition(|failure| u128::from(began(failure)) < out.as_millis());
    ensure!(lost.is_empty() && cut.len() <= 1, "{answers}");
    shop::set_conn_reuse_mode(&*scene.host("dir1")?, 1)?;
    // Of the director: whoever deletes it says that it is off, so an agent that lives and hears of it takes the VIP back.
    scene.control_plane().kubectl(&["delete", "node", "dir1"], None)?;
    no_placement_of(scene, "dir1")?;
    let words = "nodeSelector selects no node";
    said(
        scene,
        "directorgroup/default",
        ("Accepted", "False", "NotOneNode"),
        words,
    )?;
    said(scene, "virtualservice/web", ("Programmed", "False", "Pending"), words)?;
    let gone = || Ok(oracle::holders(&*scene.host("dir1")?, VIP)?.is_empty().then_some(()));
    clock::until("dir1 has let go of the VIP", shop::LIMIT, gone)?;
    returns(scene, "dir1")?;
    let took = shop::ready(scene, "web")?;
    scene.step(&format!(
        "ready {:.1} s after the director's Node was there again",
        took.as_secs_f64()
    ));
    serves(scene, VIP)?;
    shop::close(scene, "dr", &before)
}

/// The Node is there again under its name, which is another Node: the agent of the former has no word any more.
fn returns(scene: &Scene, name: &str) -> Result<()> {
    scene.stop_agent(name, Signal::Terminate)?;
    scene.register(name)?;
    scene.start_agent(name, &AgentOptions::default())?;
    if name.starts_with("rs") {
        said(scene, &format!("realserver/{name}"), ("Ready", "True", "Ok"), "")?;
    }
    Ok(())
}

fn no_placement_of(scene: &Scene, node: &str) -> Result<()> {
    let none = |list: &Value| {
        let mut all = list["items"].as_array().into_iter().flatten();
        !all.any(|placement| placement["spec"]["nodeName"] == node)
    };
    let what = format!("no Placement of {node} is left");
    let all = ["-n", SHOP, "placements"];
    scene.control_plane().wait_for(&what, shop::LIMIT, &all, none).map(drop)
}

/// Made with the operator's right, about a VirtualService that does not exist, and without an owner.
fn nobodys_placement(scene: &Scene) -> Result<()> {
    let kept = oracle::ipvs(&*scene.host("dir1")?)?;
    let director = json!({
        "addresses": [{"address": "192.168.56.146", "addressOwner": "Node", "interface": "eth0"}],
        "services": [{"protocol": "TCP", "port": 80, "scheduler": "rr"}], "realServers": [],
    });
    let spec =
        json!({"subject": {"kind": "VirtualService", "name": "ghost"}, "nodeName": "dir1", "director": director});
    let user = format!("--as=system:serviceaccount:{SYSTEM}:lvs-operator");
    let create = [user.as_str(), "create", "-f", "-"];
    scene
        .control_plane()
        .kubectl(&create, Some(&object("Placement", "ghost", &spec)))?;
    let none = |list: &Value| !list.to_string().contains("ghost");
    let all = ["-n", SHOP, "placements"];
    let (_, took) = scene
        .control_plane()
        .wait_for("the orphan is removed", shop::LIMIT, &all, none)?;
    scene.step(&format!(
        "a Placement without owner was removed after {:.1} s",
        took.as_secs_f64()
    ));
    table(scene, "dir1", &kept)?;
    ensure!(
        oracle::holders(&*scene.host("dir1")?, "192.168.56.146")?.is_empty(),
        "its VIP is left"
    );
    Ok(())
}

/// The label goes from dir1 to dir2, and with it the VIP: never on both.
pub(super) fn director_moves(scene: &Scene) -> Result<()> {
    let nodes = [&NODES[..], &[("dir2", 11)]].concat();
    let plans = topology::one_lan(&nodes);
    let mut before = shop::open(scene, &plans, &AgentOptions::default())?;
    // The label of directors is dir1's alone, as yet.
    let control_plane = scene.control_plane();
    let dir2 = scene.host("dir2")?;
    control_plane.add_node("dir2", &[&dir2.address], &[])?;
    before.push(("dir2", Snapshot::of(&dir2)?));
    scene.start_agent("dir2", &AgentOptions::default())?;
    shop::serve(scene, "dr", "web")?;
    let client = RunningClient::start(&*scene.host("client")?, &format!("http://{VIP}/"), 5)?;
    let (from, to) = (watch_addresses(scene, "dir1")?, watch_addresses(scene, "dir2")?);
    control_plane.kubectl(&["label", "node", "dir2", "lvs-operator.io/director=true"], None)?;
    let words = "without a virtual router it must select exactly one";
    said(
        scene,
        "directorgroup/default",
        ("Accepted", "False", "NotOneNode"),
        words,
    )?;
    ensure!(
        oracle::has_address(&*scene.host("dir1")?, "eth0", VIP)?,
        "dir1 let go for two directors"
    );
    control_plane.kubectl(&["label", "node", "dir1", "lvs-operator.io/director-"], None)?;
    let holds = || Ok(oracle::has_address(&dir2, "eth0", VIP)?.then_some(()));
    clock::until("dir2 has the VIP", shop::LIMIT, holds)?;
    // It has probes of its own: the service is ready when the first real server is.
    table(scene, "dir2", &entries(VIP, &["192.168.56.30", "192.168.56.40"]))?;
    said(scene, "virtualservice/web", ("Ready", "True", "Ok"), "")?;
    let (gone, came) = (moment(&from, "Deleted ")?, moment(&to, "")?);
    ensure!(gone <= came, "dir1 had it until {gone} ms, dir2 from {came} ms on");
    serves(scene, VIP)?;
    let macs = oracle::arp_answers(&*scene.host("client")?, VIP)?;
    ensure!(macs == [dir2.mac()?].into(), "ARP is answered by {macs:?}");
    let answers = client.stop()?;
    scene.step(&format!(
        "nobody had the VIP for {} ms; the running client: {answers}",
        came - gone
    ));
    table(scene, "dir1", &[])?;
    shop::close(scene, "dr", &before)
}

/// The kernel's own word about every address that comes and goes, with the guest's clock before it.
fn watch_addresses(scene: &Scene, name: &str) -> Result<GuestProcess> {
    let host = scene.host(name)?;
    host.start(Program::line("stdbuf -oL ip -o monitor address"), "addresses", true)
}

/// When the VIP went from eth0, or came to it.
fn moment(watch: &GuestProcess, verb: &str) -> Result<u64> {
    let output = watch.output()?;
    let about = |line: &&str| {
        let (is_deletion, wanted) = (line.contains("Deleted "), !verb.is_empty());
        line.contains(VIP) && line.contains("eth0") && is_deletion == wanted
    };
    let line = output
        .lines()
        .find(about)
        .with_context(|| format!("no such line in: {output}"))?;
    let stamp = line.split_whitespace().next().unwrap_or_default();
    stamp.parse().with_context(|| line.to_owned())
}
