//! Networks inside the guest: namespaces as hosts, bridges as LANs.

mod plan;

pub use plan::{FAR_LAN, HostPlan, INSIDE_LAN, LAN, REMOTE_LAN, director_between, ipv4, ipv6, one_lan, remote, routed};

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};

use crate::guest::Guest;
use crate::guest_process::GuestProcess;
use crate::parallel;
use crate::program::{Output, Program};

/// A host: a network namespace.
#[derive(Debug)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Its address on eth0.
    pub address: String,
    /// Its IPv6 address there.
    pub address6: String,
    guest: Arc<Guest>,
}

impl Host {
    /// The guest that it is in.
    #[must_use]
    pub fn guest(&self) -> &Arc<Guest> {
        &self.guest
    }

    /// Runs a line of words that must succeed; returns its standard output.
    ///
    /// # Errors
    /// When it does not.
    pub fn run(&self, line: &str) -> Result<String> {
        Ok(self.program(Program::line(line))?.stdout)
    }

    /// Runs a shell script that must succeed; returns its standard output.
    ///
    /// # Errors
    /// When it does not.
    pub fn shell(&self, script: &str) -> Result<String> {
        Ok(self.program(Program::shell(script))?.stdout)
    }

    /// Runs a program that must succeed.
    ///
    /// # Errors
    /// When it does not.
    pub fn program(&self, program: Program) -> Result<Output> {
        self.guest.run(&program.netns(&self.name))
    }

    /// Runs a program; one that fails is an answer like any other.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn attempt(&self, program: Program) -> Result<Output> {
        self.guest.attempt(&program.netns(&self.name))
    }

    /// Starts a program that goes on; its log is named after the host and `what`.
    ///
    /// # Errors
    /// When it cannot start.
    pub fn start(&self, program: Program, what: &str, stamped: bool) -> Result<GuestProcess> {
        let log = format!("{}-{what}", self.name);
        GuestProcess::start(&self.guest, &program.netns(&self.name), &log, stamped)
    }

    /// The MAC address of eth0.
    ///
    /// # Errors
    /// When there is none.
    pub fn mac(&self) -> Result<String> {
        let link = self.run("ip -o link show dev eth0")?;
        let mut words = link.split_whitespace().skip_while(|word| *word != "link/ether");
        words.nth(1).map(str::to_owned).context("eth0 has no MAC address")
    }
}

/// Hosts and the LANs between them; all of it is gone when this is dropped.
#[derive(Debug)]
pub struct Topology {
    guest: Arc<Guest>,
    hosts: Mutex<BTreeMap<String, (HostPlan, Arc<Host>)>>,
    lans: Mutex<Vec<u8>>,
}

impl Topology {
    /// Makes the hosts, and the LANs that they name.
    ///
    /// # Errors
    /// When the guest refuses something.
    pub fn lay(guest: &Arc<Guest>, plans: &[HostPlan]) -> Result<Self> {
        let (hosts, lans) = (Mutex::default(), Mutex::default());
        let topology = Self {
            guest: guest.clone(),
            hosts,
            lans,
        };
        topology.add(plans)?;
        Ok(topology)
    }

    /// Adds hosts.
    ///
    /// # Errors
    /// When the guest refuses something.
    pub fn add(&self, plans: &[HostPlan]) -> Result<()> {
        let mut batch = String::new();
        for lan in plans.iter().flat_map(|plan| plan.links.iter().map(|(lan, _)| *lan)) {
            if !lock(&self.lans).contains(&lan) {
                lock(&self.lans).push(lan);
                // A namespace of its own: the bridge goes with it, and no host sees it.
                line(&mut batch, format_args!("netns add lan{lan}"));
                line(&mut batch, format_args!("link add br0 netns lan{lan} type bridge"));
            }
        }
        let mut with_devices = String::new();
        for plan in plans {
            let batch = if plan.fallback_devices {
                &mut with_devices
            } else {
                &mut batch
            };
            line(batch, format_args!("netns add {}", plan.name));
        }
        let script = format!(
            "set -e; only=/proc/sys/net/core/fb_tunnels_only_for_init_net; trap 'echo 0 > $only' EXIT
            echo 1 > $only; ip -batch - <<END\n{batch}END\necho 0 > $only; ip -batch - <<END\n{with_devices}END"
        );
        self.guest.run(&Program::shell(&script))?;
        parallel::each(plans, |plan| configure(&self.guest, plan))?;
        self.connect_bridges()?;
        for plan in plans {
            let (lan, last) = plan.links.first().copied().context("a host without a link")?;
            let (name, guest) = (plan.name.clone(), self.guest.clone());
            let host = Arc::new(Host {
                name: name.clone(),
                address: ipv4(lan, last),
                address6: ipv6(lan, last),
                guest,
            });
            lock(&self.hosts).insert(name, (plan.clone(), host));
        }
        Ok(())
    }

    /// The far ends of all links become ports of the bridges.
    fn connect_bridges(&self) -> Result<()> {
        let connect = |bridge: &str| {
            let script = format!(
                "{{ for i in $(ls /proc/sys/net/ipv4/conf); do
                    case $i in p-*) echo link set $i master {bridge} up;; esac
                done; echo link set lo up; echo link set {bridge} up; }} | ip -batch -"
            );
            Program::shell(&script)
        };
        let lans = lock(&self.lans).clone();
        for lan in lans {
            self.guest.run(&connect("br0").netns(&format!("lan{lan}")))?;
        }
        self.guest.run(&connect("mgmt")).map(drop)
    }

    /// A host by name.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn host(&self, name: &str) -> Result<Arc<Host>> {
        let hosts = lock(&self.hosts);
        let (_, host) = hosts.get(name).with_context(|| format!("no host {name}"))?;
        Ok(host.clone())
    }

    /// All hosts, by name.
    #[must_use]
    pub fn hosts(&self) -> Vec<Arc<Host>> {
        lock(&self.hosts).values().map(|(_, host)| host.clone()).collect()
    }

    /// What a reboot does to a host: every program dies, the kernel's tables are empty, and the
    /// links and addresses of its boot configuration return.
    ///
    /// # Errors
    /// When the guest refuses something.
    pub fn reboot(&self, name: &str) -> Result<()> {
        let plan = lock(&self.hosts).get(name).context("no such host")?.0.clone();
        // Their other ends stay in networks that stay, until the kernel gets to them.
        let ends = plan.links.iter().enumerate();
        let ends: String = ends
            .map(|(at, (lan, last))| format!("ip -n lan{lan} link delete p-{last}-{at}\n"))
            .collect();
        self.guest.run(&Program::shell(&ends))?;
        remove(&self.guest, &[name.to_owned()])?;
        self.add(&[plan])
    }
}

impl Drop for Topology {
    fn drop(&mut self) {
        let lans = lock(&self.lans).clone().into_iter().map(|lan| format!("lan{lan}"));
        let names: Vec<_> = lock(&self.hosts).keys().cloned().chain(lans).collect();
        // A guest that died took them along.
        drop(remove(&self.guest, &names));
    }
}

/// Ends what still runs there first: a namespace lives as long as a process is in it. Its end of the management network's
/// cable goes at once; the kernel takes it away some time after the namespace, and the name may be wanted before.
fn remove(guest: &Guest, names: &[String]) -> Result<()> {
    let all = |what: &str| -> String { names.iter().map(|name| format!("{what}{name}\n")).collect() };
    let (pids, cables, hosts) = (all("netns pids "), all("link delete p-"), all("netns delete "));
    // Not every host has such a cable, and a process may end before it is killed.
    let script = format!(
        "ip -force -batch - <<END | xargs -r kill -KILL 2>/dev/null\n{pids}END
        ip -force -batch - 2>/dev/null <<END\n{cables}END
        ip -force -batch - <<END\n{hosts}END\n"
    );
    guest.run(&Program::shell(&script)).map(drop)
}

fn make_links(batch: &mut String, plan: &HostPlan) {
    for (at, (lan, last)) in plan.links.iter().enumerate() {
        let peer = format!("peer name p-{last}-{at} netns lan{lan}");
        // Its own for ever, as a machine's: a reboot must not look like another card.
        let mac = format!("02:00:00:{lan:02x}:{last:02x}:{at:02x}");
        line(batch, format_args!("link add eth{at} address {mac} type veth {peer}"));
    }
    if plan.management {
        // The guest's first namespace is that of its first process.
        let peer = format!("peer name p-{} netns 1", plan.name);
        let (lan, last) = plan.links.first().copied().unwrap_or_default();
        let mac = format!("02:00:01:{lan:02x}:{last:02x}:00");
        line(batch, format_args!("link add mgmt0 address {mac} type veth {peer}"));
    }
    // Records netlink when somebody looks; made now, so that it is in every snapshot alike.
    line(batch, format_args!("link add nlmon0 type nlmon"));
}

/// From inside: the sysctls of a namespace are only seen there.
fn configure(guest: &Guest, plan: &HostPlan) -> Result<()> {
    let links = (0..plan.links.len()).map(|at| format!("eth{at}"));
    let links: Vec<_> = links.chain(plan.management.then(|| "mgmt0".to_owned())).collect();
    let mut batch = String::new();
    line(&mut batch, format_args!("link set lo up"));
    line(&mut batch, format_args!("link set nlmon0 up"));
    for (at, (lan, last)) in plan.links.iter().enumerate() {
        let (four, six) = (ipv4(*lan, *last), ipv6(*lan, *last));
        line(&mut batch, format_args!("address add {four}/24 dev eth{at}"));
        line(&mut batch, format_args!("address add {six}/64 dev eth{at} nodad"));
    }
    if let (true, Some((lan, last))) = (plan.management, plan.links.first()) {
        line(&mut batch, format_args!("address add 10.99.{lan}.{last}/16 dev mgmt0"));
    }
    links
        .iter()
        .for_each(|link| line(&mut batch, format_args!("link set {link} up")));
    if plan.management {
        line(
            &mut batch,
            format_args!("route add 10.0.2.2/32 via 10.99.0.1 dev mgmt0"),
        );
    }
    if let Some((lan, last)) = plan.gateway {
        line(&mut batch, format_args!("route add default via {}", ipv4(lan, last)));
        line(&mut batch, format_args!("route add ::/0 via {}", ipv6(lan, last)));
    }
    let mut first = String::new();
    make_links(&mut first, plan);
    // Without duplicate address detection: else addresses are tentative for a second, and a
    // snapshot then differs by itself.
    let dad = links.iter().map(|link| format!(" net.ipv6.conf.{link}.accept_dad=0"));
    let forwards = u8::from(plan.forwards);
    let sysctls = format!("net.ipv4.ip_forward={forwards} net.ipv6.conf.all.forwarding={forwards}");
    let sysctls = dad.fold(sysctls, |all, one| all + &one);
    let script = format!("ip -batch - <<END\n{first}END\n[ $? = 0 ] && sysctl -qw {sysctls} && exec ip -batch -");
    guest
        .run(&Program::shell(&script).input(batch).netns(&plan.name))
        .map(drop)
}

fn line(batch: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(batch, "{text}").unwrap_or_default(); // a String takes everything
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
