//! What the strings of a check must hold beyond what a schema can say. The operator refuses by these functions, and the agent
//! makes its probes with them: what the one takes, the other can ask.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use regex::bytes::{Regex, RegexBuilder};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};

use super::{HealthCheck, HttpMethod, HttpProbe, HttpsProbe};

/// Largest program that a pattern compiles to, in bytes. The time of a search is its product with the body's length in
/// the worst case, and linear in the body always.
const LARGEST_PATTERN: usize = 32 * 1024;

/// A regular expression over bytes, as the crate `regex` reads them: without look-around and back references, so that no
/// body makes a search slow. `.`, `\w`, `\d` and `(?i)` know ASCII only, as keepalived's: the whole of Unicode in a pattern
/// makes it tens of times larger.
///
/// # Errors
/// What is wrong with it.
pub fn body_pattern(text: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(text)
        .unicode(false)
        .size_limit(LARGEST_PATTERN)
        .dfa_size_limit(LARGEST_PATTERN * 8)
        .build();
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the enum is open: new variants have their own words"
    )]
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => format!(
            "the pattern {text:?} is too large: compiled it must fit in {} KiB",
            LARGEST_PATTERN / 1024
        ),
        error => format!("{text:?} is no regular expression: {}", last_line(&error)),
    })
}

/// What is wrong; the lines before it draw the pattern with a pointer into it.
fn last_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.trim_start_matches("error: ").to_owned()
}

/// The certificates of a bundle in PEM (RFC 7468), one or more; what is in it besides is passed over.
///
/// # Errors
/// There is none, or the number of the one that cannot be an authority's.
pub fn ca_bundle(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let mut certificates = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let number = certificates.len() + 1;
        let certificate = certificate.map_err(|error| format!("CA certificate {number} is no PEM ({error})"))?;
        if let Err(error) = webpki::anchor_from_trusted_cert(&certificate) {
            return Err(format!("CA certificate {number} is no X.509 certificate ({error})"));
        }
        certificates.push(certificate);
    }
    match certificates.is_empty() {
        true => Err("the CA bundle holds no certificate in PEM".to_owned()),
        false => Ok(certificates),
    }
}

/// The bytes of a datagram.
///
/// # Errors
/// It is no base64 (RFC 4648, section 4).
pub fn payload(base64: &str) -> Result<Vec<u8>, String> {
    STANDARD.decode(base64).map_err(|error| format!("no base64: {error}"))
}

/// A name that a certificate can be for: a DNS name, or an IP address.
///
/// # Errors
/// It is neither.
pub fn server_name(text: &str) -> Result<ServerName<'static>, String> {
    let name = ServerName::try_from(text.to_owned());
    name.map_err(|_| format!("{text:?} is no DNS name and no IP address"))
}

/// A host without its port, and an IPv6 address without its brackets.
pub fn host_alone(host: &str) -> &str {
    if let Some(inner) = host.strip_prefix('[') {
        return inner.split(']').next().unwrap_or(inner);
    }
    match host.rsplit_once(':') {
        // With more colons it is an address.
        Some((name, _)) if !name.contains(':') => name,
        Some(_) | None => host,
    }
}

impl HealthCheck {
    /// Whether its probe is of a port, and not of an address or of nothing.
    pub fn probes_a_port(&self) -> bool {
        self.none.is_none() && self.ping.is_none()
    }

    /// Whether its probe can be made.
    ///
    /// # Errors
    /// Which field stands in the way, and what to change.
    pub fn content(&self) -> Result<(), String> {
        let Self {
            tcp: _,
            http,
            https,
            udp,
            dns: _,
            smtp: _,
            grpc: _,
            ping: _,
            none: _,
            port: _,
            through: _,
            interval_seconds: _,
            timeout_seconds: _,
            retries: _,
            retry_interval_seconds: _,
            rise: _,
            initial_state: _,
            on_failure: _,
        } = self;
        http.as_ref().map_or(Ok(()), |http| of_http("http", http))?;
        https.as_ref().map_or(Ok(()), of_https)?;
        let base64 = udp.as_ref().and_then(|udp| udp.payload.as_deref());
        base64.map_or(Ok(()), |base64| match payload(base64) {
            Ok(_) => Ok(()),
            Err(wrong) => Err(format!(
                "udp.payload: {wrong}: write what base64 prints, such as cGluZw=="
            )),
        })
    }
}

fn of_http(member: &str, http: &HttpProbe) -> Result<(), String> {
    let HttpProbe {
        path: _,
        host: _,
        method,
        expected_statuses,
        body_pattern: pattern,
        body_sha256: digest,
        headers: _,
    } = http;
    for range in expected_statuses.iter().flatten() {
        if range.split_once('-').is_some_and(|(first, last)| first > last) {
            return Err(format!(
                "{member}.expectedStatuses: {range} holds no status: write the lower one first"
            ));
        }
    }
    if *method == Some(HttpMethod::Head) && (pattern.is_some() || digest.is_some()) {
        return Err(format!(
            "{member}.method: HEAD is answered without a body: use GET, or remove bodyPattern and bodySHA256"
        ));
    }
    match pattern.as_deref().map(body_pattern) {
        None | Some(Ok(_)) => Ok(()),
        Some(Err(wrong)) => Err(format!("{member}.bodyPattern: {wrong}: correct it, or remove it")),
    }
}

fn of_https(https: &HttpsProbe) -> Result<(), String> {
    of_http("https", &https.http())?;
    let HttpsProbe {
        path: _,
        host,
        method: _,
        expected_statuses: _,
        body_pattern: _,
        body_sha256: _,
        headers: _,
        server_name: name,
        insecure_skip_verify,
        ca_bundle: bundle,
    } = https;
    if let Some(Err(wrong)) = name.as_deref().map(server_name) {
        return Err(format!("https.serverName: {wrong}: write one such as shop.example"));
    }
    let host = host.as_deref().filter(|_| name.is_none());
    if let Some(Err(wrong)) = host.map(|host| server_name(host_alone(host))) {
        return Err(format!(
            "https.host: {wrong}: no certificate can be for it, name another in serverName"
        ));
    }
    if insecure_skip_verify.unwrap_or_default() && bundle.is_some() {
        let message = "https.caBundle: with insecureSkipVerify no certificate is looked at: remove one of the two";
        return Err(message.to_owned());
    }
    match bundle.as_deref().map(ca_bundle) {
        None | Some(Ok(_)) => Ok(()),
        Some(Err(wrong)) => Err(format!(
            "https.caBundle: {wrong}: write the authorities' certificates in PEM"
        )),
    }
}

#[cfg(test)]
mod tests;
