use super::*;

/// A certificate of an authority by name, of nobody: made with OpenSSL for this table.
const AUTHORITY: &str = include_str!("authority.pem");

fn content(check: &str) -> String {
    let check: HealthCheck = serde_yaml::from_str(check).unwrap();
    check.content().err().unwrap_or_default()
}

#[test]
fn what_can_be_asked_is_taken() {
    for check in [
        "{}",
        "{none: {}}",
        "{ping: {}}",
        "{http: {}}",
        r#"{http: {bodyPattern: '(?i)^ok\b', expectedStatuses: ['200', '200-200', '300-399']}}"#,
        "{http: {method: HEAD}}",
        "{https: {host: 'shop.example:8443', serverName: shop.example}}",
        "{https: {host: '[fd00::1]:443'}}",
        "{https: {host: 'a..b', serverName: 192.168.56.30}}",
        "{https: {insecureSkipVerify: true}}",
        "{udp: {}}",
        "{udp: {payload: ''}}",
        "{udp: {payload: cGluZw==}}",
        "{dns: {}}",
        "{dns: {name: example.com, recordType: AAAA}}",
        "{smtp: {helo: '[192.168.56.10]'}}",
        "{grpc: {service: shop.v1.Cart}}",
    ] {
        assert_eq!(content(check), "", "{check}");
    }
    let mut check = HealthCheck::default();
    for text in [AUTHORITY.to_owned(), format!("of the shop\n{AUTHORITY}\n{AUTHORITY}")] {
        let ca_bundle = Some(text);
        check.https = Some(HttpsProbe {
            ca_bundle,
            ..HttpsProbe::default()
        });
        assert_eq!(check.content(), Ok(()));
    }
}

#[test]
fn what_cannot_be_asked_says_what_to_change() {
    for (check, message) in [
        (
            "{http: {bodyPattern: '(ok'}}",
            "http.bodyPattern: \"(ok\" is no regular expression: unclosed group: correct it, or remove it",
        ),
        (
            "{https: {bodyPattern: '[a-z]{100000}'}}",
            "https.bodyPattern: the pattern \"[a-z]{100000}\" is too large: compiled it must fit in 32 KiB: correct it, or remove it",
        ),
        (
            "{http: {expectedStatuses: ['299-200']}}",
            "http.expectedStatuses: 299-200 holds no status: write the lower one first",
        ),
        (
            "{http: {method: HEAD, bodyPattern: ok}}",
            "http.method: HEAD is answered without a body: use GET, or remove bodyPattern and bodySHA256",
        ),
        (
            "{https: {serverName: 'not a name'}}",
            "https.serverName: \"not a name\" is no DNS name and no IP address: write one such as shop.example",
        ),
        (
            "{https: {host: 'a..b:443'}}",
            "https.host: \"a..b\" is no DNS name and no IP address: no certificate can be for it, name another in serverName",
        ),
        (
            "{https: {caBundle: shop}}",
            "https.caBundle: the CA bundle holds no certificate in PEM: write the authorities' certificates in PEM",
        ),
        (
            "{https: {caBundle: \"-----BEGIN CERTIFICATE-----\\nAAAA\\n-----END CERTIFICATE-----\\n\"}}",
            "https.caBundle: CA certificate 1 is no X.509 certificate (TrailingData(SignedData)): write the authorities' certificates in PEM",
        ),
        (
            "{https: {caBundle: shop, insecureSkipVerify: true}}",
            "https.caBundle: with insecureSkipVerify no certificate is looked at: remove one of the two",
        ),
        (
            "{udp: {payload: 'ping!'}}",
            "udp.payload: no base64: Invalid symbol 33, offset 4.: write what base64 prints, such as cGluZw==",
        ),
    ] {
        assert_eq!(content(check), message, "{check}");
    }
}

#[test]
fn the_second_certificate_of_a_bundle_is_looked_at() {
    let broken = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    let error = ca_bundle(&format!("{AUTHORITY}{broken}")).unwrap_err();
    assert!(
        error.starts_with("CA certificate 2 is no X.509 certificate ("),
        "{error}"
    );
}

#[test]
fn a_host_loses_its_port_and_brackets() {
    for (host, alone) in [
        ("shop.example:8443", "shop.example"),
        ("shop.example", "shop.example"),
        ("[fd00::1]:443", "fd00::1"),
        ("fd00::1", "fd00::1"),
        ("192.168.56.30:443", "192.168.56.30"),
        ("[", ""),
    ] {
        assert_eq!(host_alone(host), alone);
    }
}
