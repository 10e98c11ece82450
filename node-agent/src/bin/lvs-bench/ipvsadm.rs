//! `ipvsadm -R`, as a script uses it.

use std::fs::{self, File};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::scenery::Scenery;
use crate::{CHANGES, clock, median, say};

pub(crate) fn run(scenery: &Scenery) -> Result<()> {
    let path = std::env::temp_dir().join(format!("lvs-bench-{}", std::process::id()));
    fs::write(&path, scenery.table().to_string())?;
    let restore = |what: &str| -> Result<()> {
        let begin = clock();
        call(Command::new("ipvsadm").arg("-R").stdin(File::open(&path)?))?;
        say("ipvsadm", what, begin.elapsed(), scenery.entries());
        Ok(())
    };
    restore("programming")?;
    call(Command::new("ipvsadm").arg("-C"))?;
    restore("repair")?;
    let mut times = Vec::new();
    for round in 0..CHANGES {
        let number = round * (scenery.services / CHANGES);
        let (service, server) = (Scenery::key(number), Scenery::destination(number));
        let (service, server) = (service.to_string(), server.to_string());
        let service = service.strip_prefix("TCP ").context("not TCP")?;
        let weight = (round + 2).to_string();
        let begin = clock();
        call(Command::new("ipvsadm").args(["-e", "-t", service, "-r", &server, "-g", "-w", &weight]))?;
        times.push(begin.elapsed());
    }
    say("ipvsadm", "weight", median(times), 1);
    fs::remove_file(&path)?;
    Ok(())
}

fn call(command: &mut Command) -> Result<()> {
    let output = command.stderr(Stdio::piped()).output().context("ipvsadm")?;
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
