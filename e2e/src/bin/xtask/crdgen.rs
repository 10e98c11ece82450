//! The CRDs of the chart, from the types.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};
use e2e::{product, tools};

use crate::run::{EVERYTHING, cargo, shown};

/// Writes them, or compares them.
pub(crate) fn crdgen(check: bool) -> Result<()> {
    shown(cargo(&[&["build"], EVERYTHING, &["--bin=crdgen"]].concat()))?;
    let text = tools::text(&tools::run(&mut Command::new(product::program("crdgen")?))?.stdout);
    let folder = product::chart().join("charts/crds/files");
    let wanted = files(&text)?;
    let mut stale = Vec::new();
    for (name, content) in &wanted {
        let file = folder.join(name);
        if fs::read_to_string(&file).ok().as_ref() == Some(content) {
            continue;
        }
        if check {
            stale.push(name.clone());
        } else {
            fs::write(&file, content).with_context(|| file.display().to_string())?;
        }
    }
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !wanted.contains_key(&name) {
            stale.push(format!("{name} (no such kind)"));
        }
    }
    match stale.is_empty() {
        true => Ok(()),
        false => bail!("not what the types say: {}; run cargo xtask crdgen", stale.join(", ")),
    }
}

/// One file for each document, named after its object.
fn files(text: &str) -> Result<BTreeMap<String, String>> {
    let documents = text.split("---\n").filter(|document| !document.trim().is_empty());
    let named = documents.map(|document| {
        let name = document.lines().find_map(|line| line.strip_prefix("  name: "));
        let name = name.context("a document of crdgen has no name")?;
        Ok((format!("{}.yaml", name.trim()), document.to_owned()))
    });
    named.collect()
}
