//! What the lab takes from its environment, and where things are.

use std::env;
use std::path::{Path, PathBuf};

/// Set by `cargo xtask`: without it lab tests are reported as ignored.
pub const LAB: &str = "LVS_LAB";
/// Set by `cargo xtask lab --keep`: stop at the first end of a test and wait.
pub const KEEP: &str = "LVS_LAB_KEEP";
/// Set by `cargo xtask test --long`: more seeds, more sequences.
pub const LONG: &str = "LVS_LONG";
/// Set by `cargo xtask lab --write`: what a run generates is written, not compared.
pub const WRITE: &str = "LVS_LAB_WRITE";
/// Where the lab's random tests begin, instead of at 1.
pub const SEED: &str = "LVS_LAB_SEED";
/// `kvm` or `tcg`, instead of trying.
pub const ACCELERATOR: &str = "LVS_LAB_ACCELERATOR";

/// Whether a variable is set to something.
#[must_use]
pub fn is_set(name: &str) -> bool {
    env::var_os(name).is_some_and(|value| !value.is_empty())
}

/// The value of a variable, when it is text.
#[must_use]
pub fn text(name: &str) -> Option<String> {
    env::var_os(name).and_then(|value| value.into_string().ok())
}

/// The folder of the checkout.
#[must_use]
pub fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Cargo's target folder.
#[must_use]
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| checkout().join("target"), PathBuf::from)
}

/// The folder in which everything is cached that is fetched or built from what is fetched.
#[must_use]
pub fn cache() -> PathBuf {
    let home = || PathBuf::from(env::var_os("HOME").unwrap_or_else(|| "/root".into()));
    let folder = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    folder
        .filter(|f| f.is_absolute())
        .unwrap_or_else(|| home().join(".cache"))
        .join("lvs-operator")
}
