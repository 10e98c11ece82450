//! One test's part of the lab: its hosts, its namespace, its programs. Everything of it is gone
//! when the test ends, and looked at first when the test failed.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use crate::control_plane::ControlPlane;
use crate::guest::Guest;
use crate::guest_process::LOGS;
use crate::lab::Lab;
use crate::process::{HostProcess, Signal};
use crate::product::{self, Agent, AgentOptions, NodeFolders};
use crate::program::Program;
use crate::root_image::Suite;
use crate::topology::{Host, HostPlan, Topology};
use crate::{clock, evidence, progress, settings};

/// A test of the lab.
pub type Test = fn(&Scene) -> Result<()>;

/// What a test works with.
#[derive(Debug)]
pub struct Scene {
    /// The test's name.
    pub name: String,
    /// The Kubernetes namespace that is its own.
    pub namespace: String,
    /// Where its kernel and the tools in its guest are from.
    pub suite: Suite,
    guest: Arc<Guest>,
    control_plane: Arc<ControlPlane>,
    // Fields are dropped in this order: programs before the hosts that they run on.
    agents: Mutex<BTreeMap<String, Agent>>,
    operator: Mutex<Option<HostProcess>>,
    kept: Mutex<Vec<Box<dyn Any + Send>>>,
    topology: OnceLock<Topology>,
}

/// Plays a test to its end, on the kernel of a suite, and clears up after it; once more, which is said, when its guest was lost
/// to emulation, or when this run has its second chance still.
///
/// # Errors
/// The test's own; a panic is one, too.
pub fn play(lab: &Lab, suite: Suite, name: &str, test: Test) -> Result<()> {
    let (result, guest) = attempt(lab, suite, name, test)?;
    let Err(error) = &result else { return result };
    let why = if guest.lost_to_emulation() {
        "its guest was lost to emulation"
    } else if guest.is_emulated() && lab.spend_second_chance(name, error) {
        "no other test of this run will be"
    } else {
        return result;
    };
    progress::say(&format!("== {name}: once more, {why}"));
    attempt(lab, suite, name, test)?.0
}

/// What came of the test, and the guest that it ran in.
fn attempt(lab: &Lab, suite: Suite, name: &str, test: Test) -> Result<(Result<()>, Arc<Guest>)> {
    let begin = clock::now();
    let (guest, control_plane) = lab.start(suite)?;
    progress::say(&format!("== {name}"));
    let scene = Scene::set(name, suite, guest.clone(), control_plane)?;
    let result = panic::catch_unwind(AssertUnwindSafe(|| test(&scene)))
        .unwrap_or_else(|panic| Err(anyhow!("it panicked: {}", text_of(&*panic))));
    let took = begin.elapsed().as_secs_f64();
    match &result {
        Ok(()) => progress::say(&format!("== {name}: passed after {took:.1} s")),
        Err(error) => {
            progress::say(&format!("== {name}: FAILED after {took:.1} s: {error:#}"));
            let folder = lab.folder().join(format!("evidence-{}", file_name(name)));
            let why = format!("{error:?}");
            evidence::gather(&folder, &scene.guest, &scene.control_plane, &why);
        }
    }
    if settings::is_set(settings::KEEP) {
        scene.wait_for_a_person(lab);
    }
    scene.strike(lab, result.is_ok());
    Ok((result, guest))
}

fn file_name(test: &str) -> String {
    test.replace("::", "-")
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("?")
}

impl Scene {
    fn set(name: &str, suite: Suite, guest: Arc<Guest>, control_plane: Arc<ControlPlane>) -> Result<Self> {
        let namespace = file_name(name).replace('_', "-");
        control_plane.add_namespace(&namespace)?;
        Ok(Self {
            name: name.to_owned(),
            namespace,
            suite,
            guest,
            control_plane,
            agents: Mutex::default(),
            operator: Mutex::default(),
            kept: Mutex::default(),
            topology: OnceLock::new(),
        })
    }

    /// Says what the test does now.
    pub fn step(&self, what: &str) {
        progress::say(&format!("   {what}"));
    }

    /// The guest.
    #[must_use]
    pub fn guest(&self) -> &Arc<Guest> {
        &self.guest
    }

    /// The control plane.
    #[must_use]
    pub fn control_plane(&self) -> &ControlPlane {
        &self.control_plane
    }

    /// Makes the hosts of the test; those with a link to the control plane are fresh nodes.
    ///
    /// # Errors
    /// When the guest or the API server refuses something.
    pub fn lay(&self, plans: &[HostPlan]) -> Result<()> {
        match self.topology.get() {
            Some(topology) => topology.add(plans)?,
            None => {
                let topology = Topology::lay(&self.guest, plans)?;
                self.topology.set(topology).map_err(|_| anyhow!("laid twice"))?;
            }
        }
        let nodes = plans.iter().filter(|plan| plan.management);
        let nodes = nodes.map(|plan| Ok(NodeFolders::of(&*self.host(&plan.name)?)));
        let nodes = nodes.collect::<Result<Vec<_>>>()?;
        if nodes.is_empty() {
            return Ok(());
        }
        NodeFolders::install(&self.guest, &nodes)
    }

    /// A host by name.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn host(&self, name: &str) -> Result<Arc<Host>> {
        self.topology.get().context("no hosts were made")?.host(name)
    }

    /// Makes a host a Node of the cluster; one whose name begins with `dir` gets the label that
    /// directors are selected by.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub fn register(&self, name: &str) -> Result<()> {
        let label = ("lvs-operator.io/director", "true");
        let labels = if name.starts_with("dir") {
            vec![label]
        } else {
            Vec::new()
        };
        let host = self.host(name)?;
        self.control_plane
            .add_node(name, &[&host.address, &host.address6], &labels)
    }

    /// Applies manifests, with `NAMESPACE` in them replaced by the test's own.
    ///
    /// # Errors
    /// When the API server refuses something.
    pub fn apply(&self, manifests: &str) -> Result<()> {
        self.control_plane.apply(&self.own(manifests)).map(drop)
    }

    /// Deletes what manifests name, and waits until it is gone.
    ///
    /// # Errors
    /// When it does not go.
    pub fn delete(&self, manifests: &str) -> Result<()> {
        self.control_plane.delete(&self.own(manifests)).map(drop)
    }

    /// Manifests in the test's own namespace.
    #[must_use]
    pub fn own(&self, manifests: &str) -> String {
        manifests.replace("NAMESPACE", &self.namespace)
    }

    /// Starts the operator.
    ///
    /// # Errors
    /// When it cannot start.
    pub fn start_operator(&self) -> Result<()> {
        *lock(&self.operator) = Some(product::start_operator(&self.control_plane, "operator")?);
        Ok(())
    }

    /// Ends the operator.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop_operator(&self, signal: Signal) -> Result<()> {
        match lock(&self.operator).take() {
            Some(operator) => operator.stop(signal, Duration::from_secs(20)).map(drop),
            None => Ok(()),
        }
    }

    /// Starts the agent of a registered node.
    ///
    /// # Errors
    /// When it cannot start.
    pub fn start_agent(&self, name: &str, options: &AgentOptions) -> Result<()> {
        let agent = Agent::start(&self.control_plane, &self.host(name)?, options)?;
        lock(&self.agents).insert(name.to_owned(), agent);
        Ok(())
    }

    /// Starts it again with the token that it had: needs no API server.
    ///
    /// # Errors
    /// When it cannot start.
    pub fn start_agent_again(&self, name: &str, options: &AgentOptions) -> Result<()> {
        let agent = Agent::start_again(&self.host(name)?, options)?;
        lock(&self.agents).insert(name.to_owned(), agent);
        Ok(())
    }

    /// Ends an agent; returns its exit code, or 128 + signal.
    ///
    /// # Errors
    /// When it does not run or does not end.
    pub fn stop_agent(&self, name: &str, signal: Signal) -> Result<i32> {
        let agent = lock(&self.agents).remove(name);
        agent.with_context(|| format!("no agent runs on {name}"))?.stop(signal)
    }

    /// Sends a signal to an agent: `Stop` freezes it.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal_agent(&self, name: &str, signal: Signal) -> Result<()> {
        let agents = lock(&self.agents);
        agents
            .get(name)
            .with_context(|| format!("no agent on {name}"))?
            .process()
            .signal(signal)
    }

    /// What an agent has said until now.
    ///
    /// # Errors
    /// When it does not run.
    pub fn agent_log(&self, name: &str) -> Result<String> {
        let agents = lock(&self.agents);
        agents
            .get(name)
            .with_context(|| format!("no agent on {name}"))?
            .process()
            .output()
    }

    /// Reboots a node: every program on it dies, kernel state and `/run` are gone, its disk
    /// stays. The agent is not started.
    ///
    /// # Errors
    /// When the guest refuses something.
    pub fn reboot(&self, name: &str) -> Result<()> {
        drop(lock(&self.agents).remove(name));
        self.topology.get().context("no hosts were made")?.reboot(name)?;
        let host = self.host(name)?;
        NodeFolders::of(&host).boot(&host)
    }

    /// Keeps something, a program usually, until the test ends.
    pub fn keep(&self, thing: impl Any + Send) {
        lock(&self.kept).push(Box::new(thing));
    }

    fn wait_for_a_person(&self, lab: &Lab) {
        let kubeconfig = self.control_plane.kubeconfig();
        progress::say(&format!(
            "kept as it is until you press Enter. From another terminal:\n\
             \x20   cargo xtask exec dir1 -- ipvsadm -Ln\n\
             \x20   cargo xtask exec dir1 -- tail /tmp/logs/dir1-agent.log\n\
             \x20   cargo xtask kubectl get ipvs,placements -A\n\
             (guest's port {}, kubeconfig {}, run {})",
            self.guest.port(),
            kubeconfig.display(),
            lab.folder().display(),
        ));
        let mut line = String::new();
        if std::io::stdin().read_line(&mut line).unwrap_or_default() == 0 {
            // No terminal: stay until somebody ends us.
            std::thread::park();
        }
    }

    /// Clears up; what cannot be cleared is replaced for the next test.
    fn strike(self, lab: &Lab, passed: bool) {
        let Self {
            name,
            namespace,
            suite,
            guest,
            control_plane,
            agents,
            operator,
            kept,
            topology,
        } = self;
        drop((agents, operator, kept, topology));
        let leftovers = format!("rm -rf {LOGS} /tmp/captures; [ -z \"$(ls /run/netns)\" ]");
        if let Err(error) = guest.run(&Program::shell(&leftovers)) {
            progress::say(&format!("{name} leaves a guest that is not clean: {error:#}"));
            lab.give_up_guest(suite);
        }
        // After a failure anything may be wrong with the objects; a new cluster is six seconds.
        let cleared = if passed {
            control_plane.clear(&namespace)
        } else {
            Err(anyhow!("failed"))
        };
        if cleared.is_err() {
            if passed {
                progress::say(&format!("{name} leaves objects behind: {cleared:?}"));
            }
            lab.give_up_control_plane();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
