//! A mutation fuzzer for what a server's bytes come to: no instrumentation, no nightly toolchain, the same inputs from the
//! same seed.
//!
//! A parser's module `fuzz` says how it is driven ([`Parser`]) and has two tests: one replays the corpus, always; one is
//! ignored unless `cargo xtask test --class fuzz` asks for it, and mutates the corpus for `LVS_FUZZ_SECONDS`. It is guided by
//! what it sees from outside: an input that was judged as none before joins the corpus of the run. One that breaks a
//! property is written to the corpus folder, where it stays as a test.

mod feed;
mod memory;
mod mutation;
mod properties;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

pub(super) use self::feed::{over, target};
use self::mutation::{Random, mutate};
use self::properties::check;

/// What came of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Judged {
    /// Whether the probe passes, and if not why.
    pub(super) verdict: Result<(), String>,
    /// Bytes that were read, however often the input was repeated.
    pub(super) read: usize,
    /// Bytes that were written.
    pub(super) written: usize,
}

impl Judged {
    /// By a parser that reads all that it is given, and says nothing.
    pub(super) fn at_once(bytes: &[u8], verdict: Result<(), String>) -> Self {
        let (read, written) = (bytes.len(), 0);
        Self { verdict, read, written }
    }
}

/// How a parser is driven.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parser {
    /// Its corpus folder below `testdata/fuzz`.
    pub(super) name: &'static str,
    /// Words of its protocol, that mutations put in.
    pub(super) words: &'static [&'static [u8]],
    /// What an input must hold for the probe to pass; nothing where the encoding can say it in many ways.
    pub(super) needs: &'static [&'static [u8]],
    /// Judges an input: one verdict for each way of asking.
    pub(super) judge: fn(&[u8]) -> Vec<Judged>,
}

/// The longest input in bytes: longer than the longest head of an answer. Endless answers repeat it.
const LONGEST_INPUT: usize = 20 * 1024;

/// No input may take so long, on however busy a machine.
const LONGEST_JUDGEMENT: Duration = Duration::from_secs(20);

/// Seconds of a run without `LVS_FUZZ_SECONDS`.
const SECONDS: u64 = 10;

/// An input that breaks a property.
#[derive(Debug)]
struct Broken {
    path: PathBuf,
    words: String,
}

impl Parser {
    /// Every file of the corpus keeps the properties.
    pub(super) fn replay(&self) {
        let corpus = corpus(&self.folder());
        assert!(!corpus.is_empty(), "no corpus in {}", self.folder().display());
        for (path, input) in corpus {
            let checked = check(self, &input);
            assert!(checked.is_ok(), "{}: {}", path.display(), checked.unwrap_err());
        }
    }

    /// So do its mutations, as many as there is time for.
    pub(super) fn hunt(&self) {
        let seconds = number("LVS_FUZZ_SECONDS").unwrap_or(SECONDS);
        let seed = number("LVS_FUZZ_SEED").unwrap_or(1);
        let end = clock() + Duration::from_secs(seconds);
        match hunt(self, &self.folder(), seed, |_| clock() < end) {
            Ok(done) => println!(
                "{}: {} inputs in {seconds} s, {} kinds of verdicts",
                self.name, done.inputs, done.kinds
            ),
            Err(Broken { path, words }) => panic!("{}: {words}", path.display()),
        }
    }

    fn folder(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("testdata/fuzz")
            .join(self.name)
    }
}

/// A run that found nothing.
#[derive(Debug)]
struct Done {
    inputs: u64,
    kinds: usize,
}

/// Mutates the corpus as long as `goes_on` says, of the number of inputs so far.
fn hunt(parser: &Parser, folder: &Path, seed: u64, mut goes_on: impl FnMut(u64) -> bool) -> Result<Done, Broken> {
    let mut pool: Vec<Vec<u8>> = corpus(folder).into_iter().map(|(_, input)| input).collect();
    let mut random = Random::new(seed);
    let mut kinds = BTreeSet::new();
    let mut inputs = 0;
    let watched = Watched::start(folder);
    while goes_on(inputs) {
        let [from, other] = [(); 2].map(|()| random.below(pool.len()));
        let input = mutate(&mut random, &pool[from], &pool[other], parser.words, LONGEST_INPUT);
        watched.begin(&input);
        let judged = check(parser, &input).map_err(|words| Broken {
            path: keep(folder, &input),
            words,
        })?;
        inputs += 1;
        if kinds.insert(judged.iter().map(kind).collect::<Vec<_>>()) {
            pool.push(input);
        }
    }
    let kinds = kinds.len();
    Ok(Done { inputs, kinds })
}

/// What is alike in verdicts: their words without numbers and quotations, and the magnitude of what was read.
fn kind(judged: &Judged) -> (String, u32) {
    let Judged {
        verdict,
        read,
        written: _,
    } = judged;
    let words = verdict.as_ref().err().map_or("", String::as_str);
    // A quotation may hold quotation marks of its own.
    let (before, rest) = words.split_once('"').unwrap_or((words, ""));
    let after = rest.rsplit_once('"').map_or("", |(_, after)| after);
    let plain = before.chars().chain(after.chars());
    let words = plain.filter(|letter| !letter.is_ascii_digit()).collect();
    (words, read.checked_ilog2().unwrap_or_default())
}

/// Writes an input down, named for what it holds; gives its path.
fn keep(folder: &Path, input: &[u8]) -> PathBuf {
    // FNV-1a: a name, not a secret.
    let hash = input.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    let path = folder.join(format!("found-{hash:016x}"));
    fs::write(&path, input).unwrap();
    path
}

fn corpus(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = fs::read_dir(folder).unwrap();
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let input = fs::read(&path).unwrap();
        (path, input)
    };
    paths.into_iter().map(read).collect()
}

/// Ends the process over an input that does not end: nothing else could.
struct Watched(Arc<Mutex<(Instant, Vec<u8>)>>);

impl Watched {
    fn start(folder: &Path) -> Self {
        let shared = Arc::new(Mutex::new((clock(), Vec::new())));
        let (seen, folder) = (Arc::downgrade(&shared), folder.to_owned());
        thread::spawn(move || {
            while let Some(shared) = seen.upgrade() {
                stop_if_endless(&shared, &folder);
                thread::sleep(Duration::from_millis(200));
            }
        });
        Self(shared)
    }

    fn begin(&self, input: &[u8]) {
        let (begun, held) = &mut *self.0.lock().unwrap();
        *begun = clock();
        input.clone_into(held);
    }
}

fn stop_if_endless(shared: &Mutex<(Instant, Vec<u8>)>, folder: &Path) {
    let (begun, input) = &*shared.lock().unwrap();
    if begun.elapsed() > LONGEST_JUDGEMENT {
        let path = keep(folder, input);
        eprintln!("{}: no end within {LONGEST_JUDGEMENT:?}", path.display());
        std::process::exit(1);
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var_os(name)?.to_str()?.parse().ok()
}

#[expect(clippy::disallowed_methods, reason = "a run has a time, its inputs have none")]
fn clock() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests;
