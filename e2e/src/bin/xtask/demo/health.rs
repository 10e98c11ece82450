//! The act about real servers that fail, come back, and are taken out by a person.

use anyhow::{Result, ensure};
use e2e::product::AgentOptions;
use e2e::scene::Scene;
use e2e::shop::{self, LIMIT, NODES, PORTS};
use e2e::topology;
use e2e::traffic::{self, RunningClient};
use e2e::{clock, oracle};

use super::{URL, heading, kubectl, on, taken_back};

const PER_SECOND: u32 = 50;

pub(super) fn tell(scene: &Scene) -> Result<()> {
    heading("Health checks: charts/lvs-operator/examples/health, each real server probed once a second");
    let before = shop::open(scene, &topology::one_lan(&NODES), &AgentOptions::default())?;
    shop::serve(scene, "health", "web")?;
    let (client, director) = (scene.host("client")?, scene.host("dir1")?);
    // Else a client that uses a port again is sent to the real server that it had.
    on(&director, "sysctl -w net.ipv4.vs.conn_reuse_mode=3")?;
    let running = RunningClient::start(&client, URL, PER_SECOND)?;

    heading("nginx is stopped on rs1");
    on(&*scene.host("rs1")?, "nginx -p /run/nginx-rs1 -c nginx.conf -s stop")?;
    let rs1 = |lines: &[String]| lines.iter().any(|line| line.contains("-r 192.168.56.30:80"));
    let out = || Ok((!rs1(&oracle::ipvs(&director)?)).then_some(()));
    let ((), took) = clock::until("rs1 is out of the table", LIMIT, out)?;
    println!(
        "rs1 is out of the table after {:.2} s (bound: 1 + 1 + 1 x (1 + 1) s)",
        took.as_secs_f64()
    );
    on(&director, "ipvsadm -Ln")?;
    kubectl(scene, "get irs -n shop -o wide")?;
    let answers = running.stop()?;
    println!("the client, {PER_SECOND} requests a second: {answers}");
    println!("its failures are those that were sent to rs1 before the verdict");

    heading("nginx is started on rs1");
    scene.keep(traffic::nginx(&*scene.host("rs1")?, &PORTS)?);
    let back = || Ok(rs1(&oracle::ipvs(&director)?).then_some(()));
    let ((), took) = clock::until("rs1 is in the table", LIMIT, back)?;
    println!("rs1 is in the table after {:.2} s", took.as_secs_f64());
    let answers = traffic::requests(&client, URL, 20)?;
    println!("curl {URL}: {answers}");
    ensure!(
        answers.of("rs1") == 10 && answers.of("rs2") == 10,
        "both again, in turn"
    );

    cordon(scene)?;
    on(&director, "sysctl -w net.ipv4.vs.conn_reuse_mode=1")?;
    taken_back(scene, "health", &before)
}

/// A person takes one out, and nobody is cut.
fn cordon(scene: &Scene) -> Result<()> {
    heading("A person takes rs2 out: it drains, and no request fails");
    let (client, director) = (scene.host("client")?, scene.host("dir1")?);
    let running = RunningClient::start(&client, URL, PER_SECOND)?;
    kubectl(
        scene,
        r#"patch irs rs2 -n shop --type=merge -p {"spec":{"cordoned":true}}"#,
    )?;
    let out = || {
        let lines = oracle::ipvs(&director)?;
        Ok((!lines.iter().any(|line| line.contains("192.168.56.40"))).then_some(()))
    };
    let ((), took) = clock::until("rs2 is out of the table", LIMIT, out)?;
    let answers = running.stop()?;
    println!("its last connection ended {:.2} s later: {answers}", took.as_secs_f64());
    answers.expect_all()?;
    kubectl(scene, "get irs -n shop -o wide")
}
