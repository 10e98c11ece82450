//! `http`: one HTTP/1.1 request, and what its answer must be (RFC 9112; keepalived `HTTP_GET`).

mod expectation;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncWrite};

pub use self::expectation::{Digest, Pattern, StatusRange};
use self::expectation::{Words, short};
use super::failure::quote;
use super::stream::{Progress, beside, connect, socket_words};
use super::{Failure, Target};

/// Longest body that is read for a pattern or a digest, in bytes; NGINX Plus looks at as much. Without either none is read.
pub(super) const LONGEST_BODY: usize = 256 * 1024;

/// Longest status line and headers together, in bytes.
const LONGEST_HEAD: usize = 16 * 1024;

/// Says who asks, for the server's log.
const USER_AGENT: &str = concat!("lvs-operator/", env!("CARGO_PKG_VERSION"));

/// One request, and what its answer must be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Http {
    /// Path and query, from its `/`. The query is never repeated in a reason: it may hold a secret.
    pub path: String,
    /// The `Host` header (keepalived `virtualhost`), and for TLS the default server name; `None` = the target.
    pub host: Option<String>,
    /// The method, in capitals.
    pub method: String,
    /// Statuses that pass (`status_code`). A redirect is a status like others and is not followed.
    pub expected_statuses: Vec<StatusRange>,
    /// What the body must match (`regex`).
    pub body_pattern: Option<Pattern>,
    /// What the body must be (`digest`, there of another algorithm).
    pub body_sha256: Option<Digest>,
    /// Further headers, in this order; `Host`, `Connection` and those that frame a body are ours. Values are never repeated in a reason.
    pub headers: Vec<(String, String)>,
}

/// `GET /`, answered with 200-299.
impl Default for Http {
    fn default() -> Self {
        Self {
            path: "/".to_owned(),
            host: None,
            method: "GET".to_owned(),
            expected_statuses: vec![StatusRange::SUCCESS],
            body_pattern: None,
            body_sha256: None,
            headers: Vec::new(),
        }
    }
}

/// The request and the connection it goes over, as a reason begins.
struct Exchange<'a> {
    http: &'a Http,
    subject: String,
}

pub(super) async fn probe(http: &Http, target: &Target, progress: &Progress) -> Result<(), Failure> {
    let request = request(http, target, 80)?;
    exchange(http, target, request, connect(target, progress).await?).await
}

/// What is sent. Made before the connection: a value that cannot be sent is not the server's fault.
///
/// # Errors
/// Which value cannot be sent.
pub(super) fn request(http: &Http, target: &Target, default_port: u16) -> Result<Request<Empty<Bytes>>, Failure> {
    let unfit = |what: &str| Failure::of_ours(format!("request to {target}: {what}"));
    if !http.path.starts_with('/') {
        return Err(unfit("the path does not begin with /"));
    }
    let mut request = Request::builder().method(http.method.as_str()).uri(&http.path);
    for (name, value) in &http.headers {
        request = request.header(name, value);
    }
    let mut request = request
        .body(Empty::new())
        .map_err(|error| unfit(&format!("cannot be written: {error}")))?;
    let host = http.host.clone().unwrap_or_else(|| authority(target, default_port));
    let host = host.parse().map_err(|_| unfit("the host is no header value"))?;
    let headers = request.headers_mut();
    // There is no body that they could speak of, and a server would wait for it.
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::TRANSFER_ENCODING);
    headers.insert(header::HOST, host);
    headers.insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    headers
        .entry(header::USER_AGENT)
        .or_insert(header::HeaderValue::from_static(USER_AGENT));
    headers
        .entry(header::ACCEPT)
        .or_insert(header::HeaderValue::from_static("*/*"));
    Ok(request)
}

/// The target as a `Host`: without the port that the scheme implies (RFC 9110, section 4.2.3).
pub(super) fn authority(target: &Target, default_port: u16) -> String {
    let name = target.name();
    match (target.port == default_port, name.is_ipv6()) {
        (false, _) => SocketAddr::new(name, target.port).to_string(),
        (true, false) => name.to_string(),
        (true, true) => format!("[{name}]"),
    }
}

/// Sends the request and judges the answer.
///
/// # Errors
/// What is wrong with the answer.
pub(super) async fn exchange<S>(
    http: &Http,
    target: &Target,
    request: Request<Empty<Bytes>>,
    stream: S,
) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let path = short(request.uri().path());
    let exchange = Exchange {
        http,
        subject: format!("{} {path} of {target}", short(&http.method)),
    };
    let mut builder = http1::Builder::new();
    builder.max_buf_size(LONGEST_HEAD);
    let handshake = builder.handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| exchange.broken(&error))?;
    beside(connection, async {
        let answer = sender.send_request(request).await;
        exchange.judge(answer.map_err(|error| exchange.broken(&error))?).await
    })
    .await
}

impl Exchange<'_> {
    async fn judge(&self, answer: Response<Incoming>) -> Result<(), Failure> {
        let Http {
            path: _,
            host: _,
            method: _,
            expected_statuses,
            body_pattern,
            body_sha256,
            headers: _,
        } = self.http;
        let status = answer.status().as_u16();
        if !expected_statuses.iter().any(|range| range.contains(status)) {
            return Err(self.failure(format!("status {status}, not {}", Words(expected_statuses))));
        }
        if body_pattern.is_none() && body_sha256.is_none() {
            return Ok(());
        }
        let body = self.body(answer.into_body()).await?;
        if let Some(digest) = body_sha256 {
            digest.check(&body).map_err(|reason| self.failure(reason))?;
        }
        let Some(pattern) = body_pattern else {
            return Ok(());
        };
        let searched = pattern.matches(body).await;
        match searched.map_err(|error| Failure::of_ours(format!("{}: {error}", self.subject)))? {
            true => Ok(()),
            false => {
                let pattern = quote(pattern.as_str().as_bytes());
                Err(self.failure(format!("the body does not match {pattern}")))
            }
        }
    }

    /// The whole body: a pattern may be anchored at its end, so no part of it can be judged.
    async fn body(&self, mut incoming: Incoming) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(frame) = incoming.frame().await {
            let frame = frame.map_err(|error| self.broken(&error))?;
            let data = frame.data_ref().map_or(&[][..], |data| data);
            if body.len() + data.len() > LONGEST_BODY {
                return Err(self.failure(format!("the body is longer than {} KiB", LONGEST_BODY / 1024)));
            }
            body.extend_from_slice(data);
        }
        Ok(body)
    }

    fn broken(&self, error: &hyper::Error) -> Failure {
        let reason = if error.is_parse_too_large() {
            format!("headers are longer than {} KiB", LONGEST_HEAD / 1024)
        } else if error.is_parse() {
            "the answer is not HTTP/1".to_owned()
        } else if let Some(words) = socket_words(error) {
            words
        } else if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
            "connection closed".to_owned()
        } else {
            error.to_string()
        };
        self.failure(reason)
    }

    fn failure(&self, reason: impl std::fmt::Display) -> Failure {
        Failure::of_server(format!("{}: {reason}", self.subject))
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
