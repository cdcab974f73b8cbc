//! What clients are served over TLS, and what other servers see of this one, made of the directives `tls-...`: certificates and
//! keys, whose certificates are accepted, protocols and ciphers, sessions.
//!
//! Design: all of it is made whole or not at all ([`Settings`]); those get it who connect from then on. Who is connected keeps
//! what it was served. Directives, their errors in the log and their defaults are Redis's; `aws-lc-rs` does the cryptography,
//! because its RSA signatures cost half of those of `ring` and everything else as much (`bench/DECISIONS.md`).
//!
//! Not here: records and handshakes (`io::tls`), what a client's certificate makes of it (`worker::tls`).

mod files;
mod outgoing;
mod sessions;
pub mod subject;
mod suites;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};

use crate::config::{Config, Text, TlsAuthClients};
use sessions::Sessions;

/// TLS 1.3 tickets that a client gets, each good for one resumption.
const TICKETS: usize = 1;

/// What is served to those who connect from now on; nothing without `tls-port`.
pub type Served = Arc<ArcSwapOption<ServerConfig>>;

/// What holds for all connections that are made from now on.
#[derive(Default)]
pub struct Tls {
    /// For clients.
    pub served: Served,
    /// How this server connects to others; plainly, if there is nothing.
    pub outgoing: ArcSwapOption<ClientConfig>,
}

/// What the directives come to.
#[derive(Default)]
pub struct Settings {
    served: Option<Arc<ServerConfig>>,
    outgoing: Option<Arc<ClientConfig>>,
}

/// The directives that are read anew when CONFIG SET names one of them, be it with the value it has: a file of the same name
/// may be another.
const DIRECTIVES: &[&str] = &[
    "tls-auth-clients",
    "tls-ca-cert-dir",
    "tls-ca-cert-file",
    "tls-cert-file",
    "tls-ciphers",
    "tls-ciphersuites",
    "tls-client-cert-file",
    "tls-client-key-file",
    "tls-client-key-file-pass",
    "tls-key-file",
    "tls-key-file-pass",
    "tls-prefer-server-ciphers",
    "tls-protocols",
    "tls-replication",
    "tls-session-cache-size",
    "tls-session-cache-timeout",
    "tls-session-caching",
];

/// The first of these directives after whose change [`prepare`] is to be called.
pub fn first_of<'a>(names: impl IntoIterator<Item = &'a [u8]>) -> Option<&'static str> {
    let find =
        |name: &[u8]| DIRECTIVES.iter().copied().find(|known| known.as_bytes().eq_ignore_ascii_case(name));
    names.into_iter().find_map(find)
}

/// What the configuration says; nothing where TLS is neither served nor spoken to others.
///
/// # Errors
/// Which directive or file is at fault, and why.
pub fn prepare(config: &Config) -> Result<Settings, String> {
    if config.tls_port == 0 && !config.tls_replication {
        return Ok(Settings::default());
    }
    let provider = Arc::new(provider(config)?);
    let versions = suites::versions(&config.tls_protocols)?;
    let own = [
        ("tls-cert-file", &config.tls_cert_file),
        ("tls-key-file", &config.tls_key_file),
        ("tls-key-file-pass", &config.tls_key_file_pass),
    ];
    if let Some((name, _)) = own[..2].iter().find(|(_, file)| file.is_empty()) {
        return Err(format!("No {name} configured!"));
    }
    let certified = certified(own, &provider)?;
    let authorities = authorities(config)?;
    let outgoing = match &authorities {
        Some(authorities) if config.tls_replication => {
            let certified = shown_to_servers(config, &provider)?.unwrap_or_else(|| certified.clone());
            Some(outgoing::connect(certified, authorities.clone(), &provider, &versions).map_err(unusable)?)
        }
        _ => None,
    };
    let served = match config.tls_port {
        0 => None,
        _ => Some(serve(config, certified, authorities, &provider, &versions)?),
    };
    Ok(Settings { served: served.map(Arc::new), outgoing: outgoing.map(Arc::new) })
}

impl Tls {
    /// These settings hold from now on.
    pub fn store(&self, settings: Settings) {
        self.served.store(settings.served);
        self.outgoing.store(settings.outgoing);
    }
}

impl From<Settings> for Tls {
    fn from(settings: Settings) -> Tls {
        let tls = Tls::default();
        tls.store(settings);
        tls
    }
}

/// What clients are served.
fn serve(
    config: &Config,
    certified: CertifiedKey,
    authorities: Option<RootCertStore>,
    provider: &Arc<CryptoProvider>,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<ServerConfig, String> {
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(versions)
        .map_err(unusable)?;
    let verifier = verifier(config, authorities, provider)?;
    let resolver = Arc::new(SingleCertAndKey::from(certified));
    let mut served = builder.with_client_cert_verifier(verifier).with_cert_resolver(resolver);
    served.ignore_client_order = config.tls_prefer_server_ciphers;
    if config.tls_session_caching {
        served.send_tls13_tickets = TICKETS;
        served.session_storage =
            Sessions::new(config.tls_session_cache_size as usize, config.tls_session_cache_timeout.into());
    } else {
        served.send_tls13_tickets = 0;
        served.session_storage = Arc::new(NoServerSessionStorage {});
    }
    Ok(served)
}

#[expect(clippy::needless_pass_by_value, reason = "it is called where errors are mapped")]
fn unusable(error: rustls::Error) -> String {
    format!("Failed to configure TLS: {error}")
}

/// What there is for it.
fn cryptography() -> Option<CryptoProvider> {
    #[cfg(feature = "tls")]
    return Some(rustls::crypto::aws_lc_rs::default_provider());
    #[cfg(not(feature = "tls"))]
    None
}

fn provider(config: &Config) -> Result<CryptoProvider, String> {
    let provider = cryptography().ok_or("TLS was left out when this server was built (the feature `tls`)");
    let mut provider = provider?;
    let mut suites = suites::ciphersuites(&provider, &config.tls_ciphersuites)?;
    suites.extend(suites::ciphers(&provider, &config.tls_ciphers)?);
    provider.cipher_suites = suites;
    Ok(provider)
}

/// A certificate with its key. The directives that say where they are: files of both, and the key's password.
fn certified(
    [(_, cert_file), (_, key_file), (pass_name, pass)]: [(&str, &Text); 3],
    provider: &CryptoProvider,
) -> Result<CertifiedKey, String> {
    let (cert_file, key_file) = (cert_file.as_path(), key_file.as_path());
    let certificates = files::certificates(cert_file)
        .map_err(|error| format!("Failed to load certificate: {}: {error}", cert_file.display()))?;
    let key = files::private_key(key_file, pass, pass_name)
        .and_then(|key| provider.key_provider.load_private_key(key).map_err(|error| error.to_string()))
        .map_err(|error| format!("Failed to load private key: {}: {error}", key_file.display()))?;
    let in_certificate = certificates.first().and_then(|certificate| subject::public_key(certificate));
    let in_key = key.public_key();
    if in_certificate.is_none() || in_key.is_some_and(|in_key| in_certificate != Some(in_key.as_ref())) {
        let (cert_file, key_file) = (cert_file.display(), key_file.display());
        return Err(format!(
            "Failed to load private key: {key_file}: it is not that of the certificate {cert_file}"
        ));
    }
    Ok(CertifiedKey::new(certificates, key))
}

/// What other servers see, if it is not what clients see. As in Redis, it takes both files to be that.
fn shown_to_servers(config: &Config, provider: &CryptoProvider) -> Result<Option<CertifiedKey>, String> {
    let (cert_file, key_file) = (&config.tls_client_cert_file, &config.tls_client_key_file);
    if cert_file.is_empty() || key_file.is_empty() {
        return Ok(None);
    }
    let directives = [
        ("tls-client-cert-file", cert_file),
        ("tls-client-key-file", key_file),
        ("tls-client-key-file-pass", &config.tls_client_key_file_pass),
    ];
    certified(directives, provider).map(Some)
}

/// Whose certificates are accepted, if any are looked at.
fn authorities(config: &Config) -> Result<Option<RootCertStore>, String> {
    let (file, dir) = (config.tls_ca_cert_file.as_path(), config.tls_ca_cert_dir.as_path());
    let is_named = [file, dir].iter().any(|path| !path.as_os_str().is_empty());
    if is_named {
        return files::authorities(file, dir).map(Some).map_err(no_authorities);
    }
    if config.tls_auth_clients != TlsAuthClients::No || config.tls_replication {
        return Err("Either tls-ca-cert-file or tls-ca-cert-dir must be specified when tls-cluster, tls-replication or \
                    tls-auth-clients are enabled!"
            .to_owned());
    }
    Ok(None)
}

#[expect(clippy::needless_pass_by_value, reason = "it is called where errors are mapped")]
fn no_authorities(error: String) -> String {
    format!("Failed to configure CA certificate(s) file/directory: {error}")
}

/// Who checks what clients show.
fn verifier(
    config: &Config,
    authorities: Option<RootCertStore>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let Some(authorities) = authorities.filter(|_| config.tls_auth_clients != TlsAuthClients::No) else {
        return Ok(WebPkiClientVerifier::no_client_auth());
    };
    let mut builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), Arc::clone(provider));
    if config.tls_auth_clients == TlsAuthClients::Optional {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map_err(|error| no_authorities(error.to_string()))
}
