//! The Placements on disk: a journal, so that remembering one that changed costs one line.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::view::{Placed, PlacementKey, Source, View};

/// The file in the state folder. Its first line says whose it is; each other one is a Placement as it was then, and a later
/// one of the same name stands in place of it.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
    /// The Node object that the Placements are of: a node that was deleted and made again under its name is another one.
    node_uid: Option<String>,
    /// The file to go on with, and how many lines it may take before it is written anew.
    open: Option<(File, usize)>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct First {
    version: u32,
    node_uid: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Line<T> {
    key: PlacementKey,
    /// `None` = it is gone.
    placed: Option<T>,
}

const VERSION: u32 = 2;

/// A file is written anew when it holds this many lines more than twice what it must.
const SPARE: usize = 64;

impl Disk {
    /// The file below `state_dir`, for the Node of this UID (`None`: not known, anyone's).
    pub fn new(state_dir: &Path, node_uid: Option<String>) -> Self {
        Self {
            path: state_dir.join("placements.jsonl"),
            node_uid,
            open: None,
        }
    }

    /// What is remembered; nothing when there is no file, it is not whole, or it is another Node's.
    pub fn read(&self) -> View {
        match fs::read_to_string(&self.path) {
            Ok(text) => match self.remembered(&text) {
                Ok(Some(placements)) => View {
                    source: Source::Disk,
                    placements,
                },
                Ok(None) => View::default(),
                Err(error) => {
                    tracing::warn!(%error, path = %self.path.display(), "the remembered Placements do not decode; they are left alone");
                    View::default()
                }
            },
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(%error, path = %self.path.display(), "the remembered Placements cannot be read");
                }
                View::default()
            }
        }
    }

    /// `None` when they are not this Node's, or in another format.
    fn remembered(&self, text: &str) -> serde_json::Result<Option<BTreeMap<PlacementKey, Placed>>> {
        // What a crash cut short has no end of line.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let mut lines = whole.lines();
        let first: First = serde_json::from_str(lines.next().unwrap_or_default())?;
        if first.version != VERSION || !self.is_of_this_node(&first) {
            return Ok(None);
        }
        let mut placements = BTreeMap::new();
        for line in lines {
            let Line { key, placed } = serde_json::from_str(line)?;
            match placed {
                Some(placed) => placements.insert(key, placed),
                None => placements.remove(&key),
            };
        }
        Ok(Some(placements))
    }

    fn is_of_this_node(&self, first: &First) -> bool {
        match (&self.node_uid, &first.node_uid) {
            (Some(this), Some(that)) => this == that,
            (None, _) | (_, None) => true,
        }
    }

    /// Remembers all of them; a crash leaves the old file or the new one.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&mut self, view: &View) -> io::Result<()> {
        self.open = None;
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let first = First {
            version: VERSION,
            node_uid: self.node_uid.clone(),
        };
        let mut bytes = serde_json::to_vec(&first)?;
        bytes.push(b'\n');
        for (key, placed) in &view.placements {
            bytes.extend(line(key, Some(placed))?);
        }
        let next = self.path.with_extension("jsonl.next");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&next)?;
        file.write_all(&bytes)?;
        // The folder survives a reboot, and so must what is in it.
        file.sync_all()?;
        fs::rename(&next, &self.path)?;
        self.open = Some((file, view.placements.len() + SPARE));
        Ok(())
    }

    /// Remembers what one Placement of `view` is now.
    ///
    /// # Errors
    /// It cannot be written; the next call writes all of them.
    pub fn note(&mut self, key: &PlacementKey, view: &View) -> io::Result<()> {
        match self.open.take() {
            Some((mut file, spare @ 1..)) => {
                file.write_all(&line(key, view.placements.get(key))?)?;
                file.sync_data()?;
                self.open = Some((file, spare - 1));
                Ok(())
            }
            Some((_, 0)) | None => self.write(view),
        }
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

fn line(key: &PlacementKey, placed: Option<&Placed>) -> serde_json::Result<Vec<u8>> {
    let key = key.clone();
    let mut bytes = serde_json::to_vec(&Line { key, placed })?;
    bytes.push(b'\n');
    Ok(bytes)
}

#[cfg(test)]
mod tests;
