//! Verdicts on disk, for a restart of the agent: what was down stays down, and what was up is not made to prove it again.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use health::{OfBoot, Remembered};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::checks::Asked;

/// The file below the state folder, and what it held.
#[derive(Clone, Debug)]
pub struct Memory {
    page: Page,
    known: BTreeMap<String, Remembered>,
}

/// The file, and for which boot it is written.
#[derive(Clone, Debug)]
pub(super) struct Page {
    path: PathBuf,
    boot_id: String,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    verdicts: OfBoot<BTreeMap<String, Remembered>>,
}

const VERSION: u32 = 1;

impl Memory {
    /// What is remembered of this boot; nothing when there is no file, it does not decode, or it is of another boot.
    pub fn read(state_dir: &Path, boot_id: &str) -> Self {
        let path = state_dir.join("verdicts.json");
        let known = match fs::read(&path) {
            Ok(bytes) => decode(&bytes, boot_id).unwrap_or_else(|error| {
                tracing::warn!(%error, path = %path.display(), "the remembered verdicts do not decode");
                BTreeMap::new()
            }),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(%error, path = %path.display(), "the remembered verdicts cannot be read");
                }
                BTreeMap::new()
            }
        };
        let boot_id = boot_id.to_owned();
        Self {
            page: Page { path, boot_id },
            known,
        }
    }

    /// What was believed of a target. Asked for once: from then on its check knows better.
    pub fn of(&mut self, asked: &Asked) -> Option<Remembered> {
        self.known.remove(&name(asked))
    }

    /// Where it is written.
    pub(super) fn page(&self) -> Page {
        self.page.clone()
    }
}

impl Page {
    /// Remembers these, by [`name`], in place of all others; a crash leaves the old file or the new one.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn write(&self, verdicts: BTreeMap<String, Remembered>) -> io::Result<()> {
        let stored = Stored {
            version: VERSION,
            verdicts: OfBoot::new(self.boot_id.clone(), verdicts),
        };
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let next = self.path.with_extension("json.next");
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&next)?;
        file.write_all(&serde_json::to_vec(&stored)?)?;
        // It is of this boot only: what a crash of the machine loses is worth nothing after it.
        fs::rename(&next, &self.path)
    }
}

fn decode(bytes: &[u8], boot_id: &str) -> serde_json::Result<BTreeMap<String, Remembered>> {
    let Stored { version, verdicts } = serde_json::from_slice(bytes)?;
    let of_boot = verdicts.in_boot(boot_id).filter(|_| version == VERSION);
    Ok(of_boot.unwrap_or_default())
}

/// A check's name: what it asks and whom, hashed, because bodies and headers are nobody's business on disk.
/// It takes its time: a checker with ten thousand of them keeps it.
pub(super) fn name(asked: &Asked) -> String {
    let digest = Sha256::digest(format!("{asked:?}"));
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
