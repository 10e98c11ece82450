//! What is ours on this node and cannot carry a mark: IPVS services, and sysctls with the value they had before us.
//!
//! The ledger is a journal under `/run`: it dies with the kernel state it describes. An entry is written *before* the
//! kernel is changed and removed after the kernel was read to hold it no longer, so a crash between the two leaves an
//! entry too many, never one too few. Addresses are not here: their mark (`IFA_PROTO`) is in the kernel.
//!
//! A service is ours whole, with every destination in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ipvs::{ServiceKey, Timeouts};
use serde::{Deserialize, Serialize};

use crate::serving::Kept;
use crate::state::Sysctl;
use crate::tunnel::GuePort;
use crate::view::PlacementKey;

/// What the ledger says now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Services that we made or adopted.
    pub services: BTreeSet<ServiceKey>,
    /// Sysctls that we set.
    pub sysctls: BTreeMap<Sysctl, Former>,
    /// The idle timeouts before us, and those that we set.
    pub timeouts: Option<FormerTimeouts>,
    /// Tunnel devices that we made, by name.
    pub tunnels: BTreeSet<String>,
    /// UDP ports of GUE that we added.
    pub gue_ports: BTreeSet<GuePort>,
    /// What destinations have gone through, by Placement.
    pub courses: BTreeMap<PlacementKey, Kept>,
    /// Whether what stood on VIPs with our mark was taken over, as after the loss of an earlier ledger. It is said before
    /// the first change, so no VIP of that moment is this ledger's doing; from then on it alone says what is ours.
    pub claimed: bool,
    /// Whether a whole pass over a complete list was once made in this boot.
    pub adopted: bool,
    /// Lines of a later version, in its words: kept as they are, so that going back to it loses nothing.
    pub later: Vec<String>,
}

/// A sysctl's value before us, and the value that we set: if neither is there now, somebody else decided since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Former {
    /// To be given back.
    pub former: i64,
    /// What we set.
    pub set: i64,
}

/// As [`Former`], of the idle timeouts: those of `set` that are not 0 are ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormerTimeouts {
    /// All of them.
    pub former: Timeouts,
    /// What we set.
    pub set: Timeouts,
}

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Entry {
    /// The journal's first line. Unknown versions and other boots are not read.
    Ledger {
        /// [`VERSION`].
        version: u32,
        /// The boot that it belongs to, for a `/run` that is not volatile.
        boot_id: String,
    },
    /// What an earlier ledger had on VIPs with our mark is in this one.
    Claimed,
    /// A pass over a complete list was whole.
    Adopted,
    /// A service is ours.
    Service {
        /// Which.
        key: ServiceKey,
    },
    /// A service is gone.
    NoService {
        /// Which.
        key: ServiceKey,
    },
    /// A sysctl is ours.
    Sysctl {
        /// Which.
        sysctl: Sysctl,
        /// Its values.
        value: Former,
    },
    /// The idle timeouts are ours.
    Timeouts {
        /// Their values.
        value: FormerTimeouts,
    },
    /// The idle timeouts were given back.
    NoTimeouts,
    /// A tunnel device is ours.
    Tunnel {
        /// Its name.
        name: String,
    },
    /// A tunnel device is gone.
    NoTunnel {
        /// Its name.
        name: String,
    },
    /// A UDP port of GUE is ours.
    GuePort {
        /// Which.
        port: GuePort,
    },
    /// A UDP port of GUE is gone.
    NoGuePort {
        /// Which.
        port: GuePort,
    },
    /// What destinations of a Placement have gone through.
    Course {
        /// Which Placement.
        placement: PlacementKey,
        /// What is to be known of it.
        kept: Kept,
    },
    /// Nothing of that is to be known any more.
    NoCourse {
        /// Which Placement.
        placement: PlacementKey,
    },
    /// A sysctl was given back, or its interface is gone.
    NoSysctl {
        /// Which.
        sysctl: Sysctl,
    },
}

const FILE: &str = "ledger.jsonl";

/// Version of the journal's format. Additions keep it; a reader keeps lines that it does not know.
pub const VERSION: u32 = 1;

impl Ledger {
    /// Takes one line into account.
    pub fn record(&mut self, entry: &Entry) {
        match entry {
            Entry::Ledger { version: _, boot_id: _ } => {}
            Entry::Claimed => self.claimed = true,
            Entry::Adopted => self.adopted = true,
            Entry::Service { key } => {
                self.services.insert(*key);
            }
            Entry::NoService { key } => {
                self.services.remove(key);
            }
            Entry::Sysctl { sysctl, value } => {
                self.sysctls.insert(sysctl.clone(), *value);
            }
            Entry::Timeouts { value } => self.timeouts = Some(*value),
            Entry::NoTimeouts => self.timeouts = None,
            Entry::NoSysctl { sysctl } => {
                self.sysctls.remove(sysctl);
            }
            Entry::Tunnel { name } => {
                self.tunnels.insert(name.clone());
            }
            Entry::NoTunnel { name } => {
                self.tunnels.remove(name);
            }
            Entry::GuePort { port } => {
                self.gue_ports.insert(*port);
            }
            Entry::NoGuePort { port } => {
                self.gue_ports.remove(port);
            }
            Entry::Course { placement, kept } => {
                self.courses.insert(placement.clone(), kept.clone());
            }
            Entry::NoCourse { placement } => {
                self.courses.remove(placement);
            }
        }
    }

    /// What the journal of this boot holds, without touching it.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn peek(run_dir: &Path, boot_id: &str) -> io::Result<Self> {
        match fs::read_to_string(run_dir.join(FILE)) {
            Ok(text) => Ok(read(&text, boot_id)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// What these entries say.
    pub fn from_entries(entries: &[Entry]) -> Self {
        let mut ledger = Self::default();
        entries.iter().for_each(|entry| ledger.record(entry));
        ledger
    }

    /// Whether nothing in it is ours.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
            && self.sysctls.is_empty()
            && self.timeouts.is_none()
            && self.tunnels.is_empty()
            && self.gue_ports.is_empty()
    }

    fn entries(&self) -> Vec<Entry> {
        let services = self.services.iter().map(|key| Entry::Service { key: *key });
        let sysctls = self.sysctls.iter().map(|(sysctl, value)| Entry::Sysctl {
            sysctl: sysctl.clone(),
            value: *value,
        });
        let timeouts = self.timeouts.map(|value| Entry::Timeouts { value });
        let tunnels = self.tunnels.iter().map(|name| Entry::Tunnel { name: name.clone() });
        let gue_ports = self.gue_ports.iter().map(|port| Entry::GuePort { port: *port });
        let courses = self.courses.iter().map(|(placement, kept)| Entry::Course {
            placement: placement.clone(),
            kept: kept.clone(),
        });
        let claimed = self.claimed.then_some(Entry::Claimed);
        let adopted = self.adopted.then_some(Entry::Adopted);
        claimed
            .into_iter()
            .chain(adopted)
            .chain(services)
            .chain(sysctls)
            .chain(timeouts)
            .chain(tunnels)
            .chain(gue_ports)
            .chain(courses)
            .collect()
    }
}

/// Where entries are kept.
pub trait Journal {
    /// Adds lines, all in one write.
    ///
    /// # Errors
    /// They were not written: the kernel change that they announce must not happen.
    fn append(&mut self, entries: &[Entry]) -> io::Result<()>;

    /// May leave out what is over by now; `ledger` is what the lines come to.
    ///
    /// # Errors
    /// It could not; the lines are as they were.
    fn tidy(&mut self, _ledger: &Ledger) -> io::Result<()> {
        Ok(())
    }
}

/// It is written anew behind so many lines: real servers that come and go for months must not fill `/run`.
const TIDY_AFTER: usize = 4096;

/// The journal on disk.
#[derive(Debug)]
pub struct JournalFile {
    file: File,
    path: PathBuf,
    boot_id: String,
    /// Since it was written anew.
    lines: usize,
}

impl JournalFile {
    /// Opens the journal of this boot below `run_dir`, or begins it, and says what it holds. The file is written anew,
    /// without what is over, and put in place at once.
    ///
    /// # Errors
    /// The folder cannot be made or the file not be written. A torn last line (a crash while appending) is no error.
    pub fn open(run_dir: &Path, boot_id: &str) -> io::Result<(Self, Ledger)> {
        fs::create_dir_all(run_dir)?;
        let path = run_dir.join(FILE);
        let ledger = Ledger::peek(run_dir, boot_id)?;
        let file = rewrite(&path, &ledger, boot_id)?;
        let journal = Self {
            file,
            path,
            boot_id: boot_id.to_owned(),
            lines: 0,
        };
        Ok((journal, ledger))
    }
}

impl Journal for JournalFile {
    fn append(&mut self, entries: &[Entry]) -> io::Result<()> {
        let before = self.file.metadata()?.len();
        if let Err(error) = self.file.write_all(&lines(entries)?) {
            // Half a line would make the next whole one unreadable.
            drop(self.file.set_len(before));
            return Err(error);
        }
        self.lines = self.lines.saturating_add(entries.len());
        Ok(())
    }

    fn tidy(&mut self, ledger: &Ledger) -> io::Result<()> {
        if self.lines < TIDY_AFTER {
            return Ok(());
        }
        // If that fails it is tried again as late.
        self.lines = 0;
        self.file = rewrite(&self.path, ledger, &self.boot_id)?;
        Ok(())
    }
}

/// In memory: for tests, and for the simulation, where it outlives the agent and not the boot.
impl Journal for Vec<Entry> {
    fn append(&mut self, entries: &[Entry]) -> io::Result<()> {
        self.extend_from_slice(entries);
        Ok(())
    }
}

/// For those who only look: nothing can be written.
#[derive(Debug)]
pub struct NoJournal;

impl Journal for NoJournal {
    fn append(&mut self, _: &[Entry]) -> io::Result<()> {
        Err(io::Error::other("this command changes nothing"))
    }
}

fn read(text: &str, boot_id: &str) -> Ledger {
    // What a crash cut short has no end of line, and was never acted upon.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut lines = whole.lines();
    let first = lines.next().and_then(|line| serde_json::from_str(line).ok());
    let ours = matches!(first, Some(Entry::Ledger { version: VERSION, boot_id: of }) if of == boot_id);
    let mut ledger = Ledger::default();
    for line in lines.filter(|_| ours) {
        match serde_json::from_str(line) {
            Ok(entry) => ledger.record(&entry),
            Err(_) => ledger.later.push(line.to_owned()),
        }
    }
    ledger
}

fn rewrite(path: &Path, ledger: &Ledger, boot_id: &str) -> io::Result<File> {
    let mut entries = vec![Entry::Ledger {
        version: VERSION,
        boot_id: boot_id.to_owned(),
    }];
    entries.extend(ledger.entries());
    let next: PathBuf = path.with_extension("jsonl.next");
    let mut bytes = lines(&entries)?;
    for line in &ledger.later {
        bytes.extend_from_slice(line.as_bytes());
        bytes.push(b'\n');
    }
    fs::write(&next, bytes)?;
    fs::rename(&next, path)?;
    OpenOptions::new().append(true).open(path)
}

fn lines(entries: &[Entry]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for entry in entries {
        serde_json::to_writer(&mut bytes, entry)?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
