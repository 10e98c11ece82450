//! This node's Placements: watched by `spec.nodeName`, and remembered on disk for a start without an API server.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crds::{Placement, PlacementSpec, PlacementStatus, Subject, SubjectKind};
use futures::{Stream, StreamExt};
use kube::api::{Api, ApiResource, DynamicObject};
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, ResourceExt};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::view::{NotUnderstood, Placed, PlacementKey, Source, View};

/// Seconds after which the API server ends a watch: a connection that died silently is noticed by then.
const WATCH_SECONDS: u32 = 90;

/// What the API server said last.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The Placements.
    pub view: View,
    /// The statuses stored with them.
    pub stored: BTreeMap<PlacementKey, PlacementStatus>,
}

/// The Placements of `node`, a whole value after each change. `remembered` gives last good specs to objects that are not
/// understood.
pub fn watch(client: Client, node: &str, remembered: View) -> impl Stream<Item = Known> + use<> {
    // Raw objects: a field that this agent does not know must be seen, not dropped by the decoder.
    let kind = ApiResource::erase::<Placement>(&());
    let api: Api<DynamicObject> = Api::all_with(client, &kind);
    let config = watcher::Config::default()
        .fields(&format!("spec.nodeName={node}"))
        .timeout(WATCH_SECONDS);
    let start = Watched {
        known: Known {
            view: remembered,
            ..Known::default()
        },
        next: None,
    };
    let events = watcher(api, config).backoff(EverySecond);
    Box::pin(events)
        .scan(start, |watched, event| {
            let known = match event {
                Ok(event) => watched.take(event),
                Err(error) => {
                    tracing::warn!(%error, "the watch of Placements failed; it is opened again");
                    None
                }
            };
            std::future::ready(Some(known))
        })
        .filter_map(std::future::ready)
}

/// How long a failed watch waits. kube's own backoff grows to 30 s, by which a short outage of the API server would be
/// followed by a longer one of ours; a request a second and agent is bearable for any API server.
struct EverySecond;

impl Iterator for EverySecond {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(Duration::from_secs(1))
    }
}

impl Backoff for EverySecond {
    fn reset(&mut self) {}
}

/// The state of the watch: what is known, and the list that is being received.
struct Watched {
    known: Known,
    next: Option<Known>,
}

impl Watched {
    /// The new knowledge, when there is any.
    fn take(&mut self, event: Event<DynamicObject>) -> Option<Known> {
        match event {
            Event::Init => {
                self.next = Some(Known::default());
                None
            }
            Event::InitApply(object) => {
                let next = self.next.get_or_insert_default();
                next.put(&self.known.view, object);
                None
            }
            Event::InitDone => {
                self.known = self.next.take().unwrap_or_default();
                self.known.view.source = Source::Api;
                Some(self.known.clone())
            }
            Event::Apply(object) => {
                let former = self.known.view.clone();
                self.known.put(&former, object);
                Some(self.known.clone())
            }
            Event::Delete(object) => {
                let key = key(&object);
                self.known.view.placements.remove(&key);
                self.known.stored.remove(&key);
                Some(self.known.clone())
            }
        }
    }
}

impl Known {
    fn put(&mut self, former: &View, object: DynamicObject) {
        let key = key(&object);
        let status = object
            .data
            .get("status")
            .cloned()
            .and_then(|value| serde_json::from_value(value).ok());
        let placed = placed(former.placements.get(&key), &object);
        self.stored.insert(key.clone(), status.unwrap_or_default());
        self.view.placements.insert(key, placed);
    }
}

fn key(object: &DynamicObject) -> PlacementKey {
    PlacementKey {
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
    }
}

/// The Placement as it is taken: not an older generation than before (an API server may lag behind another), and not a
/// spec with anything in it that this agent does not know; then the last good one stays.
fn placed(former: Option<&Placed>, object: &DynamicObject) -> Placed {
    let uid = object.uid().unwrap_or_default();
    let generation = object.metadata.generation.unwrap_or_default();
    let former = former.filter(|former| former.uid == uid);
    if let Some(newer) = former.filter(|former| former.generation > generation) {
        return newer.clone();
    }
    match understand(object.data.get("spec").cloned().unwrap_or_default()) {
        Ok(spec) => Placed {
            uid,
            generation,
            spec,
            not_understood: None,
        },
        Err(words) => {
            let not_understood = Some(NotUnderstood { generation, words });
            let (generation, spec) = former.map_or_else(|| (0, nothing()), |good| (good.generation, good.spec.clone()));
            Placed {
                uid,
                generation,
                spec,
                not_understood,
            }
        }
    }
}

fn nothing() -> PlacementSpec {
    let subject = Subject {
        kind: SubjectKind::VirtualService,
        name: String::new(),
    };
    PlacementSpec {
        subject,
        node_name: String::new(),
        director: None,
        real_server: None,
        virtual_router: None,
    }
}

/// The spec, if every field and every value of it is known here.
fn understand(spec: Value) -> Result<PlacementSpec, String> {
    let mut unknown = Vec::new();
    let spec = serde_ignored::deserialize(spec, |path| unknown.push(path.to_string())).map_err(|e| e.to_string())?;
    match unknown.first() {
        None => Ok(spec),
        // The path marks each optional value that it passes with a question mark.
        Some(field) => Err(format!("unknown field spec.{}", field.replace(".?", ""))),
    }
}

/// The file in the state folder.
#[derive(Clone, Debug)]
pub struct Disk {
    path: PathBuf,
    /// The Node object that the Placements are of: a node that was deleted and made again under its name is another one.
    node_uid: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Remembered {
    version: u32,
    node_uid: Option<String>,
    view: View,
}

const VERSION: u32 = 1;

impl Disk {
    /// The file below `state_dir`, for the Node of this UID (`None`: not known, anyone's).
    pub fn new(state_dir: &Path, node_uid: Option<String>) -> Self {
        Self {
            path: state_dir.join("placements.json"),
            node_uid,
        }
    }

    /// What is remembered; nothing when there is no file, it is not whole, or it is another Node's.
    pub fn read(&self) -> View {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(%error, path = %self.path.display(), "the remembered Placements cannot be read");
                }
                return View::default();
            }
        };
        match serde_json::from_str::<Remembered>(&text) {
            Ok(remembered) if remembered.version == VERSION && self.is_of_this_node(&remembered) => View {
                source: Source::Disk,
                ..remembered.view
            },
            Ok(_) => View::default(),
            Err(error) => {
                tracing::warn!(%error, path = %self.path.display(), "the remembered Placements do not decode; they are left alone");
                View::default()
            }
        }
    }

    fn is_of_this_node(&self, remembered: &Remembered) -> bool {
        match (&self.node_uid, &remembered.node_uid) {
            (Some(this), Some(that)) => this == that,
            (None, _) | (_, None) => true,
        }
    }

    /// Remembers; a crash leaves the old file or the new one.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, view: &View) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let next = self.path.with_extension("json.next");
        let remembered = Remembered {
            version: VERSION,
            node_uid: self.node_uid.clone(),
            view: view.clone(),
        };
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&next)?;
        file.write_all(&serde_json::to_vec(&remembered)?)?;
        // The folder survives a reboot, and so must what is in it.
        file.sync_all()?;
        fs::rename(&next, &self.path)
    }

    /// Forgets everything.
    ///
    /// # Errors
    /// The file is there and cannot be removed.
    pub fn forget(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
