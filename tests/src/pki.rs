//! A private certificate authority: what the upstream registry's TLS and the Kubernetes
//! control plane are signed with.
//!
//! Keys are P-256 and live as long as the sandbox directory they are written to. Nothing
//! here is fit for anything but loopback.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// The names every server certificate carries.
pub const LOOPBACK_NAMES: [&str; 2] = ["127.0.0.1", "localhost"];

/// A certificate and its private key (PKCS#8), both as PEM.
#[derive(Clone)]
pub struct Pair {
    /// The certificate.
    pub cert: String,
    /// The private key.
    pub key: String,
}

/// Where [`Pair::write`] put a pair.
#[derive(Clone, Debug)]
pub struct PairFiles {
    /// `NAME.crt`
    pub cert: PathBuf,
    /// `NAME.key`
    pub key: PathBuf,
}

impl Pair {
    /// Writes `dir/NAME.crt` and `dir/NAME.key`, creating `dir`.
    ///
    /// # Errors
    /// The file system's.
    pub fn write(&self, dir: &Path, name: &str) -> Result<PairFiles> {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let files = PairFiles {
            cert: dir.join(format!("{name}.crt")),
            key: dir.join(format!("{name}.key")),
        };
        for (path, text) in [(&files.cert, &self.cert), (&files.key, &self.key)] {
            fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(files)
    }
}

/// A certificate authority that signs server and client certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    own: Pair,
}

impl Authority {
    /// A new authority with the common name `name`.
    ///
    /// # Errors
    /// When no key can be generated.
    pub fn new(name: &str) -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let key = KeyPair::generate()?;
        let own = Pair {
            cert: params.self_signed(&key)?.pem(),
            key: key.serialize_pem(),
        };
        Ok(Self {
            issuer: Issuer::new(params, key),
            own,
        })
    }

    /// The authority's own certificate and key.
    #[must_use]
    pub fn pair(&self) -> &Pair {
        &self.own
    }

    /// A server certificate for [`LOOPBACK_NAMES`] and `more` DNS names or addresses.
    ///
    /// # Errors
    /// When one of the names is not a valid DNS name.
    pub fn server_cert(&self, common_name: &str, more: &[&str]) -> Result<Pair> {
        let names = LOOPBACK_NAMES.iter().chain(more).map(ToString::to_string);
        let params = CertificateParams::new(names.collect::<Vec<_>>())?;
        self.sign(
            params,
            common_name,
            None,
            ExtendedKeyUsagePurpose::ServerAuth,
        )
    }

    /// A client certificate; Kubernetes reads `common_name` as the user and
    /// `organisation` as the user's group.
    ///
    /// # Errors
    /// When no key can be generated.
    pub fn client_cert(&self, common_name: &str, organisation: Option<&str>) -> Result<Pair> {
        let params = CertificateParams::new(Vec::new())?;
        self.sign(
            params,
            common_name,
            organisation,
            ExtendedKeyUsagePurpose::ClientAuth,
        )
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        common_name: &str,
        organisation: Option<&str>,
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<Pair> {
        let name = &mut params.distinguished_name;
        *name = rcgen::DistinguishedName::new();
        name.push(DnType::CommonName, common_name);
        if let Some(organisation) = organisation {
            name.push(DnType::OrganizationName, organisation);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let cert = params.signed_by(&key, &self.issuer)?;
        Ok(Pair {
            cert: cert.pem(),
            key: key.serialize_pem(),
        })
    }
}

/// A bare key pair as PEM: private (PKCS#8) and public. Kubernetes signs service account
/// tokens with one.
///
/// # Errors
/// When no key can be generated.
pub fn signing_key() -> Result<(String, String)> {
    let key = KeyPair::generate()?;
    Ok((key.serialize_pem(), key.public_key_pem()))
}
