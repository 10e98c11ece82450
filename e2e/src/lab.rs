//! One guest and one control plane for many tests; a guest of another suite for those that ask for it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Result, anyhow};

use crate::control_plane::ControlPlane;
use crate::guest::Guest;
use crate::root_image::{self, Suite};
use crate::{clock, go_tools, product, progress, settings, tools};

/// How many folders of earlier runs stay.
const KEPT_RUNS: usize = 4;

/// The lab: boots on first use, and anew what a test has broken.
#[derive(Debug)]
pub struct Lab {
    folder: PathBuf,
    guests: Mutex<BTreeMap<Suite, Arc<Guest>>>,
    control_plane: Mutex<(u32, Option<Arc<ControlPlane>>)>,
    second_chance: Mutex<Option<String>>,
}

impl Lab {
    /// A lab with a folder of its own under the target folder; nothing runs yet.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn new() -> Result<Self> {
        let runs = settings::target().join("lab");
        fs::create_dir_all(&runs)?;
        remove_old(&runs)?;
        let folder = runs.join(format!("{}-{}", clock::unix_seconds(), process::id()));
        fs::create_dir_all(&folder)?;
        Ok(Self {
            folder,
            guests: Mutex::default(),
            control_plane: Mutex::default(),
            second_chance: Mutex::default(),
        })
    }

    /// Where everything of this run is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A guest of this suite and the control plane, with the chart installed; both start at the same time.
    ///
    /// # Errors
    /// When one does not start.
    pub fn start(&self, suite: Suite) -> Result<(Arc<Guest>, Arc<ControlPlane>)> {
        tools::ensure()?;
        thread::scope(|scope| {
            let guest = scope.spawn(|| self.guest(suite));
            let control_plane = self.control_plane();
            let guest = guest.join().unwrap_or_else(|_| Err(anyhow!("the boot panicked")));
            Ok((guest?, control_plane?))
        })
    }

    fn guest(&self, suite: Suite) -> Result<Arc<Guest>> {
        let mut guests = lock(&self.guests);
        if let Some(guest) = guests.get(&suite) {
            match guest.death() {
                None => return Ok(guest.clone()),
                Some(death) => progress::say(&format!("the guest is booted anew: {death:#}")),
            }
        }
        // Two at a time at most, for the memory's sake: the usual one, and the one that is asked for.
        guests.retain(|other, _| *other == Suite::default() && *other != suite);
        let image = root_image::root_image(suite)?;
        let folder = if suite == Suite::default() {
            self.folder.clone()
        } else {
            self.folder.join(suite.name())
        };
        fs::create_dir_all(&folder)?;
        let guest = Arc::new(Guest::boot(&image, &folder, &product::guest_programs()?)?);
        guests.insert(suite, guest.clone());
        Ok(guest)
    }

    fn control_plane(&self) -> Result<Arc<ControlPlane>> {
        let mut current = lock(&self.control_plane);
        if let (_, Some(control_plane)) = &*current {
            return Ok(control_plane.clone());
        }
        let programs = go_tools::kubernetes()?;
        current.0 += 1;
        let folder = self.folder.join(format!("control-plane-{}", current.0));
        let control_plane = ControlPlane::start(&programs, &folder)?;
        product::install(&control_plane)?;
        let control_plane = Arc::new(control_plane);
        current.1 = Some(control_plane.clone());
        Ok(control_plane)
    }

    /// The next test gets a new control plane: this one is not as a test should find it.
    pub fn give_up_control_plane(&self) {
        lock(&self.control_plane).1 = None;
    }

    /// The next test of this suite gets a new guest.
    pub fn give_up_guest(&self, suite: Suite) {
        lock(&self.guests).remove(&suite);
    }

    /// Whether this test, which failed, may be played once more. A run has one such chance, and only under emulation, where two
    /// processors do the work of forty and are not always equally fast: of all tests one may meet an order of events that it
    /// does not know. It is said when it happens, and again at the end; what fails twice, or a second test, is a failure.
    pub(crate) fn spend_second_chance(&self, test: &str, error: &anyhow::Error) -> bool {
        let mut spent = lock(&self.second_chance);
        if spent.is_some() {
            return false;
        }
        *spent = Some(format!("{test}: {error:#}"));
        true
    }

    /// Ends everything.
    pub fn end(&self) {
        if let Some(first) = &*lock(&self.second_chance) {
            progress::say(&format!("FLAKY, played twice. What it said the first time: {first}"));
        }
        self.give_up_control_plane();
        lock(&self.guests).clear();
        // Big, and of no use to anybody.
        for suite in ["", Suite::Bookworm.name(), Suite::Sid.name()] {
            drop(fs::remove_file(self.folder.join(suite).join("programs.img")));
        }
        for number in 0..=lock(&self.control_plane).0 {
            let folder = self.folder.join(format!("control-plane-{number}"));
            drop(fs::remove_dir_all(folder.join("etcd")));
            drop(fs::remove_dir_all(folder.join("kubectl-cache")));
        }
    }
}

fn remove_old(runs: &Path) -> Result<()> {
    let mut folders: Vec<_> = fs::read_dir(runs)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    folders.sort();
    for old in folders.iter().rev().skip(KEPT_RUNS) {
        // The name ends with the process that made it; one that still runs uses its folder.
        let process = old.to_string_lossy().rsplit('-').next().map(str::to_owned);
        let runs = process.is_some_and(|id| Path::new("/proc").join(id).exists());
        if !runs {
            fs::remove_dir_all(old)?;
        }
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
