//! The chart: linted and rendered by the real helm, and held against its golden renders.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use e2e::{go_tools, product, progress, tools};

use crate::report::Counts;

/// Lints and renders with every set of values; each is one check.
pub(crate) fn check() -> Result<Counts> {
    let mut counts = Counts::default();
    let mut count = |what: &str, result: Result<()>| match result {
        Ok(()) => counts.passed += 1,
        Err(error) => {
            counts.failed += 1;
            progress::say(&format!("{what}: {error:#}"));
        }
    };
    count(
        "helm lint",
        helm(&["lint", "--strict"], &product::chart(), &[]).map(drop),
    );
    count("helm template", product::render(&[]).map(drop));
    for case in cases()? {
        count(&case.display().to_string(), golden_of(&case, true));
    }
    Ok(counts)
}

/// Writes the golden renders, or compares them.
pub(crate) fn golden(check: bool) -> Result<()> {
    cases()?.iter().try_for_each(|case| golden_of(case, check))
}

fn cases() -> Result<Vec<PathBuf>> {
    let folder = product::chart().join("tests");
    let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let mut cases: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    cases.sort();
    Ok(cases)
}

/// `values.yaml` names release and namespace in its first comments.
fn golden_of(case: &Path, check: bool) -> Result<()> {
    let values = case.join("values.yaml");
    let text = fs::read_to_string(&values).with_context(|| values.display().to_string())?;
    let named = |name: &str| {
        let begin = format!("# {name}: ");
        let line = text.lines().find_map(|line| line.strip_prefix(&begin));
        line.map(str::trim)
            .with_context(|| format!("{} names no {name}", values.display()))
    };
    let options = ["--namespace", named("namespace")?, "--values"];
    let values = values.display().to_string();
    let options = [&options[..], &[&values]].concat();
    let rendered = helm(&["template", named("release")?], &product::chart(), &options)?;
    let file = case.join("rendered.yaml");
    if !check {
        return fs::write(&file, rendered).with_context(|| file.display().to_string());
    }
    let golden = fs::read_to_string(&file).unwrap_or_default();
    match rendered.lines().zip(golden.lines()).find(|(new, old)| new != old) {
        Some((new, old)) => bail!("renders `{new}`, not `{old}`; cargo xtask golden writes it anew"),
        None if rendered != golden => bail!("renders more or less; cargo xtask golden writes it anew"),
        None => Ok(()),
    }
}

fn helm(verb: &[&str], chart: &Path, options: &[&str]) -> Result<String> {
    let mut helm = Command::new(go_tools::helm()?);
    Ok(tools::text(
        &tools::run(helm.args(verb).arg(chart).args(options))?.stdout,
    ))
}
