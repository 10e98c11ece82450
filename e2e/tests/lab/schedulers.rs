//! Each scheduler's documented rule, by real connections: who gets the next one, and why.
//!
//! Three real servers of weights 3, 2 and 1; a service a scheduler, all by direct routing, with the lab's echo behind.

#[path = "schedulers/leaving.rs"]
mod leaving;
#[path = "schedulers/rules.rs"]
mod rules;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use e2e::endpoint::{Endpoint, Transport};
use e2e::oracle::{self, Load};
use e2e::product::AgentOptions;
use e2e::scene::{Scene, Test};
use e2e::topology::{self, Host};
use e2e::traffic::{self, Answers, ECHO, Held};

use crate::shop;
use rules::{Loads, Rule};

pub(crate) const TESTS: &[(&str, Test)] = &[("schedulers::keep_their_rules", keep_their_rules)];

const WEIGHTS: [(&str, u8, u64); 3] = [("rs1", 30, 3), ("rs2", 40, 2), ("rs3", 50, 1)];
/// Each with VIPs of its own: one, but for dh, whose rule is about them.
const SCHEDULERS: [&str; 14] = [
    "rr", "wrr", "lc", "wlc", "sed", "nq", "lblc", "lblcr", "fo", "ovf", "twos", "sh", "mh", "dh",
];
const FIRST_VIP: u8 = 101;
const VIPS_OF_DH: u8 = 6;
/// The client's further addresses.
const CLIENTS: std::ops::RangeInclusive<u8> = 201..=216;

fn keep_their_rules(scene: &Scene) -> Result<()> {
    let plans = topology::one_lan(&[("dir1", 10), ("rs1", 30), ("rs2", 40), ("rs3", 50)]);
    shop::open(scene, &plans, &AgentOptions::default())?;
    scene.register("rs3")?;
    scene.start_agent("rs3", &AgentOptions::default())?;
    let everywhere = Endpoint::new(Transport::Tcp, "0.0.0.0", ECHO)?;
    for (name, _, _) in WEIGHTS {
        scene.keep(traffic::echo(&*scene.host(name)?, &[everywhere])?);
    }
    scene.apply(&manifests())?;
    for scheduler in SCHEDULERS {
        shop::all_serve(scene, scheduler)?;
    }
    let client = scene.host("client")?;
    let more: String = CLIENTS
        .map(|last| format!("ip address add 192.168.56.{last}/24 dev eth0\n"))
        .collect();
    client.shell(&format!("set -e\n{more}"))?;
    in_turn(scene, &client)?;
    by_load(scene, &client)?;
    by_chance(scene, &client)?;
    by_hash(scene, &client)?;
    when_the_first_is_quiesced(scene, &client)?;
    leaving::refuses_nobody(scene, &client)
}

/// The client's further addresses, in full.
fn sources() -> Vec<String> {
    CLIENTS.map(|last| format!("192.168.56.{last}")).collect()
}

/// One VIP each, from 192.168.56.101 on; dh comes last and has more.
fn vip(scheduler: &str) -> u8 {
    let place = SCHEDULERS.iter().zip(FIRST_VIP..).find(|(one, _)| **one == scheduler);
    place.map(|(_, vip)| vip).unwrap_or_default()
}

fn endpoint(last: u8) -> Result<Endpoint> {
    Endpoint::new(Transport::Tcp, &format!("192.168.56.{last}"), ECHO)
}

fn manifests() -> String {
    let head = "apiVersion: lvs-operator.io/v1alpha1";
    let real_servers = WEIGHTS.map(|(name, last, weight)| {
        format!(
            "{head}\nkind: RealServer\nmetadata: {{name: {name}, namespace: shop, labels: {{app: echo}}}}\n\
             spec: {{nodeName: {name}, addresses: [192.168.56.{last}], weight: {weight}}}\n"
        )
    });
    let services = SCHEDULERS.map(|scheduler| {
        let count = if scheduler == "dh" { VIPS_OF_DH } else { 1 };
        let vips: Vec<_> =
            (0..count).map(|more| format!("{{address: 192.168.56.{}}}", vip(scheduler) + more)).collect();
        format!(
            "{head}\nkind: VirtualService\nmetadata: {{name: {scheduler}, namespace: shop}}\nspec:\n  addresses: [{}]\n\
             \x20 ports: [{{port: {ECHO}}}]\n  scheduler: {scheduler}\n  realServerSelector: {{matchLabels: {{app: echo}}}}\n{}",
            vips.join(", "),
            // Long enough for all schedulers to be looked at, one after the other.
            if scheduler == "dh" { "" } else { "  drain: {timeoutSeconds: 240}\n" }
        )
    });
    let group = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: shop}}\n---\n{head}\nkind: DirectorGroup\nmetadata: {{name: default}}\n\
         spec:\n  nodeSelector: {{matchLabels: {{lvs-operator.io/director: 'true'}}}}\n  interface: eth0\n\
         \x20 allowedNamespaces: {{from: All}}\n  allowedCIDRs: [192.168.56.0/24]\n"
    );
    [group]
        .into_iter()
        .chain(real_servers)
        .chain(services)
        .collect::<Vec<_>>()
        .join("---\n")
}

/// rr and wrr: weights as shares, rr without them.
fn in_turn(scene: &Scene, client: &Host) -> Result<()> {
    for (scheduler, shares) in [("rr", [4, 4, 4]), ("wrr", [6, 4, 2])] {
        let at = endpoint(vip(scheduler))?;
        let answers = asked(client, at, 12)?;
        scene.step(&format!("{scheduler}: {}", answers.order.join(" ")));
        let found = WEIGHTS.map(|(name, _, _)| answers.of(name));
        ensure!(found == shares, "{scheduler} gave {answers}");
        let period = if scheduler == "rr" { 3 } else { 6 };
        let (first, rest) = answers.order.split_at(period);
        ensure!(
            rest.chunks(period).all(|turn| turn == first),
            "{scheduler} has no turns: {:?}",
            answers.order
        );
    }
    Ok(())
}

fn asked(client: &Host, at: Endpoint, number: u32) -> Result<Answers> {
    let answers = traffic::ask(client, &[(at, number)])?
        .remove(&at)
        .context("no answers")?;
    answers.expect_all()?;
    Ok(answers)
}

/// Counts as `ipvsadm -Ln` has them now, by the real server's name.
fn loads(scene: &Scene, at: Endpoint) -> Result<Loads> {
    let found = oracle::loads(&*scene.host("dir1")?, &at.at.to_string())?;
    let named = WEIGHTS.map(|(name, last, _)| {
        let load = found.get(&format!("192.168.56.{last}:{ECHO}"));
        Ok((name, *load.with_context(|| format!("{name} is not in {found:?}"))?))
    });
    named.into_iter().collect()
}

/// Connections that stay open, one after the other: each must go where the rule says, by the counts of that moment.
fn by_load(scene: &Scene, client: &Host) -> Result<()> {
    for (scheduler, rule, number) in rules::BY_LOAD {
        let at = endpoint(vip(scheduler))?;
        let mut counts = loads(scene, at)?;
        ensure!(
            counts.values().all(|load| load.active + load.inactive == 0),
            "{scheduler}: {counts:?}"
        );
        let (held, answers) = Held::open(client, &at, *number)?;
        scene.step(&format!("{scheduler}: {}", answers.order.join(" ")));
        let mut before = Vec::new();
        for server in &answers.order {
            follows(scheduler, *rule, &counts, &before, server)?;
            let load = counts.get_mut(server.as_str()).context("an unknown server")?;
            load.active += 1;
            before.push(server.clone());
        }
        ensure!(
            loads(scene, at)? == counts,
            "{scheduler}: {:?}, not {counts:?}",
            loads(scene, at)?
        );
        if matches!(*scheduler, "lc" | "wlc" | "sed" | "nq") {
            closing_ones_count(scene, client, scheduler, *rule, at)?;
        }
        ensure!(held.lost()?.is_empty(), "{:?}", held.lost()?);
    }
    Ok(())
}

fn follows(scheduler: &str, rule: Rule, counts: &Loads, before: &[String], server: &str) -> Result<()> {
    let allowed = rule(counts, before);
    ensure!(
        allowed.contains(server),
        "{scheduler} chose {server} of {counts:?}: the rule says {allowed:?}"
    );
    Ok(())
}

/// Connections that end at once stay in InActConn for two minutes.
fn closing_ones_count(scene: &Scene, client: &Host, scheduler: &str, rule: Rule, at: Endpoint) -> Result<()> {
    for _ in 0..4 {
        let counts = loads(scene, at)?;
        let answers = asked(client, at, 1)?;
        follows(scheduler, rule, &counts, &[], &answers.order[0])?;
    }
    let inactive: u64 = loads(scene, at)?.values().map(|load: &Load| load.inactive).sum();
    ensure!(inactive == 4, "{scheduler}: {inactive} connections are closing, not 4");
    Ok(())
}

/// twos: the better of two that are drawn by weight. That the best one leads is as good as certain with thirty.
fn by_chance(scene: &Scene, client: &Host) -> Result<()> {
    let (_held, answers) = Held::open(client, &endpoint(vip("twos"))?, 30)?;
    scene.step(&format!("twos: {answers}"));
    let [first, second, third] = WEIGHTS.map(|(name, _, _)| answers.of(name));
    ensure!(first > third && second > 0 && third > 0, "{answers}");
    Ok(())
}

/// sh and mh by the client's address, dh by the VIP: always the same, and not all the same.
fn by_hash(scene: &Scene, client: &Host) -> Result<()> {
    let sources = sources();
    for scheduler in ["sh", "mh"] {
        let chosen = chosen(client, &sources, vip(scheduler))?;
        let used: BTreeSet<_> = chosen.values().collect();
        scene.step(&format!("{scheduler}: {} clients meet {used:?}", chosen.len()));
        ensure!(used.len() > 1, "{scheduler}: every client meets {used:?}");
    }
    let mut by_vip = BTreeMap::new();
    for more in 0..VIPS_OF_DH {
        let chosen = chosen(client, &sources[..4], vip("dh") + more)?;
        let used: BTreeSet<_> = chosen.into_values().collect();
        ensure!(used.len() == 1, "dh: clients of one VIP meet {used:?}");
        by_vip.insert(vip("dh") + more, used);
    }
    scene.step(&format!("dh: {by_vip:?}"));
    let used: BTreeSet<_> = by_vip.values().collect();
    ensure!(used.len() > 1, "dh: every VIP leads to {used:?}");
    Ok(())
}

/// Each client asks twice, from two ports: whom it met both times.
fn chosen(client: &Host, sources: &[String], vip: u8) -> Result<BTreeMap<String, String>> {
    let at = endpoint(vip)?;
    let answers = traffic::ask_from(client, sources, &[(at, 2)])?
        .remove(&at)
        .context("no answers")?;
    answers.expect_all()?;
    let mut chosen = BTreeMap::new();
    for (source, servers) in answers.by_client {
        ensure!(
            servers.len() == 2 && servers[0] == servers[1],
            "{source} met {servers:?} at {at}"
        );
        chosen.insert(source, servers[0].clone());
    }
    Ok(chosen)
}

/// fo goes to the next weight. What sh and mh do then is a case of its own.
fn when_the_first_is_quiesced(scene: &Scene, client: &Host) -> Result<()> {
    shop::patch(scene, "realserver/rs1", r#"{"weight":0}"#)?;
    shop::table(&*scene.host("dir1")?, "rs1 has weight 0 everywhere", |lines| {
        let of_rs1 = lines.iter().filter(|line| line.contains("-r 192.168.56.30:"));
        of_rs1.clone().count() == SCHEDULERS.len() - 1 + usize::from(VIPS_OF_DH)
            && of_rs1.clone().all(|line| line.contains("-w 0"))
    })?;
    let (_held, answers) = Held::open(client, &endpoint(vip("fo"))?, 4)?;
    ensure!(answers.order.iter().all(|server| server == "rs2"), "fo: {answers}");
    Ok(())
}
