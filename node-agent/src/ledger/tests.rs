use super::*;
use crate::state::Knob;

fn sysctl() -> Sysctl {
    Sysctl::on("eth0", Knob::ArpIgnore)
}

fn service() -> ServiceKey {
    "TCP 192.168.56.100:80".to_owned().try_into().unwrap()
}

#[test]
fn what_was_appended_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, ledger) = JournalFile::open(dir.path(), "boot-1").unwrap();
    assert!(!ledger.adopted && ledger.is_empty());
    let value = Former { former: 0, set: 1 };
    journal
        .append(&[
            Entry::Adopted,
            Entry::Service { key: service() },
            Entry::Sysctl {
                sysctl: sysctl(),
                value,
            },
        ])
        .unwrap();
    drop(journal);
    let (_, ledger) = JournalFile::open(dir.path(), "boot-1").unwrap();
    assert!(ledger.adopted);
    assert_eq!(ledger.services.iter().copied().collect::<Vec<_>>(), [service()]);
    assert_eq!(ledger.sysctls[&sysctl()], value);
}

#[test]
fn another_boots_ledger_counts_as_none() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = JournalFile::open(dir.path(), "boot-1").unwrap();
    journal.append(&[Entry::Service { key: service() }]).unwrap();
    let (_, ledger) = JournalFile::open(dir.path(), "boot-2").unwrap();
    assert!(!ledger.adopted && ledger.is_empty());
}

#[test]
fn a_torn_last_line_loses_only_itself() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = JournalFile::open(dir.path(), "boot-1").unwrap();
    journal.append(&[Entry::Service { key: service() }]).unwrap();
    drop(journal);
    let path = dir.path().join("ledger.jsonl");
    let mut text = fs::read_to_string(&path).unwrap();
    text.push_str("{\"sysctl\":{\"sysct");
    fs::write(&path, text).unwrap();
    let (_, ledger) = JournalFile::open(dir.path(), "boot-1").unwrap();
    assert!(ledger.services.contains(&service()) && ledger.sysctls.is_empty());
}

#[test]
fn a_line_of_a_later_version_survives_an_agent_that_does_not_know_it() {
    let header = serde_json::to_string(&Entry::Ledger {
        version: VERSION,
        boot_id: "b".to_owned(),
    })
    .unwrap();
    let known = serde_json::to_string(&Entry::Service { key: service() }).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.jsonl");
    let later = "{\"novel\":{}}";
    fs::write(&path, format!("{header}\n{later}\n{known}\n")).unwrap();
    let (_, ledger) = JournalFile::open(dir.path(), "b").unwrap();
    assert!(ledger.services.contains(&service()));
    let kept = fs::read_to_string(&path).unwrap();
    assert!(kept.lines().any(|line| line == later), "{kept}");
}

#[test]
fn what_comes_and_goes_does_not_fill_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, mut ledger) = JournalFile::open(dir.path(), "boot-1").unwrap();
    let entries = [Entry::Service { key: service() }, Entry::NoService { key: service() }];
    for _ in 0..TIDY_AFTER {
        journal.append(&entries).unwrap();
        entries.iter().for_each(|entry| ledger.record(entry));
        journal.tidy(&ledger).unwrap();
    }
    journal.append(&entries[..1]).unwrap();
    let text = fs::read_to_string(dir.path().join(FILE)).unwrap();
    assert!(text.lines().count() <= TIDY_AFTER, "{} lines", text.lines().count());
    let ledger = Ledger::peek(dir.path(), "boot-1").unwrap();
    assert!(ledger.services.contains(&service()));
}
