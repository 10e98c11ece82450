//! Does a change of an object arrive in the kernel, alone, and without any client noticing?

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::netlink_capture::{self, Write, Writes};
use e2e::product::AgentOptions;
use e2e::program::Program;
use e2e::scene::{Scene, Test};
use e2e::snapshot::Snapshot;
use e2e::topology::{self, Host};
use e2e::traffic::{self, RunningClient};
use e2e::{clock, oracle};

use crate::shop::{self, LIMIT, NODES};

pub(crate) const TESTS: &[(&str, Test)] = &[("changes::arrive_alone_and_unnoticed", arrive_alone_and_unnoticed)];

const VIP: &str = "192.168.56.100";
const NEXT_VIP: &str = "192.168.56.101";
const HOSTS: [&str; 4] = ["dir1", "rs1", "rs2", "rs3"];
/// After the change has arrived: whatever else it may set off happens within this.
const AFTERMATH: Duration = Duration::from_millis(1500);
const PER_SECOND: u32 = 25;

fn arrive_alone_and_unnoticed(scene: &Scene) -> Result<()> {
    let options = AgentOptions::default();
    let mut before = shop::open(scene, &topology::one_lan(&NODES), &options)?;
    shop::add_host(scene, "rs3", 50, &options)?;
    before.push(("rs3", Snapshot::of(&*scene.host("rs3")?)?));
    shop::serve(scene, "dr", "web")?;
    let client = scene.host("client")?;
    let dir1 = scene.host("dir1")?;
    // One client makes all connections: this is the difference between losing some of them and none.
    shop::set_conn_reuse_mode(&dir1, 3)?;
    let running = RunningClient::start(&client, &format!("http://{VIP}"), PER_SECOND)?;

    let change = r#"{"scheduler":"wrr"}"#;
    let writes = in_table(scene, "virtualservice/web", change, "-A -t 192.168.56.100:80 -s wrr")?;
    only(&writes, &[("dir1", "ipvs SET_SERVICE × 1")])?;
    let refused = refused_by_the_kernel(scene, &running)?;

    let writes = in_table(
        scene,
        "realserver/rs1",
        r#"{"weight":3}"#,
        "-r 192.168.56.30:80 -g -w 3",
    )?;
    only(&writes, &[("dir1", "ipvs SET_DEST × 1")])?;
    let shares = traffic::requests(&client, &format!("http://{VIP}"), 20)?;
    scene.step(&format!("20 requests of another client: {shares}"));
    ensure!(
        shares.of("rs1") > shares.of("rs2"),
        "the weight has no effect: {shares}"
    );

    let add = || scene.apply(&shop::real_server("rs3"));
    let writes = watched(scene, "rs3 added", add, || line(scene, "-r 192.168.56.50:80 -g -w 1"))?;
    // Its probes get a service of their own before; the destination follows when the first one passed.
    let steered = "ipvs NEW_DEST × 2, ipvs NEW_SERVICE × 1";
    only(&writes, &[("dir1", steered), ("rs3", "route NEWADDR × 1")])?;
    let (prepared, served) = (
        time_of(&writes, "rs3", "NEWADDR")?,
        last_time_of(&writes, "dir1", "NEW_DEST")?,
    );
    ensure!(prepared < served, "served before it was prepared");

    removed(scene, "rs2", "192.168.56.40")?;
    removed(scene, "rs3", "192.168.56.50")?;
    // As long as the client waits for an answer: a connection that was cut says nothing before.
    thread::sleep(Duration::from_secs(6));
    let answers = running.stop()?;
    scene.step(&format!("the running client during all of it: {answers}"));
    ensure!(
        answers.failed.len() == refused,
        "{} more requests failed: {answers}",
        answers.failed.len() - refused
    );

    another_vip(scene, &client)?;
    shop::set_conn_reuse_mode(&dir1, 1)?;
    shop::close(scene, "dr", &before)
}

/// While SET_SERVICE changes the scheduler, the kernel takes the old one out, waits for every processor, and puts the
/// new one in. Who connects in these milliseconds is refused, by ipvsadm's changes as by ours (40 changes by ipvsadm
/// under 60 requests a second: 19 refused).
fn refused_by_the_kernel(scene: &Scene, running: &RunningClient) -> Result<usize> {
    let failed = running.answers()?.failed;
    scene.step(&format!(
        "{} requests met the kernel between two schedulers",
        failed.len()
    ));
    let refused = failed
        .iter()
        .all(|failure| failure.reason.contains("Could not connect"));
    ensure!(refused && failed.len() <= 3, "{failed:#?}");
    Ok(failed.len())
}

/// Changes one field, and records what is written until a line of the director's table ends as it should.
fn in_table(scene: &Scene, object: &str, change: &str, end: &str) -> Result<Recorded> {
    let patch = || shop::patch(scene, object, change);
    watched(scene, &format!("{object} {change}"), patch, || line(scene, end))
}

fn line(scene: &Scene, end: &str) -> Result<Duration> {
    let dir1 = scene.host("dir1")?;
    shop::table(&dir1, end, |lines| lines.iter().any(|line| line.ends_with(end)))
}

/// Nobody new is sent there, then it leaves the director's table; its host keeps the VIP until then. In the middle of a
/// handshake a client would be cut by a destination that is gone, so the removal has two steps.
fn removed(scene: &Scene, name: &str, address: &str) -> Result<()> {
    let host = scene.host(name)?;
    let listed = format!(
        "while case \"$(ipvsadm -Sn)\" in *'-r {address}:80'*) true;; *) false;; esac; do :; done
        read now rest < /proc/uptime; echo gone $now"
    );
    // Without a fork: what was seen after this moment was there at this moment.
    let held = format!(
        "held() {{ while read -r bar line; do case $line in *{VIP}) return 0;; esac; done < /proc/net/fib_trie; return 1; }}
        while read now rest < /proc/uptime && held; do last=$now; done; echo last $last"
    );
    let listed = scene.host("dir1")?.start(Program::shell(&listed), "listed", false)?;
    let held = host.start(Program::shell(&held), "held", false)?;
    let remove = || scene.delete(&shop::real_server(name));
    let arrived = || {
        let gone = || Ok((!oracle::has_address(&host, "lo", VIP)?).then_some(()));
        Ok(clock::until("it has no VIP any more", LIMIT, gone)?.1)
    };
    let writes = watched(scene, &format!("{name} removed"), remove, arrived)?;
    only(
        &writes,
        &[
            ("dir1", "ipvs DEL_DEST × 1, ipvs DEL_SERVICE × 1, ipvs SET_DEST × 1"),
            (name, "route DELADDR × 1"),
        ],
    )?;
    let (deleted, taken) = (
        time_of(&writes, "dir1", "DEL_DEST")?,
        time_of(&writes, name, "DELADDR")?,
    );
    listed.ended(LIMIT)?;
    held.ended(LIMIT)?;
    let (gone, last) = (number(&listed.output()?, "gone")?, number(&held.output()?, "last")?);
    scene.step(&format!(
        "the director let go {:.3} s before the host lost the VIP; ipvsadm listed it until {gone:.2} s, lo had it until {last:.2} s",
        taken.saturating_sub(deleted).as_secs_f64(),
    ));
    ensure!(deleted < taken, "the host lost its VIP first");
    ensure!(gone <= last + 0.01, "ipvsadm still listed it when the host had no VIP");
    Ok(())
}

fn another_vip(scene: &Scene, client: &Host) -> Result<()> {
    let change = || {
        let addresses = format!(r#"{{"addresses":[{{"address":"{NEXT_VIP}"}}]}}"#);
        shop::patch(scene, "virtualservice/web", &addresses)
    };
    let dir1 = scene.host("dir1")?;
    let service = format!("-A -t {NEXT_VIP}:80");
    let arrived = || {
        let took = shop::table(&dir1, "only the new VIP is served", |lines| {
            let services: Vec<_> = lines.iter().filter(|line| line.starts_with("-A")).collect();
            services.len() == 1 && services[0].starts_with(&service) && lines.len() == 2
        })?;
        let rs1 = scene.host("rs1")?;
        let gone = || Ok((!oracle::has_address(&rs1, "lo", VIP)?).then_some(()));
        clock::until("rs1 has let go of the old VIP", LIMIT, gone)?;
        Ok(took)
    };
    let writes = watched(scene, "VIP .100 → .101", change, arrived)?;
    // Each of them takes the new VIP at its own pace. When the director has let go of the old one before rs1 is seen ready for
    // the new, there is nothing to ask rs1 by for a moment: what steers its probes goes, and comes back.
    let host = "route DELADDR × 1, route NEWADDR × 1";
    let is_of_nftables = |write: &Write| write.name.starts_with("nft");
    let mut beside_nftables = writes.clone();
    beside_nftables
        .iter_mut()
        .for_each(|(_, writes)| writes.retain(|write| !is_of_nftables(write)));
    let steered_anew =
        "ipvs DEL_SERVICE × 2, ipvs NEW_DEST × 2, ipvs NEW_SERVICE × 2, route DELADDR × 1, route NEWADDR × 1";
    if only(&beside_nftables, &[("dir1", steered_anew), ("rs1", host)]).is_err() {
        let steered_on = "ipvs DEL_SERVICE × 1, ipvs NEW_DEST × 1, ipvs NEW_SERVICE × 1, nft DELSETELEM × 2, \
                          nft NEWSETELEM × 2, route DELADDR × 1, route NEWADDR × 1";
        only(&writes, &[("dir1", steered_on), ("rs1", host)])?;
    }
    shop::ready(scene, "web")?;
    let running = RunningClient::start(client, &format!("http://{NEXT_VIP}"), PER_SECOND)?;
    thread::sleep(Duration::from_secs(3));
    let answers = running.stop()?;
    scene.step(&format!("a client of the new VIP: {answers}"));
    answers.expect_all()?;
    ensure!(
        oracle::arp_answers(client, VIP)?.is_empty(),
        "somebody still answers for {VIP}"
    );
    Ok(())
}

type Recorded = Vec<(&'static str, Vec<Write>)>;

/// Makes a change and records what every node writes to its kernel for it.
fn watched(
    scene: &Scene,
    what: &str,
    change: impl FnOnce() -> Result<()>,
    arrived: impl FnOnce() -> Result<Duration>,
) -> Result<Recorded> {
    let hosts: Vec<_> = HOSTS.iter().map(|name| scene.host(name)).collect::<Result<_>>()?;
    let captures = hosts.iter().map(|host| netlink_capture::start(host));
    let captures: Vec<_> = captures.collect::<Result<_>>()?;
    change()?;
    let took = arrived().context(what.to_owned())?;
    thread::sleep(AFTERMATH);
    let mut recorded = Vec::new();
    for (name, capture) in HOSTS.into_iter().zip(captures) {
        recorded.push((name, capture.stop_with_times()?));
    }
    let written = recorded.iter().filter(|(_, writes)| !writes.is_empty());
    let written: Vec<_> = written
        .map(|(name, writes)| format!("{name}: {}", sum(writes)))
        .collect();
    scene.step(&format!(
        "{what}: in the kernel after {:.2} s; written: {}",
        took.as_secs_f64(),
        written.join("; ")
    ));
    Ok(recorded)
}

fn sum(writes: &[Write]) -> Writes {
    writes.iter().collect()
}

/// That these and no other writes were made, on any node.
fn only(recorded: &Recorded, expected: &[(&str, &str)]) -> Result<()> {
    for (name, writes) in recorded {
        let wanted = expected
            .iter()
            .find(|(host, _)| host == name)
            .map_or("no writes", |(_, wanted)| wanted);
        let written = sum(writes).to_string();
        ensure!(written == wanted, "{name} wrote {written}, not {wanted}");
    }
    Ok(())
}

/// When a node wrote something.
fn time_of(recorded: &Recorded, host: &str, what: &str) -> Result<Duration> {
    let writes = recorded
        .iter()
        .filter(|(name, _)| *name == host)
        .flat_map(|(_, writes)| writes);
    let mut found = writes.filter(|write| write.name.ends_with(what)).map(|write| write.at);
    found.next().with_context(|| format!("{host} never wrote {what}"))
}

/// When a node wrote something the last time.
fn last_time_of(recorded: &Recorded, host: &str, what: &str) -> Result<Duration> {
    let mut backwards = recorded.clone();
    backwards.iter_mut().for_each(|(_, writes)| writes.reverse());
    time_of(&backwards, host, what)
}

/// The number behind a word.
fn number(text: &str, word: &str) -> Result<f64> {
    let found = text.split_once(word).with_context(|| format!("no {word} in {text}"))?;
    found
        .1
        .split_whitespace()
        .next()
        .context("no number")?
        .parse()
        .context("not a number")
}
