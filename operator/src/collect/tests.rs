use super::*;
use crate::snapshot::Key;
use crate::world::WEB;
use kube::runtime::watcher::Event;

fn object(yaml: &str) -> DynamicObject {
    let mut object: DynamicObject = serde_yaml::from_str(yaml).unwrap();
    let version = object
        .metadata
        .resource_version
        .take()
        .unwrap_or_else(|| "1".to_owned());
    object.metadata.resource_version = Some(version);
    object
}

fn web() -> DynamicObject {
    object(&WEB.replace("name: web", "name: web, namespace: shop"))
}

fn say(store: &mut Store, source: Source, event: Event<DynamicObject>) -> Wake {
    store.absorb(Update { source, event })
}

fn list(store: &mut Store, source: Source, objects: Vec<DynamicObject>) {
    let _ = say(store, source, Event::Init);
    for object in objects {
        let _ = say(store, source, Event::InitApply(object));
    }
    let _ = say(store, source, Event::InitDone);
}

fn listed() -> Store {
    let mut store = Store::new(crate::Settings::default(), []);
    for source in Source::ALL {
        list(&mut store, source, Vec::new());
    }
    store
}

#[test]
fn there_is_no_snapshot_before_every_list_is_complete() {
    let mut store = Store::new(crate::Settings::default(), []);
    for source in Source::ALL {
        assert!(store.snapshot().is_none());
        let _ = say(&mut store, source, Event::Init);
        assert!(store.snapshot().is_none());
        let _ = say(&mut store, source, Event::InitDone);
    }
    assert!(store.snapshot().is_some());
}

#[test]
fn f28_a_restarted_watch_replaces_its_kind_at_once_and_as_a_whole() {
    let mut store = listed();
    list(&mut store, Source::VirtualServices, vec![web()]);
    let _ = say(&mut store, Source::VirtualServices, Event::Init);
    assert_eq!(
        store.snapshot().unwrap().virtual_services.len(),
        1,
        "the old list stands until the new is complete"
    );
    let other = object(&WEB.replace("name: web", "name: other, namespace: shop"));
    let _ = say(&mut store, Source::VirtualServices, Event::InitApply(other));
    assert!(
        store
            .snapshot()
            .unwrap()
            .virtual_services
            .contains_key(&Key::new("shop", "web"))
    );
    let _ = say(&mut store, Source::VirtualServices, Event::InitDone);
    let names: Vec<String> = store
        .snapshot()
        .unwrap()
        .virtual_services
        .keys()
        .map(Key::to_string)
        .collect();
    assert_eq!(names, ["shop/other"]);
}

#[test]
fn an_object_of_the_future_is_listed_with_its_error_and_its_neighbours_go_on() {
    let mut store = listed();
    let mut future = web();
    future.data["spec"]["scheduler"] = "maglev".into();
    future.data["status"] = serde_json::json!({"observedGeneration": 7});
    let neighbour = object(&WEB.replace("name: web", "name: neighbour, namespace: shop"));
    list(&mut store, Source::VirtualServices, vec![future, neighbour]);
    let snapshot = store.snapshot().unwrap();
    assert_eq!(snapshot.virtual_services.len(), 1);
    let unread = &snapshot.undecodable.virtual_services[&Key::new("shop", "web")];
    assert!(unread.error.starts_with("unknown variant `maglev`"), "{}", unread.error);
    assert_eq!(unread.status.observed_generation, Some(7));
    // When it becomes readable it is no longer among the undecodable ones, and when it goes it is nowhere.
    assert_eq!(say(&mut store, Source::VirtualServices, Event::Apply(web())), Wake::Yes);
    assert!(store.snapshot().unwrap().undecodable.virtual_services.is_empty());
    assert_eq!(
        say(&mut store, Source::VirtualServices, Event::Delete(web())),
        Wake::Yes
    );
    assert_eq!(store.snapshot().unwrap().virtual_services.len(), 1);
}

#[test]
fn a_version_alone_wakes_nobody_and_is_kept() {
    let mut store = listed();
    let _ = say(&mut store, Source::VirtualServices, Event::Apply(web()));
    let mut newer = web();
    newer.metadata.resource_version = Some("9".to_owned());
    assert_eq!(say(&mut store, Source::VirtualServices, Event::Apply(newer)), Wake::No);
    let stored = &store.snapshot().unwrap().virtual_services[&Key::new("shop", "web")];
    assert_eq!(stored.meta.resource_version, "9");
}

fn lease(boot: &str, renewed: &str) -> Event<DynamicObject> {
    Event::Apply(object(&format!(
        "metadata: {{name: lvs-agent-rs1}}\nspec: {{holderIdentity: {boot}, renewTime: '{renewed}'}}"
    )))
}

#[test]
fn an_agents_sign_of_life_wakes_only_when_it_says_something_new() {
    let mut store = listed();
    let mut renew = |boot, time| say(&mut store, Source::Leases, lease(boot, time));
    assert_eq!(renew("a", "2026-11-22T12:00:00.000000Z"), Wake::Yes);
    assert_eq!(renew("a", "2026-11-22T12:00:10.000000Z"), Wake::No);
    assert_eq!(renew("b", "2026-11-22T12:00:20.000000Z"), Wake::Yes, "it booted");
    assert_eq!(
        renew("b", "2026-11-22T12:01:20.000000Z"),
        Wake::Yes,
        "it was thought lost"
    );
    let others = object("metadata: {name: somebody-else}\nspec: {}");
    assert_eq!(say(&mut store, Source::Leases, Event::Apply(others)), Wake::No);
    assert_eq!(store.snapshot().unwrap().leases.len(), 1);
}

#[test]
fn a_node_that_does_not_decode_is_there_all_the_same() {
    let mut store = listed();
    let odd = object("metadata: {name: rs1, labels: {a: b}}\nstatus: {addresses: 7}");
    let _ = say(&mut store, Source::Nodes, Event::Apply(odd));
    assert_eq!(store.snapshot().unwrap().nodes["rs1"].labels.len(), 1);
}

#[test]
fn a_failing_watch_is_tried_again_within_five_seconds() {
    let waits: Vec<u128> = (0..9).map(|failures| backoff(failures).as_millis()).collect();
    assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
}

/// A connection has one object at a time, and another one when that was taken.
#[tokio::test]
async fn what_came_while_nobody_looked_is_there_at_once() {
    let one_by_one = futures::stream::unfold(0, |number| async move {
        tokio::task::yield_now().await;
        (number < 1000).then_some((number, number + 1))
    });
    let (sender, mut updates) = unbounded_channel();
    tokio::spawn(passed_on(one_by_one.boxed(), sender));
    tokio::time::sleep(Duration::from_millis(100)).await;
    let taken = std::iter::from_fn(|| updates.try_recv().ok());
    assert_eq!(taken.count(), 1000);
}
