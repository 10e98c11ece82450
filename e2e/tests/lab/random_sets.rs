//! Random valid manifests: is what ipvsadm then prints what they say? And after other ones in their place? And does
//! nothing stay of them?
//!
//! What is expected is worked out from the manifests alone, by code that shares nothing with lvs-operator. Sets stand beside
//! each other, each in a namespace and on VIPs of its own: the API's round trips are what takes time, and they overlap.

#[path = "random_sets/generated.rs"]
mod generated;
#[path = "../simulation/random.rs"]
mod random;
#[path = "random_sets/read.rs"]
mod read;
#[path = "random_sets/rendered.rs"]
mod rendered;
#[path = "random_sets/said.rs"]
mod said;

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use e2e::product::AgentOptions;
use e2e::scene::{Scene, Test};
use e2e::snapshot::Snapshot;
use e2e::topology::HostPlan;
use e2e::{clock, parallel, settings, shop};
use serde_json::{Value, json};

use generated::{PLACES, Place};
use random::Random;
use rendered::Nodes;

pub(crate) const TESTS: &[(&str, Test)] = &[("random_sets::are_in_the_kernel_as_written", random_sets)];

const DIRECTORS: [(&str, u8); 2] = [("dir1", 10), ("dir2", 11)];
const HOSTS: [(&str, u8); 2] = [("rs1", 30), ("rs2", 40)];
/// In an ordinary run, and in a long one. Each set is followed by a second one in its place. Beside all
/// other tests there is no time for more under emulation.
const SETS: (usize, usize) = (20, 200);
/// For so many sets at once, under emulation.
const LIMIT: Duration = Duration::from_secs(120);
/// Between two looks: kubectl and ipvsadm take the processors from those who are to do the work.
const PAUSE: Duration = Duration::from_millis(700);

/// The nodes, and what they looked like before anything was applied.
struct World {
    nodes: Nodes,
    before: Vec<(&'static str, Snapshot)>,
}

fn random_sets(scene: &Scene) -> Result<()> {
    let world = open(scene)?;
    let seed = settings::text(settings::SEED).map_or(Ok(1), |seed| seed.parse::<u64>());
    let seed = seed.context("LVS_LAB_SEED is not a number")?;
    let count = if settings::is_set(settings::LONG) {
        SETS.1
    } else {
        SETS.0
    };
    let namespaces: Vec<Value> = (0..PLACES)
        .map(|number| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": generated::namespace(number)}}))
        .collect();
    apply(scene, &namespaces)?;
    for (seed, begin) in (seed..).step_by(PLACES).zip((0..count).step_by(PLACES)) {
        let sets = PLACES.min(count - begin);
        batch(scene, &world, seed, sets)
            .with_context(|| format!("LVS_LAB_SEED={seed} begins with these {sets} sets"))?;
    }
    Ok(())
}

fn open(scene: &Scene) -> Result<World> {
    let all = || DIRECTORS.into_iter().chain(HOSTS);
    scene.lay(&all().map(|(name, last)| HostPlan::node(name, last)).collect::<Vec<_>>())?;
    let names: Vec<&'static str> = all().map(|(name, _)| name).collect();
    let looked_at = parallel::each(&names, |name| {
        let host = scene.host(name)?;
        let addresses = [host.address.clone(), host.address6.clone()];
        let [four, six] = &addresses;
        scene
            .control_plane()
            .add_node(name, &[four, six], &[("kubernetes.io/hostname", name)])?;
        Ok((((*name).to_owned(), addresses), (*name, Snapshot::of(&host)?)))
    })?;
    let (nodes, before) = looked_at.into_iter().unzip();
    parallel::each(&names, |name| scene.start_agent(name, &AgentOptions::default()))?;
    scene.start_operator()?;
    for (name, _) in all() {
        shop::agent_ready(scene, name)?;
    }
    Ok(World { nodes, before })
}

/// Sets beside each other, with their groups; then others in their place; then none.
fn batch(scene: &Scene, world: &World, seed: u64, sets: usize) -> Result<()> {
    let mut randoms: Vec<Random> = (seed..).take(sets).map(Random::new).collect();
    let mut shared = Random::new(!seed);
    let first = manifests(&mut shared, &mut randoms, world);
    let begin = clock::now();
    apply(scene, &first)?;
    let reached = reached(scene, world, &first, &[])?;
    scene.step(&format!(
        "seeds {seed} to {}: {} in {:.1} s ({reached})",
        seed + sets as u64 - 1,
        counted(&first),
        begin.elapsed().as_secs_f64()
    ));
    let second = manifests(&mut shared, &mut randoms, world);
    let begin = clock::now();
    let gone: Vec<Value> = first
        .iter()
        .filter(|old| !second.iter().any(|new| is_same(old, new)))
        .cloned()
        .collect();
    // Who takes another's VIP, port or mark may come before that one goes, or after.
    if shared.chance(50) {
        apply(scene, &second)?;
        delete(scene, &gone)?;
    } else {
        delete(scene, &gone)?;
        apply(scene, &second)?;
    }
    let reached = self::reached(scene, world, &second, &first)?;
    let took = begin.elapsed().as_secs_f64();
    scene.step(&format!("then {} in {took:.1} s ({reached})", counted(&second)));
    let begin = clock::now();
    cleared(scene, world, &second)?;
    scene.step(&format!("nothing stayed after {:.1} s", begin.elapsed().as_secs_f64()));
    Ok(())
}

/// One set for each of `randoms`, and the groups that they are under.
fn manifests(shared: &mut Random, randoms: &mut [Random], world: &World) -> Vec<Value> {
    let groups = DIRECTORS.iter().enumerate();
    let groups: Vec<Value> = groups
        .map(|(number, (name, _))| generated::group(shared, name, number))
        .collect();
    let gre = if shared.chance(50) { "Checksum" } else { "None" };
    let hosts = HOSTS.map(|(name, _)| (name, world.nodes[name].clone()));
    let sets = randoms.iter_mut().enumerate().flat_map(|(number, random)| {
        let group = &groups[number % groups.len()]["metadata"]["name"];
        let group = group.as_str().unwrap_or_default();
        let place = Place {
            number,
            group,
            hosts: &hosts,
            gre,
        };
        generated::set(random, &place)
    });
    let sets: Vec<Value> = sets.collect();
    groups.into_iter().chain(sets).collect()
}

fn counted(manifests: &[Value]) -> String {
    let number = |kind| rendered::of_kind(manifests, kind).count();
    format!(
        "{} services, {} real servers",
        number("VirtualService"),
        number("RealServer")
    )
}

fn is_same(one: &Value, other: &Value) -> bool {
    let name = |manifest: &Value| {
        [
            &manifest["kind"],
            &manifest["metadata"]["namespace"],
            &manifest["metadata"]["name"],
        ]
        .map(Value::clone)
    };
    name(one) == name(other)
}

fn list(manifests: &[Value]) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": manifests}).to_string()
}

fn apply(scene: &Scene, manifests: &[Value]) -> Result<()> {
    scene.control_plane().apply(&list(manifests)).map(drop)
}

/// Without waiting for each: whether all went is asked of the nodes.
fn delete(scene: &Scene, manifests: &[Value]) -> Result<()> {
    if manifests.is_empty() {
        return Ok(());
    }
    let delete = ["delete", "--ignore-not-found", "--wait=false", "-f", "-"];
    scene.control_plane().kubectl(&delete, Some(&list(manifests))).map(drop)
}

/// Waits until the API says that all is programmed, and until it is as the manifests say; tells how long each took.
fn reached(scene: &Scene, world: &World, manifests: &[Value], earlier: &[Value]) -> Result<String> {
    let programmed = || {
        thread::sleep(PAUSE);
        said::programmed(scene).map(Some)
    };
    let (_, first) = clock::until("everything is accepted and programmed", LIMIT, programmed)
        .with_context(|| said::about_unsaid(scene, manifests, earlier))?;
    let marks: BTreeSet<i64> = rendered::of_kind(manifests, "VirtualService")
        .filter_map(|service| service["spec"]["firewallMark"].as_i64())
        .collect();
    let names: Vec<&str> = world.nodes.keys().map(String::as_str).collect();
    let expected = rendered::rendered(manifests, &world.nodes);
    let equal = || {
        let read = read::all(scene, &names, &marks)?;
        let difference = said::difference(&expected, &read, manifests, earlier);
        if difference.is_empty() {
            return Ok(Some(()));
        }
        thread::sleep(PAUSE);
        Err(anyhow!(difference))
    };
    let (_, then) = clock::until("the nodes are as the manifests say", LIMIT, equal)?;
    let lines: usize = expected
        .values()
        .flatten()
        .map(|wanted| wanted.lines.lines().count())
        .sum();
    Ok(format!(
        "programmed after {first:.1?}, {lines} lines equal after {then:.1?} more"
    ))
}

/// Deletes everything, and expects each node to be as it was.
fn cleared(scene: &Scene, world: &World, manifests: &[Value]) -> Result<()> {
    let (groups, sets): (Vec<Value>, Vec<Value>) = manifests
        .iter()
        .cloned()
        .partition(|manifest| manifest["kind"] == "DirectorGroup");
    delete(scene, &sets)?;
    shop::services_gone(scene)?;
    let deleted = || Ok(delete(scene, &groups).ok());
    clock::until("the groups go, too", LIMIT, deleted)?;
    let none = |list: &Value| list["items"].as_array().is_some_and(Vec::is_empty);
    let control_plane = scene.control_plane();
    control_plane.wait_for("no placement is left", LIMIT, &["placements", "-A"], none)?;
    shop::unchanged(scene, &world.before)
}
