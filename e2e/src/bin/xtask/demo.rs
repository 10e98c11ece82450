//! `cargo xtask demo`: the story, told by what it prints.
//!
//! Skeleton: set-up and stage; the acts come with the product.

use std::sync::Arc;

use anyhow::{Result, bail};
use e2e::lab::Lab;
use e2e::scene::{self, Scene};

use crate::setup;

/// Tells it.
pub(crate) fn demo() -> Result<()> {
    setup::setup()?;
    let lab = Arc::new(Lab::new()?);
    let told = scene::play(&lab, "demo", tell);
    lab.end();
    told
}

fn tell(_: &Scene) -> Result<()> {
    bail!("the demo is not written yet")
}
