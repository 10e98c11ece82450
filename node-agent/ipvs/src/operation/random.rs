//! Random operations, to be played against the fake kernel and real ones alike.

use super::*;

/// A sequence of `count` operations that is the same for the same `seed`, on every machine and in every version of Rust.
#[must_use]
pub fn random_operations(_seed: u64, _count: usize) -> Vec<Operation> {
    Vec::new()
}
