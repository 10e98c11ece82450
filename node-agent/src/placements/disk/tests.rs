use std::io::Write;

use super::*;
use serde_json::json;

fn key(name: &str) -> PlacementKey {
    PlacementKey {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
    }
}

fn placed(generation: i64) -> Placed {
    let spec = json!({"subject": {"kind": "VirtualService", "name": "web"}, "nodeName": "rs1"});
    Placed {
        uid: "u".to_owned(),
        generation,
        spec: serde_json::from_value(spec).unwrap(),
        not_understood: None,
        down: Default::default(),
        untested: Default::default(),
        serving: Default::default(),
    }
}

fn view(generations: &[(&str, i64)]) -> View {
    let placements = generations.iter();
    View {
        source: Source::Api,
        placements: placements.map(|(name, number)| (key(name), placed(*number))).collect(),
    }
}

fn disk(dir: &tempfile::TempDir) -> Disk {
    Disk::new(dir.path(), Some("node-1".to_owned()))
}

#[test]
fn what_was_written_is_remembered_and_is_not_complete() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(disk(&dir).read(), View::default());
    let view = view(&[("a", 3), ("b", 1)]);
    disk(&dir).write(&view).unwrap();
    let read = disk(&dir).read();
    assert_eq!(read.placements, view.placements);
    assert!(!read.is_complete());
}

#[test]
fn one_that_changed_is_one_line_and_one_that_went_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = disk(&dir);
    disk.write(&view(&[("a", 1), ("b", 1)])).unwrap();
    let lines = || {
        fs::read_to_string(dir.path().join("placements.jsonl"))
            .unwrap()
            .lines()
            .count()
    };
    assert_eq!(lines(), 3);
    disk.note(&key("b"), &view(&[("a", 1), ("b", 2)])).unwrap();
    disk.note(&key("a"), &view(&[("b", 2)])).unwrap();
    assert_eq!(lines(), 5);
    assert_eq!(disk.read().placements, view(&[("b", 2)]).placements);
    // It does not grow for ever.
    for generation in 3..500 {
        disk.note(&key("b"), &view(&[("b", generation)])).unwrap();
    }
    assert!(lines() < 3 + SPARE, "{} lines", lines());
    assert_eq!(disk.read().placements, view(&[("b", 499)]).placements);
}

#[test]
fn a_line_that_a_crash_cut_short_is_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = disk(&dir);
    disk.write(&view(&[("a", 1)])).unwrap();
    let path = dir.path().join("placements.jsonl");
    let mut file = OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(b"{\"key\":{\"namespace\":\"sh").unwrap();
    assert_eq!(disk.read().placements, view(&[("a", 1)]).placements);
}

#[test]
fn a_file_that_does_not_decode_is_nothing_remembered() {
    let dir = tempfile::tempdir().unwrap();
    disk(&dir).write(&view(&[("a", 1)])).unwrap();
    let path = dir.path().join("placements.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("generation", "regeneration")).unwrap();
    assert_eq!(disk(&dir).read(), View::default());
    fs::write(&path, "").unwrap();
    assert_eq!(disk(&dir).read(), View::default());
}

#[test]
fn f35_placements_of_another_node_of_the_same_name_are_not_remembered() {
    let dir = tempfile::tempdir().unwrap();
    disk(&dir).write(&view(&[("a", 3)])).unwrap();
    assert_eq!(Disk::new(dir.path(), Some("node-2".to_owned())).read(), View::default());
    assert_eq!(Disk::new(dir.path(), None).read().placements.len(), 1);
}
