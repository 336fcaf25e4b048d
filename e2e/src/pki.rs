//! The cluster's certificate authority, the certificates of its components, and kubeconfigs for people.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use serde_json::json;

use crate::error::{Context, Error, Result};
use crate::layout::{Layout, write};

/// A certificate with its key, both PEM.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The certificate.
    pub certificate: String,
    /// The private key (PKCS #8).
    pub key: String,
}

/// A certificate authority of the cluster. Everything it needs lies in the cluster's folder, so every process of root
/// can load it and make users.
#[derive(Debug)]
pub struct Authority {
    /// Its own certificate, PEM.
    pub certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// The common names of the two authorities.
const CLUSTER_CA: &str = "sluicegate-e2e";
const FRONT_PROXY_CA: &str = "sluicegate-e2e-front-proxy";

impl Authority {
    /// A new authority, and its key in PEM.
    ///
    /// # Errors
    /// Where a key or the certificate cannot be made.
    pub fn create(name: &str) -> Result<(Authority, String)> {
        let failed = |source| Error::Certificate { whom: name.to_owned(), source };
        let key = KeyPair::generate().map_err(failed)?;
        let pem = key.serialize_pem();
        let params = authority_params(name);
        let certificate = params.self_signed(&key).map_err(failed)?.pem();
        Ok((Authority { certificate, issuer: Issuer::new(params, key) }, pem))
    }

    /// The authority that signs users and components.
    ///
    /// # Errors
    /// Where the cluster has none, or it cannot be read.
    pub fn load(layout: &Layout) -> Result<Authority> {
        let read = |file: &str| fs::read_to_string(layout.pki(file)).doing("reading", layout.pki(file));
        let key = KeyPair::from_pem(&read("ca.key")?)
            .map_err(|source| Error::Certificate { whom: CLUSTER_CA.to_owned(), source })?;
        Ok(Authority { certificate: read("ca.crt")?, issuer: Issuer::new(authority_params(CLUSTER_CA), key) })
    }

    /// A client certificate: `user` is the user name that the API server sees, `groups` its groups.
    ///
    /// # Errors
    /// Where the library refuses the names.
    pub fn client(&self, user: &str, groups: &[&str]) -> Result<Credential> {
        self.issue(user, groups, &[], ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// A server certificate for these DNS names and addresses.
    ///
    /// # Errors
    /// Where the library refuses the names.
    pub fn server(&self, name: &str, names: &[&str]) -> Result<Credential> {
        self.issue(name, &[], names, ExtendedKeyUsagePurpose::ServerAuth)
    }

    fn issue(&self, name: &str, groups: &[&str], names: &[&str], usage: ExtendedKeyUsagePurpose) -> Result<Credential> {
        let failed = |source| Error::Certificate { whom: name.to_owned(), source };
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        // rcgen keeps one value a type; a user of several groups needs none here, since RBAC binds the first.
        if let Some(group) = groups.first() {
            params.distinguished_name.push(DnType::OrganizationName, *group);
        }
        for name in names {
            let alternative = match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName((*name).try_into().map_err(failed)?),
            };
            params.subject_alt_names.push(alternative);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![usage];
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?.pem();
        Ok(Credential { certificate, key: key.serialize_pem() })
    }

    /// A kubeconfig (JSON, which is YAML as well) with the credential inside.
    pub fn kubeconfig(&self, server: &str, credential: &Credential) -> String {
        let data = |text: &str| STANDARD.encode(text);
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "sluicegate-e2e",
            "clusters": [{"name": "sluicegate-e2e", "cluster": {"server": server, "certificate-authority-data": data(&self.certificate)}}],
            "users": [{"name": "user", "user": {"client-certificate-data": data(&credential.certificate), "client-key-data": data(&credential.key)}}],
            "contexts": [{"name": "sluicegate-e2e", "context": {"cluster": "sluicegate-e2e", "user": "user"}}],
        });
        format!("{config:#}\n")
    }
}

/// Every process that loads the authority builds the same parameters, so the issuer's name and key id always agree.
fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    params
}

/// The name that the API server presents to webhooks which ask for one.
pub const WEBHOOK_CLIENT: &str = "kube-apiserver-webhooks";

/// Makes every certificate and key that the components need, in the cluster's `pki` folder.
///
/// # Errors
/// Where a certificate cannot be made or a file not be written.
pub fn create(layout: &Layout, node_address: &str, service_address: &str) -> Result<Authority> {
    let (authority, key) = Authority::create(CLUSTER_CA)?;
    write(&layout.pki("ca.crt"), &authority.certificate)?;
    write(&layout.pki("ca.key"), key)?;
    let (front_proxy, _) = Authority::create(FRONT_PROXY_CA)?;
    write(&layout.pki("front-proxy-ca.crt"), &front_proxy.certificate)?;
    let keep = |name: &str, credential: Credential| -> Result<()> {
        write(&layout.pki(&format!("{name}.crt")), credential.certificate)?;
        write(&layout.pki(&format!("{name}.key")), credential.key)
    };
    keep("front-proxy-client", front_proxy.client("front-proxy-client", &[])?)?;
    let api_names = [
        "localhost",
        "127.0.0.1",
        node_address,
        service_address,
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    keep("apiserver", authority.server("kube-apiserver", &api_names)?)?;
    keep("apiserver-kubelet", authority.client("kube-apiserver-kubelet-client", &["system:masters"])?)?;
    keep("apiserver-webhooks", authority.client(WEBHOOK_CLIENT, &[])?)?;
    keep("kubelet-server", authority.server("kubelet", &["node", node_address, "127.0.0.1"])?)?;
    let web_names = [
        "git.sluicegate.test",
        "git.kestrel.example",
        "charts.sluicegate.test",
        "registry.sluicegate.test",
        "localhost",
        "127.0.0.1",
        node_address,
    ];
    keep("web", authority.server("web", &web_names)?)?;
    let signer =
        KeyPair::generate().map_err(|source| Error::Certificate { whom: "service accounts".into(), source })?;
    write(&layout.pki("service-accounts.key"), signer.serialize_pem())?;
    write(&layout.pki("service-accounts.pub"), signer.public_key_pem())?;
    Ok(authority)
}

/// Writes a component's kubeconfig.
///
/// # Errors
/// Where its certificate cannot be made or the file not be written.
pub fn write_kubeconfig(authority: &Authority, path: &Path, server: &str, user: &str, groups: &[&str]) -> Result<()> {
    write(path, authority.kubeconfig(server, &authority.client(user, groups)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loaded_authority_signs_as_the_one_that_was_made() {
        let (made, key) = Authority::create(CLUSTER_CA).expect("made");
        let key = KeyPair::from_pem(&key).expect("key");
        let loaded =
            Authority { certificate: made.certificate.clone(), issuer: Issuer::new(authority_params(CLUSTER_CA), key) };
        let leaf = loaded.server("x", &["localhost"]).expect("issued");
        let mut roots = rustls::RootCertStore::empty();
        let parse = |pem: &str| {
            <rustls::pki_types::CertificateDer<'_> as rustls::pki_types::pem::PemObject>::from_pem_slice(pem.as_bytes())
                .expect("pem")
                .into_owned()
        };
        roots.add(parse(&made.certificate)).expect("root");
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(roots.into(), provider)
            .build()
            .expect("verifier");
        let name = rustls::pki_types::ServerName::try_from("localhost").expect("name");
        rustls::client::danger::ServerCertVerifier::verify_server_cert(
            &*verifier,
            &parse(&leaf.certificate),
            &[],
            &name,
            &[],
            rustls::pki_types::UnixTime::now(),
        )
        .expect("the made authority vouches for what the loaded one signed");
    }
}
