//! xtask.
fn main() -> anyhow::Result<()> {
    use e2e::*;
    use std::sync::Arc;
    tools::ensure()?;
    let (k, image) = (go_tools::kubernetes()?, root_image::root_image()?);
    go_tools::helm()?;
    let folder = settings::target().join("lab/try");
    std::fs::create_dir_all(&folder)?;
    let init = settings::target().join("debug/lab-init");
    let g = Arc::new(guest::Guest::boot(&image, &folder, &[init])?);
    for _ in 0..5 {
        let b = clock::now();
        let o = g.run(&program::Program::line("true"))?;
        println!("true: {:?} in guest {:?}", b.elapsed(), o.took);
    }
    let b = clock::now();
    for _ in 0..20 { g.clock()?; }
    println!("hello x20: {:?}", b.elapsed());
    let t = progress::step("lay", || topology::Topology::lay(&g, &topology::one_lan(&[("dir1", 11), ("rs1", 31), ("rs2", 32)])))?;
    println!("{}", t.host("client")?.run("ping -c2 -i0.2 192.168.56.11")?);
    println!("{}", t.host("dir1")?.run("ip address")?);
    let cp = control_plane::ControlPlane::start(&k, &folder.join("cp1"))?;
    println!("{}", cp.kubectl(&["get", "ns"], None)?);
    println!("{}", t.host("dir1")?.shell(&format!("curl -sk {}/version; date", cp.url_in_guest()))?);
    progress::step("drop topology", || { drop(t); Ok(()) })?;
    std::thread::sleep(std::time::Duration::from_secs(1));
    Ok(())
}
