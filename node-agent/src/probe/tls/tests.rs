use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::*;
use crate::probe::tests::{LONG, SHORT, failing, head, passing, resetting, serve, silent};
use crate::probe::{Probe, probe as ask};

/// An authority.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        Self::named("ours")
    }

    fn named(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { issuer, pem }
    }

    /// A server's certificate for a name, good until a year.
    fn server(&self, name: &str, years: (i32, i32)) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(years.0, 1, 1);
        params.not_after = date_time_ymd(years.1, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let builder = ServerConfig::builder_with_provider(trust::provider());
        let builder = builder
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth();
        builder.with_single_cert(vec![certificate.der().clone()], key).unwrap()
    }

    fn trusted(&self, server_name: Option<&str>) -> Probe {
        Probe::Https(Https {
            http: Http::default(),
            server_name: server_name.map(str::to_owned),
            trust: Trust::Authorities(self.pem.parse().unwrap()),
        })
    }
}

const GOOD: (i32, i32) = (2020, 2999);

/// A server with a certificate; gives the names that it was asked for.
async fn serving(config: ServerConfig) -> (Target, mpsc::Receiver<Option<String>>) {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (sender, names) = mpsc::channel(10);
    let target = serve(move |stream| {
        let (acceptor, sender) = (acceptor.clone(), sender.clone());
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            let name = stream.get_ref().1.server_name().map(str::to_owned);
            sender.send(name).await.unwrap();
            head(&mut stream).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        }
    })
    .await;
    (target, names)
}

#[tokio::test]
async fn a_certificate_of_the_authority_passes_and_the_server_sees_the_name() {
    let authority = Authority::new();
    let (target, mut names) = serving(authority.server("shop.example", GOOD)).await;
    passing(&authority.trusted(Some("shop.example")), &target).await;
    assert_eq!(names.recv().await, Some(Some("shop.example".to_owned())));
    let mut https = Https {
        trust: Trust::Authorities(authority.pem.parse().unwrap()),
        ..Https::default()
    };
    https.http.host = Some("shop.example:8443".to_owned());
    passing(&Probe::Https(https), &target).await;
    assert_eq!(names.recv().await, Some(Some("shop.example".to_owned())));
}

#[tokio::test]
async fn without_a_name_the_address_must_be_in_the_certificate() {
    let authority = Authority::new();
    let (target, mut names) = serving(authority.server("127.0.0.1", GOOD)).await;
    passing(&authority.trusted(None), &target).await;
    assert_eq!(names.recv().await, Some(None));
}

#[tokio::test]
async fn a_wrong_name_fails() {
    let authority = Authority::new();
    let (target, _names) = serving(authority.server("shop.example", GOOD)).await;
    for (name, shown) in [(Some("bank.example"), "bank.example"), (None, "127.0.0.1")] {
        let reason = failing(&authority.trusted(name), &target, LONG).await;
        assert_eq!(reason, format!("TLS with {target}: the certificate is not for {shown}"));
    }
}

#[tokio::test]
async fn a_certificate_that_is_over_or_not_yet_begun_fails() {
    let authority = Authority::new();
    for (years, words) in [((2000, 2001), "has expired"), ((2998, 2999), "is not valid yet")] {
        let (target, _names) = serving(authority.server("shop.example", years)).await;
        let reason = failing(&authority.trusted(Some("shop.example")), &target, LONG).await;
        assert_eq!(reason, format!("TLS with {target}: the certificate {words}"));
    }
}

#[tokio::test]
async fn a_certificate_of_another_authority_fails_unless_anybodys_is_taken() {
    let (target, _names) = serving(Authority::new().server("shop.example", GOOD)).await;
    let expected = [
        ("theirs", "the certificate is of an unknown authority"),
        ("ours", "the certificate is not signed with its authority's key"),
    ];
    for (name, words) in expected {
        let reason = failing(&Authority::named(name).trusted(Some("shop.example")), &target, LONG).await;
        assert_eq!(reason, format!("TLS with {target}: {words}"));
    }
    let anybody = Https {
        trust: Trust::Anybody,
        ..Https::default()
    };
    passing(&Probe::Https(anybody), &target).await;
    let (target, _names) = serving(Authority::new().server("shop.example", (2000, 2001))).await;
    let anybody = Https {
        trust: Trust::Anybody,
        ..Https::default()
    };
    passing(&Probe::Https(anybody), &target).await;
}

#[tokio::test]
async fn silent_reset_and_not_tls() {
    let probe = Authority::new().trusted(Some("shop.example"));
    let target = silent().await;
    let reason = failing(&probe, &target, SHORT).await;
    assert_eq!(reason, format!("no answer of {target} within 300 ms"));
    let target = resetting().await;
    let reason = failing(&probe, &target, LONG).await;
    assert_eq!(reason, format!("TLS with {target}: connection reset"));
    let target = serve(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let reason = failing(&probe, &target, LONG).await;
    assert_eq!(reason, format!("TLS with {target}: the answer is not TLS"));
}

#[tokio::test]
async fn a_name_that_is_none_is_not_the_servers_fault() {
    let target = silent().await;
    let probe = Authority::new().trusted(Some("not a name"));
    let failure = ask(&probe, &target, SHORT).await.unwrap_err();
    assert_eq!(
        failure.to_string(),
        format!("TLS with {target}: \"not a name\" is no server name")
    );
    assert!(failure.is_ours());
}

#[test]
fn a_bundle_is_certificates() {
    let wrong = |pem: &str| pem.parse::<Authorities>().unwrap_err().to_string();
    assert_eq!(wrong(""), "the CA bundle holds no certificate in PEM");
    let none = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(wrong(none).starts_with("CA certificate 1 is no "), "{}", wrong(none));
    let [pem, other] = [Authority::new().pem, Authority::new().pem];
    assert_eq!(pem.parse::<Authorities>(), pem.parse());
    let [pem, other] = [pem, other].map(|pem| format!("{:?}", pem.parse::<Authorities>().unwrap()));
    assert!(pem.starts_with("Authorities(1, ") && pem != other, "{pem} {other}");
}
