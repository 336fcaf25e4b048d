//! The authority of our own: what is made when, as a function of what there is and of the time. No I/O; [`managed`] keeps it in
//! a Secret that all replicas share.
//!
//! A serving certificate is renewed when a third of its life is left, by the same authority, so whoever trusts the authority
//! trusts it. The authority itself is renewed when a third of its life is left: the new one is first only trusted beside the
//! old one, and signs when it has been for [`Ages::settle`], by when every API server has read of it. So there is no moment at
//! which a certificate is served that is not trusted.
//!
//! [`managed`]: super::managed

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData as _, SanType,
};
use time::OffsetDateTime;
use x509_parser::prelude::GeneralName;

use super::{CertificateError, certificates, parse};

/// Clocks differ: certificates are valid from a little before they are made.
const BEFORE: i64 = 300;

/// How long certificates live.
#[derive(Clone, Copy, Debug)]
pub struct Ages {
    /// The authority.
    pub authority: Duration,
    /// The serving certificate.
    pub serving: Duration,
    /// How long a new authority is only trusted before it signs.
    pub settle: Duration,
}

impl Ages {
    /// How often it has to be looked whether something is due, for it to be done in time.
    pub fn look_every(&self) -> Duration {
        (self.serving.min(self.authority) / 12).min(Duration::from_secs(60)).max(Duration::from_millis(500))
    }
}

impl Default for Ages {
    fn default() -> Self {
        let days = |days: u64| Duration::from_secs(days * 24 * 60 * 60);
        Self { authority: days(3 * 365), serving: days(90), settle: Duration::from_secs(10 * 60) }
    }
}

/// Certificates and keys, all PEM: the content of the Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Material {
    /// Authorities that are to be trusted, the newest first.
    pub bundle: String,
    /// Key of the newest.
    pub authority_key: String,
    /// The serving certificate.
    pub chain: String,
    /// Its key.
    pub key: String,
}

/// Why nothing can be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a certificate")]
pub struct AuthorityError(#[from] rcgen::Error);

/// An authority that is in use.
struct Authority {
    name: String,
    made: i64,
    ends: i64,
    pem: String,
}

/// What is to be there instead of what there is; `None`: that is well. What cannot be read counts as not there.
///
/// # Errors
/// Where a key or certificate cannot be made.
pub fn next(
    found: Option<&Material>,
    names: &[String],
    now: i64,
    ages: &Ages,
) -> Result<Option<Material>, AuthorityError> {
    let Some((material, mut authorities, mut key)) = found.and_then(|material| {
        let (authorities, key) = read(material).ok()?;
        Some((material, authorities, key))
    }) else {
        return first(names, now, ages).map(Some);
    };
    let before = authorities.len();
    authorities.retain(|authority| authority.ends > now);
    let mut changed = authorities.len() != before;
    // A third of its life is left, or none at all.
    let due = |made: i64, ends: i64| now >= ends - (ends - made) / 3;
    if authorities.first().is_none_or(|newest| due(newest.made, newest.ends)) {
        let (authority, new_key) = make_authority(now, ages)?;
        authorities.insert(0, authority);
        key = new_key;
        changed = true;
    }
    let Some(newest) = authorities.first() else { return first(names, now, ages).map(Some) };
    let settled = now >= newest.made + seconds(ages.settle);
    let (mut chain, mut serving_key) = (material.chain.clone(), material.key.clone());
    let reissue = match serving(material) {
        Err(_) => true,
        Ok(leaf) => {
            let trusted = authorities.iter().any(|authority| authority.name == leaf.issuer);
            let wanted = due(leaf.made, leaf.ends) || leaf.names != names || leaf.issuer != newest.name;
            // Rather a certificate that some API server does not trust yet than one that none trusts.
            (wanted && settled) || !trusted || leaf.ends <= now || leaf.names != names
        }
    };
    if reissue {
        (chain, serving_key) = issue(&newest.name, &key, names, now, ages)?;
        changed = true;
    }
    let bundle = authorities.iter().map(|authority| authority.pem.as_str()).collect();
    let authority_key = key.serialize_pem();
    Ok(changed.then_some(Material { bundle, authority_key, chain, key: serving_key }))
}

fn first(names: &[String], now: i64, ages: &Ages) -> Result<Material, AuthorityError> {
    let (authority, authority_key) = make_authority(now, ages)?;
    let (chain, key) = issue(&authority.name, &authority_key, names, now, ages)?;
    Ok(Material { bundle: authority.pem, authority_key: authority_key.serialize_pem(), chain, key })
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX / 4)
}

fn read(material: &Material) -> Result<(Vec<Authority>, KeyPair), CertificateError> {
    let ders = certificates("the authorities", &material.bundle)?;
    let key = KeyPair::from_pem(&material.authority_key)
        .map_err(|error| CertificateError::malformed("the authority's key", error))?;
    let mut authorities = Vec::with_capacity(ders.len());
    for (index, der) in ders.iter().enumerate() {
        let parsed = parse("an authority", der)?;
        if index == 0 && parsed.public_key().raw != key.subject_public_key_info() {
            return Err(CertificateError::Mismatch);
        }
        let name = common_name(parsed.subject())?;
        let pem = format!("-----BEGIN CERTIFICATE-----\n{}-----END CERTIFICATE-----\n", lines(der));
        let (made, ends) = (parsed.validity().not_before.timestamp() + BEFORE, parsed.validity().not_after.timestamp());
        authorities.push(Authority { name, made, ends, pem });
    }
    Ok((authorities, key))
}

/// Base64 in lines of 64 characters (RFC 7468).
fn lines(der: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let text = STANDARD.encode(der);
    let mut lines = String::with_capacity(text.len() + text.len() / 64 + 1);
    for (index, char) in text.chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            lines.push('\n');
        }
        lines.push(char);
    }
    lines.push('\n');
    lines
}

struct Leaf {
    issuer: String,
    names: Vec<String>,
    made: i64,
    ends: i64,
}

fn serving(material: &Material) -> Result<Leaf, CertificateError> {
    // Together they must be a pair as well.
    super::Serving::default().set(&material.chain, &material.key)?;
    let ders = certificates("the certificate", &material.chain)?;
    let der = ders.first().ok_or_else(|| CertificateError::malformed("the certificate", "it is empty"))?;
    let parsed = parse("the certificate", der)?;
    let alternatives =
        parsed.subject_alternative_name().map_err(|error| CertificateError::malformed("the certificate", error))?;
    let names = alternatives.iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let address = <[u8; 4]>::try_from(*bytes).map(std::net::IpAddr::from);
            let address = address.or_else(|_| <[u8; 16]>::try_from(*bytes).map(std::net::IpAddr::from));
            address.ok().map(|address| address.to_string())
        }
        _ => None,
    });
    Ok(Leaf {
        issuer: common_name(parsed.issuer())?,
        names: names.collect(),
        made: parsed.validity().not_before.timestamp() + BEFORE,
        ends: parsed.validity().not_after.timestamp(),
    })
}

fn common_name(name: &x509_parser::x509::X509Name<'_>) -> Result<String, CertificateError> {
    let found = name.iter_common_name().next().and_then(|name| name.as_str().ok());
    found.map(str::to_owned).ok_or_else(|| CertificateError::malformed("a certificate", "it has no common name"))
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn make_authority(now: i64, ages: &Ages) -> Result<(Authority, KeyPair), AuthorityError> {
    // Two that are trusted at the same time must not have one name, or clients take the one for the other.
    let name = format!("sluicegate-webhook-ca-{now}-{:08x}", fastrand::u32(..));
    let key = KeyPair::generate()?;
    let ends = now + seconds(ages.authority);
    let mut params = authority_params(&name);
    (params.not_before, params.not_after) = (moment(now - BEFORE), moment(ends));
    let pem = params.self_signed(&key)?.pem();
    Ok((Authority { name, made: now, ends, pem }, key))
}

fn issue(
    authority: &str,
    authority_key: &KeyPair,
    names: &[String],
    now: i64,
    ages: &Ages,
) -> Result<(String, String), AuthorityError> {
    let issuer = Issuer::new(authority_params(authority), authority_key);
    let key = KeyPair::generate()?;
    let mut params = named("sluicegate-webhook");
    (params.not_before, params.not_after) = (moment(now - BEFORE), moment(now + seconds(ages.serving)));
    for name in names {
        params.subject_alt_names.push(match name.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(name.as_str().try_into()?),
        });
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    Ok((params.signed_by(&key, &issuer)?.pem(), key.serialize_pem()))
}

fn moment(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::{
        RootCertStore,
        client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
        pki_types::{ServerName, UnixTime},
    };

    use super::*;

    const DAY: i64 = 24 * 60 * 60;
    const START: i64 = 1_800_000_000;

    fn names() -> Vec<String> {
        vec!["sluicegate-webhook.sluicegate-system.svc".to_owned(), "127.0.0.1".to_owned()]
    }

    fn step(found: Option<&Material>, now: i64) -> Option<Material> {
        next(found, &names(), now, &Ages::default()).unwrap()
    }

    /// As an API server does that knows these authorities.
    fn is_trusted(bundle: &str, chain: &str, name: &str, now: i64) -> bool {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates("", bundle).unwrap());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let chain = certificates("", chain).unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let time = UnixTime::since_unix_epoch(Duration::from_secs(now.unsigned_abs()));
        verifier.verify_server_cert(&chain[0], &[], &name, &[], time).is_ok()
    }

    #[test]
    fn what_is_made_first_is_trusted_for_its_names_and_stays() {
        let made = step(None, START).unwrap();
        for name in names() {
            assert!(is_trusted(&made.bundle, &made.chain, &name, START), "{name}");
        }
        assert!(!is_trusted(&made.bundle, &made.chain, "other.svc", START));
        assert!(step(Some(&made), START).is_none());
        assert!(step(Some(&made), START + 59 * DAY).is_none());
    }

    #[test]
    fn a_serving_certificate_is_renewed_in_time_by_the_same_authority() {
        let made = step(None, START).unwrap();
        let renewed = step(Some(&made), START + 61 * DAY).unwrap();
        assert_eq!((&renewed.bundle, &renewed.authority_key), (&made.bundle, &made.authority_key));
        assert!(is_trusted(&made.bundle, &renewed.chain, &names()[0], START + 140 * DAY));
        assert!(step(Some(&renewed), START + 61 * DAY).is_none());
    }

    #[test]
    fn a_new_authority_is_trusted_before_it_signs_and_the_old_one_for_as_long_as_it_lives() {
        let mut now = START;
        let mut material = step(None, now).unwrap();
        let (mut authorities, mut served_by_new_at, mut introduced_at) = (1, None, None);
        let old = material.bundle.clone();
        while now < START + 4 * 365 * DAY {
            now += 6 * 60 * 60;
            let Some(new) = step(Some(&material), now) else { continue };
            // Whoever has not read of it yet trusts what is served until then, and whoever has trusts what was served before.
            assert!(is_trusted(&new.bundle, &material.chain, &names()[0], now), "at {}", (now - START) / DAY);
            if introduced_at.is_none() && new.bundle != material.bundle {
                introduced_at = Some(now);
                assert!(new.bundle.ends_with(&old) && new.chain == material.chain);
            } else if introduced_at.is_some() && served_by_new_at.is_none() {
                served_by_new_at = Some(now);
            }
            if served_by_new_at.is_none() {
                assert!(is_trusted(&old, &new.chain, &names()[0], now), "at {}", (now - START) / DAY);
            }
            authorities = authorities.max(new.bundle.matches("BEGIN").count());
            material = new;
        }
        assert!(served_by_new_at.unwrap() >= introduced_at.unwrap() + 600);
        assert!(!material.bundle.contains(&old), "an authority is trusted after its end");
        assert_eq!(authorities, 2);
    }

    #[test]
    fn short_lives_are_lived_to_two_thirds_as_well() {
        let ages = Ages {
            authority: Duration::from_secs(45),
            serving: Duration::from_secs(20),
            settle: Duration::from_secs(2),
        };
        let at = |found: &Material, seconds: i64| next(Some(found), &names(), START + seconds, &ages).unwrap();
        let made = next(None, &names(), START, &ages).unwrap().unwrap();
        assert!(at(&made, 0).is_none() && at(&made, 13).is_none());
        let renewed = at(&made, 14).unwrap();
        assert_eq!(renewed.bundle, made.bundle);
        assert!(at(&renewed, 27).is_none());
        let introduced = at(&renewed, 30).unwrap();
        assert_eq!(introduced.bundle.matches("BEGIN").count(), 2);
        assert!(ages.look_every() < Duration::from_secs(2));
    }

    #[test]
    fn what_is_broken_is_made_anew() {
        let made = step(None, START).unwrap();
        let other = step(None, START).unwrap();
        for broken in [
            Material { bundle: "x".to_owned(), ..made.clone() },
            Material { bundle: String::new(), ..made.clone() },
            Material { authority_key: other.authority_key.clone(), ..made.clone() },
            Material { chain: "x".to_owned(), ..made.clone() },
            Material { chain: other.chain.clone(), key: other.key.clone(), ..made.clone() },
            Material { key: other.key.clone(), ..made.clone() },
        ] {
            let mended = step(Some(&broken), START).unwrap();
            assert!(is_trusted(&mended.bundle, &mended.chain, &names()[0], START));
            assert!(step(Some(&mended), START).is_none());
        }
    }

    #[test]
    fn another_name_asks_for_another_certificate() {
        let made = step(None, START).unwrap();
        let renamed = next(Some(&made), &["other.svc".to_owned()], START, &Ages::default()).unwrap().unwrap();
        assert_eq!(renamed.bundle, made.bundle);
        assert!(is_trusted(&made.bundle, &renamed.chain, "other.svc", START));
    }

    #[test]
    fn after_years_without_anybody_it_starts_again() {
        let made = step(None, START).unwrap();
        let now = START + 10 * 365 * DAY;
        let mended = step(Some(&made), now).unwrap();
        assert!(is_trusted(&mended.bundle, &mended.chain, &names()[0], now));
        assert_eq!(mended.bundle.matches("BEGIN").count(), 1);
    }
}
