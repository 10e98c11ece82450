//! A real control plane on this machine: etcd, kube-apiserver, kube-controller-manager.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::kubeconfig::kubeconfig;
use crate::process::{HostProcess, Signal, free_port};
use crate::{certificates, clock, guest, progress, tools};

const READY_LIMIT: Duration = Duration::from_secs(90);
/// Without the garbage collector nothing that is owned ends with its owner, and without the
/// others neither namespaces end nor do roles aggregate nor has a namespace its account.
const CONTROLLERS: &str = "garbage-collector-controller,namespace-controller,\
    serviceaccount-controller,serviceaccount-token-controller,\
    root-ca-certificate-publisher-controller,clusterrole-aggregation-controller";

/// Where kubectl's input comes from.
pub type Input<'a> = Option<&'a str>;

/// A running control plane; everything of it ends when dropped.
#[derive(Debug)]
pub struct ControlPlane {
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
    etcd_port: u16,
    api_server: Mutex<Option<HostProcess>>,
    controller_manager: Mutex<Option<HostProcess>>,
    etcd: HostProcess,
}

impl ControlPlane {
    /// Starts one with its data, keys and logs in `folder`.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn start(programs: &Path, folder: &Path) -> Result<Self> {
        progress::step("starting the control plane", || {
            fs::create_dir_all(folder)?;
            certificates::write(folder)?;
            let etcd_port = free_port()?;
            let etcd = etcd(programs, folder, etcd_port)?;
            let control_plane = Self {
                programs: programs.to_owned(),
                folder: folder.to_owned(),
                port: free_port()?,
                etcd_port,
                api_server: Mutex::new(None),
                controller_manager: Mutex::new(None),
                etcd,
            };
            control_plane.write_kubeconfigs()?;
            control_plane.start_api_server()?;
            control_plane.start_controller_manager()?;
            Ok(control_plane)
        })
    }

    /// The folder with its logs.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The kubeconfig of an administrator on this machine.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("admin.kubeconfig")
    }

    /// The API server's address as seen from this machine.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The API server's address as seen from the guest and its namespaces.
    #[must_use]
    pub fn url_in_guest(&self) -> String {
        format!("https://{}:{}", guest::HOST, self.port)
    }

    /// The certificate that vouches for the API server, as PEM.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn ca(&self) -> Result<String> {
        Ok(fs::read_to_string(self.folder.join("ca.crt"))?)
    }

    /// A kubeconfig with a bearer token.
    ///
    /// # Errors
    /// When the certificate cannot be read.
    pub fn kubeconfig_with_token(&self, server: &str, token: &str) -> Result<String> {
        Ok(kubeconfig(server, &self.ca()?, &serde_json::json!({ "token": token })))
    }

    fn write_kubeconfigs(&self) -> Result<()> {
        for user in ["admin", "controller-manager"] {
            let user_keys = serde_json::json!({
                "client-certificate": self.folder.join(format!("{user}.crt")),
                "client-key": self.folder.join(format!("{user}.key")),
            });
            let text = kubeconfig(&self.url(), &self.ca()?, &user_keys);
            fs::write(self.folder.join(format!("{user}.kubeconfig")), text)?;
        }
        Ok(())
    }

    /// Starts the API server on the port and the data that it had, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn start_api_server(&self) -> Result<()> {
        let mut running = lock(&self.api_server);
        if running.is_none() {
            *running = Some(self.spawn_api_server()?);
        }
        drop(running);
        let (result, _) = clock::until("the API server is ready", READY_LIMIT, || {
            if let Some(words) = ended(lock(&self.api_server).as_ref())? {
                return Ok(Some(Err(anyhow::anyhow!("kube-apiserver ended:\n{words}"))));
            }
            let answer = self.kubectl(&["get", "--raw", "/readyz", "--request-timeout=2s"], None)?;
            Ok((answer.trim() == "ok").then_some(Ok(())))
        })?;
        result
    }

    fn spawn_api_server(&self) -> Result<HostProcess> {
        let file = |name: &str| self.folder.join(name).display().to_string();
        let mut command = Command::new(self.programs.join("kube-apiserver"));
        command.args([
            format!("--etcd-servers=http://127.0.0.1:{}", self.etcd_port),
            format!("--secure-port={}", self.port),
            "--bind-address=127.0.0.1".to_owned(),
            // Must not be a loopback address; nobody connects to it.
            format!("--advertise-address={}", guest::HOST),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            "--authorization-mode=RBAC".to_owned(),
            "--anonymous-auth=false".to_owned(),
            format!("--client-ca-file={}", file("ca.crt")),
            format!("--tls-cert-file={}", file("server.crt")),
            format!("--tls-private-key-file={}", file("server.key")),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", file("service-account.pub")),
            format!("--service-account-signing-key-file={}", file("service-account.key")),
            "--event-ttl=1h".to_owned(),
            "--profiling=false".to_owned(),
        ]);
        HostProcess::start("kube-apiserver", command, &self.folder.join("kube-apiserver.log"))
    }

    fn start_controller_manager(&self) -> Result<()> {
        let file = |name: &str| self.folder.join(name).display().to_string();
        let mut command = Command::new(self.programs.join("kube-controller-manager"));
        command.args([
            format!("--kubeconfig={}", file("controller-manager.kubeconfig")),
            format!("--controllers={CONTROLLERS}"),
            "--use-service-account-credentials=true".to_owned(),
            format!("--service-account-private-key-file={}", file("service-account.key")),
            format!("--root-ca-file={}", file("ca.crt")),
            "--leader-elect=false".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", free_port()?),
            format!("--cert-dir={}", file("controller-manager")),
        ]);
        let log = self.folder.join("kube-controller-manager.log");
        let process = HostProcess::start("kube-controller-manager", command, &log)?;
        *lock(&self.controller_manager) = Some(process);
        Ok(())
    }

    /// Ends the API server: `Terminate` cleanly, `Kill` at once.
    ///
    /// # Errors
    /// When it cannot be ended.
    pub fn stop_api_server(&self, signal: Signal) -> Result<()> {
        if let Some(process) = lock(&self.api_server).take() {
            process.stop(signal, Duration::from_secs(75))?;
        }
        Ok(())
    }

    /// Makes the API server hold its breath: connections stay, nothing is answered.
    ///
    /// # Errors
    /// When it does not run.
    pub fn freeze_api_server(&self) -> Result<()> {
        self.signal_api_server(Signal::Stop)
    }

    /// Lets a frozen API server go on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn thaw_api_server(&self) -> Result<()> {
        self.signal_api_server(Signal::Continue)
    }

    fn signal_api_server(&self, signal: Signal) -> Result<()> {
        lock(&self.api_server)
            .as_ref()
            .context("the API server does not run")?
            .signal(signal)
    }

    /// Runs kubectl as administrator and returns what it printed; must succeed.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn kubectl(&self, arguments: &[&str], input: Input<'_>) -> Result<String> {
        let output = self.kubectl_as(&self.kubeconfig(), arguments, input)?;
        if output.status.success() {
            return Ok(tools::text(&output.stdout));
        }
        bail!(
            "kubectl {}: {}",
            arguments.join(" "),
            tools::text(&output.stderr).trim()
        )
    }

    /// Runs kubectl with any kubeconfig; one that fails is an answer like any other.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn kubectl_as(&self, kubeconfig: &Path, arguments: &[&str], input: Input<'_>) -> Result<std::process::Output> {
        let mut command = Command::new(self.programs.join("kubectl"));
        command.arg("--kubeconfig").arg(kubeconfig).args(arguments);
        // Its discovery cache must not outlive this control plane: the CRDs of another are others.
        command.env("KUBECACHEDIR", self.folder.join("kubectl-cache"));
        let stdin = match input {
            Some(text) => {
                let mut file = tempfile::tempfile()?;
                std::io::Write::write_all(&mut file, text.as_bytes())?;
                std::io::Seek::rewind(&mut file)?;
                Stdio::from(file)
            }
            None => Stdio::null(),
        };
        command.stdin(stdin).output().context("kubectl")
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        // Nothing that they hold is kept, and a clean end waits for every watch: end them at once.
        for process in [&self.controller_manager, &self.api_server] {
            if let Some(process) = lock(process).take() {
                drop(process.stop(Signal::Kill, Duration::from_secs(5)));
            }
        }
        drop(self.etcd.stop(Signal::Kill, Duration::from_secs(5)));
    }
}

fn etcd(programs: &Path, folder: &Path, port: u16) -> Result<HostProcess> {
    let clients = format!("http://127.0.0.1:{port}");
    let peers = format!("http://127.0.0.1:{}", free_port()?);
    let mut command = Command::new(programs.join("etcd"));
    command.arg("--data-dir").arg(folder.join("etcd")).args([
        "--unsafe-no-fsync".to_owned(),
        format!("--listen-client-urls={clients}"),
        format!("--advertise-client-urls={clients}"),
        format!("--listen-peer-urls={peers}"),
        format!("--initial-advertise-peer-urls={peers}"),
        format!("--initial-cluster=default={peers}"),
    ]);
    HostProcess::start("etcd", command, &folder.join("etcd.log"))
}

fn ended(process: Option<&HostProcess>) -> Result<Option<String>> {
    match process {
        Some(process) => Ok(process.ended()?.map(|_| process.last_words())),
        None => Ok(Some("it was stopped".to_owned())),
    }
}

fn lock(process: &Mutex<Option<HostProcess>>) -> MutexGuard<'_, Option<HostProcess>> {
    process.lock().unwrap_or_else(PoisonError::into_inner)
}
