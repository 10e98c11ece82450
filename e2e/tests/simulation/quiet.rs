//! The end of a run: no more faults, everybody hears everything, and the world must come to rest where it should be.

use crate::administrators::{self, GROUPS};
use crate::machines::Machine;
use crate::model;
use crate::passes::Trouble;
use crate::people;
use crate::world::{Violation, World};
use operator::Key;

/// By then everything has come to rest, or never will.
const ROUNDS: usize = 40;

/// Repairs what is broken and waits for rest; then takes away what is refused, then everything, and looks each time.
pub(crate) fn down(world: &mut World) -> Result<(), Violation> {
    world.note(|| "---- no more faults".to_owned());
    repair(world);
    rest(world)?;
    model::check_refusals(world)?;
    let refused = model::refused(world);
    for key in &refused {
        people::remove_service(world, key);
    }
    if !refused.is_empty() {
        rest(world)?;
    }
    // An edit that is refused leaves a real server as it serves: what is asked for does not say what that is.
    let refused = model::refused_servers(world);
    for key in &refused {
        people::remove_server(world, key);
    }
    if !refused.is_empty() {
        rest(world)?;
    }
    model::check(world)?;
    restart_everybody(world)?;
    world.note(|| "---- everything is deleted".to_owned());
    let keys: Vec<Key> = world.api.virtual_services.objects.keys().cloned().collect();
    for key in &keys {
        people::remove_service(world, key);
    }
    rest(world)?;
    model::check(world)
}

fn repair(world: &mut World) {
    for index in 0..world.machines.len() {
        let Some(machine) = world.machines.get_mut(index) else {
            continue;
        };
        machine.is_connected = true;
        machine.kernel().set_module_missing(false);
        if machine.is_declared_off {
            world.come_back(index);
        }
        world.power_on(index);
    }
    for operator in &mut world.operators {
        operator.is_up = true;
        operator.is_connected = true;
        operator.is_paused = false;
        operator.deaf_to = None;
    }
    for group in GROUPS {
        let to = world.random.below(world.machines.len());
        administrators::direct(world, group, to);
    }
}

/// Rounds until nobody writes anything any more, twice.
fn rest(world: &mut World) -> Result<(), Violation> {
    let mut silent = 0;
    for _ in 0..ROUNDS {
        let writes = round(world)?;
        silent = if writes == 0 { silent + 1 } else { 0 };
        if silent == 2 {
            return Ok(());
        }
    }
    Err(format!("after {ROUNDS} rounds without a fault there are writes still"))
}

/// Everybody does everything once; how many writes that took, to kernels and to the API.
fn round(world: &mut World) -> Result<usize, Violation> {
    world.wait(5_000);
    let mut writes = world.api.collect_garbage(world.now);
    for index in 0..world.machines.len() {
        writes += govern(world, index)?;
    }
    for who in 0..world.operators.len() {
        world.operator_hears_everything(who);
        writes += world.operator_looks(who);
    }
    while let Some(who) = world.operators.iter().position(|operator| !operator.pending.is_empty()) {
        let other = world.random.below(2);
        world.operator_writes(other);
        world.operator_writes(who);
        world.check()?;
    }
    Ok(writes)
}

fn govern(world: &mut World, index: usize) -> Result<usize, Violation> {
    if world.machines.get_mut(index).and_then(Machine::agent).is_none() {
        world.start_agent(index);
    }
    world.renew(index);
    world.agent_hears(index, usize::MAX / 2);
    world.agent_inspects(index);
    let mut writes = world.agent_passes(index, Trouble::default())?;
    world.check()?;
    while world.agent_says(index) {
        writes += 1;
    }
    Ok(writes)
}

/// An agent that starts on a world that is in order changes nothing.
fn restart_everybody(world: &mut World) -> Result<(), Violation> {
    for index in 0..world.machines.len() {
        world.stop_agent(index);
        world.start_agent(index);
        if world.random.chance(50) {
            world.agent_takes_from_disk(index);
        } else {
            world.agent_hears(index, 0);
        }
        let writes = world.agent_passes(index, Trouble::default())?;
        if writes > 0 {
            return Err(format!(
                "the agent of machine {index} restarts on a world in order, and writes"
            ));
        }
        world.agent_hears(index, 0);
    }
    // A status may be written once more: from disk, nobody knows since when it has been so.
    rest(world)
}
