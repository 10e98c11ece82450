//! Folders that are made once for each recipe.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::{progress, settings};

/// The folder `name` made by `recipe`: from the cache, or made now by `make` in an empty folder.
///
/// A folder appears under its name only when it is complete, and two that want the same at the
/// same time make it once.
///
/// # Errors
/// Those of `make`, or of the file system.
pub fn folder(name: &str, recipe: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let root = settings::cache();
    let folder = root.join(format!("{name}-{}", key(recipe)));
    if folder.exists() {
        return Ok(folder);
    }
    fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
    let lock = File::create(root.join(format!("{name}.lock")))?;
    lock.lock()
        .with_context(|| format!("cannot lock the cache of {name}"))?;
    if folder.exists() {
        return Ok(folder);
    }
    let unfinished = root.join(format!("{name}.unfinished"));
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    fs::create_dir_all(&unfinished)?;
    progress::step(&format!("making {name} (once, cached)"), || make(&unfinished))?;
    fs::rename(&unfinished, &folder)?;
    Ok(folder)
}

/// A short name for a recipe.
#[must_use]
pub fn key(recipe: &str) -> String {
    let digest = Sha256::digest(recipe.as_bytes());
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
