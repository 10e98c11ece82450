//! A server that is stopped and goes on: a process of its own, which signals can reach.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use tokio::io::AsyncWriteExt;

use super::*;

/// What the server says before its port.
const PORT: &str = "listening on port ";

#[tokio::test]
#[ignore = "the server of the test below, which runs it in a process of its own"]
async fn server() {
    let target = serve(|mut stream| async move {
        head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
    })
    .await;
    println!("\n{PORT}{}", target.port);
    tokio::time::sleep(LONG).await;
}

/// Ends the server with the test, however that ends.
struct Server(Child);

impl Server {
    fn signal(&self, signal: &str) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_stopped_server_connects_and_answers_when_it_goes_on() {
    let name = format!("{}::server", module_path!().split_once("::").unwrap().1);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &name, "--ignored", "--nocapture"]);
    // Connections that we gave up make its tasks panic, which is nobody's business.
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut server = Server(command.spawn().unwrap());
    let lines = BufReader::new(server.0.stdout.take().unwrap()).lines();
    let mut ports = lines.filter_map(|line| line.unwrap().strip_prefix(PORT)?.parse().ok());
    let port: u16 = ports.next().unwrap();
    let target = loopback(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let http = Probe::Http(Http::default());
    passing(&http, &target).await;
    server.signal("-STOP");
    passing(&Probe::Tcp, &target).await;
    let reason = failing(&http, &target, SHORT).await;
    assert_eq!(reason, format!("no answer of {target} within 300 ms"));
    server.signal("-CONT");
    passing(&http, &target).await;
}
