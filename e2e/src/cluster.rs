//! What tests do with a control plane: objects, nodes, tokens.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::api::{Verb, path};
use crate::control_plane::ControlPlane;
use crate::{clock, parallel, tools};

/// The namespace of the operator and of the agents' accounts.
pub const SYSTEM: &str = "lvs-system";
/// As long as no run of the lab lasts.
const TOKEN_SECONDS: u32 = 12 * 3600;
/// Every kind of the product, as kubectl takes them.
pub const KINDS: &str = "virtualservices,realservers,placements,directorgroups";

impl ControlPlane {
    /// Applies manifests as a person does, by server-side apply.
    ///
    /// # Errors
    /// When anything in them is refused.
    pub fn apply(&self, manifests: &str) -> Result<String> {
        self.kubectl(
            &["apply", "--server-side", "--force-conflicts", "-f", "-"],
            Some(manifests),
        )
    }

    /// Applies manifests that must be refused; returns what kubectl says about it.
    ///
    /// # Errors
    /// When they are accepted.
    pub fn refused(&self, manifests: &str) -> Result<String> {
        let apply = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        let output = self.kubectl_as(&self.kubeconfig(), &apply, Some(manifests))?;
        if output.status.success() {
            bail!("should have been refused, but: {}", tools::text(&output.stdout));
        }
        Ok(tools::text(&output.stderr))
    }

    /// Deletes what the manifests name, and waits until it is gone.
    ///
    /// # Errors
    /// When it does not go.
    pub fn delete(&self, manifests: &str) -> Result<String> {
        let delete = ["delete", "--ignore-not-found", "--timeout=60s", "-f", "-"];
        self.kubectl(&delete, Some(manifests))
    }

    /// `kubectl get … -o json`.
    ///
    /// # Errors
    /// When it fails.
    pub fn get(&self, arguments: &[&str]) -> Result<Value> {
        let all = [&["get", "-o", "json"], arguments].concat();
        Ok(serde_json::from_str(&self.kubectl(&all, None)?)?)
    }

    /// Looks again until the answer pleases ([`ControlPlane::look`] says what may be asked); returns it, and how long it took.
    ///
    /// # Errors
    /// When it does not please in time: with the last answer.
    pub fn wait_for(
        &self,
        what: &str,
        limit: Duration,
        arguments: &[&str],
        pleases: impl Fn(&Value) -> bool,
    ) -> Result<(Value, Duration)> {
        let mut last = Value::Null;
        let found = clock::until(what, limit, || {
            last = self.look(arguments)?;
            if pleases(&last) {
                return Ok(Some(last.clone()));
            }
            // Asking all the time takes the processor from the guest.
            thread::sleep(Duration::from_millis(80));
            Ok(None)
        });
        found.with_context(|| format!("the last answer was {last:#}"))
    }

    /// Waits for a condition of an object, like `("virtualservice/web", "Ready", "True")`.
    ///
    /// # Errors
    /// When it does not come.
    pub fn wait_for_condition(
        &self,
        namespace: &str,
        object: &str,
        condition: (&str, &str),
        limit: Duration,
    ) -> Result<Duration> {
        let what = format!("{object} has {}={}", condition.0, condition.1);
        let (_, took) = self.wait_for(&what, limit, &["-n", namespace, object], |object| {
            condition_of(object, condition.0).is_some_and(|found| found["status"] == condition.1)
        })?;
        Ok(took)
    }

    /// Adds a namespace.
    ///
    /// # Errors
    /// When it is refused.
    pub fn add_namespace(&self, name: &str) -> Result<()> {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        self.tell(Verb::Apply, &path("namespace", "", name)?, Some(&namespace))
            .map(drop)
    }

    /// Adds a Node as a kubelet does: ready, with its addresses, of each family.
    ///
    /// # Errors
    /// When it is refused.
    pub fn add_node(&self, name: &str, addresses: &[&str], labels: &[(&str, &str)]) -> Result<()> {
        let labels: serde_json::Map<_, _> = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        let node = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "labels": labels},
        });
        let node_path = path("node", "", name)?;
        self.tell(Verb::Apply, &node_path, Some(&node))?;
        let internal = addresses.iter().map(|address| ("InternalIP", *address));
        let all = internal.chain([("Hostname", name)]);
        let addresses: Vec<_> = all
            .map(|(kind, address)| json!({"type": kind, "address": address}))
            .collect();
        // Server-side apply takes one address of a kind; kubelets, too, go another way.
        let status = json!({"status": {
            "addresses": addresses,
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "Lab",
                "message": "a network namespace of the lab",
                "lastHeartbeatTime": "2026-01-01T00:00:00Z",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }],
        }});
        self.tell(Verb::Patch, &format!("{node_path}/status"), Some(&status))
            .map(drop)
    }

    /// A token of the agents' account that names a node, as a kubelet gives it to a pod there.
    ///
    /// # Errors
    /// When the node or the account does not exist.
    pub fn agent_token(&self, node: &str) -> Result<String> {
        let object = self.ask(&path("node", "", node)?)?;
        let bound = json!({
            "apiVersion": "v1", "kind": "Node", "name": node, "uid": object["metadata"]["uid"],
        });
        self.token(
            "lvs-agent",
            &json!({"expirationSeconds": TOKEN_SECONDS, "boundObjectRef": bound}),
        )
    }

    /// A token of the operator's account.
    ///
    /// # Errors
    /// When the account does not exist.
    pub fn operator_token(&self) -> Result<String> {
        self.token("lvs-operator", &json!({"expirationSeconds": TOKEN_SECONDS}))
    }

    fn token(&self, account: &str, spec: &Value) -> Result<String> {
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
        let path = format!("{}/token", path("serviceaccount", SYSTEM, account)?);
        let given = self.tell(Verb::Create, &path, Some(&request))?;
        let token = given["status"]["token"].as_str();
        token.map(str::to_owned).context("the API server gives no token")
    }

    /// Removes every object that a test may have left, whoever should have finished it.
    ///
    /// # Errors
    /// When something stays.
    pub fn clear(&self, namespace: &str) -> Result<()> {
        let delete = |path: &str| self.tell(Verb::Delete, path, None);
        // What is gone already is as it should be.
        drop(delete(&path("namespace", "", namespace)?));
        delete(&path("node", "", "")?)?;
        // A test of the lab itself may have been without the chart.
        if self.look(&["placements", "-A"]).is_err() {
            return Ok(());
        }
        delete(&path("lease", SYSTEM, "")?)?;
        let events = self.look(&["events", "-A"])?;
        for namespace in namespaces_of(&events) {
            delete(&path("event", namespace, "")?)?;
        }
        // In this order: a policy refuses to delete a group that services use, and who uses it is
        // what the operator wrote last.
        for kinds in ["virtualservices,realservers", "placements", "directorgroups"] {
            self.clear_kinds(kinds)?;
        }
        Ok(())
    }

    fn clear_kinds(&self, kinds: &str) -> Result<()> {
        let list = self.look(&[kinds, "-A"])?;
        let objects: Vec<&Value> = list["items"].as_array().into_iter().flatten().collect();
        if objects.is_empty() {
            return Ok(());
        }
        parallel::each(&objects, |object| {
            let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
            let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
            let path = path(&kind, text("namespace"), text("name"))?;
            if kind == "directorgroup" {
                let unused = json!({"status": {"virtualServices": 0}});
                self.tell(Verb::Patch, &format!("{path}/status"), Some(&unused))?;
            }
            // It may have gone meanwhile; whether all is gone is asked below.
            drop(self.tell(Verb::Delete, &path, None));
            let finished = json!({"metadata": {"finalizers": null}});
            drop(self.tell(Verb::Patch, &path, Some(&finished)));
            Ok(())
        })?;
        let limit = Duration::from_secs(20);
        self.wait_for("all objects are gone", limit, &[kinds, "-A"], |list| {
            list["items"].as_array().is_none_or(Vec::is_empty)
        })?;
        Ok(())
    }
}

fn namespaces_of(list: &Value) -> BTreeSet<&str> {
    let items = list["items"].as_array().into_iter().flatten();
    items
        .filter_map(|item| item["metadata"]["namespace"].as_str())
        .collect()
}

/// A condition of an object, by its type.
#[must_use]
pub fn condition_of<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"]
        .as_array()?
        .iter()
        .find(|condition| condition["type"] == kind)
}
