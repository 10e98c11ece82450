//! Whose certificates are believed.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use sha2::{Digest, Sha256};
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::probe::Invalid;

/// Who may have signed a server's certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trust {
    /// The authorities of the host, or of the container's image, as OpenSSL finds them (`SSL_CERT_FILE`, `/etc/ssl`, …).
    /// Read at the first probe that needs them, and not again.
    #[default]
    System,
    /// These and no others (`caBundle`).
    Authorities(Authorities),
    /// Anybody: the certificate is not looked at (`insecureSkipVerify`, and all that keepalived's `SSL_GET` does).
    Anybody,
}

/// Certificates of authorities. Two are equal when their texts are.
#[derive(Clone)]
pub struct Authorities {
    pem: Arc<str>,
    roots: Arc<RootCertStore>,
}

/// The one provider of cryptography; shared, for it is a table of functions.
pub(super) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(ring::default_provider()));
    Arc::clone(&PROVIDER)
}

/// Fills from the kernel's random numbers.
///
/// # Errors
/// The kernel gives none.
pub(in crate::probe) fn fill_random(bytes: &mut [u8]) -> Result<(), String> {
    let filled = provider().secure_random.fill(bytes);
    filled.map_err(|_| "no random numbers on this node".to_owned())
}

fn system() -> Arc<RootCertStore> {
    static ROOTS: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
        let mut roots = RootCertStore::empty();
        // A file, read once within some milliseconds. What cannot be read or parsed vouches for nobody: the probes that need it name the unknown authority.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    });
    Arc::clone(&ROOTS)
}

impl Trust {
    /// The judge of certificates.
    ///
    /// # Errors
    /// There is no authority to judge by.
    pub(super) fn verifier(&self) -> Result<Arc<dyn ServerCertVerifier>, String> {
        let roots = match self {
            Self::System => system(),
            Self::Authorities(Authorities { pem: _, roots }) => Arc::clone(roots),
            Self::Anybody => return Ok(Arc::new(Unlooked)),
        };
        if roots.is_empty() {
            return Err("no certificate authorities on this node: give a caBundle".to_owned());
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider()).build();
        verifier
            .map(|verifier| verifier as Arc<dyn ServerCertVerifier>)
            .map_err(|error| error.to_string())
    }
}

/// PEM (RFC 7468), one certificate or more; what is not a certificate is refused.
impl FromStr for Authorities {
    type Err = Invalid;

    fn from_str(pem: &str) -> Result<Self, Invalid> {
        let mut roots = RootCertStore::empty();
        for certificate in crds::health::ca_bundle(pem).map_err(Invalid::new)? {
            roots.add(certificate).map_err(Invalid::new)?;
        }
        Ok(Self {
            pem: pem.into(),
            roots: Arc::new(roots),
        })
    }
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The memory of verdicts tells checks apart by this.
        let digest = Sha256::digest(self.pem.as_bytes());
        f.debug_tuple("Authorities")
            .field(&self.roots.len())
            .field(&digest.as_slice())
            .finish()
    }
}

impl PartialEq for Authorities {
    fn eq(&self, other: &Self) -> bool {
        self.pem == other.pem
    }
}

impl Eq for Authorities {}

impl PartialOrd for Authorities {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Authorities {
    fn cmp(&self, other: &Self) -> Ordering {
        self.pem.cmp(&other.pem)
    }
}

/// Takes every certificate. Not even its signature is looked at: who does not know the key's owner learns nothing from it,
/// and certificates too old for rustls would fail.
#[derive(Debug)]
struct Unlooked;

impl ServerCertVerifier for Unlooked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
