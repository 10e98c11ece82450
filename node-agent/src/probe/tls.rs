//! `https`: HTTP over TLS 1.2 or 1.3 (RFC 8446; keepalived `SSL_GET`), by rustls with ring. No session is resumed: each probe
//! makes the server show its certificate again.

mod trust;

use std::io;
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{CertificateError, ClientConfig, Error};

pub(super) use self::trust::fill_random;
pub use self::trust::{Authorities, Trust};
use super::failure::words;
use super::http::{Http, exchange, request};
use super::stream::{Progress, Stream, connect};
use super::{Failure, Target};

/// One request over TLS, and whose certificate the server must show.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Https {
    /// The request and what its answer must be.
    pub http: Http,
    /// The name in SNI and in the certificate; `None` = the request's host, or else the target's address (no SNI then:
    /// RFC 6066, section 3, has none for addresses).
    pub server_name: Option<String>,
    /// Who may have signed the certificate.
    pub trust: Trust,
}

pub(super) async fn probe(https: &Https, target: &Target, progress: &Progress) -> Result<(), Failure> {
    let Https {
        http,
        server_name,
        trust,
    } = https;
    let request = request(http, target, 443)?;
    let name = name(server_name.as_deref(), http.host.as_deref(), target)?;
    let config = config(trust, target)?;
    let stream = connect(target, progress).await?;
    let stream = handshake(config, name, stream, target).await?;
    exchange(http, target, request, stream).await
}

async fn handshake(
    config: ClientConfig,
    name: ServerName<'static>,
    stream: Stream,
    target: &Target,
) -> Result<TlsStream<Stream>, Failure> {
    let connector = TlsConnector::from(Arc::new(config));
    let connecting = connector.connect(name.clone(), stream).await;
    connecting.map_err(|error| Failure::of_server(format!("TLS with {target}: {}", reason(&error, &name))))
}

fn config(trust: &Trust, target: &Target) -> Result<ClientConfig, Failure> {
    let failed = |reason: String| Failure::of_ours(format!("TLS with {target}: {reason}"));
    let builder = ClientConfig::builder_with_provider(trust::provider());
    let builder = builder
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?;
    let verifier = trust.verifier().map_err(failed)?;
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = builder.with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// The name that the certificate must be for.
fn name(server_name: Option<&str>, host: Option<&str>, target: &Target) -> Result<ServerName<'static>, Failure> {
    let given = match (server_name, host) {
        (Some(name), _) => name.to_owned(),
        (None, Some(host)) => crds::health::host_alone(host).to_owned(),
        (None, None) => return Ok(ServerName::from(target.name())),
    };
    let unfit = |_| Failure::of_ours(format!("TLS with {target}: {given:?} is no server name"));
    ServerName::try_from(given.clone()).map_err(unfit)
}

fn reason(error: &io::Error, name: &ServerName<'_>) -> String {
    let Some(error) = error.get_ref().and_then(|error| error.downcast_ref::<Error>()) else {
        return words(error);
    };
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "both enums are open: new variants have their own words"
    )]
    match error {
        Error::InvalidCertificate(wrong) => match wrong {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the certificate has expired".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the certificate is not valid yet".to_owned()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!("the certificate is not for {}", name.to_str())
            }
            CertificateError::UnknownIssuer => "the certificate is of an unknown authority".to_owned(),
            // An authority of that name is known, with another key: renewed perhaps.
            CertificateError::BadSignature => "the certificate is not signed with its authority's key".to_owned(),
            other => format!("the certificate: {other}"),
        },
        Error::InvalidMessage(_) => "the answer is not TLS".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
