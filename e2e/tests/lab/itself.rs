//! Does the lab itself do what the other tests take for granted?

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::capture::Capture;
use e2e::clock;
use e2e::netlink_capture;
use e2e::oracle;
use e2e::process::Signal;
use e2e::program::Program;
use e2e::protocol::Mount;
use e2e::scene::{Scene, Test};
use e2e::snapshot::Snapshot;
use e2e::topology::{self, FAR_LAN, HostPlan};
use e2e::traffic::{self, RunningClient};

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("itself::a_snapshot_equals_itself_and_shows_every_change", snapshots),
    ("itself::nodes_reach_the_api_server_also_after_its_restart", api_server),
    ("itself::traffic_through_a_hand_made_director", hand_made_director),
    ("itself::the_client_behind_a_router", routed),
    ("itself::a_reboot_empties_a_node", reboot),
    ("itself::a_confined_program_sees_its_own_sysctls", confined),
];

const VIP: &str = "192.168.56.100";

fn snapshots(scene: &Scene) -> Result<()> {
    scene.lay(&topology::one_lan(&[("dir1", 11), ("rs1", 31)]))?;
    let (dir1, rs1) = (scene.host("dir1")?, scene.host("rs1")?);
    let before = Snapshot::of(&dir1)?;
    Snapshot::of(&dir1)?.diff(&before).expect_empty("dir1")?;
    let other = Snapshot::of(&rs1)?;
    for (change, undo) in [
        (
            format!("ip address add {VIP}/32 dev eth0"),
            format!("ip address del {VIP}/32 dev eth0"),
        ),
        (format!("ipvsadm -A -t {VIP}:80 -s rr"), "ipvsadm -C".to_owned()),
        (
            "sysctl -w net.ipv4.conf.eth0.arp_ignore=1".to_owned(),
            "sysctl -w net.ipv4.conf.eth0.arp_ignore=0".to_owned(),
        ),
        (
            "nft add table ip stranger".to_owned(),
            "nft delete table ip stranger".to_owned(),
        ),
    ] {
        dir1.run(&change)?;
        let diff = before.diff(&Snapshot::of(&dir1)?);
        scene.step(&format!("{change}: {} lines differ", diff.0.len()));
        ensure!(!diff.is_empty(), "unseen: {change}");
        dir1.run(&undo)?;
        before.diff(&Snapshot::of(&dir1)?).expect_empty("dir1")?;
    }
    other.diff(&Snapshot::of(&rs1)?).expect_empty("rs1")
}

fn api_server(scene: &Scene) -> Result<()> {
    scene.lay(&topology::one_lan(&[("dir1", 11)]))?;
    scene.register("dir1")?;
    let dir1 = scene.host("dir1")?;
    let control_plane = scene.control_plane();
    let ca = control_plane.ca()?;
    scene.guest().write("/tmp/ca.crt", 0o644, ca.as_bytes())?;
    let token = control_plane.agent_token("dir1")?;
    let ask = || {
        let url = format!("{}/version", control_plane.url_in_guest());
        let header = format!("Authorization: Bearer {token}");
        let words = [
            "curl",
            "-sS",
            "--max-time",
            "5",
            "--cacert",
            "/tmp/ca.crt",
            "-H",
            &header,
        ];
        dir1.attempt(Program::new(words.into_iter().chain([url.as_str()])))
    };
    ensure!(ask()?.stdout.contains("v1.36.3"), "{:?}", ask()?);
    control_plane.stop_api_server(Signal::Kill)?;
    ensure!(ask()?.status != 0, "a stopped API server answered");
    control_plane.start_api_server()?;
    ensure!(ask()?.stdout.contains("v1.36.3"), "{:?}", ask()?);
    control_plane.freeze_api_server()?;
    let frozen = ask()?.status;
    control_plane.thaw_api_server()?;
    ensure!(frozen != 0, "a frozen API server answered");
    ensure!(ask()?.stdout.contains("v1.36.3"), "{:?}", ask()?);
    Ok(())
}

/// What every administrator does by hand, so that a fault of the lab is not looked for in the
/// product.
fn hand_made_director(scene: &Scene) -> Result<()> {
    scene.lay(&topology::one_lan(&[("dir1", 11), ("rs1", 31), ("rs2", 32)]))?;
    let (client, dir1) = (scene.host("client")?, scene.host("dir1")?);
    for name in ["rs1", "rs2"] {
        let host = scene.host(name)?;
        scene.keep(traffic::nginx(&host, &[80])?);
        scene.keep(traffic::udp_server(&host, VIP, 53)?);
        host.run("sysctl -w net.ipv4.conf.eth0.arp_ignore=1 net.ipv4.conf.eth0.arp_announce=2")?;
        host.run(&format!("ip address add {VIP}/32 dev lo scope host"))?;
    }
    let netlink = netlink_capture::start(&dir1)?;
    dir1.program(Program::line("ipvsadm -R").input(format!(
        "-A -t {VIP}:80 -s rr\n-a -t {VIP}:80 -r 192.168.56.31:80 -g\n\
         -a -t {VIP}:80 -r 192.168.56.32:80 -g\n-A -u {VIP}:53 -s rr -o\n\
         -a -u {VIP}:53 -r 192.168.56.31:53 -g\n-a -u {VIP}:53 -r 192.168.56.32:53 -g\n"
    )))?;
    dir1.run(&format!("ip address add {VIP}/32 dev eth0"))?;
    let writes = netlink.stop()?;
    scene.step(&format!("written: {writes}"));
    ensure!(
        writes.of("ipvs NEW_DEST") == 4 && writes.of("route NEWADDR") == 1,
        "{writes}"
    );

    let capture = Capture::start(&client, "eth0", "arp or tcp")?;
    let answers = traffic::requests(&client, &format!("http://{VIP}"), 20)?;
    scene.step(&format!("20 requests: {answers}"));
    answers.expect_all()?;
    ensure!((answers.of("rs1"), answers.of("rs2")) == (10, 10), "{answers}");
    let packets = capture.stop()?;
    let syns = packets.count(&format!("tcp[13] == 2 and dst host {VIP}"))?;
    ensure!(syns == 20, "{syns} SYNs");
    let macs = oracle::arp_answers(&client, VIP)?;
    ensure!(
        macs.into_iter().collect::<Vec<_>>() == [dir1.mac()?],
        "others answer, too"
    );
    // The kernel adds them up every two seconds.
    let counted = || {
        let web = oracle::counters(&dir1)?[&format!("TCP {VIP}:80")];
        Ok((web.connections >= 20).then_some(web))
    };
    let (web, _) = clock::until("20 connections were counted", Duration::from_secs(10), counted)?;
    ensure!((web.connections, web.packets_out) == (20, 0), "{web:?}");

    let answers = traffic::udp_requests(&client, VIP, 53, 6)?;
    scene.step(&format!("6 datagrams: {answers}"));
    ensure!((answers.of("rs1"), answers.of("rs2")) == (3, 3), "{answers}");

    let running = RunningClient::start(&client, &format!("http://{VIP}"), 20)?;
    std::thread::sleep(Duration::from_secs(3));
    dir1.run(&format!("ip address del {VIP}/32 dev eth0"))?;
    std::thread::sleep(Duration::from_secs(8));
    dir1.run(&format!("ip address add {VIP}/32 dev eth0"))?;
    std::thread::sleep(Duration::from_secs(2));
    let answers = running.stop()?;
    scene.step(&format!("a running client, VIP away for 8 s: {answers}"));
    ensure!(answers.total() > 40, "too slow: {answers}");
    ensure!(!answers.failed.is_empty(), "nobody noticed: {answers}");
    Ok(())
}

fn routed(scene: &Scene) -> Result<()> {
    scene.lay(&topology::routed(&[("dir1", 11)]))?;
    let dir1 = scene.host("dir1")?;
    scene.keep(traffic::nginx(&dir1, &[80, 8080])?);
    scene.lay(&[HostPlan::outsider("client2", FAR_LAN, 201).via(FAR_LAN, 1)])?;
    for client in ["client", "client2"] {
        let url = "http://192.168.56.11:8080";
        let answers = traffic::requests(&*scene.host(client)?, url, 3)?;
        ensure!(answers.of("dir1") == 3, "{client}: {answers}");
    }
    Ok(())
}

fn reboot(scene: &Scene) -> Result<()> {
    scene.lay(&topology::one_lan(&[("rs1", 31)]))?;
    let rs1 = scene.host("rs1")?;
    let fresh = Snapshot::of(&rs1)?;
    rs1.run(&format!("ip address add {VIP}/32 dev lo scope host"))?;
    rs1.run("sysctl -w net.ipv4.conf.eth0.arp_ignore=1")?;
    scene.reboot("rs1")?;
    let rs1 = scene.host("rs1")?;
    fresh.diff(&Snapshot::of(&rs1)?).expect_empty("rs1")?;
    let ping = rs1.attempt(Program::line("ping -c 1 -W 2 192.168.56.200"))?;
    ensure!(ping.status == 0, "{ping:?}");
    Ok(())
}

fn confined(scene: &Scene) -> Result<()> {
    scene.lay(&topology::one_lan(&[("rs1", 31)]))?;
    let rs1 = scene.host("rs1")?;
    let mounts = vec![
        Mount::Bind {
            from: "/proc/sys/net".into(),
            to: "/host/proc/sys/net".into(),
        },
        Mount::ReadOnly {
            path: "/proc/sys".into(),
        },
    ];
    let program = |script: &str| Program::shell(script).mounts(mounts.clone());
    let name = "net/ipv4/conf/eth0/arp_ignore";
    let refused = rs1.attempt(program(&format!("echo 1 > /proc/sys/{name}")))?;
    ensure!(refused.status != 0, "a read-only /proc/sys was written");
    rs1.program(program(&format!("echo 1 > /host/proc/sys/{name}")))?;
    ensure!(
        oracle::sysctl(&rs1, "net.ipv4.conf.eth0.arp_ignore")? == "1",
        "another namespace's"
    );
    let disturb = format!("{{ sleep 1; ip address add {VIP}/32 dev lo; }} &");
    let healed = format!("ip -o address show dev lo | grep -q {VIP}");
    let took = oracle::healed_after(&rs1, &disturb, &healed, Duration::from_secs(20))?;
    scene.step(&format!("healed after {took:?}"));
    let bounds = Duration::from_millis(900)..Duration::from_secs(4);
    ensure!(bounds.contains(&took), "a second later it was healed, not {took:?}");
    Ok(())
}
