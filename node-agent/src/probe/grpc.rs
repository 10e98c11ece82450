//! `grpc`: `grpc.health.v1.Health/Check`, over HTTP/2 with prior knowledge (gRPC's health checking protocol, `health.proto`;
//! "gRPC over HTTP2"). Two tiny messages need no gRPC library; and the crate `h2` itself, not hyper's client over it, because
//! that one spawns tasks, which a silent server could keep.

mod message;

use h2::client;
use hyper::body::Bytes;
use hyper::http::HeaderMap;
use hyper::{Request, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};

use self::message::{Status, request, serving};
use super::failure::quote;
use super::http::authority;
use super::stream::{Progress, beside, connect, socket_words};
use super::{Failure, Target};

/// Longest message that is read, with its prefix, in bytes. A serving status takes seven.
const LONGEST_MESSAGE: usize = 4096;

/// Longest headers, and longest trailers, in bytes.
const LONGEST_HEAD: u32 = 16 * 1024;

/// Which service's health.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grpc {
    /// The service's name; empty = the server as a whole.
    pub service: String,
}

/// One call, as a reason begins.
struct Call {
    subject: String,
}

pub(super) async fn probe(grpc: &Grpc, target: &Target, progress: &Progress) -> Result<(), Failure> {
    let call = Call::of(target);
    let head = head(target).map_err(|error| Failure::of_ours(format!("{}: {error}", call.subject)))?;
    let body = Bytes::from(request(&grpc.service));
    let stream = connect(target, progress).await?;
    call.exchange(stream, head, body).await
}

fn builder() -> client::Builder {
    let mut builder = client::Builder::new();
    builder.enable_push(false).max_header_list_size(LONGEST_HEAD);
    builder
}

fn head(target: &Target) -> Result<Request<()>, hyper::http::Error> {
    let authority = authority(target, 80);
    Request::post(format!("http://{authority}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", concat!("lvs-operator/", env!("CARGO_PKG_VERSION")))
        .body(())
}

impl Call {
    fn of(target: &Target) -> Self {
        Self {
            subject: format!("gRPC health of {target}"),
        }
    }

    async fn exchange<S>(&self, stream: S, head: Request<()>, body: Bytes) -> Result<(), Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let handshake = builder().handshake::<S, Bytes>(stream).await;
        let (sender, connection) = handshake.map_err(|error| self.broken(&error))?;
        beside(connection, self.make(sender, head, body)).await
    }

    async fn make(&self, sender: client::SendRequest<Bytes>, head: Request<()>, body: Bytes) -> Result<(), Failure> {
        let broken = |error| self.broken(&error);
        let mut sender = sender.ready().await.map_err(broken)?;
        let (answer, mut question) = sender.send_request(head, false).map_err(broken)?;
        question.send_data(body, true).map_err(broken)?;
        let (head, mut body) = answer.await.map_err(broken)?.into_parts();
        if head.status != StatusCode::OK {
            return Err(self.failure(format!("status {}, not 200", head.status.as_u16())));
        }
        // An error may be all there is: its status is among the headers then ("Trailers-Only").
        self.judge_status(&head.headers)?;
        let mut message = Vec::new();
        while let Some(data) = body.data().await {
            let data = data.map_err(broken)?;
            if message.len() + data.len() > LONGEST_MESSAGE {
                return Err(self.failure(format!("the message is longer than {} KiB", LONGEST_MESSAGE / 1024)));
            }
            message.extend_from_slice(&data);
            body.flow_control().release_capacity(data.len()).map_err(broken)?;
        }
        let trailers = body.trailers().await.map_err(broken)?.unwrap_or_default();
        if !head.headers.contains_key("grpc-status") && !trailers.contains_key("grpc-status") {
            return Err(self.failure("no grpc-status in the answer"));
        }
        self.judge_status(&trailers)?;
        self.judge(&message)
    }

    /// What `grpc-status` says, where there is one.
    fn judge_status(&self, headers: &HeaderMap) -> Result<(), Failure> {
        match headers.get("grpc-status").map(|status| status.as_bytes()) {
            None | Some(b"0") => Ok(()),
            Some(b"5") => Err(self.failure("grpc-status 5: the server does not know the service")),
            Some(b"12") => Err(self.failure("grpc-status 12: the server has no health service")),
            Some(status) => Err(self.failure(format!("grpc-status {}", quote(status)))),
        }
    }

    fn judge(&self, message: &[u8]) -> Result<(), Failure> {
        match serving(message) {
            Ok(Status::Serving) => Ok(()),
            Ok(status) => Err(self.failure(format!("{status}, not SERVING"))),
            Err(reason) => Err(self.failure(reason)),
        }
    }

    fn broken(&self, error: &h2::Error) -> Failure {
        match (error.get_io(), error.reason()) {
            (Some(error), _) => self.failure(socket_words(error).unwrap_or_default()),
            (None, Some(reason)) => self.failure(format!("HTTP/2 {}", reason.description())),
            (None, None) => self.failure(format!("HTTP/2 {error}")),
        }
    }

    fn failure(&self, reason: impl std::fmt::Display) -> Failure {
        Failure::of_server(format!("{}: {reason}", self.subject))
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
