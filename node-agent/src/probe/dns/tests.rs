use hickory_proto::rr::{RData, Record};
use proptest::prelude::*;
use tokio::net::UdpSocket;

use super::*;
use crate::probe::Probe;
use crate::probe::tests::{LONG, SHORT, failing, loopback, passing};

fn dns() -> Dns {
    Dns::new("example.com", "A").unwrap()
}

/// The answer with one address.
fn answered(question: &Message) -> Message {
    let mut answer = question.clone().into_response();
    let name = question.queries[0].name().clone();
    answer.add_answer(Record::from_rdata(name, 60, RData::A("192.0.2.1".parse().unwrap())));
    answer
}

/// A server that answers one question with these datagrams.
async fn answering(answers: impl FnOnce(&Message) -> Vec<Vec<u8>> + Send + 'static) -> Target {
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let target = loopback(server.local_addr().unwrap());
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        let (length, peer) = server.recv_from(&mut buffer).await.unwrap();
        let question = Message::from_vec(&buffer[..length]).unwrap();
        for answer in answers(&question) {
            server.send_to(&answer, peer).await.unwrap();
        }
        // The port stays open, so that silence is silence.
        let _ = server.recv_from(&mut buffer).await;
    });
    target
}

async fn reason_of(change: impl FnOnce(&mut Message) + Send + 'static) -> (Target, String) {
    let target = answering(|question| {
        let mut answer = answered(question);
        change(&mut answer);
        vec![answer.to_vec().unwrap()]
    })
    .await;
    let reason = failing(&Probe::Dns(dns()), &target, SHORT).await;
    (target, reason)
}

#[tokio::test]
async fn a_record_passes() {
    let target = answering(|question| vec![answered(question).to_vec().unwrap()]).await;
    passing(&Probe::Dns(dns()), &target).await;
}

#[tokio::test]
async fn errors_and_empty_answers_fail() {
    let (target, reason) = reason_of(|answer| {
        answer.metadata.response_code = ResponseCode::NXDomain;
        answer.answers.clear();
    })
    .await;
    assert_eq!(reason, format!("A of \"example.com.\" from {target}: NXDOMAIN"));
    let (target, reason) = reason_of(|answer| {
        answer.metadata.response_code = ResponseCode::Refused;
        answer.answers.clear();
        answer.queries.clear();
    })
    .await;
    assert_eq!(reason, format!("A of \"example.com.\" from {target}: REFUSED"));
    let (target, reason) = reason_of(|answer| answer.answers.clear()).await;
    assert_eq!(
        reason,
        format!("A of \"example.com.\" from {target}: no record in the answer")
    );
}

#[tokio::test]
async fn strange_answers_are_ignored_and_the_right_one_still_counts() {
    let (target, reason) = reason_of(|answer| answer.metadata.id ^= 1).await;
    assert_eq!(reason, format!("no answer of {target} within 300 ms"));
    let (target, reason) = reason_of(|answer| {
        answer.queries[0].set_query_type(RecordType::AAAA);
    })
    .await;
    assert_eq!(reason, format!("no answer of {target} within 300 ms"));
    let target = answering(|question| {
        let mut other = answered(question);
        other.metadata.id ^= 1;
        let question_itself = question.to_vec().unwrap();
        vec![
            other.to_vec().unwrap(),
            b"x".to_vec(),
            question_itself,
            answered(question).to_vec().unwrap(),
        ]
    })
    .await;
    passing(&Probe::Dns(dns()), &target).await;
}

#[tokio::test]
async fn a_malformed_answer_and_a_flood_end_the_probe() {
    let target = answering(|question| {
        let mut bytes = answered(question).to_vec().unwrap();
        bytes.truncate(20);
        vec![bytes]
    })
    .await;
    let reason = failing(&Probe::Dns(dns()), &target, LONG).await;
    assert_eq!(
        reason,
        format!("A of \"example.com.\" from {target}: the answer is malformed")
    );
    let target = answering(|_| vec![b"flood".to_vec(); 200]).await;
    let reason = failing(&Probe::Dns(dns()), &target, LONG).await;
    let flood = "64 datagrams, and none is the answer";
    assert_eq!(reason, format!("A of \"example.com.\" from {target}: {flood}"));
}

#[test]
fn a_question_is_a_name_and_a_type() {
    assert_eq!(Dns::new("Example.com.", "AAAA"), Dns::new("example.com", "AAAA"));
    let error = Dns::new("example.com", "NOPE").unwrap_err().to_string();
    assert_eq!(error, "\"NOPE\" is no record type");
    let error = Dns::new("a..b", "A").unwrap_err().to_string();
    assert_eq!(error, "\"a..b\" is no domain name");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..600), ours in any::<bool>()) {
        let question = question(&dns());
        if ours && bytes.len() >= 2 {
            bytes[..2].copy_from_slice(&question.metadata.id.to_be_bytes());
        }
        prop_assert_ne!(judge(&question, &bytes), Answer::Good);
    }

    #[test]
    fn a_damaged_answer_never_panics_and_a_whole_one_passes(at in 0usize..60, byte in any::<u8>()) {
        let question = question(&dns());
        let mut bytes = answered(&question).to_vec().unwrap();
        prop_assert_eq!(judge(&question, &bytes), Answer::Good);
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = judge(&question, &bytes);
        let _ = judge(&question, &bytes[..at]);
    }
}
