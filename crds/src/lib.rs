//! API types of `lvs-operator.io/v1alpha1`: four kinds, their CEL rules, conditions, names.
//!
//! Types and rules only. There is no client here, and there never is one: the operator and the agent meet in these
//! types and nowhere else. A rule that one object can be judged by is CEL here, so that the API server refuses it
//! with a message; a rule that needs other objects is in the operator's `validate`.
//!
//! A field is here when it works. What the schema lacks, the API server refuses, which is what a user should see.
#![forbid(unsafe_code)]
// The KubeSchema derive repeats each type inside a function, where `pub` reaches nobody.
#![allow(unreachable_pub)]

pub mod conditions;
mod director_group;
pub mod health;
mod leaving;
mod lvs;
pub mod names;
mod placement;
mod real_server;
mod schema;
mod selector;
mod virtual_service;

pub use director_group::{
    AllowedNamespaces, DirectorGroup, DirectorGroupSpec, DirectorGroupStatus, FullNat, Masquerade, Member,
    NamespacesFrom, Timeouts, UndeclaredPorts,
};
pub use health::{
    DnsProbe, DnsRecordType, GrpcProbe, HealthCheck, HttpHeader, HttpMethod, HttpProbe, HttpsProbe, InitialState,
    NoProbe, OnFailure, PROBE_MARKS, PingProbe, SmtpProbe, TcpProbe, Through, UdpProbe,
};
pub use leaving::{Drain, Quorum, SlowStart, SorryServer};
pub use lvs::{
    ForwardingMethod, Persistence, PersistenceEngine, Port, Protocol, Role, Scheduler, SchedulerFlag, Tunnel,
    TunnelChecksum, TunnelType, VirtualAddress,
};
pub use placement::{
    AddressOwner, DestinationState, DirectorAddress, DirectorAddressReport, DirectorPart, DirectorReport, Forwarding,
    HostAddress, HostPart, HostRealServer, HostRealServerReport, HostReport, MarkedPort, PlacedRealServer,
    PlacedService, Placement, PlacementSpec, PlacementStatus, PlacementSummary, RealServerReport, RouterPart,
    RouterReport, Subject, SubjectKind, Takes,
};
pub use real_server::{RealServer, RealServerOfService, RealServerSpec, RealServerStatus, RealServerSummary};
pub use schema::{all, crd};
pub use selector::{Selector, SelectorOperator, SelectorRequirement};
pub use virtual_service::{
    AddressStatus, Director, RealServerCounts, VirtualService, VirtualServiceSpec, VirtualServiceStatus,
    VirtualServiceSummary,
};

/// The API group of all our kinds.
pub const GROUP: &str = "lvs-operator.io";
/// The one version served and stored.
pub const VERSION: &str = "v1alpha1";
