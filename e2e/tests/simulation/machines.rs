//! A node: its kernel, what others have there, what survives a crash and what survives a reboot, and its agent's process.

use crate::agent::Agent;
use crate::api::Api;
use crate::world::six;
use ipvs::Table;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use node_agent::kernel::fake::FakeKernel;
use node_agent::ledger::{Entry, Ledger};
use node_agent::pass::Node;
use node_agent::state::{Route, Sysctl};
use node_agent::view::{Source, View};
use operator::Key;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

/// Where the kernel is: with the agent, or by itself together with the journal that a dead agent left.
#[derive(Debug)]
enum Host {
    Alone(Box<(FakeKernel, Vec<Entry>)>),
    Governed(Box<Agent>),
}

/// What is on a node before us, comes back at every boot, and is never ours to touch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Foreign {
    pub(crate) services: Table,
    pub(crate) addresses: BTreeSet<IpAddr>,
    pub(crate) sysctls: BTreeMap<Sysctl, i64>,
}

/// A node.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) address: IpAddr,
    /// Its other address.
    pub(crate) six: IpAddr,
    pub(crate) is_on: bool,
    /// It can reach the API server.
    pub(crate) is_connected: bool,
    /// It is busy with other things: its agent seldom gets a turn.
    pub(crate) is_slow: bool,
    boot: u32,
    host: Host,
    /// The remembered Placements, with the uid of the Node that they were of.
    disk: Option<(String, View)>,
    boots_with: Foreign,
    /// What others have in the IPVS table now.
    pub(crate) foreign_services: Table,
    /// Values that somebody else gave a sysctl, the boot among them: what may be there when we are gone.
    pub(crate) others_sysctls: BTreeMap<Sysctl, BTreeSet<i64>>,
    /// A person said that it is off, and it is: by deleting its Node, or by the taint.
    pub(crate) is_declared_off: bool,
    pub(crate) excuses: Excuses,
}

/// What excuses a node at this moment. Each is written down at the invariant that grants it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Excuses {
    /// VIPs that a fault took from it, or made it answer for, since it was last in order.
    pub(crate) robbed: BTreeSet<IpAddr>,
    /// Somebody turned off what kept it silent, and it is not on again.
    pub(crate) is_loud: bool,
    /// Its agent has been silent for so long that nobody waits for it, and has not caught up since.
    pub(crate) given_up: bool,
    /// It was declared off and runs again, and its agent has not heard from the API server since.
    pub(crate) is_revenant: bool,
    /// VIPs that it took as a revenant, when nobody on the link answered for them.
    pub(crate) taken_unseen: BTreeSet<IpAddr>,
}

impl Machine {
    pub(crate) fn new(name: &str, host: u8, boots_with: Foreign) -> Self {
        let address = Ipv4Addr::new(192, 168, 56, host);
        let mut kernel = FakeKernel::with_node_address(address);
        kernel.add_foreign_address("eth0", six(host), 64);
        if let Ok(network) = "fd56::/64".parse() {
            kernel.add_route(Route {
                network,
                metric: 256,
                interface: "eth0".to_owned(),
                gateway: None,
                source: None,
            });
        }
        for other in &boots_with.addresses {
            kernel.add_foreign_address("eth0", *other, 24);
        }
        let mut others_sysctls: BTreeMap<Sysctl, BTreeSet<i64>> = BTreeMap::new();
        for (sysctl, value) in &boots_with.sysctls {
            kernel.set_boot_sysctl(sysctl.clone(), *value);
            others_sysctls.entry(sysctl.clone()).or_default().insert(*value);
        }
        kernel.ipvs_mut().overwrite(boots_with.services.clone());
        Self {
            name: name.to_owned(),
            address: address.into(),
            six: six(host),
            is_on: true,
            is_connected: true,
            is_slow: false,
            boot: 1,
            host: Host::Alone(Box::new((kernel, Vec::new()))),
            disk: None,
            foreign_services: boots_with.services.clone(),
            boots_with,
            others_sysctls,
            is_declared_off: false,
            excuses: Excuses::default(),
        }
    }

    pub(crate) fn kernel(&mut self) -> &mut FakeKernel {
        match &mut self.host {
            Host::Alone(parts) => &mut parts.0,
            Host::Governed(agent) => agent.node.kernel(),
        }
    }

    pub(crate) fn agent(&mut self) -> Option<&mut Agent> {
        match &mut self.host {
            Host::Alone(_) => None,
            Host::Governed(agent) => Some(agent),
        }
    }

    pub(crate) fn boot_id(&self) -> String {
        format!("{}-boot-{}", self.name, self.boot)
    }

    pub(crate) fn foreign_addresses(&self) -> &BTreeSet<IpAddr> {
        &self.boots_with.addresses
    }

    /// Whether packets for the VIP that a director sends here are taken, and nobody is told that the VIP is here (unless
    /// this node is the one that answers for it).
    pub(crate) fn is_ready_for(&mut self, vip: IpAddr) -> bool {
        let is_on = self.is_on;
        let kernel = self.kernel();
        is_on && kernel.is_local(vip) && (vip.is_ipv6() || kernel.holds(vip) || !kernel.answers_arp(vip))
    }

    /// The agent's process begins. Its token names the Node that it runs for, and its disk may be another Node's.
    pub(crate) fn start_agent(&mut self, node_uid: &str) {
        let boot_id = self.boot_id();
        let Host::Alone(parts) = std::mem::replace(&mut self.host, Host::Alone(Box::default())) else {
            return;
        };
        let (kernel, journal) = *parts;
        let ledger = Ledger::from_entries(&journal);
        let node = Node::new(kernel, journal, ledger, boot_id);
        let disk = self.disk.as_ref().filter(|(uid, _)| uid == node_uid);
        let remembered = disk.map(|(_, view)| View {
            source: Source::Disk,
            ..view.clone()
        });
        let agent = Agent::new(node, node_uid.to_owned(), remembered.unwrap_or_default());
        self.host = Host::Governed(Box::new(agent));
    }

    /// The agent's process ends, at whatever it was doing. Kernel, journal and disk stay.
    pub(crate) fn stop_agent(&mut self) {
        let before = std::mem::replace(&mut self.host, Host::Alone(Box::default()));
        self.host = match before {
            Host::Alone(parts) => Host::Alone(parts),
            Host::Governed(agent) => {
                let (mut kernel, journal) = agent.node.into_parts();
                kernel.crash_after(None);
                kernel.lose_answers(0);
                kernel.hide_in_dumps([]);
                Host::Alone(Box::new((kernel, journal)))
            }
        };
    }

    /// What an agent wrote before it died.
    pub(crate) fn leave_in_journal(&mut self, entries: Vec<Entry>) {
        if let Host::Alone(parts) = &mut self.host {
            parts.1.extend(entries);
        }
    }

    /// Power off: kernel and `/run` are gone, the disk stays.
    pub(crate) fn power_off(&mut self) {
        self.stop_agent();
        self.is_on = false;
        self.foreign_services = Table::default();
        self.excuses.is_loud = false;
        if let Host::Alone(parts) = &mut self.host {
            parts.0.reboot();
            parts.1.clear();
        }
    }

    pub(crate) fn power_on(&mut self) {
        self.is_on = true;
        self.boot += 1;
        self.foreign_services = self.boots_with.services.clone();
        let services = self.foreign_services.clone();
        self.kernel().ipvs_mut().overwrite(services);
        self.kernel().set_module_missing(false);
    }

    /// The view that the agent has now is written to disk, as the agent does before the pass.
    pub(crate) fn remember(&mut self) {
        if let Host::Governed(agent) = &self.host {
            self.disk = Some((agent.node_uid.clone(), agent.view.clone()));
        }
    }

    /// News from the API server: a list first, then events. Says whether anything was new.
    pub(crate) fn hear(&mut self, api: &Api, count: usize) -> bool {
        let Host::Governed(agent) = &mut self.host else {
            return false;
        };
        let before = agent.view.clone();
        agent.hear(api, &self.name, count);
        let is_new = agent.view != before;
        if is_new {
            self.remember();
        }
        is_new
    }

    /// The sign of life.
    pub(crate) fn renew(&mut self, api: &mut Api, now: Timestamp) {
        let key = Key::new(NAMESPACE, crds::names::agent_lease(&self.name));
        let spec = LeaseSpec {
            holder_identity: Some(self.boot_id()),
            renew_time: Some(MicroTime(now)),
            ..LeaseSpec::default()
        };
        let stamp = api.stamp(now);
        if api
            .leases
            .edit(stamp, &key, |lease| lease.spec = Some(spec.clone()))
            .is_err()
        {
            let mut lease = Lease::default();
            lease.metadata.name = Some(key.name);
            lease.metadata.namespace = Some(key.namespace);
            lease.spec = Some(spec);
            let _: Result<(), crate::api::Refused> = api.leases.create(stamp, lease);
        }
    }

    /// When the API server saw the last sign of life.
    pub(crate) fn renewed(&self, api: &Api) -> Option<Timestamp> {
        let key = Key::new(NAMESPACE, crds::names::agent_lease(&self.name));
        let spec = api.leases.objects.get(&key)?.spec.as_ref()?;
        spec.renew_time.as_ref().map(|time| time.0)
    }
}

/// The operator's own namespace, where the Leases are.
const NAMESPACE: &str = "lvs-operator";
