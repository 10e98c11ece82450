//! The only place that writes to the API. IO; decides nothing.
//!
//! Placements are created by a plain create, and changed by a merge patch that carries the `resourceVersion` they were
//! decided on, with null for a part that is to go. Not by server-side apply: fields that the create set are owned by it,
//! and an apply that leaves them out would not take them away. Statuses have never had another writer, and are applied.
//!
//! A conflict is no error: somebody was first, and the next look sees what they did.

#[cfg(test)]
mod tests;

use crate::metrics::Metrics;
use crate::snapshot::Key;
use crate::write::{EventKind, EventWrite, StatusWrite, Write};
use crds::names::OPERATOR;
use crds::{DirectorGroup, Placement, RealServer, VirtualService};
use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions, Request, ValidationDirective};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Debug;
use std::time::Duration;

/// The client may wait for ever on a connection that died; a write that takes longer is decided anew.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Writes in flight.
const CONCURRENCY: usize = 8;
/// An Event's note may have 1 kB.
const NOTE_BYTES: usize = 1000;

/// Why a write was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It changed or appeared since it was read.
    #[error("it changed since it was read")]
    Conflict,
    /// It is gone.
    #[error("it is gone")]
    Gone,
    /// The API server does not know a field: its CRDs are older than this program.
    #[error("the installed CRDs are older than this operator: apply those of its chart ({0})")]
    OldSchema(String),
    /// The API server refuses it, and will again.
    #[error("the API server refuses it: {0}")]
    Refused(String),
    /// The API server did not answer in time.
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    Timeout,
    /// Anything else; worth another try.
    #[error(transparent)]
    Other(kube::Error),
}

impl Error {
    /// The variant's name, for metrics.
    fn name(&self) -> &'static str {
        match self {
            Self::Conflict => "Conflict",
            Self::Gone => "Gone",
            Self::OldSchema(_) => "OldSchema",
            Self::Refused(_) => "Refused",
            Self::Timeout => "Timeout",
            Self::Other(_) => "Other",
        }
    }
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        let kube::Error::Api(status) = error else {
            return Self::Other(error);
        };
        // The message quotes the whole object first.
        let unknown_field = ["field not declared in schema", "strict decoding error"];
        if let Some(start) = unknown_field.iter().find_map(|text| status.message.rfind(text)) {
            return Self::OldSchema(status.message[start..].to_owned());
        }
        match status.code {
            409 => Self::Conflict,
            404 => Self::Gone,
            400 | 401 | 403 | 422 => Self::Refused(status.message),
            _ => Self::Other(kube::Error::Api(status)),
        }
    }
}

/// How the writes of a pass went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All done, or overtaken by somebody else's.
    Done,
    /// Something is to be tried again though nothing changed.
    Retry,
}

/// Carries out writes.
#[derive(Clone)]
pub struct Writer {
    client: Client,
    recorder: Recorder,
    metrics: Metrics,
}

impl Writer {
    /// One for the process: the Recorder joins repeated Events.
    pub fn new(client: Client, metrics: Metrics) -> Self {
        let recorder = Recorder::new(client.clone(), Reporter::from(OPERATOR));
        Self {
            client,
            recorder,
            metrics,
        }
    }

    /// Placements first, then statuses, then Events; within each, several at a time. When the API server does not
    /// answer, the rest is left to the next pass.
    pub async fn apply(&self, writes: Vec<Write>) -> Outcome {
        let mut outcome = Outcome::Done;
        let (placements, rest): (Vec<_>, Vec<_>) =
            writes.into_iter().partition(|write| order(write) == Order::Placement);
        let (statuses, events): (Vec<_>, Vec<_>) = rest.into_iter().partition(|write| order(write) == Order::Status);
        for phase in [placements, statuses, events] {
            let tries = phase.into_iter().map(|write| async move { self.attempt(&write).await });
            let mut results = futures::stream::iter(tries).buffer_unordered(CONCURRENCY);
            while let Some(result) = results.next().await {
                match result {
                    Ok(()) => {}
                    Err(Error::Timeout) => return Outcome::Retry,
                    Err(_) => outcome = Outcome::Retry,
                }
            }
        }
        outcome
    }

    async fn attempt(&self, write: &Write) -> Result<(), Error> {
        let (kind, name) = described(write);
        let result = tokio::time::timeout(TIMEOUT, self.carry_out(write)).await;
        let result = result.unwrap_or(Err(Error::Timeout));
        match &result {
            Ok(()) => {
                tracing::debug!(kind, %name, "written");
                self.metrics.wrote(kind, "ok");
            }
            Err(error @ (Error::Conflict | Error::Gone)) => {
                tracing::debug!(kind, %name, %error, "not written");
                self.metrics.wrote(kind, "conflict");
            }
            Err(error) => {
                tracing::error!(kind, %name, %error, "not written");
                self.metrics.wrote(kind, "error");
                self.metrics.failed(error.name());
            }
        }
        result
    }

    async fn carry_out(&self, write: &Write) -> Result<(), Error> {
        match write {
            Write::CreatePlacement(placement) => self.create(placement).await,
            Write::ApplyPlacement(placement) => {
                let key = Key::of(&placement.metadata);
                self.patch(&key, &merge_patch(placement)).await
            }
            Write::ReleasePlacement {
                key,
                resource_version,
                finalizers,
            } => {
                let metadata = json!({"resourceVersion": resource_version, "finalizers": finalizers});
                self.patch(key, &json!({"metadata": metadata})).await
            }
            Write::DeletePlacement {
                key,
                uid,
                resource_version,
            } => {
                let exactly = Preconditions {
                    uid: Some(uid.clone()),
                    resource_version: Some(resource_version.clone()),
                };
                let params = DeleteParams::default().preconditions(exactly);
                let api: Api<Placement> = Api::namespaced(self.client.clone(), &key.namespace);
                api.delete(&key.name, &params).await?;
                Ok(())
            }
            Write::Status(status) => self.status(status).await,
            Write::Event(event) => self.event(event).await,
        }
    }

    /// A plain create that refuses unknown fields: a field that is dropped in silence is an order not given.
    async fn create(&self, placement: &Placement) -> Result<(), Error> {
        let namespace = placement.metadata.namespace.as_deref();
        let params = PostParams {
            field_manager: Some(OPERATOR.to_owned()),
            ..PostParams::default()
        };
        let body = serde_json::to_vec(placement).map_err(kube::Error::SerdeError)?;
        let request = Request::new(Placement::url_path(&(), namespace)).create(&params, body);
        let mut request = request.map_err(kube::Error::BuildRequest)?;
        if let Ok(strict) = format!("{}&fieldValidation=Strict", request.uri()).parse() {
            *request.uri_mut() = strict;
        }
        self.client.request::<Placement>(request).await?;
        Ok(())
    }

    async fn patch(&self, key: &Key, patch: &Value) -> Result<(), Error> {
        let params = PatchParams {
            field_manager: Some(OPERATOR.to_owned()),
            field_validation: Some(ValidationDirective::Strict),
            ..PatchParams::default()
        };
        let api: Api<Placement> = Api::namespaced(self.client.clone(), &key.namespace);
        api.patch(&key.name, &params, &Patch::Merge(patch)).await?;
        Ok(())
    }

    async fn status(&self, write: &StatusWrite) -> Result<(), Error> {
        match write {
            StatusWrite::VirtualService(key, status) => {
                self.apply_status(&self.namespaced::<VirtualService>(key), &key.name, status)
                    .await
            }
            StatusWrite::RealServer(key, status) => {
                self.apply_status(&self.namespaced::<RealServer>(key), &key.name, status)
                    .await
            }
            StatusWrite::DirectorGroup(name, status) => {
                let api: Api<DirectorGroup> = Api::all(self.client.clone());
                self.apply_status(&api, name, status).await
            }
        }
    }

    fn namespaced<K>(&self, key: &Key) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &key.namespace)
    }

    async fn apply_status<K>(&self, api: &Api<K>, name: &str, status: &impl Serialize) -> Result<(), Error>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        let params = PatchParams::apply(OPERATOR).force();
        let body = json!({"apiVersion": K::api_version(&()), "kind": K::kind(&()), "status": status});
        api.patch_status(name, &params, &Patch::Apply(body)).await?;
        Ok(())
    }

    async fn event(&self, write: &EventWrite) -> Result<(), Error> {
        let regarding = ObjectReference {
            api_version: Some(format!("{}/{}", crds::GROUP, crds::VERSION)),
            kind: Some(write.kind.to_owned()),
            name: Some(write.key.name.clone()),
            namespace: Some(write.key.namespace.clone()).filter(|namespace| !namespace.is_empty()),
            uid: Some(write.uid.clone()),
            ..ObjectReference::default()
        };
        let event = Event {
            type_: match write.severity {
                EventKind::Normal => EventType::Normal,
                EventKind::Warning => EventType::Warning,
            },
            reason: write.reason.clone(),
            note: Some(shortened(&write.note)),
            action: write.action.to_owned(),
            secondary: None,
        };
        self.recorder.publish(&event, &regarding).await?;
        Ok(())
    }
}

#[derive(PartialEq, Eq)]
enum Order {
    Placement,
    Status,
    Event,
}

fn order(write: &Write) -> Order {
    match write {
        Write::CreatePlacement(_)
        | Write::ApplyPlacement(_)
        | Write::ReleasePlacement { .. }
        | Write::DeletePlacement { .. } => Order::Placement,
        Write::Status(_) => Order::Status,
        Write::Event(_) => Order::Event,
    }
}

fn described(write: &Write) -> (&'static str, Key) {
    match write {
        Write::CreatePlacement(placement) | Write::ApplyPlacement(placement) => {
            ("Placement", Key::of(&placement.metadata))
        }
        Write::ReleasePlacement { key, .. } | Write::DeletePlacement { key, .. } => ("Placement", key.clone()),
        Write::Status(StatusWrite::VirtualService(key, _)) => ("VirtualServiceStatus", key.clone()),
        Write::Status(StatusWrite::RealServer(key, _)) => ("RealServerStatus", key.clone()),
        Write::Status(StatusWrite::DirectorGroup(name, _)) => ("DirectorGroupStatus", Key::new("", name)),
        Write::Event(event) => ("Event", event.key.clone()),
    }
}

/// What a spec may lack, and where: a merge patch replaces lists and keeps whatever it does not name.
const OPTIONAL: [(&str, &[&str]); 6] = [
    ("", &["director", "realServer", "virtualRouter"]),
    (
        "/director",
        &["healthChecks", "quorum", "drain", "slowStart", "fullNATSourceAddresses"],
    ),
    ("/director/quorum", &["minimumWeight", "hysteresis"]),
    ("/realServer", &["directors"]),
    ("/virtualRouter", &["masquerade", "timeouts", "withdraw"]),
    (
        "/virtualRouter/timeouts",
        &["tcpSeconds", "tcpFinSeconds", "udpSeconds"],
    ),
];

/// The whole spec: what is absent is taken away by null.
fn merge_patch(placement: &Placement) -> Value {
    let mut spec = json!(placement.spec);
    for (part, fields) in OPTIONAL {
        if let Some(part) = spec.pointer_mut(part).and_then(Value::as_object_mut) {
            for field in fields {
                part.entry(*field).or_insert(Value::Null);
            }
        }
    }
    let meta = &placement.metadata;
    let mut metadata =
        json!({"resourceVersion": meta.resource_version, "labels": meta.labels, "finalizers": meta.finalizers});
    if let (Some(metadata), Some(owners)) = (metadata.as_object_mut(), &meta.owner_references) {
        metadata.insert("ownerReferences".to_owned(), json!(owners));
    }
    json!({"metadata": metadata, "spec": spec})
}

fn shortened(note: &str) -> String {
    let mut end = note.len().min(NOTE_BYTES);
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    note[..end].to_owned()
}
