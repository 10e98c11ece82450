//! Keys and certificates of one control plane.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};

/// Where servers are reached: by the host, by the guest, and by the name inside a cluster.
const ADDRESSES: &[&str] = &["127.0.0.1", "10.0.2.2", "10.96.0.1"];
const NAMES: [&str; 5] = [
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
];

/// Writes `ca.crt`, `server.{crt,key}`, `admin.{crt,key}`, `controller-manager.{crt,key}` and
/// `service-account.{pub,key}` into a folder.
///
/// # Errors
/// When a file cannot be written.
pub fn write(folder: &Path) -> Result<()> {
    let mut ca = CertificateParams::default();
    ca.distinguished_name = name("lab-ca", None);
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate()?)?;
    fs::write(folder.join("ca.crt"), ca.pem())?;

    let mut server = CertificateParams::new(NAMES.map(str::to_owned))?;
    for address in ADDRESSES {
        let address: IpAddr = address.parse().context("address")?;
        server.subject_alt_names.push(SanType::IpAddress(address));
    }
    server.distinguished_name = name("kube-apiserver", None);
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    issue(&ca, server, folder, "server")?;

    for (file, user, group) in [
        ("admin", "lab-admin", Some("system:masters")),
        ("controller-manager", "system:kube-controller-manager", None),
    ] {
        let mut client = CertificateParams::default();
        client.distinguished_name = name(user, group);
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        issue(&ca, client, folder, file)?;
    }
    let key = KeyPair::generate()?;
    fs::write(folder.join("service-account.key"), key.serialize_pem())?;
    fs::write(folder.join("service-account.pub"), key.public_key_pem())?;
    Ok(())
}

/// In Kubernetes the common name is the user and the organisation is a group.
fn name(user: &str, group: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, user);
    if let Some(group) = group {
        name.push(DnType::OrganizationName, group);
    }
    name
}

fn issue(ca: &CertifiedIssuer<'_, KeyPair>, params: CertificateParams, folder: &Path, file: &str) -> Result<()> {
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, ca)?;
    fs::write(folder.join(format!("{file}.crt")), certificate.pem())?;
    fs::write(folder.join(format!("{file}.key")), key.serialize_pem())?;
    Ok(())
}
