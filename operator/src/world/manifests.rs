//! Manifests that most tests begin with.

pub(crate) const GROUP: &str = r#"
kind: DirectorGroup
metadata: {name: default}
spec:
  nodeSelector: {matchLabels: {lvs-operator.io/director: "true"}}
  allowedNamespaces: {from: All}
  allowedCIDRs: [192.168.56.0/24]
"#;

pub(crate) const WEB: &str = r"
kind: VirtualService
metadata: {name: web}
spec:
  addresses: [{address: 192.168.56.100}]
  ports: [{port: 80}]
  scheduler: rr
  realServerSelector: {matchLabels: {app: web}}
";

pub(crate) const RS1: &str = r"
kind: RealServer
metadata: {name: rs1, labels: {app: web}}
spec: {nodeName: rs1, addresses: [192.168.56.30]}
";

pub(crate) const RS2: &str = r"
kind: RealServer
metadata: {name: rs2, labels: {app: web}}
spec: {nodeName: rs2, addresses: [192.168.56.40]}
";
