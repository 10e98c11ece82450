//! What happens next. One random number after the other decides; nothing is fair, and everything happens in time.

use crate::administrators;
use crate::operators::{KINDS, length};
use crate::passes::Trouble;
use crate::people;
use crate::world::{Violation, World, rob};
use node_agent::state::{Knob, Sysctl};

const EVERYTHING: usize = usize::MAX / 2;

/// One step, and what must hold after it.
pub(crate) fn step(world: &mut World) -> Result<(), Violation> {
    world.wait(50);
    match world.random.below(100) {
        0..36 => operator(world),
        36..80 => machine(world)?,
        80..86 => people::act(world),
        86..92 => time(world),
        92..94 => calm(world)?,
        94 => {
            let orphans = world.api.collect_garbage(world.now);
            world.note(|| format!("the garbage collector deletes {orphans}"));
        }
        _ => trouble(world),
    }
    world.check()
}

/// Everybody who can does what it is there for, a few times over: what is worth disturbing must be there first. Who is
/// slow or paused sleeps through it.
fn calm(world: &mut World) -> Result<(), Violation> {
    world.note(|| "-- a calm".to_owned());
    for _ in 0..1 + world.random.below(4) {
        for who in 0..world.operators.len() {
            let operator = world.operators.get(who);
            if operator.is_some_and(|operator| operator.is_up && operator.is_connected && !operator.is_paused) {
                world.operator_hears_everything(who);
                world.operator_looks(who);
                while world
                    .operators
                    .get(who)
                    .is_some_and(|operator| !operator.pending.is_empty())
                {
                    world.operator_writes(who);
                }
            }
        }
        for index in 0..world.machines.len() {
            let machine = world.machines.get_mut(index);
            let Some(machine) = machine.filter(|there| there.is_on && there.is_connected && !there.is_slow) else {
                continue;
            };
            if machine.agent().is_none() {
                world.start_agent(index);
            }
            world.renew(index);
            world.agent_hears(index, EVERYTHING);
            world.agent_passes(index, Trouble::default())?;
            while world.agent_says(index) {}
            world.check()?;
        }
    }
    Ok(())
}

fn operator(world: &mut World) {
    let who = world.random.below(2);
    let Some(operator) = world.operators.get(who) else {
        return;
    };
    let (is_up, is_connected, open) = (operator.is_up, operator.is_connected, operator.pending.len());
    if !is_up {
        world.operator_starts(who);
        return;
    }
    // One that is paused with writes in hand makes them when the world has moved on.
    if operator.is_paused {
        let goes_on = world.random.chance(8);
        world.operator_pauses(who, !goes_on);
        return;
    }
    match world.random.below(100) {
        0..22 if is_connected => world.operator_hears_everything(who),
        22..40 if is_connected => {
            let kind = world.random.pick(&KINDS).unwrap_or(KINDS[0]);
            let count = 1 + world.random.below(6);
            world.operator_hears(who, kind, count);
        }
        40..65 if open < 30 => {
            world.operator_looks(who);
        }
        65..80 => world.operator_writes(who),
        80..93 => (0..open).for_each(|_| world.operator_writes(who)),
        93..95 if is_connected => {
            let kind = world.random.pick(&KINDS).unwrap_or(KINDS[0]);
            let back = world.random.below(12);
            world.operator_lists_again(who, kind, length(&world.api, kind).saturating_sub(back));
        }
        95..97 => world.operator_crashes(who),
        97..99 => world.operator_pauses(who, true),
        99.. => {
            let is_connected = !is_connected;
            world.note(|| format!("operator {who} reaches the API server: {is_connected}"));
            if let Some(operator) = world.operators.get_mut(who) {
                operator.is_connected = is_connected;
            }
        }
        _ => {}
    }
}

fn machine(world: &mut World) -> Result<(), Violation> {
    let index = world.random.below(world.machines.len());
    let is_awake = world.random.chance(15);
    let Some(machine) = world
        .machines
        .get_mut(index)
        .filter(|machine| machine.is_on && (is_awake || !machine.is_slow))
    else {
        return Ok(());
    };
    let is_connected = machine.is_connected;
    if machine.agent().is_none() {
        world.start_agent(index);
        return Ok(());
    }
    match world.random.below(100) {
        0..32 if is_connected => {
            let count = if world.random.chance(60) { EVERYTHING } else { 1 };
            world.agent_hears(index, count);
        }
        32..62 => {
            let trouble = pass_trouble(world);
            world.agent_passes(index, trouble)?;
        }
        62..82 if is_connected => {
            let often = if world.random.chance(60) { 1 } else { 20 };
            for _ in 0..often {
                if !world.agent_says(index) {
                    break;
                }
            }
        }
        82..86 => world.agent_takes_from_disk(index),
        0..32 if !is_connected => world.agent_takes_from_disk(index),
        86..90 if is_connected => world.renew(index),
        90..95 => world.agent_inspects(index),
        95..97 if is_connected => world.agent_lists_again(index),
        97.. => world.stop_agent(index),
        _ => {}
    }
    Ok(())
}

fn pass_trouble(world: &mut World) -> Trouble {
    let random = &mut world.random;
    let mut trouble = Trouble::default();
    match random.below(100) {
        0..3 => trouble.dies_with_intents = Some(random.below(5)),
        3..14 => trouble.dies_after = Some(random.below(8)),
        14..20 => trouble.lost_answers = 1 + random.below(4),
        20..28 => trouble.hidden = 1 + random.below(3),
        _ => {}
    }
    trouble
}

/// A little time with everybody renewing, or a long time with some asleep.
fn time(world: &mut World) {
    let (rounds, asleep) = if world.random.chance(85) {
        (1, 5)
    } else {
        (2 + world.random.below(8), 30)
    };
    world.note(|| format!("{} s go by", rounds * 10));
    let sleeps: Vec<bool> = (0..world.machines.len()).map(|_| world.random.chance(asleep)).collect();
    for _ in 0..rounds {
        world.wait(10_000);
        for (index, sleeps) in sleeps.iter().enumerate() {
            let machine = world
                .machines
                .get_mut(index)
                .filter(|machine| machine.is_on && machine.is_connected);
            if !sleeps && machine.is_some_and(|machine| machine.agent().is_some()) {
                world.renew(index);
            }
        }
        world.wait(0);
    }
}

fn trouble(world: &mut World) {
    let index = world.random.below(world.machines.len());
    let Some(machine) = world.machines.get_mut(index) else {
        return;
    };
    let (is_on, is_declared_off) = (machine.is_on, machine.is_declared_off);
    match world.random.below(100) {
        _ if is_declared_off && world.random.chance(35) => {
            // Back without an API server: all that it knows is what it remembers.
            let is_connected = world.random.chance(50);
            if let Some(machine) = world.machines.get_mut(index) {
                machine.is_connected = is_connected;
            }
            world.come_back(index);
        }
        _ if is_declared_off => {}
        _ if !is_on => world.power_on(index),
        0..22 => {
            if let Some(machine) = world.machines.get_mut(index) {
                machine.is_connected = !machine.is_connected;
                let is_connected = machine.is_connected;
                world.note(|| format!("machine {index} reaches the API server: {is_connected}"));
            }
        }
        22..45 => world.reboot(index),
        45..50 => world.power_off(index),
        50..65 => {
            administrators::declare_off(world, index);
            if world.random.chance(60) {
                administrators::replace_director(world, index);
            }
        }
        65..70 => world.lose_module(index),
        _ => drift(world, index),
    }
}

/// Somebody else changes a node.
fn drift(world: &mut World, index: usize) {
    let which = world.random.below(5);
    let where_ = world.random.below(2);
    let vip = world.random.pick(&crate::world::VIPS).unwrap_or(crate::world::VIPS[0]);
    let Some(machine) = world.machines.get_mut(index) else {
        return;
    };
    let words = match which {
        0 => {
            machine.foreign_services = ipvs::Table::default();
            machine.kernel().ipvs_mut().overwrite(ipvs::Table::default());
            "ipvsadm -C".to_owned()
        }
        1 => {
            let foreign = machine.foreign_services.clone();
            let mut table = machine.kernel().ipvs().table().clone();
            let ours = table
                .services
                .iter_mut()
                .filter(|(key, _)| !foreign.services.contains_key(key));
            for (_, service) in ours.skip(where_).take(1) {
                service.destinations.pop_first();
            }
            machine.kernel().ipvs_mut().overwrite(table);
            "ipvsadm -d".to_owned()
        }
        2 => {
            let foreign = machine.foreign_services.clone();
            let mut table = machine.kernel().ipvs().table().clone();
            let ours = table
                .services
                .keys()
                .find(|key| !foreign.services.contains_key(key))
                .copied();
            ours.and_then(|key| table.services.remove(&key));
            machine.kernel().ipvs_mut().overwrite(table);
            "ipvsadm -D".to_owned()
        }
        3 => {
            rob(machine);
            let interface = if where_ == 0 { "lo" } else { "eth0" };
            machine.kernel().remove_address(interface, vip);
            if let Some(agent) = machine.agent() {
                agent.node.network_changed();
            }
            format!("ip address del {vip} dev {interface}")
        }
        _ => {
            let sysctl = Sysctl::on("eth0", Knob::ArpIgnore);
            machine.excuses.is_loud |= machine.kernel().effective("eth0", Knob::ArpIgnore) > 0;
            machine.others_sysctls.entry(sysctl.clone()).or_default().insert(0);
            machine.kernel().set_sysctl(sysctl, 0);
            "sysctl -w arp_ignore=0".to_owned()
        }
    };
    world.note(|| format!("somebody on machine {index}: {words}"));
}
