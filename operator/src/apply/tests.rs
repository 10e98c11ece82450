use super::*;
use kube::core::Status;

fn answered(code: u16, message: &str) -> Error {
    let status = Status {
        code,
        message: message.to_owned(),
        ..Status::default()
    };
    Error::from(kube::Error::Api(Box::new(status)))
}

#[test]
fn answers_are_told_apart_by_what_helps() {
    assert_eq!(answered(409, "the object has been modified").name(), "Conflict");
    assert_eq!(answered(404, "not found").name(), "Gone");
    assert_eq!(answered(403, "forbidden").name(), "Refused");
    assert_eq!(answered(503, "").name(), "Other");
}

#[test]
fn f36_a_field_that_the_api_server_does_not_know_means_old_crds() {
    let apply = answered(
        500,
        r#"failed to create typed patch object: .status.since: field not declared in schema"#,
    );
    assert_eq!(apply.name(), "OldSchema");
    let patch = answered(
        422,
        r#""" is invalid: patch: Invalid value: "{...}": strict decoding error: unknown field "spec.x""#,
    );
    assert_eq!(
        patch.to_string(),
        r#"the installed CRDs are older than this operator: apply those of its chart (strict decoding error: unknown field "spec.x")"#
    );
}

#[test]
fn a_patch_takes_away_the_part_that_is_absent() {
    let placement: Placement = serde_yaml::from_str(
        "metadata: {name: a, namespace: shop, resourceVersion: '7', labels: {x: y}, finalizers: [f]}\n\
         spec: {nodeName: n, subject: {kind: VirtualService, name: web}}",
    )
    .unwrap();
    let expected = json!({
        "metadata": {"resourceVersion": "7", "labels": {"x": "y"}, "finalizers": ["f"]},
        "spec": {"nodeName": "n", "subject": {"kind": "VirtualService", "name": "web"}, "director": null, "realServer": null, "virtualRouter": null},
    });
    assert_eq!(merge_patch(&placement), expected);
}

/// RFC 7386, as the API server does it.
fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let target = target.as_object_mut().unwrap();
    for (field, value) in patch {
        if value.is_null() {
            target.remove(field);
        } else {
            merge(target.entry(field).or_insert(Value::Null), value);
        }
    }
}

#[test]
fn a_patch_leaves_nothing_of_what_was_there() {
    let placement = |spec: &str| -> Placement {
        let text = format!(
            "metadata: {{name: a, namespace: shop}}\nspec: {{nodeName: n, subject: {{kind: VirtualService, name: web}}, {spec}}}"
        );
        serde_yaml::from_str(&text).unwrap()
    };
    let full = placement(
        "director: {addresses: [], services: [], realServers: [], undeclaredPorts: Accept, fullNATSourceAddresses: [10.0.0.5], \
         healthChecks: [{tcp: {}}], quorum: {minimumWeight: 3, hysteresis: 1}, drain: {timeoutSeconds: 5}, slowStart: {durationSeconds: 9}}, \
         realServer: {addresses: [], realServers: [], directors: [10.0.0.1]}, \
         virtualRouter: {masquerade: [{sourceCIDR: 10.0.0.0/24}], timeouts: {tcpSeconds: 1, tcpFinSeconds: 2, udpSeconds: 3}, withdraw: true}",
    );
    for sparse in [
        placement("director: {addresses: [], services: [], realServers: []}"),
        placement("director: {addresses: [], services: [], realServers: [], quorum: {minimumWeight: 2}}"),
        placement("director: {addresses: [], services: [], realServers: [], quorum: {hysteresis: 2}}"),
        placement("realServer: {addresses: [], realServers: []}, virtualRouter: {}"),
        placement("virtualRouter: {timeouts: {udpSeconds: 3}}"),
    ] {
        let mut patched = json!(full.spec);
        merge(&mut patched, &merge_patch(&sparse)["spec"]);
        assert_eq!(patched, json!(sparse.spec));
    }
}

#[test]
fn a_long_note_is_cut_between_characters() {
    let note = "ö".repeat(600);
    assert_eq!(shortened(&note).len(), 1000);
    assert_eq!(shortened("short"), "short");
    assert_eq!(shortened(&format!("x{note}")).len(), 999);
}
