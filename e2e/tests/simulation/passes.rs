//! A pass of an agent, with what must hold in it, and what excuses a breach.

use crate::agent::Deeds;
use crate::machines::Machine;
use crate::world::{VIPS, Violation, World};
use ipvs::ServiceKey;
use node_agent::state::Knob;
use node_agent::view::Source;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// What goes wrong in a pass.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trouble {
    /// The process dies after so many changes.
    pub(crate) dies_after: Option<usize>,
    /// The kernel's answers to so many changes are lost.
    pub(crate) lost_answers: usize,
    /// The process dies before the first change, when this much of its intents is in the journal.
    pub(crate) dies_with_intents: Option<usize>,
    /// Dumps miss this many services without a sign.
    pub(crate) hidden: usize,
}

impl World {
    /// One pass; what it changed in the kernel, a line each.
    pub(crate) fn agent_passes(&mut self, index: usize, trouble: Trouble) -> Result<usize, Violation> {
        if let Some(count) = trouble.dies_with_intents {
            self.agent_only_intends(index, count);
            return Ok(0);
        }
        let answered = self.answered_elsewhere(index);
        let now = self.time();
        let Some(machine) = self.machines.get_mut(index) else {
            return Ok(0);
        };
        let had = held(machine);
        let kernel = machine.kernel();
        kernel.set_answered(answered.iter().copied());
        kernel.crash_after(trouble.dies_after.map(|writes| writes + 1));
        kernel.lose_answers(trouble.lost_answers);
        let hidden: Vec<ServiceKey> = kernel
            .ipvs()
            .table()
            .services
            .keys()
            .copied()
            .take(trouble.hidden)
            .collect();
        kernel.hide_in_dumps(hidden);
        let Some(agent) = machine.agent().filter(|agent| agent.view.source != Source::Nothing) else {
            return Ok(0);
        };
        let deeds = agent.pass(now);
        let kernel = machine.kernel();
        kernel.lose_answers(0);
        kernel.hide_in_dumps([]);
        kernel.crash_after(None);
        let name = machine.name.clone();
        self.note(|| format!("the agent of {name} passes{}", words(&deeds)));
        self.after_pass(index, &deeds, &had, &answered);
        self.check_pass(index, &deeds)?;
        if deeds.died {
            self.stop_agent(index);
        }
        Ok(deeds.lines.len())
    }

    fn agent_only_intends(&mut self, index: usize, count: usize) {
        let now = self.time();
        let Some(machine) = self.machines.get_mut(index) else {
            return;
        };
        let Some(agent) = machine.agent().filter(|agent| agent.view.source != Source::Nothing) else {
            return;
        };
        agent.node.see(agent.view.clone());
        let plan = agent.node.preview(now);
        let intents: Vec<_> = plan.into_iter().flat_map(|plan| plan.ledger).take(count).collect();
        self.note(|| format!("the agent of machine {index} intends {intents:?}"));
        self.stop_agent(index);
        if let Some(machine) = self.machines.get_mut(index) {
            machine.leave_in_journal(intents);
        }
    }

    /// VIPs for which somebody else on the link answers.
    fn answered_elsewhere(&mut self, index: usize) -> BTreeSet<IpAddr> {
        let others = self
            .machines
            .iter_mut()
            .enumerate()
            .filter(|(other, machine)| *other != index && machine.is_on);
        let answered = others.flat_map(|(_, machine)| {
            let kernel = machine.kernel();
            // Nobody answers for an IPv6 address of `lo` or of a tunnel device.
            let answers = |vip: &IpAddr| match vip {
                IpAddr::V4(_) => kernel.answers_arp(*vip),
                IpAddr::V6(_) => kernel.holds(*vip),
            };
            VIPS.into_iter().filter(answers).collect::<Vec<_>>()
        });
        answered.collect()
    }

    /// Which excuses begin and end with this pass.
    fn after_pass(&mut self, index: usize, deeds: &Deeds, had: &BTreeSet<IpAddr>, answered: &BTreeSet<IpAddr>) {
        let api = &self.api;
        let Some(machine) = self.machines.get_mut(index) else {
            return;
        };
        let has = held(machine);
        if deeds.died {
            // Between taking a VIP from one interface and giving it to another.
            machine.excuses.robbed.extend(had.difference(&has));
        }
        let source = machine.agent().map(|agent| agent.view.source);
        if machine.excuses.is_revenant && source == Some(Source::Disk) {
            let new = has.difference(had).filter(|vip| !answered.contains(*vip));
            machine.excuses.taken_unseen.extend(new);
        }
        if deeds.is_whole && source == Some(Source::Api) {
            machine.excuses.is_revenant = false;
            machine.excuses.taken_unseen.clear();
            let is_current = machine.agent().is_some_and(|agent| agent.is_current(api));
            machine.excuses.given_up &= !is_current;
        }
        let robbed = std::mem::take(&mut machine.excuses.robbed);
        let robbed = robbed.into_iter().filter(|vip| !machine.is_ready_for(*vip));
        machine.excuses.robbed = robbed.collect();
        machine.excuses.is_loud &= machine.kernel().effective("eth0", Knob::ArpIgnore) < 1;
    }

    fn check_pass(&mut self, index: usize, deeds: &Deeds) -> Result<(), Violation> {
        for line in deeds.lines.iter().filter(|line| !line.contains(" # ")) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["ipvsadm", "-a" | "-e", _, service, "-r", destination, way @ ..]
                    if way.contains(&"-g") || way.contains(&"-i") =>
                {
                    if let Some((vip, host)) = address(service).zip(address(destination)) {
                        self.check_addition(index, vip, host)?;
                    }
                }
                ["ip", "address", "del", entry, "dev", device, ..] if *device != "eth0" => {
                    let vip = entry.split('/').next().and_then(|text| text.parse().ok());
                    if let Some(vip) = vip {
                        self.check_removal(index, vip)?;
                    }
                }
                _ => {}
            }
        }
        self.machines.get_mut(index).map_or(Ok(()), check_foreign)
    }

    /// Nobody puts a real server into a table whose host is not prepared at this moment. Excused:
    /// * a fault took the VIP from the host, or its silence, since it was last in order: it told the truth when it did;
    /// * the director was given up (silent for 70 s, or declared off) and has not caught up: nobody waits for it.
    fn check_addition(&mut self, director: usize, vip: IpAddr, address: IpAddr) -> Result<(), Violation> {
        let given_up = self
            .machines
            .get(director)
            .is_some_and(|machine| machine.excuses.given_up);
        let Some(host) = self
            .machines
            .iter_mut()
            .find(|machine| [machine.address, machine.six].contains(&address))
        else {
            return Ok(());
        };
        let excused = given_up || host.excuses.robbed.contains(&vip) || host.excuses.is_loud;
        if excused || !VIPS.contains(&vip) || host.is_ready_for(vip) {
            return Ok(());
        }
        let host = host.name.clone();
        Err(format!(
            "machine {director} sends {vip} to {host}, which is not prepared"
        ))
    }

    /// No host takes its VIP back while a director's kernel still sends there. Excused:
    /// * the director was given up, as above. One that is off has an empty kernel, and needs no excuse.
    fn check_removal(&mut self, host: usize, vip: IpAddr) -> Result<(), Violation> {
        let Some(machine) = self.machines.get_mut(host).filter(|_| VIPS.contains(&vip)) else {
            return Ok(());
        };
        if machine.kernel().is_local(vip) {
            return Ok(());
        }
        let addresses = [machine.address, machine.six];
        let others = self.machines.iter_mut().enumerate().filter(|(other, _)| *other != host);
        for (_, director) in others {
            if director.is_on
                && !director.excuses.given_up
                && addresses.iter().any(|address| sends(director, vip, *address))
            {
                let director = director.name.clone();
                return Err(format!("machine {host} takes {vip} back while {director} sends to it"));
            }
        }
        Ok(())
    }

    /// What must hold after every step.
    pub(crate) fn check(&mut self) -> Result<(), Violation> {
        for vip in VIPS {
            let holders = self.machines.iter_mut().filter_map(|machine| {
                // A machine that was declared off, and took the VIP from disk when nobody answered for it, is excused
                // until it hears from the API server: the link was silent, and it can know no more.
                let is_excused = machine.excuses.taken_unseen.contains(&vip);
                (machine.is_on && machine.kernel().holds(vip) && !is_excused).then(|| machine.name.clone())
            });
            let holders: Vec<String> = holders.collect();
            if holders.len() > 1 {
                return Err(format!("{vip} is on {}", holders.join(" and ")));
            }
            for machine in self.machines.iter_mut().filter(|machine| machine.is_on) {
                let is_excused = machine.excuses.is_loud;
                let kernel = machine.kernel();
                if vip.is_ipv4() && kernel.answers_arp(vip) && !kernel.holds(vip) && !is_excused {
                    return Err(format!("{} answers ARP for {vip}, which is on lo", machine.name));
                }
            }
        }
        Ok(())
    }
}

/// Nothing of others is ever changed.
fn check_foreign(machine: &mut Machine) -> Result<(), Violation> {
    let services = machine.foreign_services.services.clone();
    let addresses = machine.foreign_addresses().clone();
    let name = machine.name.clone();
    let kernel = machine.kernel();
    for (key, service) in &services {
        if kernel.ipvs().table().services.get(key) != Some(service) {
            return Err(format!("the foreign service {key} of {name} was changed"));
        }
    }
    if let Some(address) = addresses.iter().find(|address| !kernel.is_local(**address)) {
        return Err(format!("the foreign address {address} of {name} is gone"));
    }
    for knob in node_agent::state::SILENCE {
        if kernel.effective("all", knob) != 0 {
            return Err(format!("{name}: {} of all was changed", knob.as_str()));
        }
    }
    Ok(())
}

fn sends(director: &mut Machine, vip: IpAddr, address: IpAddr) -> bool {
    let table = director.kernel().ipvs().table();
    table.services.iter().any(|(key, service)| {
        let needs_host = |config: &ipvs::DestinationConfig| config.method != ipvs::ForwardingMethod::Masquerade;
        let mut there = service.destinations.iter();
        node_agent::plan::vip_of(key) == Some(vip)
            && there.any(|(there, config)| there.address == address && needs_host(config))
    })
}

fn held(machine: &mut Machine) -> BTreeSet<IpAddr> {
    let kernel = machine.kernel();
    VIPS.into_iter().filter(|vip| kernel.is_local(*vip)).collect()
}

fn address(text: &str) -> Option<IpAddr> {
    let address = text.rsplit_once(':')?.0;
    address.trim_matches(['[', ']']).parse().ok()
}

fn words(deeds: &Deeds) -> String {
    let end = if deeds.died { ", and dies" } else { "" };
    let whole = if deeds.is_whole { "" } else { " (not whole)" };
    format!("{whole}: {}{end}", deeds.lines.join("; "))
}
