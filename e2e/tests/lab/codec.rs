//! Do our bytes, our text and our fake kernel say what ipvsadm and the real kernel say?

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::netlink_capture::{self, IpvsMessage};
use e2e::product::KERNEL_TESTS;
use e2e::program::Program;
use e2e::scene::{Scene, Test};
use e2e::settings;
use e2e::topology::{HostPlan, LAN};

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("codec::the_agents_kernel_tests", kernel_tests),
    ("codec::the_fake_kernel_answers_as_the_real_one", random_operations),
    ("codec::ipvsadm_sends_and_reads_the_captured_bytes", captured),
];

/// Tests of the agent's member, each in a network namespace of its own: ignored where there is no such kernel, run here.
fn kernel_tests(scene: &Scene) -> Result<()> {
    let program = format!("/lab/{KERNEL_TESTS}");
    let tests = Program::new([&program, "--include-ignored", "--test-threads=2"]).timeout(Duration::from_secs(300));
    let output = scene.guest().attempt(&tests)?;
    let result = output
        .stdout
        .lines()
        .find(|line| line.starts_with("test result:"))
        .unwrap_or_default();
    scene.step(&format!("{result} ({:.1} s in the guest)", output.took.as_secs_f64()));
    ensure!(
        output.status == 0 && result.contains(" 0 ignored"),
        "{}{}",
        output.stdout,
        output.stderr
    );
    // Counted, with the lab's own.
    println!("{result}");
    Ok(())
}

/// One process plays both, so that nothing but the operations costs time.
fn random_operations(scene: &Scene) -> Result<()> {
    let sequences: u64 = if settings::is_set(settings::LONG) { 5000 } else { 500 };
    let play = format!(
        "ip link set lo up && exec /lab/ipvs-player --throw-away-namespace \
         --sequences {sequences} --operations 20 --text-every 10"
    );
    let limit = Duration::from_secs(60 + sequences);
    let output = scene
        .guest()
        .attempt(&Program::new(["unshare", "-n", "sh", "-c", &play]).timeout(limit))?;
    let said = output.stdout.lines().rev().take(3).collect::<Vec<_>>().join("; ");
    scene.step(&format!("{said} ({:.1} s in the guest)", output.took.as_secs_f64()));
    ensure!(output.status == 0, "{}{}", output.stdout, output.stderr);
    // What the player says is believed only when it says that it did everything.
    ensure!(output.stdout.contains(&format!("sequences {sequences} mismatches 0\n")));
    ensure!(output.stdout.contains(&format!("texts {}\n", sequences / 10)));
    ensure!(
        output
            .stdout
            .contains(&format!("operations {} refused ", sequences * 20))
    );
    Ok(())
}

/// A service and a destination of it: a name, how they are made, and what they are changed to.
struct Case {
    name: &'static str,
    service: &'static str,
    made: &'static str,
    edited: &'static str,
    destination: &'static str,
    placed: &'static str,
    moved: &'static str,
}

const fn case(
    name: &'static str,
    [service, made, edited]: [&'static str; 3],
    [destination, placed, moved]: [&'static str; 3],
) -> Case {
    Case {
        name,
        service,
        made,
        edited,
        destination,
        placed,
        moved,
    }
}

const CASES: &[Case] = &[
    case(
        "tcp",
        ["-t 192.0.2.1:80", "-s wlc", "-s rr"],
        ["192.0.2.11:80", "-g -w 1", "-g -w 0"],
    ),
    case(
        "udp-one-packet",
        ["-u 192.0.2.1:53", "-s rr -o", "-s wrr"],
        ["192.0.2.11:5353", "-m -w 100", "-m -w 65535"],
    ),
    case(
        "sctp",
        ["--sctp-service 192.0.2.1:9", "-s lc", "-s sed"],
        ["192.0.2.11:9", "-m -w 2", "-m -w 3"],
    ),
    case(
        "source-hash",
        ["-t 192.0.2.1:81", "-s sh -b sh-fallback,sh-port", "-s sh -b sh-port"],
        ["192.0.2.11:81", "-g -w 1", "-g -w 2"],
    ),
    case(
        "persistent",
        [
            "-t 192.0.2.1:443",
            "-s wrr -p 600 -M 255.255.255.0",
            "-s wrr -p 30 -M 255.255.0.0",
        ],
        ["192.0.2.11:443", "-g -w 5 -x 1000 -y 800", "-g -w 5 -x 70000"],
    ),
    case(
        "sip",
        ["-u 192.0.2.1:5060", "-s rr -p 60 --pe sip", "-s rr -p 61 --pe sip"],
        ["192.0.2.11:5060", "-m -w 1", "-g -w 1"],
    ),
    case(
        "mark",
        ["-f 7", "-s rr", "-s rr -p 300"],
        ["192.0.2.11:0", "-i -w 1", "-g -w 1"],
    ),
    case(
        "mark-ipv6",
        ["-f 4000000000 -6", "-s wlc", "-s dh"],
        ["[2001:db8::11]:0", "-g -w 1", "-i -w 1"],
    ),
    case(
        "ipv6",
        [
            "-t [2001:db8::1]:80",
            "-s mh -b mh-fallback,mh-port",
            "-s mh -b mh-fallback",
        ],
        ["[2001:db8::11]:80", "-g -w 1", "-g -w 9"],
    ),
    case(
        "ipv6-persistent",
        ["-u [2001:db8::1]:53", "-s rr -p 300 -M 64", "-s rr -p 300 -M 128"],
        ["[2001:db8::11]:53", "-m -w 1", "-m -w 2"],
    ),
    case(
        "gue",
        ["-t 192.0.2.1:82", "-s rr", "-s wlc"],
        [
            "192.0.2.11:82",
            "-i -w 1 --tun-type gue --tun-port 6080 --tun-nocsum",
            "-i -w 1 --tun-type gue --tun-port 6081 --tun-remcsum",
        ],
    ),
    case(
        "gre",
        ["-t 192.0.2.1:83", "-s rr", "-s wlc"],
        [
            "192.0.2.11:83",
            "-i -w 1 --tun-type gre --tun-csum",
            "-i -w 1 --tun-type gre --tun-nocsum",
        ],
    ),
    case(
        "ipip-over-ipv6",
        ["-t 192.0.2.1:84", "-s rr", "-s wlc"],
        [
            "[2001:db8::11]:84",
            "-i -w 1 --tun-type ipip",
            "-i -w 4 --tun-type ipip",
        ],
    ),
];

/// What is expected in the capture: the name of its file, the line that it is about, the command, who sent it.
struct Expected {
    file: String,
    line: String,
    command: u8,
    is_request: bool,
}

impl Case {
    fn lines(&self) -> [String; 6] {
        let Self {
            name: _,
            service,
            made,
            edited,
            destination,
            placed,
            moved,
        } = self;
        [
            format!("ipvsadm -A {service} {made}"),
            format!("ipvsadm -a {service} -r {destination} {placed}"),
            format!("ipvsadm -E {service} {edited}"),
            format!("ipvsadm -e {service} -r {destination} {moved}"),
            format!("ipvsadm -d {service} -r {destination}"),
            format!("ipvsadm -D {service}"),
        ]
    }

    /// With nothing else in the table, a dump is about these two.
    fn script(&self) -> String {
        let [add_service, add, edit_service, edit, delete, delete_service] = self.lines();
        format!("{add_service}\n{add}\nipvsadm -Sn > /dev/null\n{edit_service}\n{edit}\n{delete}\n{delete_service}\n")
    }

    fn expected(&self) -> Vec<Expected> {
        let [add_service, add, edit_service, edit, delete, delete_service] = self.lines();
        let all = [
            ("1-new-service", &add_service, 1, true),
            ("2-new-dest", &add, 5, true),
            ("3-service", &add_service, 1, false),
            ("4-dest", &add, 5, false),
            ("5-set-service", &edit_service, 2, true),
            ("6-set-dest", &edit, 6, true),
            ("7-del-dest", &delete, 7, true),
            ("8-del-service", &delete_service, 3, true),
        ];
        let each = all.into_iter().map(|(what, line, command, is_request)| Expected {
            file: format!("{}-{what}.hex", self.name),
            line: line.clone(),
            command,
            is_request,
        });
        each.collect()
    }
}

/// The stored captures, which the codec's own tests decode and encode, are what this kernel and this ipvsadm say.
fn captured(scene: &Scene) -> Result<()> {
    scene.lay(&[HostPlan::outsider("dir1", LAN, 11)])?;
    let host = scene.host("dir1")?;
    let kernel = host.run("uname -r")?.trim().to_owned();
    let capture = netlink_capture::start(&host)?;
    let script: String = CASES.iter().map(Case::script).collect();
    host.shell(&format!("set -e\n{script}"))?;
    let messages = capture.messages()?;
    let told: Vec<&IpvsMessage> = messages.iter().filter(|message| tells(message)).collect();
    let expected: Vec<Expected> = CASES.iter().flat_map(Case::expected).collect();
    ensure!(
        told.len() == expected.len(),
        "{} messages, not {}",
        told.len(),
        expected.len()
    );
    let fresh = settings::target().join("lab/captured");
    fs::create_dir_all(&fresh)?;
    let stored = settings::checkout().join("node-agent/ipvs/testdata/captured");
    let mut differing = Vec::new();
    for (expected, message) in expected.iter().zip(told) {
        ensure!(
            message.command() == Some(expected.command) && message.is_request == expected.is_request,
            "{}: {message:?}",
            expected.file
        );
        fs::write(fresh.join(&expected.file), text(expected, &kernel, message))?;
        let known = read(&stored.join(&expected.file)).unwrap_or_default();
        // The header before has the numbers of this boot and of that process.
        if known.get(16..) != message.bytes.get(16..) {
            differing.push(expected.file.as_str());
        }
    }
    scene.step(&format!("{} messages of {} services", expected.len(), CASES.len()));
    ensure!(
        differing.is_empty(),
        "other bytes than stored (compare {}): {differing:?}",
        fresh.display()
    );
    Ok(())
}

/// Whether it writes, or is an answer about one service or destination.
fn tells(message: &IpvsMessage) -> bool {
    match message.command() {
        Some(1 | 5) => true,
        Some(2 | 3 | 6 | 7) => message.is_request,
        _ => false,
    }
}

fn text(expected: &Expected, kernel: &str, message: &IpvsMessage) -> String {
    let direction = if message.is_request { "request" } else { "reply" };
    let words: Vec<String> = message.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let lines: Vec<String> = words.chunks(32).map(|words| words.join(" ")).collect();
    format!("# {} | {kernel} | {direction}\n{}\n", expected.line, lines.join("\n"))
}

fn read(path: &PathBuf) -> Result<Vec<u8>> {
    let text = fs::read_to_string(path)?;
    let words = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(str::split_whitespace);
    words
        .map(|word| u8::from_str_radix(word, 16).context("hexadecimal"))
        .collect()
}
