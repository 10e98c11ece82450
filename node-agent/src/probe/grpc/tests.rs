use h2::server;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::*;
use crate::probe::Probe;
use crate::probe::tests::{LONG, SHORT, failing, passing, resetting, serve, silent};

/// What a server answers.
#[derive(Clone, Copy)]
struct Answer {
    status: u16,
    message: &'static [u8],
    grpc_status: Option<&'static str>,
}

const SERVING: Answer = Answer {
    status: 200,
    message: &[0, 0, 0, 0, 2, 8, 1],
    grpc_status: Some("0"),
};

async fn answer(stream: TcpStream, answer: Answer) {
    let mut connection = server::handshake(stream).await.unwrap();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
        assert_eq!(request.headers()["content-type"], "application/grpc");
        let head = hyper::Response::builder().status(answer.status).body(()).unwrap();
        let mut body = respond.send_response(head, false).unwrap();
        let is_last = answer.grpc_status.is_none();
        body.send_data(Bytes::from_static(answer.message), is_last).unwrap();
        if let Some(status) = answer.grpc_status {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", status.parse().unwrap());
            body.send_trailers(trailers).unwrap();
        }
    }
}

async fn answering(what: Answer) -> Target {
    serve(move |stream| answer(stream, what)).await
}

fn health() -> Probe {
    Probe::Grpc(Grpc::default())
}

#[tokio::test]
async fn a_serving_server_passes() {
    passing(&health(), &answering(SERVING).await).await;
    let service = Grpc {
        service: "shop.Cart".to_owned(),
    };
    passing(&Probe::Grpc(service), &answering(SERVING).await).await;
}

#[tokio::test]
async fn others_fail_by_name() {
    static LONG_MESSAGE: [u8; 5000] = [0; 5000];
    let cases: [(Answer, &str); 7] = [
        (
            Answer {
                message: &[0, 0, 0, 0, 2, 8, 2],
                ..SERVING
            },
            "NOT_SERVING, not SERVING",
        ),
        (
            Answer {
                message: &[0, 0, 0, 0, 0],
                ..SERVING
            },
            "UNKNOWN, not SERVING",
        ),
        (
            Answer {
                message: &[],
                grpc_status: Some("5"),
                ..SERVING
            },
            "grpc-status 5: the server does not know the service",
        ),
        (
            Answer {
                grpc_status: Some("13"),
                ..SERVING
            },
            "grpc-status \"13\"",
        ),
        (
            Answer {
                grpc_status: None,
                ..SERVING
            },
            "no grpc-status in the answer",
        ),
        (Answer { status: 503, ..SERVING }, "status 503, not 200"),
        (
            Answer {
                message: &LONG_MESSAGE,
                ..SERVING
            },
            "the message is longer than 4 KiB",
        ),
    ];
    for (what, expected) in cases {
        let target = answering(what).await;
        let reason = failing(&health(), &target, LONG).await;
        assert_eq!(reason, format!("gRPC health of {target}: {expected}"));
    }
}

#[tokio::test]
async fn a_status_among_the_headers_counts() {
    let target = serve(|stream| async move {
        let mut connection = server::handshake(stream).await.unwrap();
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let head = hyper::Response::builder().header("grpc-status", "12").body(()).unwrap();
            respond.send_response(head, true).unwrap();
        }
    })
    .await;
    let reason = failing(&health(), &target, LONG).await;
    assert_eq!(
        reason,
        format!("gRPC health of {target}: grpc-status 12: the server has no health service")
    );
}

#[tokio::test]
async fn silent_reset_and_not_http_2() {
    let target = silent().await;
    let reason = failing(&health(), &target, SHORT).await;
    assert_eq!(reason, format!("no answer of {target} within 300 ms"));
    let target = resetting().await;
    let reason = failing(&health(), &target, LONG).await;
    assert_eq!(reason, format!("gRPC health of {target}: connection reset"));
    let target = serve(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let reason = failing(&health(), &target, LONG).await;
    assert_eq!(
        reason,
        format!("gRPC health of {target}: HTTP/2 frame with invalid size")
    );
}
