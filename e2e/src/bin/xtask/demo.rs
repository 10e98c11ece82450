//! `cargo xtask demo`: the story, told by what it prints. Every command is a real one, and so is every answer.

mod health;

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::lab::Lab;
use e2e::process::Signal;
use e2e::product::AgentOptions;
use e2e::root_image::Suite;
use e2e::scene::{self, Scene};
use e2e::shop::{self, Before, LIMIT, NODES};
use e2e::topology::{self, Host};
use e2e::traffic::{self, RunningClient};
use e2e::{clock, oracle};

use crate::setup;

const VIP: &str = "192.168.56.100";
const URL: &str = "http://192.168.56.100/";

/// Tells it.
pub(crate) fn demo() -> Result<()> {
    setup::setup(&[Suite::default()])?;
    let lab = Lab::new()?;
    let acts: [(&str, scene::Test); 4] = [
        ("demo::dr", tell),
        ("demo::health", health::tell),
        ("demo::nat", nat),
        ("demo::full_nat", full_nat),
    ];
    let told = acts
        .into_iter()
        .try_for_each(|(name, act)| scene::play(&lab, Suite::default(), name, act));
    lab.end();
    told?;
    println!("\nThat was lvs-operator. What else it holds: cargo xtask test. How to use it: README.md.");
    Ok(())
}

fn tell(scene: &Scene) -> Result<()> {
    heading("A LAN: a client, a director and two real servers with nginx, each a network namespace of one real kernel");
    let before = shop::open(scene, &topology::one_lan(&NODES), &AgentOptions::default())?;
    println!("client 192.168.56.200   dir1 192.168.56.10   rs1 192.168.56.30   rs2 192.168.56.40   VIP {VIP}");
    apply(scene)?;
    look(scene)?;
    change_a_weight(scene)?;
    interfere(scene)?;
    lose_the_control_plane(scene)?;
    heading("kubectl delete: everything is taken back, in order");
    shop::close(scene, "dr", &before)?;
    for (name, _) in &before {
        println!("{name}: ipvsadm, addresses, routes, nftables and sysctls are as they were before the first apply");
    }
    Ok(())
}

fn heading(what: &str) {
    println!("\n━━ {what}");
}

/// A command and what it answered.
fn shown(command: &str, answer: &str) {
    println!("$ {command}");
    answer.trim_end().lines().for_each(|line| println!("  {line}"));
}

fn on(host: &Host, command: &str) -> Result<()> {
    shown(&format!("[{}] {command}", host.name), &host.run(command)?);
    Ok(())
}

fn kubectl(scene: &Scene, line: &str) -> Result<()> {
    let words: Vec<&str> = line.split_whitespace().collect();
    shown(
        &format!("kubectl {line}"),
        &scene.control_plane().kubectl(&words, None)?,
    );
    Ok(())
}

fn nat(scene: &Scene) -> Result<()> {
    heading("The same by NAT: the director is the gateway of the real servers, and lets them out by MASQUERADE");
    let before = shop::open(
        scene,
        &topology::director_between("dir1", &NODES[1..]),
        &AgentOptions::default(),
    )?;
    println!("client 192.168.56.200   dir1 192.168.56.10 and inside 10.0.0.10   rs1 10.0.0.30   rs2 10.0.0.40");
    shop::serve(scene, "nat-masquerade", "web")?;
    answers_of(scene, "http://192.168.56.130/")?;
    let director = scene.host("dir1")?;
    on(&director, "ipvsadm -Ln")?;
    on(&director, "nft list table inet lvs_operator")?;
    on(
        &director,
        "sysctl net.ipv4.conf.eth1.forwarding net.ipv4.conf.eth1.send_redirects",
    )?;
    taken_back(scene, "nat-masquerade", &before)
}

fn full_nat(scene: &Scene) -> Result<()> {
    heading("The same by FullNAT: real servers anywhere, with a gateway of their own");
    let before = shop::open(scene, &topology::remote("dir1", &NODES[1..]), &AgentOptions::default())?;
    println!("client 192.168.56.200   dir1 192.168.56.10   a router   rs1 10.0.1.30   rs2 10.0.1.40");
    shop::serve(scene, "fullnat", "web")?;
    answers_of(scene, "http://192.168.56.160/")?;
    on(&*scene.host("dir1")?, "nft list table inet lvs_operator")?;
    let words = [
        "-n",
        "shop",
        "get",
        "virtualservice",
        "web",
        "-o",
        "jsonpath={.status.conditions[?(@.type==\"ClientAddressHidden\")].message}",
    ];
    shown(
        "kubectl: condition ClientAddressHidden of virtualservice/web",
        &scene.control_plane().kubectl(&words, None)?,
    );
    taken_back(scene, "fullnat", &before)
}

/// Ten requests, each a new connection; and whom nginx took for the client.
fn answers_of(scene: &Scene, url: &str) -> Result<()> {
    let answers = traffic::requests(&*scene.host("client")?, url, 10)?;
    answers.expect_all()?;
    let seen: Vec<&str> = answers.by_client.keys().map(String::as_str).collect();
    println!("curl {url}: {answers}; nginx saw the client as {}", seen.join(", "));
    ensure!(
        answers.of("rs1") == 5 && answers.of("rs2") == 5,
        "round robin is five each"
    );
    Ok(())
}

fn taken_back(scene: &Scene, example: &str, before: &Before) -> Result<()> {
    shop::close(scene, example, before)?;
    println!("deleted: every node is as it was");
    Ok(())
}

fn apply(scene: &Scene) -> Result<()> {
    heading("The manifests of charts/lvs-operator/examples/dr");
    let begin = clock::now();
    let applied = scene.control_plane().apply(&shop::example("dr")?)?;
    shown(
        "kubectl apply --server-side -f charts/lvs-operator/examples/dr",
        &applied,
    );
    let client = scene.host("client")?;
    let answered = || Ok(traffic::requests(&client, URL, 1)?.expect_all().ok());
    clock::until("the VIP answers", LIMIT, answered)?;
    println!("first answer {:.2} s after the apply", begin.elapsed().as_secs_f64());
    shop::ready(scene, "web")?;
    heading("Twenty requests, each a new connection");
    let answers = traffic::requests(&client, URL, 20)?;
    answers.expect_all()?;
    println!("curl {URL}: {answers}");
    ensure!(
        answers.of("rs1") == 10 && answers.of("rs2") == 10,
        "round robin is ten each"
    );
    Ok(())
}

fn look(scene: &Scene) -> Result<()> {
    heading("What it did");
    kubectl(scene, "get ipvs,placements -A")?;
    on(&*scene.host("dir1")?, "ipvsadm -Ln")?;
    let rs1 = scene.host("rs1")?;
    on(&rs1, "ip -o -4 address show dev lo")?;
    on(
        &rs1,
        "sysctl net.ipv4.conf.eth0.arp_ignore net.ipv4.conf.eth0.arp_announce",
    )
}

fn change_a_weight(scene: &Scene) -> Result<()> {
    heading("A change is one message to the kernel");
    let patch = r#"{"spec":{"weight":3}}"#;
    let words = ["-n", "shop", "patch", "realserver", "rs2", "--type=merge", "-p", patch];
    shown(
        &format!("kubectl {}", words.join(" ")),
        &scene.control_plane().kubectl(&words, None)?,
    );
    let director = scene.host("dir1")?;
    let weighs = || {
        Ok(oracle::ipvs(&director)?
            .iter()
            .any(|line| line.contains("-w 3"))
            .then_some(()))
    };
    clock::until("the weight is in the kernel", LIMIT, weighs)?;
    on(&director, "ipvsadm -Sn")
}

fn interfere(scene: &Scene) -> Result<()> {
    heading("Somebody runs ipvsadm -C, and deletes the VIP, while a client goes on");
    let (client, director) = (scene.host("client")?, scene.host("dir1")?);
    let table = oracle::ipvs(&director)?;
    let running = RunningClient::start(&client, URL, 10)?;
    on(&director, "ipvsadm -C")?;
    let repaired = || Ok((oracle::ipvs(&director)? == table).then_some(()));
    let (_, took) = clock::until("the table is back", LIMIT, repaired)?;
    println!("the table is back after {:.2} s", took.as_secs_f64());
    on(&director, &format!("ip address del {VIP}/32 dev eth0"))?;
    let (_, took) = clock::until("the VIP is back", LIMIT, || {
        Ok(oracle::has_address(&director, "eth0", VIP)?.then_some(()))
    })?;
    println!("the VIP is back after {:.2} s", took.as_secs_f64());
    println!("the client meanwhile: {}", running.stop()?);
    let events = || {
        let told = scene.control_plane().kubectl(&["get", "events", "-n", "shop"], None)?;
        Ok(told.contains("ip address add").then_some(told))
    };
    let (told, _) = clock::until("an Event says so", LIMIT, events)?;
    shown("kubectl get events -n shop", &told);
    Ok(())
}

fn lose_the_control_plane(scene: &Scene) -> Result<()> {
    heading("The API server is gone for ten seconds, and the director's agent is killed and started again meanwhile");
    let running = RunningClient::start(&*scene.host("client")?, URL, 10)?;
    scene.control_plane().stop_api_server(Signal::Kill)?;
    scene.stop_agent("dir1", Signal::Kill)?;
    scene.start_agent_again("dir1", &AgentOptions::default())?;
    std::thread::sleep(Duration::from_secs(10));
    scene.control_plane().start_api_server()?;
    let answers = running.stop()?;
    println!("the client meanwhile: {answers}");
    answers.expect_all()?;
    shop::ready(scene, "web")?;
    println!("and all is Ready again");
    Ok(())
}
