//! A scheduler that cannot be loaded, and a destination that the kernel does not take.

use std::sync::Arc;

use e2e::guest::Guest;
use e2e::program::Program;

use super::*;

const OTHER: &str = "192.168.56.143";
const RULE: &str = "/etc/modprobe.d/lab.conf";

pub(super) fn kernel(scene: &Scene) -> Result<()> {
    let (before, client) = open(scene, &NODES)?;
    missing_module(scene)?;
    refused_destination(scene)?;
    undisturbed(scene, client)?;
    shop::close(scene, "dr", &before)
}

/// A scheduler that no kernel of the guest loads; it can again when this is dropped.
struct Withheld {
    guest: Arc<Guest>,
}

impl Withheld {
    fn new(guest: &Arc<Guest>) -> Result<Self> {
        let rule = "install ip_vs_sed /bin/false\n";
        guest.write(RULE, 0o644, rule.as_bytes())?;
        guest.run(&Program::line("rmmod ip_vs_sed"))?;
        Ok(Self { guest: guest.clone() })
    }
}

impl Drop for Withheld {
    fn drop(&mut self) {
        // A guest that does not answer any more is not used again.
        drop(self.guest.run(&Program::line(&format!("rm {RULE}"))));
    }
}

fn missing_module(scene: &Scene) -> Result<()> {
    let kept = oracle::ipvs(&*scene.host("dir1")?)?;
    let withheld = Withheld::new(scene.guest())?;
    scene.apply(&service("shortest", OTHER, &json!({"scheduler": "sed"})))?;
    let missing = ("Programmed", "False", "ModuleMissing");
    let found = said(
        scene,
        "virtualservice/shortest",
        missing,
        "load the module ip_vs_sed on this node",
    )?;
    ensure!(!stalled(&found), "{found:#}");
    ensure!(
        oracle::ipvs(&*scene.host("dir1")?)? == kept,
        "its neighbour was changed"
    );
    ensure!(
        oracle::holders(&*scene.host("dir1")?, OTHER)?.is_empty(),
        "a VIP without a service"
    );
    let tries = || -> Result<usize> { Ok(scene.agent_log("dir1")?.matches("refused: ipvsadm -A").count()) };
    let before = tries()?;
    let more = || Ok((tries()? > before).then_some(()));
    clock::until("the agent tries again", shop::LIMIT, more)?;
    drop(withheld);
    let begin = clock::now();
    shop::ready(scene, "shortest")?;
    scene.step(&format!(
        "ready {:.1} s after the module could be loaded, {} tries",
        begin.elapsed().as_secs_f64(),
        tries()?
    ));
    let answers = traffic::requests(&*scene.host("client")?, &format!("http://{OTHER}/"), 4)?;
    answers.expect_all()?;
    delete(scene, &["virtualservice", "shortest"])
}

/// The broadcast address of the LAN: nothing but this kernel knows that it is one.
fn refused_destination(scene: &Scene) -> Result<()> {
    scene.apply(&object(
        "RealServer",
        "broadcast",
        &json!({"addresses": ["192.168.56.255"], "healthChecks": [{"none": {}}]}),
    ))?;
    scene.apply(&object(
        "RealServer",
        "machine",
        &json!({"addresses": ["192.168.56.20"], "weight": 0, "healthChecks": [{"none": {}}]}),
    ))?;
    let words = format!("dir1: ipvsadm -a -t {VIP}:80 -r 192.168.56.255:80 -g -w 1");
    let found = said(
        scene,
        "virtualservice/web",
        ("Programmed", "False", "KernelRefused"),
        &words,
    )?;
    ensure!(!stalled(&found), "{found:#}");
    // The one beside it went in, and the others stayed.
    let mut lines = entries(VIP, &["192.168.56.30", "192.168.56.40"]);
    lines.insert(1, format!("-a -t {VIP}:80 -r 192.168.56.20:80 -g -w 0"));
    table(scene, "dir1", &lines)?;
    delete(scene, &["realserver", "broadcast", "machine"])?;
    said(scene, "virtualservice/web", ("Ready", "True", "Ok"), "")?;
    table(scene, "dir1", &entries(VIP, &["192.168.56.30", "192.168.56.40"])).map(drop)
}
