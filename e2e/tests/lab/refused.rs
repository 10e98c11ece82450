//! Is every bad manifest refused, by whom it should be and with words that help, and does it disturb nobody?

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use e2e::cluster::condition_of;
use e2e::control_plane::ControlPlane;
use e2e::product::AgentOptions;
use e2e::said::{is_said, tells};
use e2e::scene::{Scene, Test};
use e2e::traffic::RunningClient;
use e2e::{clock, parallel, settings, topology};
use serde_json::Value;

use crate::shop::{self, NODES};

pub(crate) const TESTS: &[(&str, Test)] = &[("refused::every_bad_manifest_and_nobody_notices", everything)];

/// Fewer would mean that files were lost.
const FEWEST: usize = 25;
const ALL_KINDS: &str = "virtualservices,realservers,directorgroups";

/// One file: see the README beside them.
struct Case {
    /// `61-namespace-not-allowed.yaml`.
    file: String,
    by: By,
    message: String,
    manifests: String,
}

enum By {
    ApiServer,
    Operator {
        /// `("Accepted", "NotAllowed")`.
        condition: (String, String),
        /// `("VirtualService", "refused")`.
        object: (String, String),
    },
}

fn everything(scene: &Scene) -> Result<()> {
    let cases = cases(&settings::checkout().join("e2e/testdata/refused"))?;
    ensure!(cases.len() >= FEWEST, "only {} cases", cases.len());
    let before = shop::open(scene, &topology::one_lan(&NODES), &AgentOptions::default())?;
    shop::serve(scene, "dr", "web")?;
    let client = RunningClient::start(&*scene.host("client")?, "http://192.168.56.100/", 5)?;
    let (first, second): (Vec<_>, Vec<_>) = cases.iter().partition(|case| matches!(case.by, By::ApiServer));
    let begin = clock::now();
    by_the_api_server(scene.control_plane(), &first)?;
    scene.step(&format!(
        "{} refused by the API server in {:.1} s",
        first.len(),
        begin.elapsed().as_secs_f64()
    ));
    let begin = clock::now();
    by_the_operator(scene.control_plane(), &second)?;
    scene.step(&format!(
        "{} refused by the operator, each with Stalled and an Event, in {:.1} s",
        second.len(),
        begin.elapsed().as_secs_f64()
    ));
    ensure!(first.len() + second.len() == cases.len(), "some were skipped");
    let answers = client.stop()?;
    scene.step(&format!("{} cases; a running client meanwhile: {answers}", cases.len()));
    answers.expect_all()?;
    remove(scene.control_plane(), &second)?;
    shop::close(scene, "dr", &before)
}

fn cases(folder: &Path) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let case = case(&file, fs::read_to_string(&path)?);
            cases.push(case.with_context(|| format!("the header of {file}"))?);
        }
    }
    cases.sort_by(|one, other| one.file.cmp(&other.file));
    Ok(cases)
}

fn case(file: &str, manifests: String) -> Result<Case> {
    let header = |name: &str| {
        let mut lines = manifests.lines().take_while(|line| line.starts_with('#'));
        let value = lines.find_map(|line| line.strip_prefix("# ")?.strip_prefix(name)?.strip_prefix(": "));
        value.with_context(|| format!("no line `# {name}: …`"))
    };
    let by = match header("refused-by")? {
        "apiserver" => By::ApiServer,
        operator => {
            let inner = operator
                .strip_prefix("operator (")
                .and_then(|rest| rest.strip_suffix(')'));
            let parts = inner.and_then(|inner| inner.split_once("=False, reason "));
            let (type_, reason) = parts.with_context(|| format!("refused by whom: {operator}"))?;
            let (kind, name) = header("object")?.split_once('/').context("object: Kind/name")?;
            By::Operator {
                condition: (type_.to_owned(), reason.to_owned()),
                object: (kind.to_owned(), name.to_owned()),
            }
        }
    };
    Ok(Case {
        file: file.to_owned(),
        by,
        message: header("message")?.to_owned(),
        manifests,
    })
}

/// Side by side: kubectl waits more than it works.
fn by_the_api_server(control_plane: &ControlPlane, cases: &[&Case]) -> Result<()> {
    let wrong = |case: &&Case| match control_plane.refused(&case.manifests) {
        Ok(said) if said.contains(&case.message) => None,
        Ok(said) => Some(format!("{}: it says {said}, not {}", case.file, case.message)),
        Err(error) => Some(format!("{}: {error:#}", case.file)),
    };
    let fourths: Vec<_> = cases.chunks(cases.len().div_ceil(4).max(1)).collect();
    let wrong = parallel::each(&fourths, |cases| Ok(cases.iter().filter_map(wrong).collect::<Vec<_>>()))?.concat();
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// All are applied, then all are looked at: what one waits for, the others wait for, too.
fn by_the_operator(control_plane: &ControlPlane, cases: &[&Case]) -> Result<()> {
    for case in cases {
        control_plane
            .apply(&case.manifests)
            .with_context(|| case.file.clone())?;
    }
    let judged = || {
        let objects = items(control_plane.get(&["-A", ALL_KINDS])?);
        let events = items(control_plane.get(&["-A", "events.events.k8s.io"])?);
        cases
            .iter()
            .try_for_each(|case| refusal(case, &objects, &events).with_context(|| case.file.clone()))?;
        Ok(Some(()))
    };
    clock::until("all are refused as they say", shop::LIMIT, judged).map(drop)
}

/// The case's object is refused as its header says, and no other object of the case is.
fn refusal(case: &Case, objects: &[Value], events: &[Value]) -> Result<()> {
    let By::Operator { condition, object } = &case.by else {
        bail!("not the operator's affair");
    };
    let number = case.file.split('-').next().unwrap_or_default();
    let own = format!("refused-{number}");
    let is_own = |object: &&Value| {
        let begins = |field: &str| {
            object["metadata"][field]
                .as_str()
                .is_some_and(|text| text.starts_with(&own))
        };
        begins("namespace") || (object["kind"] == "DirectorGroup" && begins("name"))
    };
    let is_meant = |found: &Value| found["kind"] == object.0.as_str() && found["metadata"]["name"] == object.1.as_str();
    let mut refused = 0;
    for found in objects.iter().filter(is_own) {
        if !is_meant(found) {
            ensure!(
                condition_of(found, "Accepted").is_some_and(|accepted| accepted["status"] == "True"),
                "a neighbour is not accepted: {found:#}"
            );
            ensure!(
                condition_of(found, "Stalled").is_none(),
                "a neighbour is stalled: {found:#}"
            );
            continue;
        }
        refused += 1;
        let (type_, reason) = (condition.0.as_str(), condition.1.as_str());
        for said in [(type_, "False", reason), ("Stalled", "True", reason)] {
            ensure!(
                is_said(found, said, &case.message),
                "not {said:?}, {}: {found:#}",
                case.message
            );
        }
        let ready = condition_of(found, "Ready").map(|ready| &ready["status"]);
        ensure!(ready.is_some_and(|status| status != "True"), "it is ready: {found:#}");
        let told = events.iter().any(|event| {
            tells(event, (&object.0, &object.1), reason) && event["regarding"]["uid"] == found["metadata"]["uid"]
        });
        ensure!(told, "no Event {reason}");
    }
    ensure!(refused == 1, "{refused} objects are {object:?}");
    Ok(())
}

fn items(list: Value) -> Vec<Value> {
    list["items"].as_array().cloned().unwrap_or_default()
}

/// The namespaces with all that is in them, then the groups that nobody names any more.
fn remove(control_plane: &ControlPlane, cases: &[&Case]) -> Result<()> {
    let list = |kind: &str| -> Result<Vec<String>> {
        let names = control_plane.kubectl(&["get", kind, "-o", "name"], None)?;
        let ours = names.lines().filter(|name| name.contains("/refused-"));
        Ok(ours.map(str::to_owned).collect())
    };
    let namespaces = list("namespaces")?;
    ensure!(
        namespaces.len() + 2 >= cases.len(),
        "too few namespaces: {namespaces:?}"
    );
    let delete = |names: &[String]| {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        control_plane.kubectl(&[&["delete", "--timeout=60s"], &names[..]].concat(), None)
    };
    delete(&namespaces)?;
    let groups = || {
        let groups = list("directorgroups")?;
        if !groups.is_empty() {
            delete(&groups)?;
        }
        Ok(Some(()))
    };
    clock::until("the groups of the cases go", shop::LIMIT, groups).map(drop)
}
