//! The CRDs as the API server gets them: what the derives give, plus what they cannot say.

use crate::conditions::{self, ACCEPTED, HEALTHY, PREPARED, PROGRAMMED, READY, RESOLVED_REFS};
use crate::{DirectorGroup, Placement, RealServer, VirtualService};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Value, json};

/// All our CRDs, in a stable order.
pub fn all() -> Vec<CustomResourceDefinition> {
    vec![
        crd::<DirectorGroup>(&[ACCEPTED, READY]),
        crd::<Placement>(&[PROGRAMMED]),
        crd::<RealServer>(&[ACCEPTED, RESOLVED_REFS, PREPARED, HEALTHY, READY]),
        crd::<VirtualService>(&[ACCEPTED, RESOLVED_REFS, PROGRAMMED, READY]),
    ]
}

/// The CRD of `K`, whose new objects get `condition_types` as Unknown.
pub fn crd<K: CustomResourceExt>(condition_types: &[&str]) -> CustomResourceDefinition {
    let mut crd = json!(K::crd());
    if let Some(schema) = crd.pointer_mut("/spec/versions/0/schema/openAPIV3Schema") {
        tidy(schema);
        if let Some(status) = schema.pointer_mut("/properties/status").and_then(Value::as_object_mut) {
            status.insert(
                "default".to_owned(),
                json!({"conditions": conditions::unknown(condition_types)}),
            );
        }
    }
    #[expect(clippy::expect_used, reason = "the value came from this very type a few lines above")]
    serde_json::from_value(crd).expect("a CRD is still a CRD after it was tidied")
}

/// What schemars cannot be told at every place:
/// * an absent field is absent, not null: without `nullable`, `has()` in a rule means what it says;
/// * enums get a `maxLength`, or CEL's cost estimate takes them for unbounded strings;
/// * defaults inside list items go, because client-side diffs show them as drift for ever;
/// * label values and other strings of maps get Kubernetes' bound.
fn tidy(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    object.remove("nullable");
    if let Some(values) = object.get_mut("enum").and_then(Value::as_array_mut) {
        values.retain(|value| !value.is_null());
    }
    if let Some(longest) = object
        .get("enum")
        .and_then(Value::as_array)
        .and_then(|values| values.iter().filter_map(Value::as_str).map(str::len).max())
    {
        object.entry("maxLength").or_insert(json!(longest));
    }
    if let Some(values) = object.get_mut("additionalProperties").and_then(Value::as_object_mut) {
        values.entry("maxLength").or_insert(json!(63));
        object.entry("maxProperties").or_insert(json!(32));
    }
    if let Some(items) = object.get_mut("items") {
        strip_defaults(items);
        tidy(items);
    }
    if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
        for property in properties.values_mut() {
            tidy(property);
        }
    }
}

fn strip_defaults(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    object.remove("default");
    if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
        for property in properties.values_mut() {
            strip_defaults(property);
        }
    }
    if let Some(items) = object.get_mut("items") {
        strip_defaults(items);
    }
}
