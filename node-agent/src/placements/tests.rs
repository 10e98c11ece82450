use super::*;
use serde_json::json;

fn object(generation: i64, spec: Value) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": "lvs-operator.io/v1alpha1", "kind": "Placement",
        "metadata": {"name": "web-rs1-1", "namespace": "shop", "uid": "u1", "generation": generation},
        "spec": spec,
    }))
    .unwrap()
}

fn spec(vip: &str) -> Value {
    json!({
        "subject": {"kind": "VirtualService", "name": "web"}, "nodeName": "rs1",
        "realServer": {"addresses": [{"address": vip}], "realServers": [{"name": "a", "addresses": ["192.0.2.30"], "forwardingMethod": "DR"}]},
    })
}

#[test]
fn a_spec_with_an_unknown_field_leaves_the_last_good_one() {
    let good = placed(None, &object(1, spec("192.0.2.1")));
    let mut later = spec("192.0.2.2");
    later["realServer"]["novel"] = json!({"type": "GUE"});
    let kept = placed(Some(&good), &object(2, later));
    assert_eq!((kept.generation, &kept.spec), (1, &good.spec));
    let not_understood = kept.not_understood.unwrap();
    assert_eq!(not_understood.words, "unknown field spec.realServer.novel");
    assert_eq!(not_understood.generation, 2);
}

#[test]
fn a_spec_with_an_unknown_value_leaves_the_last_good_one() {
    let good = placed(None, &object(1, spec("192.0.2.1")));
    let mut later = spec("192.0.2.1");
    later["realServer"]["realServers"][0]["forwardingMethod"] = json!("Teleport");
    let kept = placed(Some(&good), &object(2, later));
    assert_eq!(kept.spec, good.spec);
    assert!(kept.not_understood.unwrap().words.contains("Teleport"));
}

#[test]
fn f27_an_older_generation_of_the_same_object_is_not_taken() {
    let new = placed(None, &object(5, spec("192.0.2.5")));
    assert_eq!(placed(Some(&new), &object(4, spec("192.0.2.4"))), new);
}

#[test]
fn f28_a_list_replaces_what_is_known_and_nothing_is_said_before_it_is_complete() {
    let mut watched = Watched {
        view: View::default(),
        next: None,
    };
    assert!(watched.take(Event::Init).is_none());
    assert!(watched.take(Event::InitApply(object(1, spec("192.0.2.1")))).is_none());
    let Some(News::List(known)) = watched.take(Event::InitDone) else {
        panic!("no list")
    };
    assert!(known.view.is_complete());
    assert_eq!(known.view.placements.len(), 1);
    assert!(watched.take(Event::Init).is_none());
    let Some(News::List(known)) = watched.take(Event::InitDone) else {
        panic!("no list")
    };
    assert!(known.view.placements.is_empty());
}
