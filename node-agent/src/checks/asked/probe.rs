//! From the API's probe members to probes. What the schema or the operator refuses is left out: a check that asks less is
//! better than none, and none of it is a panic.

use crds::{DnsProbe, GrpcProbe, HealthCheck, HttpMethod, HttpProbe, HttpsProbe, SmtpProbe, UdpProbe};

use crate::probe::{Dns, Grpc, Http, Https, Probe, Smtp, StatusRange, Trust, Udp};

/// keepalived's `helo_name` when none is given.
const HELO: &str = "localhost";

/// What a check asks.
pub(super) fn of(check: &HealthCheck) -> Probe {
    match check {
        HealthCheck { none: Some(_), .. } => Probe::None,
        HealthCheck { http: Some(probe), .. } => Probe::Http(http(probe)),
        HealthCheck { https: Some(probe), .. } => Probe::Https(https(probe)),
        HealthCheck { udp: Some(probe), .. } => Probe::Udp(udp(probe)),
        HealthCheck { dns: Some(probe), .. } => dns(probe),
        HealthCheck { smtp: Some(probe), .. } => smtp(probe),
        HealthCheck { grpc: Some(probe), .. } => Probe::Grpc(grpc(probe)),
        HealthCheck { ping: Some(_), .. } => Probe::Ping,
        HealthCheck { .. } => Probe::Tcp,
    }
}

fn http(http: &HttpProbe) -> Http {
    let HttpProbe {
        path,
        host,
        method,
        expected_statuses,
        body_pattern,
        body_sha256,
        headers,
    } = http;
    let default = Http::default();
    let statuses = expected_statuses.iter().flatten();
    let statuses: Vec<StatusRange> = statuses.filter_map(|text| text.parse().ok()).collect();
    let method = match method.unwrap_or_default() {
        HttpMethod::Get => "GET",
        HttpMethod::Head => "HEAD",
        HttpMethod::Options => "OPTIONS",
    };
    let headers = headers.iter().flatten();
    Http {
        path: path.clone().unwrap_or(default.path),
        host: host.clone(),
        method: method.to_owned(),
        expected_statuses: if statuses.is_empty() {
            default.expected_statuses
        } else {
            statuses
        },
        body_pattern: body_pattern.as_ref().and_then(|text| text.parse().ok()),
        body_sha256: body_sha256.as_ref().and_then(|text| text.parse().ok()),
        headers: headers
            .map(|header| (header.name.clone(), header.value.clone()))
            .collect(),
    }
}

fn https(https: &HttpsProbe) -> Https {
    let anybodys = https.insecure_skip_verify.unwrap_or_default();
    let bundle = https.ca_bundle.as_ref().and_then(|pem| pem.parse().ok());
    let name = https.server_name.as_ref();
    Https {
        http: http(&https.http()),
        server_name: name.filter(|name| crds::health::server_name(name).is_ok()).cloned(),
        trust: match (anybodys, bundle) {
            (true, _) => Trust::Anybody,
            (false, Some(authorities)) => Trust::Authorities(authorities),
            // A bundle that cannot be read makes nobody trusted whom the node does not trust.
            (false, None) => Trust::System,
        },
    }
}

fn udp(udp: &UdpProbe) -> Udp {
    let UdpProbe { payload, expect_reply } = udp;
    let bytes = payload.as_deref().and_then(|base64| crds::health::payload(base64).ok());
    Udp {
        payload: bytes.unwrap_or_default(),
        expect_reply: expect_reply.unwrap_or_default(),
    }
}

fn dns(dns: &DnsProbe) -> Probe {
    let DnsProbe { name, record_type } = dns;
    let question = Dns::new(name.as_deref().unwrap_or("."), record_type.unwrap_or_default().as_str());
    question.map_or_else(|_| Probe::Udp(Udp::default()), Probe::Dns)
}

fn smtp(smtp: &SmtpProbe) -> Probe {
    let greeting = Smtp::new(smtp.helo.as_deref().unwrap_or(HELO));
    greeting.or_else(|_| Smtp::new(HELO)).map_or(Probe::Tcp, Probe::Smtp)
}

fn grpc(grpc: &GrpcProbe) -> Grpc {
    Grpc {
        service: grpc.service.clone().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
