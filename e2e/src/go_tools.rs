//! Programs that are built from Go modules: two files pin each set.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::{cache, settings, tools};

/// Without it the API server calls itself v0.0.0, which clients and policies look at.
const KUBERNETES_LDFLAGS: &str = "-s -w -X k8s.io/component-base/version.gitVersion=v1.36.3";
const PLAIN_LDFLAGS: &str = "-s -w";

/// The folder with etcd, kube-apiserver, kube-controller-manager and kubectl.
///
/// # Errors
/// When they cannot be built.
pub fn kubernetes() -> Result<PathBuf> {
    cache::folder("kubernetes", &recipe("kubernetes", KUBERNETES_LDFLAGS)?, |folder| {
        let programs = ["kube-apiserver", "kube-controller-manager", "kubectl"];
        let packages = programs.map(|program| format!("k8s.io/kubernetes/cmd/{program}"));
        build("kubernetes", KUBERNETES_LDFLAGS, folder, &packages)?;
        let etcd = "go.etcd.io/etcd/server/v3".to_owned();
        build("kubernetes", PLAIN_LDFLAGS, &folder.join("etcd"), &[etcd])
    })
}

/// The helm program.
///
/// # Errors
/// When it cannot be built.
pub fn helm() -> Result<PathBuf> {
    let folder = cache::folder("helm", &recipe("helm", PLAIN_LDFLAGS)?, |folder| {
        build("helm", PLAIN_LDFLAGS, folder, &["helm.sh/helm/v4/cmd/helm".to_owned()])
    })?;
    Ok(folder.join("helm"))
}

fn recipe(module: &str, ldflags: &str) -> Result<String> {
    let folder = settings::checkout().join("e2e").join(module);
    let read = |name: &str| fs::read_to_string(folder.join(name)).with_context(|| name.to_owned());
    Ok(format!("{}{}{ldflags}", read("go.mod")?, read("go.sum")?))
}

fn build(module: &str, ldflags: &str, to: &Path, packages: &[String]) -> Result<()> {
    // A trailing slash tells go that this is a folder, also for a single program.
    let to = if to.is_dir() { to.join("") } else { to.to_owned() };
    let mut go = tools::go(module)?;
    go.args(["build", "-trimpath", "-ldflags", ldflags, "-o"])
        .arg(to)
        .args(packages);
    tools::run(&mut go)?;
    Ok(())
}
