//! Objects of a later version: the CRDs are newer than the programs.

use e2e::cluster::SYSTEM;
use e2e::control_plane::ControlPlane;

use super::*;

const SPEC: &str = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";

pub(super) fn versions(scene: &Scene) -> Result<()> {
    let (before, client) = open(scene, &NODES)?;
    let control_plane = scene.control_plane();
    crd(
        control_plane,
        "virtualservices",
        &json!({"op": "add", "path": format!("{SPEC}/scheduler/enum/-"), "value": "zzz"}),
    )?;
    unknown_value(scene)?;
    let novel = format!("{SPEC}/director/properties/novel");
    crd(
        control_plane,
        "placements",
        &json!({"op": "add", "path": novel, "value": {"type": "string"}}),
    )?;
    unknown_field(scene)?;
    crd(control_plane, "placements", &json!({"op": "remove", "path": novel}))?;
    let schedulers = control_plane.get(&["crd", "virtualservices.lvs-operator.io"])?;
    let schedulers = schedulers
        .pointer(&format!("{SPEC}/scheduler/enum"))
        .and_then(Value::as_array)
        .map(Vec::len);
    let last = schedulers.context("the schedulers of the CRD")? - 1;
    crd(
        control_plane,
        "virtualservices",
        &json!({"op": "remove", "path": format!("{SPEC}/scheduler/enum/{last}")}),
    )?;
    undisturbed(scene, client)?;
    shop::close(scene, "dr", &before)
}

fn crd(control_plane: &ControlPlane, plural: &str, patch: &Value) -> Result<()> {
    let (name, patch) = (format!("{plural}.lvs-operator.io"), format!("--patch=[{patch}]"));
    control_plane
        .kubectl(&["patch", "crd", &name, "--type=json", &patch], None)
        .map(drop)
}

/// One object that the operator cannot read is one condition; a neighbour that changes meanwhile is served.
fn unknown_value(scene: &Scene) -> Result<()> {
    let later = service("later", "192.168.56.144", &json!({"scheduler": "zzz"}));
    // The API server knows a changed schema some time after it took it.
    clock::until("the new value is known", shop::LIMIT, || Ok(scene.apply(&later).ok()))?;
    let words = "unknown variant `zzz`";
    let later = said(scene, "virtualservice/later", ("Accepted", "False", "Invalid"), words)?;
    ensure!(stalled(&later), "{later:#}");
    scene
        .control_plane()
        .wait_for_event(SHOP, ("VirtualService", "later"), "Invalid")?;
    scene.apply(&service("neighbour", "192.168.56.145", &json!({})))?;
    shop::ready(scene, "neighbour")?;
    serves(scene, "192.168.56.145")?;
    // What served before it was edited to such a value goes on.
    patch(
        scene,
        "virtualservice/neighbour",
        &json!({"spec": {"scheduler": "zzz"}}),
    )?;
    said(
        scene,
        "virtualservice/neighbour",
        ("Accepted", "False", "Invalid"),
        "the last accepted spec still serves",
    )?;
    serves(scene, "192.168.56.145")?;
    patch(scene, "virtualservice/later", &json!({"spec": {"scheduler": "rr"}}))?;
    shop::ready(scene, "later")?;
    scene
        .control_plane()
        .wait_for_event(SHOP, ("VirtualService", "later"), "Accepted")?;
    delete(scene, &["virtualservice", "later", "neighbour"])
}

/// A Placement with a field that the agent does not know keeps the last spec that it understood.
fn unknown_field(scene: &Scene) -> Result<()> {
    let control_plane = scene.control_plane();
    let placement = control_plane.get(&["-n", SHOP, "placements"])?;
    let mut all = placement["items"].as_array().into_iter().flatten();
    let is_director =
        |placement: &&Value| placement["spec"]["nodeName"] == "dir1" && placement["spec"]["subject"]["name"] == "web";
    let director = all.find(is_director);
    let name = director.and_then(|placement| placement["metadata"]["name"].as_str());
    let name = format!("placement/{}", name.context("no Placement of dir1")?);
    let novel = |value: Value| as_operator(scene, &name, &json!({"spec": {"director": {"novel": value}}}));
    let unknown = ("Programmed", "False", "UnknownField");
    // While the API server takes up a changed schema, a write may be stored with the new field, and still be watched
    // without it; nobody is told of it again until the next write.
    let mut writes = 0;
    let noticed = || {
        writes += 1;
        novel(json!(writes.to_string()))?;
        std::thread::sleep(Duration::from_secs(1));
        let stored = control_plane.get(&["-n", SHOP, &name])?;
        let words = condition_of(&stored, unknown.0).map(|said| (said["reason"].clone(), said["message"].clone()));
        Ok(words.filter(|(reason, _)| reason == unknown.2))
    };
    let ((_, words), took) = clock::until("the new field is noticed", shop::LIMIT, noticed)?;
    scene.step(&format!("{name}: after {:.1} s: {words}", took.as_secs_f64()));
    ensure!(
        words
            .as_str()
            .is_some_and(|words| words.contains("unknown field spec.director.novel")),
        "{words}"
    );
    said(scene, "virtualservice/web", unknown, "Upgrade lvs-agent")?;
    let kept = entries(VIP, &["192.168.56.30", "192.168.56.40"]);
    patch(scene, "virtualservice/web", &json!({"spec": {"scheduler": "wrr"}}))?;
    let told = |stored: &Value| stored["spec"]["director"]["services"][0]["scheduler"] == "wrr";
    control_plane.wait_for("the operator goes on", shop::LIMIT, &["-n", SHOP, &name], told)?;
    std::thread::sleep(Duration::from_secs(1));
    ensure!(
        oracle::ipvs(&*scene.host("dir1")?)? == kept,
        "a spec that was not understood was followed"
    );
    serves(scene, VIP)?;
    novel(Value::Null)?;
    said(scene, "virtualservice/web", ("Ready", "True", "Ok"), "")?;
    let wrr: Vec<String> = kept.iter().map(|line| line.replace("-s rr", "-s wrr")).collect();
    table(scene, "dir1", &wrr).map(drop)
}

/// As an operator of the later version would.
fn as_operator(scene: &Scene, placement: &str, patch: &Value) -> Result<()> {
    let user = format!("--as=system:serviceaccount:{SYSTEM}:lvs-operator");
    let patch = format!("--patch={patch}");
    let all = [&user, "-n", SHOP, "patch", placement, "--type=merge", &patch];
    scene.control_plane().kubectl(&all, None).map(drop)
}
