//! Bytes captured from ipvsadm and the kernel, both ways. The format: `testdata/captured/README`.

use super::*;

/// How many captures there are: raised with each one, so that a lost file or folder is no passed test.
const CAPTURES: usize = 104;

#[test]
#[expect(clippy::disallowed_methods, reason = "a test reads its own test data")]
fn captured_bytes_are_what_is_sent_and_say_what_was_meant() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/captured");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "hex") {
            let text = std::fs::read_to_string(&path).unwrap();
            check(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            count += 1;
        }
    }
    assert_eq!(count, CAPTURES, "captures in {folder}");
}

/// One capture.
fn check(text: &str) -> Result<(), String> {
    let title = text
        .lines()
        .next()
        .and_then(|line| line.strip_prefix('#'))
        .unwrap_or_default();
    let [line, _kernel, direction] = title.split('|').map(str::trim).collect::<Vec<_>>()[..] else {
        return Err(format!("{title:?} is not LINE | KERNEL | request or reply"));
    };
    let change: Change = line.parse().map_err(|error| format!("{error}"))?;
    let captured = hex(text)?;
    // nlmsghdr (16) and genlmsghdr (4), of which the command is the first byte.
    let (header, payload) = captured.split_at_checked(20).ok_or("no headers")?;
    let message = parse(header[16], payload).map_err(|error| format!("{error}"))?;
    if without_flags(&bytes(&message)) != without_flags(payload) {
        return Err(format!("re-encoded: {:02x?}", bytes(&message)));
    }
    match direction {
        "request" => request(&message, &change),
        "reply" => reply(&message, &change),
        _ => Err(format!("{direction:?} is neither request nor reply")),
    }
}

/// ipvsadm describes the service whole where its identity would do, so that for destinations only they are compared.
fn request(message: &IpvsMessage, change: &Change) -> Result<(), String> {
    let ours = IpvsMessage::from(change);
    let part = match change {
        Change::AddService { .. } | Change::EditService { .. } => &message.attributes[0],
        Change::AddDestination { .. } | Change::EditDestination { .. } => {
            message.attributes.get(1).ok_or("no destination")?
        }
        Change::DeleteService { .. } | Change::DeleteDestination { .. } => {
            return if message.command == ours.command {
                Ok(())
            } else {
                Err("command".to_owned())
            };
        }
    };
    if message.command == ours.command && ours.attributes.contains(part) {
        Ok(())
    } else {
        Err(format!("we send {ours:?}, not {message:?}"))
    }
}

fn reply(message: &IpvsMessage, change: &Change) -> Result<(), String> {
    let service = change.service();
    let said = match change.destination() {
        None => {
            let reply = message.service().map_err(|error| error.to_string())?;
            Change::AddService {
                service: reply.key,
                config: reply.config,
            }
        }
        Some(_) => {
            let reply = message
                .destination(service.family())
                .map_err(|error| error.to_string())?;
            Change::AddDestination {
                service,
                destination: reply.key,
                config: reply.config,
            }
        }
    };
    if said == *change {
        Ok(())
    } else {
        Err(format!("the reply says {said}"))
    }
}

fn hex(text: &str) -> Result<Vec<u8>, String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let digits: Vec<u8> = lines
        .flat_map(str::bytes)
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    digits
        .chunks(2)
        .map(|pair| {
            let pair = std::str::from_utf8(pair).map_err(|error| error.to_string())?;
            u8::from_str_radix(pair, 16).map_err(|error| format!("{pair:?}: {error}"))
        })
        .collect()
}

/// NLA_F_NESTED off two levels of attributes: the kernel's replies and older libnl leave it out, and it means nothing here.
fn without_flags(payload: &[u8]) -> Vec<u8> {
    let mut bytes = payload.to_vec();
    clear(&mut bytes, 2);
    bytes
}

fn clear(mut rest: &mut [u8], depth: u8) {
    while depth > 0 && rest.len() >= 4 {
        let length = usize::from(u16::from_ne_bytes([rest[0], rest[1]]));
        let kind = u16::from_ne_bytes([rest[2], rest[3]]) & 0x7fff;
        rest[2..4].copy_from_slice(&kind.to_ne_bytes());
        let end = length.next_multiple_of(4).min(rest.len());
        if length < 4 {
            return;
        }
        clear(&mut rest[4..end], depth - 1);
        rest = &mut rest[end..];
    }
}

/// A text in the format, made by our own encoder: it proves the reader, never the codec.
fn made(line: &str, direction: &str) -> String {
    let message = IpvsMessage::from(&line.parse::<Change>().unwrap());
    let mut all = [[0; 16].as_slice(), &[message.command(), 1, 0, 0]].concat();
    all.extend(bytes(&message));
    let hex: Vec<_> = all.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("# {line} | none | {direction}\n# more\n{}\n", hex.join(" "))
}

#[test]
fn the_reader_of_captures_takes_what_fits_and_refuses_the_rest() {
    let service = "ipvsadm -A -t 192.168.56.100:80 -s rr";
    let destination = "ipvsadm -a -t 192.168.56.100:80 -r 192.168.56.11:80 -g -w 1 -x 9";
    for line in [service, destination] {
        for direction in ["request", "reply"] {
            let text = made(line, direction);
            assert_eq!(check(&text), Ok(()));
            assert!(check(&text.replace(":80 ", ":81 ")).is_err(), "another port");
            assert!(check(&text.replace("00 50", "50 00")).is_err(), "another byte order");
            assert!(check(&text.replace(direction, "neither")).is_err());
            assert!(check(&text[..text.len() - 4]).is_err(), "cut");
        }
    }
    assert!(check("").is_err());
    assert!(check("# -A -f 7 | 6.12 | request\n00").is_err());
}
