//! May everybody do what the chart says, and no more? And does no token appear where people read?

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use e2e::cluster::SYSTEM;
use e2e::control_plane::ControlPlane;
use e2e::scene::{Scene, Test};
use e2e::{clock, tools};
use serde_json::json;

use crate::shop;

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("security::a_token_writes_for_its_own_node_only", tokens),
    ("security::people_write_no_placements", people),
    (
        "security::the_accounts_may_do_what_the_chart_lists_and_no_more",
        accounts,
    ),
    ("security::no_token_and_no_secret_in_a_log", logs::logs),
];

#[path = "security/logs.rs"]
mod logs;

/// Somebody with a token.
struct Caller<'a> {
    control_plane: &'a ControlPlane,
    kubeconfig: PathBuf,
}

impl<'a> Caller<'a> {
    fn new(control_plane: &'a ControlPlane, name: &str, token: &str) -> Result<Self> {
        let kubeconfig = control_plane.folder().join(format!("{name}.kubeconfig"));
        let text = control_plane.kubeconfig_with_token(&control_plane.url(), token)?;
        fs::write(&kubeconfig, text)?;
        Ok(Self {
            control_plane,
            kubeconfig,
        })
    }

    fn may(&self, arguments: &[&str], input: Option<&str>) -> Result<String> {
        let output = self.control_plane.kubectl_as(&self.kubeconfig, arguments, input)?;
        let said = tools::text(&output.stderr);
        ensure!(output.status.success(), "kubectl {}: {said}", arguments.join(" "));
        Ok(tools::text(&output.stdout))
    }

    fn may_not(&self, arguments: &[&str], input: Option<&str>, words: &str) -> Result<()> {
        let output = self.control_plane.kubectl_as(&self.kubeconfig, arguments, input)?;
        let said = tools::text(&output.stderr);
        let line = arguments.join(" ");
        ensure!(!output.status.success(), "kubectl {line} was not refused");
        ensure!(said.contains(words), "kubectl {line}: it says {said}, not {words}");
        Ok(())
    }
}

fn placement(scene: &Scene, name: &str, node: &str) -> String {
    let real_server = json!({"addresses": [{"address": "192.168.56.150"}], "realServers": []});
    json!({
        "apiVersion": "lvs-operator.io/v1alpha1", "kind": "Placement",
        "metadata": {"name": name, "namespace": scene.namespace},
        "spec": {
            "subject": {"kind": "VirtualService", "name": "web"}, "nodeName": node, "realServer": real_server,
        },
    })
    .to_string()
}

fn lease(node: &str) -> String {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": format!("lvs-agent-{node}"), "namespace": SYSTEM},
        "spec": {"holderIdentity": "nobody"},
    })
    .to_string()
}

fn nodes(control_plane: &ControlPlane) -> Result<()> {
    control_plane.add_node("dir1", &["192.168.56.10"], &[])?;
    control_plane.add_node("dir2", &["192.168.56.11"], &[])
}

/// As the agent does it: kubectl's own `patch` would read the status first, which an agent may not.
const WRITE_STATUS: [&str; 5] = ["apply", "--server-side", "--subresource=status", "-f", "-"];
const CREATE: [&str; 3] = ["create", "-f", "-"];
const LEASE: [&str; 2] = ["--type=merge", r#"--patch={"spec":{"holderIdentity":"somebody"}}"#];
const SPEC: [&str; 2] = ["--type=merge", r#"--patch={"spec":{"realServer":null}}"#];

fn status(scene: &Scene, node: &str) -> String {
    json!({
        "apiVersion": "lvs-operator.io/v1alpha1", "kind": "Placement",
        "metadata": {"name": node, "namespace": scene.namespace},
        "status": {"bootID": "a"},
    })
    .to_string()
}

fn tokens(scene: &Scene) -> Result<()> {
    let control_plane = scene.control_plane();
    nodes(control_plane)?;
    let operator = Caller::new(control_plane, "as-operator", &control_plane.operator_token()?)?;
    for node in ["dir1", "dir2"] {
        operator.may(&CREATE, Some(&placement(scene, node, node)))?;
    }
    let agent = |node: &str| Caller::new(control_plane, &format!("as-{node}"), &control_plane.agent_token(node)?);
    let (dir1, dir2) = (agent("dir1")?, agent("dir2")?);
    // Its own, so that a refusal below is not one of everything.
    dir1.may(&WRITE_STATUS, Some(&status(scene, "dir1")))?;
    dir1.may(&CREATE, Some(&lease("dir1")))?;
    dir1.may(
        &["-n", SYSTEM, "patch", "lease", "lvs-agent-dir1", LEASE[0], LEASE[1]],
        None,
    )?;
    dir2.may(&CREATE, Some(&lease("dir2")))?;
    let of_others = others_writes(scene, &dir1)?;
    let beyond = beyond_the_role(scene, &dir1)?;
    let bare = control_plane.kubectl(&["create", "token", "lvs-agent", "-n", SYSTEM], None)?;
    let unbound = Caller::new(control_plane, "as-nobody", bare.trim())?;
    let words = "this token is bound to no node";
    unbound.may_not(&WRITE_STATUS, Some(&status(scene, "dir1")), words)?;
    unbound.may_not(
        &["-n", SYSTEM, "patch", "lease", "lvs-agent-dir1", LEASE[0], LEASE[1]],
        None,
        words,
    )?;
    operator.may_not(
        &["-n", SYSTEM, "get", "secrets"],
        None,
        "cannot list resource \"secrets\"",
    )?;
    scene.step(&format!(
        "refused: {of_others} writes about another node, {beyond} beyond the role, 2 with a token of no node"
    ));
    Ok(())
}

/// By the admission policies: RBAC cannot tell nodes apart.
fn others_writes(scene: &Scene, dir1: &Caller<'_>) -> Result<usize> {
    let words = "an agent writes the status of Placements of its own node only: this token is of node dir1";
    dir1.may_not(&WRITE_STATUS, Some(&status(scene, "dir2")), words)?;
    let words = "an agent writes one Lease: lvs-agent-dir1";
    dir1.may_not(
        &["-n", SYSTEM, "patch", "lease", "lvs-agent-dir2", LEASE[0], LEASE[1]],
        None,
        words,
    )?;
    dir1.may_not(&CREATE, Some(&lease("dir3")), words)?;
    Ok(3)
}

/// By RBAC.
fn beyond_the_role(scene: &Scene, dir1: &Caller<'_>) -> Result<usize> {
    dir1.may_not(
        &CREATE,
        Some(&placement(scene, "mine", "dir1")),
        "cannot create resource \"placements\"",
    )?;
    let namespace = scene.namespace.as_str();
    let refused: [(&[&str], &str); 5] = [
        (
            &["-n", namespace, "patch", "placement", "dir1", SPEC[0], SPEC[1]],
            "patch resource \"placements\"",
        ),
        (
            &["-n", namespace, "delete", "placement", "dir1"],
            "delete resource \"placements\"",
        ),
        (
            &["-n", SYSTEM, "delete", "lease", "lvs-agent-dir1"],
            "delete resource \"leases\"",
        ),
        (&["-n", SYSTEM, "get", "secrets"], "list resource \"secrets\""),
        (&["get", "virtualservices", "-A"], "list resource \"virtualservices\""),
    ];
    for (arguments, words) in &refused {
        dir1.may_not(arguments, None, &format!("cannot {words}"))?;
    }
    Ok(refused.len() + 1)
}

/// Who administers a namespace has services there, and what they become on nodes is the operator's affair.
fn people(scene: &Scene) -> Result<()> {
    let control_plane = scene.control_plane();
    nodes(control_plane)?;
    let operator = Caller::new(control_plane, "as-operator", &control_plane.operator_token()?)?;
    operator.may(&CREATE, Some(&placement(scene, "dir1", "dir1")))?;
    let namespace = scene.namespace.as_str();
    let bind = [
        "-n",
        namespace,
        "create",
        "rolebinding",
        "alice",
        "--clusterrole=admin",
        "--user=alice",
    ];
    control_plane.kubectl(&bind, None)?;
    let administrator = Caller {
        control_plane,
        kubeconfig: control_plane.kubeconfig(),
    };
    let as_alice = |arguments: &[&'static str]| [&["--as=alice", "-n", namespace], arguments].concat();
    // The roles are put together by a controller, some time after the chart was installed.
    let service = service(namespace);
    let created = || Ok(administrator.may(&as_alice(&CREATE), Some(&service)).ok());
    clock::until("alice may create a VirtualService", shop::LIMIT, created)?;
    for allowed in [
        &[
            "patch",
            "virtualservice",
            "web",
            "--type=merge",
            r#"--patch={"spec":{"scheduler":"rr"}}"#,
        ][..],
        &["get", "placements,realservers"],
        &["delete", "virtualservice", "web"],
    ] {
        administrator.may(&as_alice(allowed), None)?;
    }
    let refused = refused_to_alice(scene, &administrator)?;
    // Nobody else either, whatever he may: by the policy.
    let by_hand = [&["-n", namespace, "patch", "placement", "dir1"][..], &SPEC].concat();
    administrator.may_not(&by_hand, None, "Placements are written by lvs-operator only")?;
    scene.step(&format!("alice may 4 things, and is refused {refused}"));
    Ok(())
}

fn refused_to_alice(scene: &Scene, administrator: &Caller<'_>) -> Result<usize> {
    let (own, elsewhere) = (placement(scene, "mine", "dir1"), self::service("default"));
    let (edited, said) = (placement(scene, "dir1", "dir2"), status(scene, "dir1"));
    let refused: [(&[&'static str], Option<&str>, &str); 6] = [
        (&CREATE, Some(&own), "create resource \"placements\""),
        (
            &["apply", "--server-side", "-f", "-"],
            Some(&edited),
            "patch resource \"placements\"",
        ),
        (&WRITE_STATUS, Some(&said), "patch resource \"placements/status\""),
        (&["delete", "placement", "dir1"], None, "delete resource \"placements\""),
        (
            &["delete", "directorgroup", "default"],
            None,
            "delete resource \"directorgroups\"",
        ),
        (&["get", "secrets", "-n", SYSTEM], None, "list resource \"secrets\""),
    ];
    for (arguments, input, words) in &refused {
        administrator.may_not(
            &[&["--as=alice", "-n", &scene.namespace], *arguments].concat(),
            *input,
            &format!("cannot {words}"),
        )?;
    }
    let words = "cannot create resource \"virtualservices\"";
    administrator.may_not(&["--as=alice", "create", "-f", "-"], Some(&elsewhere), words)?;
    Ok(refused.len() + 1)
}

fn service(namespace: &str) -> String {
    json!({
        "apiVersion": "lvs-operator.io/v1alpha1", "kind": "VirtualService",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {
            "addresses": [{"address": "192.168.56.150"}], "ports": [{"port": 80}],
            "realServerSelector": {"matchLabels": {"app": "web"}},
        },
    })
    .to_string()
}

/// Resource or URL, names, verbs: what everybody may who is authenticated.
const EVERYBODY: &[&str] = &[
    "selfsubjectreviews.authentication.k8s.io [] [] [create]",
    "selfsubjectaccessreviews.authorization.k8s.io [] [] [create]",
    "selfsubjectrulesreviews.authorization.k8s.io [] [] [create]",
    "[/.well-known/openid-configuration/] [] [get]",
    "[/.well-known/openid-configuration] [] [get]",
    "[/api/*] [] [get]",
    "[/api] [] [get]",
    "[/apis/*] [] [get]",
    "[/apis] [] [get]",
    "[/healthz] [] [get]",
    "[/livez] [] [get]",
    "[/openapi/*] [] [get]",
    "[/openapi] [] [get]",
    "[/openid/v1/jwks/] [] [get]",
    "[/openid/v1/jwks] [] [get]",
    "[/readyz] [] [get]",
    "[/version/] [] [get]",
    "[/version] [] [get]",
];
const AGENT: &[&str] = &[
    "placements.lvs-operator.io [] [] [get list watch]",
    "placements.lvs-operator.io/status [] [] [patch]",
    "events.events.k8s.io [] [] [create patch]",
];
const AGENT_IN_ITS_NAMESPACE: &[&str] = &["leases.coordination.k8s.io [] [] [get create patch]"];
const OPERATOR: &[&str] = &[
    "virtualservices.lvs-operator.io [] [] [get list watch]",
    "realservers.lvs-operator.io [] [] [get list watch]",
    "directorgroups.lvs-operator.io [] [] [get list watch]",
    "virtualservices.lvs-operator.io/status [] [] [patch]",
    "realservers.lvs-operator.io/status [] [] [patch]",
    "directorgroups.lvs-operator.io/status [] [] [patch]",
    "placements.lvs-operator.io [] [] [get list watch create patch delete]",
    "nodes [] [] [list watch]",
    "namespaces [] [] [list watch]",
    "events.events.k8s.io [] [] [create patch]",
];
const OPERATOR_IN_ITS_NAMESPACE: &[&str] = &["leases.coordination.k8s.io [] [] [get list watch]"];

fn accounts(scene: &Scene) -> Result<()> {
    let control_plane = scene.control_plane();
    nodes(control_plane)?;
    let agent = Caller::new(control_plane, "as-agent", &control_plane.agent_token("dir1")?)?;
    let operator = Caller::new(control_plane, "as-operator", &control_plane.operator_token()?)?;
    for (name, caller, everywhere, at_home) in [
        ("lvs-agent", &agent, AGENT, AGENT_IN_ITS_NAMESPACE),
        ("lvs-operator", &operator, OPERATOR, OPERATOR_IN_ITS_NAMESPACE),
    ] {
        for (namespace, more) in [("default", &[][..]), (SYSTEM, at_home)] {
            let list = caller.may(&["auth", "can-i", "--list", "--no-headers", "-n", namespace], None)?;
            let rows = list
                .lines()
                .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
            let rows: BTreeSet<String> = rows.collect();
            let expected = [EVERYBODY, everywhere, more].concat();
            let expected: BTreeSet<String> = expected.into_iter().map(str::to_owned).collect();
            let surplus: Vec<_> = rows.difference(&expected).collect();
            let missing: Vec<_> = expected.difference(&rows).collect();
            ensure!(
                surplus.is_empty() && missing.is_empty(),
                "{name} in {namespace} may also {surplus:#?}, and may not {missing:#?}"
            );
            scene.step(&format!("{name} in {namespace}: {} rules, as listed", rows.len()));
        }
    }
    Ok(())
}
