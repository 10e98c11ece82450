//! The guest's init: prepares the kernel once, then does what the host asks.
//!
//! It runs as two processes. PID 1 only reaps, because a reaper that waits for *any* child would
//! take away the exit codes of the programs that the second one, the server, waits for.

mod kernel;
mod launch;
mod serve;

use std::process::{Command, ExitCode};

const SERVER: &str = "serve";

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(SERVER) {
        return serve::serve();
    }
    if let Err(error) = kernel::prepare() {
        eprintln!("lab-init: {error:#}");
        kernel::power_off();
    }
    match Command::new("/proc/self/exe").arg(SERVER).spawn() {
        Ok(server) => reap_until_end_of(server.id()),
        Err(error) => eprintln!("lab-init: cannot start the server: {error}"),
    }
    kernel::power_off();
    ExitCode::FAILURE
}

/// Takes in every orphan until the server itself ends, which should never happen.
fn reap_until_end_of(server: u32) {
    loop {
        match kernel::wait_for_any_child() {
            Some(pid) if pid == server => {
                eprintln!("lab-init: the server ended");
                return;
            }
            Some(_) | None => {}
        }
    }
}
