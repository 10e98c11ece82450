use proptest::prelude::*;

use super::*;

fn probe(check: &str) -> Probe {
    of(&serde_yaml::from_str(check).unwrap())
}

fn dns(name: &str, record_type: &str) -> Probe {
    Probe::Dns(Dns::new(name, record_type).unwrap())
}

fn smtp(helo: &str) -> Probe {
    Probe::Smtp(Smtp::new(helo).unwrap())
}

fn udp(payload: &[u8], expect_reply: bool) -> Probe {
    Probe::Udp(Udp {
        payload: payload.to_owned(),
        expect_reply,
    })
}

#[test]
fn every_member_becomes_its_probe() {
    for (check, expected) in [
        ("{}", Probe::Tcp),
        ("{tcp: {}}", Probe::Tcp),
        ("{none: {}}", Probe::None),
        ("{ping: {}}", Probe::Ping),
        ("{http: {}}", Probe::Http(Http::default())),
        ("{https: {}}", Probe::Https(Https::default())),
        ("{udp: {}}", udp(b"", false)),
        ("{udp: {payload: cGluZw==, expectReply: true}}", udp(b"ping", true)),
        ("{dns: {}}", dns(".", "SOA")),
        (
            "{dns: {name: example.com., recordType: AAAA}}",
            dns("example.com", "AAAA"),
        ),
        ("{smtp: {}}", smtp("localhost")),
        ("{smtp: {helo: probe.example}}", smtp("probe.example")),
        ("{grpc: {}}", Probe::Grpc(Grpc::default())),
        (
            "{grpc: {service: shop.v1.Cart}}",
            Probe::Grpc(Grpc {
                service: "shop.v1.Cart".to_owned(),
            }),
        ),
    ] {
        assert_eq!(probe(check), expected, "{check}");
    }
}

const DIGEST: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn http_and_https_ask_for_the_same() {
    let fields = format!(
        "path: /up?deep=1, host: 'shop.example:8443', method: HEAD, expectedStatuses: ['204', 300-399], \
         bodyPattern: ^ok$, bodySHA256: {DIGEST}, headers: [{{name: X, value: y}}]"
    );
    let expected = Http {
        path: "/up?deep=1".to_owned(),
        host: Some("shop.example:8443".to_owned()),
        method: "HEAD".to_owned(),
        expected_statuses: vec!["204".parse().unwrap(), "300-399".parse().unwrap()],
        body_pattern: Some("^ok$".parse().unwrap()),
        body_sha256: Some(DIGEST.parse().unwrap()),
        headers: vec![("X".to_owned(), "y".to_owned())],
    };
    assert_eq!(probe(&format!("{{http: {{{fields}}}}}")), Probe::Http(expected.clone()));
    let https = format!("{{https: {{{fields}, serverName: www.example, insecureSkipVerify: true}}}}");
    let expected = Https {
        http: expected,
        server_name: Some("www.example".to_owned()),
        trust: Trust::Anybody,
    };
    assert_eq!(probe(&https), Probe::Https(expected));
}

#[test]
fn a_bundle_is_trusted_and_nobody_else() {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem();
    let https = HttpsProbe {
        ca_bundle: Some(pem.clone()),
        ..HttpsProbe::default()
    };
    let check = HealthCheck {
        https: Some(https),
        ..HealthCheck::default()
    };
    let expected = Https {
        trust: Trust::Authorities(pem.parse().unwrap()),
        ..Https::default()
    };
    assert_eq!(of(&check), Probe::Https(expected));
}

/// A spec of before a rule, or of another operator.
#[test]
fn what_is_refused_is_left_out() {
    for (check, expected) in [
        (
            "{http: {bodyPattern: '(', bodySHA256: '00', expectedStatuses: [2xx]}}",
            Probe::Http(Http::default()),
        ),
        (
            "{https: {caBundle: shop, serverName: not a name}}",
            Probe::Https(Https::default()),
        ),
        ("{udp: {payload: '?'}}", udp(b"", false)),
        ("{dns: {name: a..b}}", udp(b"", false)),
        ("{smtp: {helo: two words}}", smtp("localhost")),
    ] {
        assert_eq!(probe(check), expected, "{check}");
    }
}

/// What the schema lets through is a question.
#[test]
fn every_name_and_type_of_the_schema_can_be_asked_for() {
    let long = "a".repeat(63);
    for name in [
        ".",
        "a",
        "_dmarc.shop.example",
        "a-b.1.",
        &format!("{long}.{long}.{long}.example"),
    ] {
        for record_type in ["A", "AAAA", "CNAME", "MX", "NS", "PTR", "SOA", "SRV", "TXT"] {
            let check = format!("{{dns: {{name: '{name}', recordType: {record_type}}}}}");
            assert_eq!(probe(&check), dns(name, record_type), "{check}");
        }
    }
}

/// Every string of a check is this one.
fn all_of(text: &str) -> [HealthCheck; 4] {
    let word = || Some(text.to_owned());
    let check = HealthCheck::default;
    let https = HttpsProbe {
        path: word(),
        host: word(),
        method: None,
        expected_statuses: Some(vec![text.to_owned()]),
        body_pattern: word(),
        body_sha256: word(),
        headers: None,
        server_name: word(),
        insecure_skip_verify: None,
        ca_bundle: None,
    };
    let bundle = HttpsProbe {
        ca_bundle: word(),
        ..HttpsProbe::default()
    };
    let udp = UdpProbe {
        payload: word(),
        expect_reply: None,
    };
    [
        HealthCheck {
            https: Some(https),
            ..check()
        },
        HealthCheck {
            https: Some(bundle),
            ..check()
        },
        HealthCheck {
            udp: Some(udp),
            ..check()
        },
        HealthCheck {
            smtp: Some(SmtpProbe { helo: word() }),
            ..check()
        },
    ]
}

proptest! {
    /// And what the operator takes, is asked as it stands.
    #[test]
    fn no_text_makes_a_panic_and_nothing_that_is_accepted_is_left_out(
        text in prop_oneof![any::<String>(), "[A-Za-z0-9+/]{1,8}", "[(a-z)*+]{1,8}", "[a-z.-]{1,12}"],
    ) {
        for check in all_of(&text) {
            let accepted = check.content().is_ok();
            let probe = of(&check);
            if let (true, Some(asked), Probe::Https(https)) = (accepted, &check.https, &probe) {
                prop_assert_eq!(https.http.body_pattern.is_some(), asked.body_pattern.is_some());
                prop_assert_eq!(&https.server_name, &asked.server_name);
                prop_assert_eq!(https.trust == Trust::System, asked.ca_bundle.is_none());
            }
            if let (true, Probe::Udp(udp)) = (accepted, &probe) {
                prop_assert_eq!(udp.payload.is_empty(), text.is_empty());
            }
        }
    }
}
