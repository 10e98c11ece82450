//! Claims that another has, references to nothing, permission that ends.

use super::*;

const OTHER: &str = "192.168.56.141";
const BY_HAND: &str = "192.168.56.77";

/// The elder one is edited onto what the younger one holds: who serves keeps it.
pub(super) fn claims(scene: &Scene) -> Result<()> {
    let before = shop::open(scene, &topology::one_lan(&NODES), &AgentOptions::default())?;
    let example = shop::example("dr")?;
    let (first, web) = example
        .split_once("\n---\n# ipvsadm -A")
        .context("the example's last document")?;
    scene.apply(first)?;
    scene.apply(&service("elder", OTHER, &json!({})))?;
    shop::ready(scene, "elder")?;
    // Ages are whole seconds.
    std::thread::sleep(Duration::from_millis(1100));
    scene.apply(&format!("# ipvsadm -A{web}"))?;
    shop::ready(scene, "web")?;
    let client = RunningClient::start(&*scene.host("client")?, &format!("http://{VIP}/"), 5)?;
    let kept = oracle::ipvs(&*scene.host("dir1")?)?;
    a_claim_of_another(scene, &kept)?;
    references(scene)?;
    addresses_of_nodes(scene)?;
    undisturbed(scene, client)?;
    delete(scene, &["virtualservice", "--all"])?;
    shop::close(scene, "dr", &before)
}

fn a_claim_of_another(scene: &Scene, kept: &[String]) -> Result<()> {
    let words = format!("{VIP}:80/TCP is held by VirtualService shop/web");
    let refused = ("Accepted", "False", "AddressConflict");
    scene.apply(&service("newcomer", VIP, &json!({})))?;
    let newcomer = said(scene, "virtualservice/newcomer", refused, &words)?;
    ensure!(
        stalled(&newcomer) && !newcomer.to_string().contains("still serves"),
        "{newcomer:#}"
    );
    patch(
        scene,
        "virtualservice/elder",
        &json!({"spec": {"addresses": [{"address": VIP}]}}),
    )?;
    let elder = said(scene, "virtualservice/elder", refused, &words)?;
    let goes_on = condition_of(&elder, "Accepted").map(|said| said["message"].to_string());
    ensure!(
        stalled(&elder) && goes_on.is_some_and(|words| words.contains("the last accepted spec still serves")),
        "{elder:#}"
    );
    ensure!(oracle::ipvs(&*scene.host("dir1")?)? == kept, "the table changed");
    serves(scene, OTHER)?;
    let web = scene.control_plane().get(&["-n", SHOP, "virtualservice/web"])?;
    ensure!(
        condition_of(&web, "Ready").is_some_and(|ready| ready["status"] == "True"),
        "{web:#}"
    );
    let free = "192.168.56.142";
    patch(
        scene,
        "virtualservice/elder",
        &json!({"spec": {"addresses": [{"address": free}]}}),
    )?;
    let elder = said(scene, "virtualservice/elder", ("Ready", "True", "Ok"), "")?;
    ensure!(!stalled(&elder), "{elder:#}");
    scene
        .control_plane()
        .wait_for_event(SHOP, ("VirtualService", "elder"), "Accepted")?;
    serves(scene, free)?;
    let gone = || Ok(oracle::holders(&*scene.host("dir1")?, OTHER)?.is_empty().then_some(()));
    clock::until("the former VIP is gone", shop::LIMIT, gone)?;
    // Who waited gets what its holder gives up.
    delete(scene, &["virtualservice", "elder"])?;
    patch(
        scene,
        "virtualservice/newcomer",
        &json!({"spec": {"addresses": [{"address": free}]}}),
    )?;
    said(scene, "virtualservice/newcomer", ("Ready", "True", "Ok"), "")?;
    delete(scene, &["virtualservice", "newcomer"])
}

fn references(scene: &Scene) -> Result<()> {
    scene.apply(&object(
        "RealServer",
        "rs3",
        &json!({"nodeName": "rs3", "addresses": ["192.168.56.50"]}),
    ))?;
    let rs3 = said(
        scene,
        "realserver/rs3",
        ("ResolvedRefs", "False", "NodeNotFound"),
        "no Node rs3",
    )?;
    ensure!(stalled(&rs3), "{rs3:#}");
    said(scene, "virtualservice/web", ("Ready", "True", "Ok"), "left out: rs3")?;
    // A Node without an agent: the reference is resolved, and the host is not prepared.
    scene.control_plane().add_node("rs3", &["192.168.56.50"], &[])?;
    let rs3 = said(scene, "realserver/rs3", ("ResolvedRefs", "True", "Ok"), "")?;
    ensure!(!stalled(&rs3), "{rs3:#}");
    scene
        .control_plane()
        .wait_for_event(SHOP, ("RealServer", "rs3"), "ResolvedRefs")?;
    ensure!(
        !oracle::ipvs_table(&*scene.host("dir1")?)?.contains("192.168.56.50"),
        "an unprepared host is in the table"
    );
    scene.control_plane().kubectl(&["delete", "node", "rs3"], None)?;
    delete(scene, &["realserver", "rs3"])?;
    let nobody = json!({"realServerSelector": {"matchLabels": {"app": "nothing"}}});
    scene.apply(&service("lonely", OTHER, &nobody))?;
    let words = "realServerSelector finds no RealServer in namespace shop";
    let lonely = said(
        scene,
        "virtualservice/lonely",
        ("Ready", "False", "NoRealServers"),
        words,
    )?;
    ensure!(!stalled(&lonely), "{lonely:#}");
    delete(scene, &["virtualservice", "lonely"])
}

/// The Node's own address is known to the operator, one that somebody added by hand to the agent alone.
fn addresses_of_nodes(scene: &Scene) -> Result<()> {
    scene.apply(&service("thief", "192.168.56.30", &json!({})))?;
    let words = "192.168.56.30 is an InternalIP of Node rs1";
    let thief = said(scene, "virtualservice/thief", ("Accepted", "False", "Invalid"), words)?;
    ensure!(stalled(&thief), "{thief:#}");
    let director = scene.host("dir1")?;
    let add = format!("ip address add {BY_HAND}/24 dev eth0");
    director.run(&add)?;
    patch(
        scene,
        "virtualservice/thief",
        &json!({"spec": {"addresses": [{"address": BY_HAND}]}}),
    )?;
    let words = format!("{BY_HAND} is an address of this node (eth0) and not of lvs-operator's doing");
    said(
        scene,
        "virtualservice/thief",
        ("Programmed", "False", "AddressInUse"),
        &words,
    )?;
    let holders = oracle::holders(&director, BY_HAND)?;
    ensure!(holders.len() == 1 && holders[0].1["prefixlen"] == 24, "{holders:?}");
    ensure!(
        !oracle::ipvs_table(&director)?.contains(BY_HAND),
        "a service on the host's own address"
    );
    director.run(&add.replace(" add ", " del "))?;
    said(scene, "virtualservice/thief", ("Ready", "True", "Ok"), "")?;
    serves(scene, BY_HAND)?;
    delete(scene, &["virtualservice", "thief"])
}

pub(super) fn permission(scene: &Scene) -> Result<()> {
    let (before, client) = open(scene, &NODES)?;
    scene.apply(&service("fringe", "192.168.56.201", &json!({})))?;
    shop::ready(scene, "fringe")?;
    let refused = scene
        .control_plane()
        .kubectl(&["delete", "directorgroup", "default"], None);
    let words = refused.err().map(|error| error.to_string()).unwrap_or_default();
    ensure!(
        words.contains("DirectorGroup default is in use: 2 VirtualServices name it"),
        "{words}"
    );
    // All but the upper half, where fringe is.
    patch(
        scene,
        "directorgroup/default",
        &json!({"spec": {"allowedCIDRs": ["192.168.56.0/25"]}}),
    )?;
    let words = "192.168.56.201 is outside the allowedCIDRs of DirectorGroup default (192.168.56.0/25)";
    let fringe = said(
        scene,
        "virtualservice/fringe",
        ("Accepted", "False", "NotAllowed"),
        words,
    )?;
    ensure!(stalled(&fringe), "{fringe:#}");
    let took = table(scene, "dir1", &entries(VIP, &["192.168.56.30", "192.168.56.40"]))?;
    for (name, _) in NODES {
        let host = scene.host(name)?;
        let gone = || Ok(oracle::holders(&host, "192.168.56.201")?.is_empty().then_some(()));
        clock::until("the VIP is withdrawn", shop::LIMIT, gone)?;
    }
    scene.step(&format!("withdrawn {:.1} s after it was said", took.as_secs_f64()));
    patch(
        scene,
        "directorgroup/default",
        &json!({"spec": {"allowedCIDRs": ["192.168.56.0/24"]}}),
    )?;
    said(scene, "virtualservice/fringe", ("Ready", "True", "Ok"), "")?;
    scene
        .control_plane()
        .wait_for_event(SHOP, ("VirtualService", "fringe"), "Accepted")?;
    serves(scene, "192.168.56.201")?;
    undisturbed(scene, client)?;
    delete(scene, &["virtualservice", "fringe"])?;
    shop::close(scene, "dr", &before)
}
