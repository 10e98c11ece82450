//! Puts the parts together: the threads that touch the kernel, and the tasks that talk to the API server.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use futures::StreamExt;
use health::Verdict;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use crate::admin::{self, Readiness};
use crate::agent::{Agent, Pace, Parts, Wake};
use crate::api;
use crate::args::{Paths, Run};
use crate::checker::{self, Memory};
use crate::checks::{Asked, Belief, Checks, Order};
use crate::clock::Clock;
use crate::identity;
use crate::kernel::linux::{Linux, LinuxOptions};
use crate::kernel::notify::{Notifications, RulesetNotifications};
use crate::ledger::{JournalFile, Ledger, NoJournal};
use crate::metrics::Metrics;
use crate::pass::Node;
use crate::placements::{self, Disk, News};
use crate::plan::Plan;
use crate::view::{Source, View};

/// Runs as the node's agent until a signal.
///
/// # Errors
/// It cannot start, or one of its parts ended.
pub async fn run(paths: Paths, options: Run) -> Result<()> {
    let node_name = options.node_name()?;
    let boot_id = identity::boot_id()?;
    let _lock = lock(&paths.run_dir)?;
    let config = client_config(&options).await?;
    let disk = Disk::new(&paths.state_dir, token(&config).as_deref().and_then(identity::node_uid));
    let client = Client::try_from(config).context("the API client cannot be made")?;
    let (journal, ledger) = JournalFile::open(&paths.run_dir, &boot_id)
        .with_context(|| format!("the ledger in {} cannot be opened", paths.run_dir.display()))?;
    let kernel = Linux::open(LinuxOptions {
        proc_sys_net: paths.proc_sys_net.clone(),
    });
    let (metrics, readiness) = (Metrics::default(), Readiness::default());
    let (wake, inbox) = channel();
    let (say, said) = unbounded_channel();
    tracing::info!(
        node = node_name,
        boot = boot_id,
        adopted = ledger.adopted,
        "lvs-agent starts"
    );
    let pace = Pace {
        look: Duration::from_millis(options.flush_check_milliseconds),
        audit: Duration::from_secs(options.audit_seconds),
    };
    let remembered = disk.read();
    let node = Node::new(kernel, journal, ledger, boot_id.clone());
    let verdicts = Memory::read(&paths.state_dir, &boot_id);
    let (orders, checking) = check(verdicts.clone(), wake.clone(), &metrics);
    let agent = Agent::new(Parts {
        node,
        orders,
        verdicts,
        disk,
        pace,
        say,
        metrics: metrics.clone(),
        readiness: readiness.clone(),
    });
    listen(wake.clone())?;
    listen_to_nftables(wake.clone())?;
    let converging = thread::Builder::new()
        .name("converge".to_owned())
        .spawn(move || agent.run(&inbox))?;
    let watching = watch(placements::watch(client.clone(), &node_name, remembered), wake.clone());
    let ended = tokio::select! {
        () = terminated()? => Ok(()),
        () = watching => Err(anyhow!("the watch of Placements ended")),
        () = api::renew_lease(client.clone(), options.namespace, node_name.clone(), boot_id) =>
            Err(anyhow!("the API server has refused this agent's token for five minutes")),
        () = api::write(client, node_name, metrics.clone(), said) => Err(anyhow!("the loop ended")),
        served = admin::serve(options.admin_address, readiness, metrics) => served,
    };
    let _: Result<(), _> = wake.send(Wake::Stop);
    converging.join().map_err(|_| anyhow!("the loop panicked"))?;
    // The loop gives no more orders: the checker writes down what it believes, and ends.
    checking.await.context("the checker panicked")?;
    ended
}

/// Prints what the next pass over the remembered Placements would change.
///
/// # Errors
/// The kernel or the ledger cannot be read.
pub fn print_plan(paths: &Paths) -> Result<()> {
    // What is absent from the file would be deleted by the running agent, and is shown.
    let view = View {
        source: Source::Api,
        ..Disk::new(&paths.state_dir, None).read()
    };
    let verdicts = Memory::read(&paths.state_dir, &identity::boot_id()?);
    let plan = preview(paths, judged(view, verdicts))?;
    for key in &plan.foreign {
        println!("# {key} is in the table and not ours: left alone");
    }
    print!("{plan}");
    Ok(())
}

/// The Placements as the remembered verdicts leave them; what nobody has probed yet is taken for up.
fn judged(view: View, mut verdicts: Memory) -> View {
    let mut checks = Checks::default();
    let mut known = |asked: &Asked| Some(verdicts.of(asked).map_or(Belief::untested(Verdict::Up), Belief::from));
    let placements = view.placements.into_iter().map(|(key, placed)| {
        checks.place(&key, Some(&placed.spec), |asked, _| known(asked));
        (key, checks.judge(placed))
    });
    View {
        placements: placements.collect(),
        ..view
    }
}

/// Takes back everything that is ours.
///
/// # Errors
/// An agent runs, the kernel refuses, or something is left.
pub fn cleanup(paths: &Paths, make: Make) -> Result<()> {
    let nothing = View {
        source: Source::Api,
        ..View::default()
    };
    print!("{}", preview(paths, nothing.clone())?);
    match make {
        Make::Nothing => return Ok(()),
        Make::Changes => {}
    }
    let _lock = lock(&paths.run_dir)?;
    let boot_id = identity::boot_id()?;
    let (journal, ledger) = JournalFile::open(&paths.run_dir, &boot_id)?;
    let kernel = Linux::open(LinuxOptions {
        proc_sys_net: paths.proc_sys_net.clone(),
    });
    let mut node = Node::new(kernel, journal, ledger, boot_id);
    node.see(nothing.clone());
    let outcome = node.pass(Clock::start().now())?;
    for (change, error) in &outcome.refusals {
        eprintln!("refused: {change}: {error}");
    }
    let rest = preview(paths, nothing)?;
    if !rest.steps.is_empty() {
        bail!("left over:\n{rest}");
    }
    Disk::new(&paths.state_dir, None).forget()?;
    Ok(())
}

/// Whether a command makes its changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Make {
    /// It does.
    Changes,
    /// It prints them.
    Nothing,
}

fn preview(paths: &Paths, view: View) -> Result<Plan> {
    let boot_id = identity::boot_id()?;
    let ledger = Ledger::peek(&paths.run_dir, &boot_id)?;
    let kernel = Linux::open(LinuxOptions {
        proc_sys_net: paths.proc_sys_net.clone(),
    });
    let mut node = Node::new(kernel, NoJournal, ledger, boot_id);
    node.see(view);
    Ok(node.preview(Clock::start().now())?)
}

/// One agent a node: a second one would repair the first one's work for ever.
fn lock(run_dir: &Path) -> Result<File> {
    std::fs::create_dir_all(run_dir)?;
    let path = run_dir.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!(
                "another lvs-agent runs on this node ({} is locked): stop it first",
                path.display()
            )
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}

async fn client_config(options: &Run) -> Result<Config> {
    let mut config = match &options.kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path).with_context(|| format!("cannot read {}", path.display()))?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?
        }
        None => Config::infer().await?,
    };
    // The client would retry for minutes; the tasks here know better what may wait.
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(5));
    Ok(config)
}

fn token(config: &Config) -> Option<String> {
    use secrecy::ExposeSecret;
    let given = config
        .auth_info
        .token
        .as_ref()
        .map(|token| token.expose_secret().to_owned());
    let file = || std::fs::read_to_string(config.auth_info.token_file.as_ref()?).ok();
    given.or_else(file)
}

/// Starts the checker; it ends when nobody is left to give it orders.
fn check(memory: Memory, wake: Sender<Wake>, metrics: &Metrics) -> (UnboundedSender<Order>, JoinHandle<()>) {
    let (give, orders) = unbounded_channel();
    let checking = tokio::spawn(checker::run(checker::Parts {
        orders,
        wake,
        memory,
        metrics: metrics.health.clone(),
        most_at_once: checker::most_at_once(),
    }));
    (give, checking)
}

/// Hands the kernel's notifications to the loop, for ever.
fn listen(wake: Sender<Wake>) -> Result<()> {
    let mut notifications = Notifications::open()?;
    thread::Builder::new().name("notifications".to_owned()).spawn(move || {
        loop {
            match notifications.wait(Duration::from_secs(60)) {
                Ok(true) if wake.send(Wake::Network).is_err() => return,
                Ok(true | false) => {}
                Err(error) => {
                    tracing::warn!(%error, "the kernel's notifications cannot be read; the audit goes on");
                    thread::sleep(Duration::from_secs(1));
                }
            }
        }
    })?;
    Ok(())
}

/// Hands nftables' notifications to the loop, for ever. A kernel without nftables has none.
fn listen_to_nftables(wake: Sender<Wake>) -> Result<()> {
    let mut notifications = match RulesetNotifications::open() {
        Ok(notifications) => notifications,
        Err(error) => {
            tracing::info!(%error, "no notifications of nftables: the audit looks after our table, where there is one");
            return Ok(());
        }
    };
    thread::Builder::new().name("nftables".to_owned()).spawn(move || {
        loop {
            match notifications.wait(Duration::from_secs(60)) {
                Ok(Some(committed)) if wake.send(Wake::Ruleset(committed)).is_err() => return,
                Ok(Some(_) | None) => {}
                Err(error) => {
                    tracing::warn!(%error, "nftables' notifications cannot be read; the audit goes on");
                    thread::sleep(Duration::from_secs(1));
                }
            }
        }
    })?;
    Ok(())
}

async fn watch(stream: impl futures::Stream<Item = News>, wake: Sender<Wake>) {
    futures::pin_mut!(stream);
    while let Some(news) = stream.next().await {
        if wake.send(Wake::Placements(news)).is_err() {
            return;
        }
    }
}

fn terminated() -> Result<impl Future<Output = ()>> {
    let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
