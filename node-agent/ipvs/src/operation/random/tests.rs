use super::*;
use crate::fake::FakeIpvs;

#[test]
fn a_seed_means_the_same_sequence_for_ever() {
    assert_eq!(random_operations(7, 20), random_operations(7, 20));
    assert_eq!(random_operations(7, 20)[..5], random_operations(7, 5));
    assert_ne!(random_operations(7, 20), random_operations(8, 20));
    // The first numbers of splitmix64 from 0, as its authors publish them.
    let mut random = Random(0);
    assert_eq!(random.next(), 0xe220_a839_7b1d_cdaf);
    assert_eq!(random.next(), 0x6e78_9e6a_a1b9_65f4);
}

#[test]
fn sequences_meet_every_answer_and_fill_tables() {
    let mut answers = std::collections::BTreeMap::<String, usize>::new();
    let mut destinations = 0;
    for seed in 0..500 {
        let mut kernel = FakeIpvs::new();
        for operation in random_operations(seed, 20) {
            let answer = match kernel.execute(&operation) {
                Ok(()) => "ok".to_owned(),
                Err(errno) => errno.to_string(),
            };
            *answers.entry(answer).or_default() += 1;
        }
        let services = kernel.table().services.values();
        destinations += services.map(|service| service.destinations.len()).sum::<usize>();
    }
    for answer in ["ok", "EEXIST", "ESRCH", "ENOENT", "EINVAL", "ERANGE", "EAFNOSUPPORT"] {
        assert!(
            answers.get(answer).is_some_and(|count| *count > 50),
            "{answer}: {answers:?}"
        );
    }
    assert!(answers["ok"] > 3_000, "{answers:?}");
    assert!(destinations > 600, "{destinations} destinations in 500 tables");
}
