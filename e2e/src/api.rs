//! The API server asked directly, by curl: for what is asked again and again, and for what only prepares a test or clears up
//! after it. What a person does — apply, patch, delete — is kubectl's: a big program, whose processor is the guest's, too.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::control_plane::ControlPlane;
use crate::tools;

/// Kinds as kubectl takes them, alone or before a `/` and a name: one, many, and where the API server has them.
const RESOURCES: &[(&str, &str, &str)] = &[
    ("virtualservice", "virtualservices", "/apis/lvs-operator.io/v1alpha1"),
    ("realserver", "realservers", "/apis/lvs-operator.io/v1alpha1"),
    ("placement", "placements", "/apis/lvs-operator.io/v1alpha1"),
    ("directorgroup", "directorgroups", "/apis/lvs-operator.io/v1alpha1"),
    ("node", "nodes", "/api/v1"),
    ("namespace", "namespaces", "/api/v1"),
    ("serviceaccount", "serviceaccounts", "/api/v1"),
    ("lease", "leases", "/apis/coordination.k8s.io/v1"),
    ("event", "events", "/apis/events.k8s.io/v1"),
];

/// Those that no namespace has: kubectl takes its `-n` for them, too, and leaves it out.
const OF_THE_CLUSTER: &[&str] = &["directorgroups", "nodes", "namespaces"];

/// What is done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Create it, below another one: a token is created below its account.
    Create,
    /// Create it or change it, by server-side apply.
    Apply,
    /// Change it, by JSON merge patch.
    Patch,
    /// Delete it, or all that the path names.
    Delete,
}

impl Verb {
    fn method(self) -> &'static str {
        match self {
            Self::Create => "POST",
            Self::Apply | Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    fn content(self) -> &'static str {
        match self {
            Self::Apply => "application/apply-patch+yaml",
            Self::Patch => "application/merge-patch+json",
            Self::Create | Self::Delete => "application/json",
        }
    }

    fn query(self) -> &'static str {
        match self {
            Self::Apply => "?fieldManager=lab&force=true",
            Self::Create | Self::Patch | Self::Delete => "",
        }
    }
}

impl ControlPlane {
    /// What `kubectl get -o json` with these words gives: `-n` and a namespace, or `-A`; and kinds, or a kind `/` a name.
    ///
    /// # Errors
    /// When it is not there, or the words are others.
    pub fn look(&self, words: &[&str]) -> Result<Value> {
        let mut lists = paths(words)?.into_iter().map(|path| self.ask(&path));
        match (lists.next(), lists.next()) {
            (Some(only), None) => only,
            (first, second) => {
                let mut items = Vec::new();
                for list in first.into_iter().chain(second).chain(lists) {
                    items.extend(list?["items"].as_array().cloned().unwrap_or_default());
                }
                Ok(json!({ "items": items }))
            }
        }
    }

    /// What is at a path.
    ///
    /// # Errors
    /// When it is not there.
    pub(crate) fn ask(&self, path: &str) -> Result<Value> {
        self.curl(&[], path, None)
    }

    /// Does something to what is at a path; returns what the API server says.
    ///
    /// # Errors
    /// When it is refused.
    pub(crate) fn tell(&self, verb: Verb, path: &str, body: Option<&Value>) -> Result<Value> {
        let content = format!("Content-Type: {}", verb.content());
        let arguments = ["--request", verb.method(), "--header", &content];
        let path = format!("{path}{}", verb.query());
        self.curl(&arguments, &path, body)
            .with_context(|| format!("{} {path}", verb.method()))
    }

    fn curl(&self, arguments: &[&str], path: &str, body: Option<&Value>) -> Result<Value> {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--fail-with-body", "--max-time", "20"]);
        for (option, file) in [("--cacert", "ca.crt"), ("--cert", "admin.crt"), ("--key", "admin.key")] {
            command.arg(option).arg(self.folder().join(file));
        }
        if let Some(body) = body {
            command.arg("--data-binary").arg(body.to_string());
        }
        command.args(arguments).arg(format!("{}{path}", self.url()));
        let output = command.stdin(Stdio::null()).output().context("curl")?;
        let text = tools::text(&output.stdout);
        if !output.status.success() {
            bail!("{}{}", text.trim(), tools::text(&output.stderr).trim());
        }
        serde_json::from_str(&text).with_context(|| format!("not JSON: {text}"))
    }
}

/// The path of an object, or of all of its kind there; a namespace that is empty has none.
pub(crate) fn path(kind: &str, namespace: &str, name: &str) -> Result<String> {
    // As in `events.events.k8s.io`: no two groups here have a kind of one name.
    let kind = kind.split('.').next().unwrap_or_default();
    let is_it = |(one, many, _): &&(&str, &str, &str)| [*one, *many].contains(&kind);
    let (_, many, group) = RESOURCES
        .iter()
        .find(is_it)
        .with_context(|| format!("the lab does not know where {kind} are"))?;
    let namespace = match namespace {
        "" => String::new(),
        _ if OF_THE_CLUSTER.contains(many) => String::new(),
        namespace => format!("/namespaces/{namespace}"),
    };
    let name = match name {
        "" => String::new(),
        name => format!("/{name}"),
    };
    Ok(format!("{group}{namespace}/{many}{name}"))
}

fn paths(words: &[&str]) -> Result<Vec<String>> {
    let (mut namespace, mut what) = ("", None);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "-n" => namespace = words.next().context("-n of what")?,
            "-A" => {}
            word => what = Some(word),
        }
    }
    let what = what.context("of which kind?")?;
    let (kinds, name) = what.split_once('/').unwrap_or((what, ""));
    kinds.split(',').map(|kind| path(kind, namespace, name)).collect()
}

#[cfg(test)]
mod tests {
    use super::paths;

    #[test]
    fn words_of_kubectl_are_paths() {
        for (words, expected) in [
            (
                &["-n", "shop", "virtualservice/web"][..],
                &["/apis/lvs-operator.io/v1alpha1/namespaces/shop/virtualservices/web"][..],
            ),
            (&["placements", "-A"], &["/apis/lvs-operator.io/v1alpha1/placements"]),
            (
                &["virtualservices.lvs-operator.io,realservers", "-A"],
                &[
                    "/apis/lvs-operator.io/v1alpha1/virtualservices",
                    "/apis/lvs-operator.io/v1alpha1/realservers",
                ],
            ),
            (
                &["-n", "shop", "events.events.k8s.io"],
                &["/apis/events.k8s.io/v1/namespaces/shop/events"],
            ),
            (
                &["-n", "shop", "directorgroup/default"],
                &["/apis/lvs-operator.io/v1alpha1/directorgroups/default"],
            ),
        ] {
            assert_eq!(paths(words).expect("paths"), expected, "{words:?}");
        }
        assert!(paths(&["-A"]).is_err(), "no kind");
        assert!(paths(&["secrets", "-A"]).is_err(), "an unknown kind");
    }
}
