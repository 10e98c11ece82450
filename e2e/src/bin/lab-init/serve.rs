//! Answers the host's requests, each on a thread of its own.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use e2e::protocol::{self, Launch, Reply, Request};

use crate::kernel;
use crate::launch;

/// Programs that `Spawn` started, by process id; `Some` when they have ended.
#[derive(Default)]
struct Programs {
    status: Mutex<BTreeMap<u32, Option<i32>>>,
    ended: Condvar,
}

impl Programs {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Option<i32>>> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves for ever.
pub(crate) fn serve() -> ExitCode {
    let listener = match TcpListener::bind(("10.0.2.15", protocol::PORT)) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("lab-init: cannot listen: {error}");
            return ExitCode::FAILURE;
        }
    };
    eprintln!("lab-init: ready");
    let programs = Arc::new(Programs::default());
    for stream in listener.incoming().flatten() {
        let programs = Arc::clone(&programs);
        thread::spawn(move || {
            if let Err(error) = answer(&stream, &programs) {
                eprintln!("lab-init: {error:#}");
            }
        });
    }
    ExitCode::FAILURE
}

fn answer(stream: &TcpStream, programs: &Arc<Programs>) -> Result<()> {
    stream.set_nodelay(true)?;
    let (request, payload) = protocol::receive::<Request>(&mut BufReader::new(stream))?;
    let begin = kernel::clock();
    let (mut reply, payload) = match carry_out(request, payload, programs) {
        Ok(answer) => answer,
        Err(error) => (
            Reply {
                error: Some(format!("{error:#}")),
                ..Reply::default()
            },
            vec![],
        ),
    };
    reply.clock_milliseconds = kernel::clock();
    reply.took_milliseconds = reply.clock_milliseconds.saturating_sub(begin);
    let mut stream = stream;
    protocol::send(&mut stream, &reply, &payload).context("the host did not wait for the reply")
}

fn carry_out(request: Request, payload: Vec<u8>, programs: &Arc<Programs>) -> Result<(Reply, Vec<u8>)> {
    let done = (Reply::default(), Vec::new());
    match request {
        Request::Hello => Ok(done),
        Request::Run {
            launch,
            timeout_milliseconds,
        } => run(&launch, payload, timeout_milliseconds),
        Request::Spawn { launch, log, stamped } => {
            let pid = spawn(&launch, Path::new(&log), stamped, programs)?;
            Ok((
                Reply {
                    pid,
                    ..Reply::default()
                },
                Vec::new(),
            ))
        }
        Request::Signal { pid, signal, group } => {
            send_signal(pid, signal, group, programs)?;
            Ok(done)
        }
        Request::Wait {
            pid,
            timeout_milliseconds,
        } => {
            let status = wait(pid, Duration::from_millis(timeout_milliseconds), programs)?;
            Ok((
                Reply {
                    status,
                    ..Reply::default()
                },
                Vec::new(),
            ))
        }
        Request::Write { path, mode } => {
            write(Path::new(&path), mode, &payload).with_context(|| path.clone())?;
            Ok(done)
        }
        Request::Read { path, offset } => {
            let bytes = read(Path::new(&path), offset).with_context(|| path.clone())?;
            Ok((
                Reply {
                    stdout_bytes: bytes.len(),
                    ..Reply::default()
                },
                bytes,
            ))
        }
        Request::PowerOff => {
            kernel::power_off();
            Ok(done)
        }
    }
}

fn code(status: ExitStatus) -> i32 {
    status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(-1)
}

fn run(launch: &Launch, input: Vec<u8>, timeout_milliseconds: u64) -> Result<(Reply, Vec<u8>)> {
    let mut command = launch::command(launch)?;
    command.stdin(if input.is_empty() {
        Stdio::null()
    } else {
        Stdio::piped()
    });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = start(&mut command, launch)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read its input to the end is not an error of ours.
        thread::spawn(move || drop(stdin.write_all(&input)));
    }
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let pid = i32::try_from(child.id())?;
    let (sender, ended) = mpsc::channel();
    thread::spawn(move || sender.send(child.wait()));
    let status = match ended.recv_timeout(Duration::from_millis(timeout_milliseconds)) {
        Ok(status) => code(status?),
        Err(_) => {
            // The group may be gone by now; then there is nothing to kill.
            drop(kernel::signal(-pid, libc::SIGKILL));
            drop(ended.recv());
            let output = String::from_utf8_lossy(&stdout.recv().unwrap_or_default()).into_owned();
            bail!(
                "{:?} did not end in {timeout_milliseconds} ms; it said: {output}",
                launch.argv
            );
        }
    };
    // A child that outlives the program may hold the pipes: what came until then is the output.
    let grace = Duration::from_secs(2);
    let mut output = stdout.recv_timeout(grace).unwrap_or_default();
    let stdout_bytes = output.len();
    output.extend(stderr.recv_timeout(grace).unwrap_or_default());
    Ok((
        Reply {
            status: Some(status),
            stdout_bytes,
            ..Reply::default()
        },
        output,
    ))
}

fn start(command: &mut Command, launch: &Launch) -> Result<Child> {
    command
        .spawn()
        .with_context(|| format!("cannot start {:?}", launch.argv))
}

fn collect(from: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut from) = from {
            // What was read until the error is still worth showing.
            drop(from.read_to_end(&mut bytes));
        }
        sender.send(bytes)
    });
    receiver
}

fn spawn(launch: &Launch, log: &Path, stamped: bool, programs: &Arc<Programs>) -> Result<u32> {
    fs::create_dir_all(log.parent().context("no folder")?)?;
    let mut file = File::options().create(true).append(true).open(log)?;
    let mut command = launch::command(launch)?;
    command.stdin(Stdio::null());
    let output = if stamped {
        let (reader, writer) = io::pipe()?;
        command.stdout(writer.try_clone()?).stderr(writer);
        Some(reader)
    } else {
        command.stdout(file.try_clone()?).stderr(file.try_clone()?);
        None
    };
    let mut child = start(&mut command, launch)?;
    // The command holds the writing end of the pipe: while it lives the reader sees no end.
    drop(command);
    let pid = child.id();
    programs.lock().insert(pid, None);
    if let Some(reader) = output {
        thread::spawn(move || {
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                if writeln!(file, "{} {line}", kernel::clock()).is_err() {
                    return;
                }
            }
        });
    }
    let programs = Arc::clone(programs);
    thread::spawn(move || {
        let status = child.wait().map_or(-1, code);
        programs.lock().insert(pid, Some(status));
        programs.ended.notify_all();
    });
    Ok(pid)
}

fn send_signal(pid: u32, signal: i32, group: bool, programs: &Programs) -> Result<()> {
    let status = programs.lock();
    let Some(ended) = status.get(&pid) else {
        bail!("{pid} was not started by the lab")
    };
    let target = i32::try_from(pid)?;
    match (group, ended) {
        // The leader is gone, members of its session may not be.
        (true, Some(_)) => drop(kernel::signal(-target, signal)),
        (true, None) => kernel::signal(-target, signal)?,
        (false, None) => kernel::signal(target, signal)?,
        (false, Some(code)) => bail!("{pid} has ended with {code}"),
    }
    Ok(())
}

fn wait(pid: u32, timeout: Duration, programs: &Programs) -> Result<Option<i32>> {
    let status = programs.lock();
    if !status.contains_key(&pid) {
        bail!("{pid} was not started by the lab");
    }
    let (status, _) = programs
        .ended
        .wait_timeout_while(status, timeout, |status| status.get(&pid) == Some(&None))
        .unwrap_or_else(PoisonError::into_inner);
    Ok(status.get(&pid).copied().flatten())
}

fn write(path: &Path, mode: u32, bytes: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = File::options().create(true).write(true).truncate(true).open(path)?;
    // Files of the kernel (sysctls) refuse a change of permissions.
    if path.starts_with("/proc") || path.starts_with("/sys") {
        return Ok(file.write_all(bytes)?);
    }
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    Ok(file.write_all(bytes)?)
}

fn read(path: &Path, offset: u64) -> Result<Vec<u8>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    if offset > 0 {
        file.seek(SeekFrom::Start(offset))?;
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}
