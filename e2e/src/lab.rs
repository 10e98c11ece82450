//! One guest and one control plane for many tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Result, anyhow};

use crate::control_plane::ControlPlane;
use crate::guest::Guest;
use crate::{clock, go_tools, product, progress, root_image, settings, tools};

/// How many folders of earlier runs stay.
const KEPT_RUNS: usize = 4;

/// The lab: boots on first use, and anew what a test has broken.
#[derive(Debug)]
pub struct Lab {
    folder: PathBuf,
    guest: Mutex<Option<Arc<Guest>>>,
    control_plane: Mutex<(u32, Option<Arc<ControlPlane>>)>,
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
            guest: Mutex::default(),
            control_plane: Mutex::default(),
        })
    }

    /// Where everything of this run is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Guest and control plane, with the chart installed; both start at the same time.
    ///
    /// # Errors
    /// When one does not start.
    pub fn start(&self) -> Result<(Arc<Guest>, Arc<ControlPlane>)> {
        tools::ensure()?;
        thread::scope(|scope| {
            let guest = scope.spawn(|| self.guest());
            let control_plane = self.control_plane();
            let guest = guest.join().unwrap_or_else(|_| Err(anyhow!("the boot panicked")));
            Ok((guest?, control_plane?))
        })
    }

    fn guest(&self) -> Result<Arc<Guest>> {
        let mut current = lock(&self.guest);
        if let Some(guest) = current.as_ref() {
            match guest.death() {
                None => return Ok(guest.clone()),
                Some(death) => progress::say(&format!("the guest is booted anew: {death:#}")),
            }
        }
        *current = None;
        let image = root_image::root_image()?;
        let guest = Arc::new(Guest::boot(&image, &self.folder, &product::guest_programs()?)?);
        *current = Some(guest.clone());
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

    /// The next test gets a new guest.
    pub fn give_up_guest(&self) {
        *lock(&self.guest) = None;
    }

    /// Ends everything.
    pub fn end(&self) {
        self.give_up_control_plane();
        self.give_up_guest();
        // Big, and of no use to anybody.
        drop(fs::remove_file(self.folder.join("programs.img")));
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
