use super::*;

const VERBS: [Verb; 8] = [
    Verb::NewService,
    Verb::SetService,
    Verb::DelService,
    Verb::GetService,
    Verb::NewDest,
    Verb::SetDest,
    Verb::DelDest,
    Verb::GetDest,
];

#[test]
fn f32_every_answer_to_every_verb_has_one_meaning() {
    use Meaning::{Done, Invalid, NoFamily, NoScheduler, Stale, Transient};
    // In the order of VERBS: services new, set, del, get; destinations new, set, del, get.
    let table = [
        (Errno::ESRCH, [Stale, Stale, Done, Done, Stale, Stale, Done, Done]),
        (
            Errno::ENOENT,
            [
                NoScheduler,
                NoScheduler,
                NoFamily,
                NoFamily,
                NoFamily,
                Stale,
                Done,
                NoFamily,
            ],
        ),
        (Errno::EEXIST, [Stale; 8]),
        (Errno::EINVAL, [Invalid; 8]),
        (Errno::ERANGE, [Invalid; 8]),
        (Errno::EAFNOSUPPORT, [Invalid; 8]),
        (Errno::EPERM, [Meaning::Forbidden; 8]),
        (Errno::EACCES, [Meaning::Forbidden; 8]),
        (Errno::EOPNOTSUPP, [NoFamily; 8]),
        (Errno::ENOMEM, [Transient; 8]),
        (Errno::ENOBUFS, [Transient; 8]),
        (Errno::EINTR, [Transient; 8]),
        (Errno::EAGAIN, [Transient; 8]),
        (Errno::EBUSY, [Transient; 8]),
        (Errno(9999), [Transient; 8]),
    ];
    for (errno, expected) in table {
        for (verb, expected) in VERBS.into_iter().zip(expected) {
            assert_eq!(meaning(verb, errno), expected, "{verb:?} answered {errno}");
        }
    }
}

#[test]
fn f32_no_number_at_all_is_left_out() {
    for verb in VERBS {
        for number in -5..=4096 {
            let _ = meaning(verb, Errno(number)).retries();
        }
    }
}

#[test]
fn f32_a_deletion_of_what_is_gone_is_done() {
    assert_eq!(meaning(Verb::DelService, Errno::ESRCH), Meaning::Done);
    assert_eq!(meaning(Verb::DelDest, Errno::ESRCH), Meaning::Done);
    assert_eq!(meaning(Verb::DelDest, Errno::ENOENT), Meaning::Done);
}

#[test]
fn an_errno_prints_as_the_kernel_names_it() {
    assert_eq!(Errno::EAFNOSUPPORT.to_string(), "EAFNOSUPPORT");
    assert_eq!(Errno(5).to_string(), "errno 5");
}
