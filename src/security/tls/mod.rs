//! What clients are served over TLS, made of the directives `tls-...`: certificate and key, whose certificates are accepted,
//! protocols and ciphers, sessions.
//!
//! Design: all of it is one `rustls::ServerConfig`, made whole or not at all, which those get who connect from then on. Who is
//! connected keeps what it was served. Directives, their errors in the log and their defaults are Redis's; `aws-lc-rs` does the
//! cryptography, because its RSA signatures cost half of those of `ring` and everything else as much (`bench/DECISIONS.md`).
//!
//! Not here: records and handshakes (`io::tls`), what a client's certificate makes of it (`worker::tls`).

mod files;
mod sessions;
pub mod subject;
mod suites;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use crate::config::live::Live;
use crate::config::{Config, TlsAuthClients};
use sessions::Sessions;

/// TLS 1.3 tickets that a client gets, each good for one resumption.
const TICKETS: usize = 1;

/// What is served to those who connect from now on; nothing without `tls-port`.
pub type Served = Arc<ArcSwapOption<ServerConfig>>;

/// The directives that are read anew when CONFIG SET names one of them, be it with the value it has: a file of the same name
/// may be another.
const DIRECTIVES: &[&str] = &[
    "tls-auth-clients",
    "tls-ca-cert-dir",
    "tls-ca-cert-file",
    "tls-cert-file",
    "tls-ciphers",
    "tls-ciphersuites",
    "tls-key-file",
    "tls-key-file-pass",
    "tls-prefer-server-ciphers",
    "tls-protocols",
    "tls-session-cache-size",
    "tls-session-cache-timeout",
    "tls-session-caching",
];

/// The first of these directives after whose change [`serve`] is to be called.
pub fn first_of<'a>(names: impl IntoIterator<Item = &'a [u8]>) -> Option<&'static str> {
    let find =
        |name: &[u8]| DIRECTIVES.iter().copied().find(|known| known.as_bytes().eq_ignore_ascii_case(name));
    names.into_iter().find_map(find)
}

/// What the configuration says is to be served; nothing where it has no port for TLS.
///
/// # Errors
/// Which directive or file is at fault, and why.
pub fn serve(config: &Config) -> Result<Option<Arc<ServerConfig>>, String> {
    if config.tls_port == 0 {
        return Ok(None);
    }
    let provider = Arc::new(provider(config)?);
    let versions = suites::versions(&config.tls_protocols)?;
    let certified = certified(config, &provider)?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)
        .map_err(|error| format!("Failed to configure TLS: {error}"))?;
    let verifier = verifier(config, &provider)?;
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
    Ok(Some(Arc::new(served)))
}

/// Reads all files again, for those who connect from then on. Where something is wrong with them nothing changes.
pub fn read_again(live: &Live, served: &Served) {
    // No change of the configuration comes in between.
    let outcome = live.update(|config| {
        served.store(serve(config)?);
        Ok::<_, String>(config.clone())
    });
    match outcome {
        Ok(config) if config.tls_port != 0 => log::info!("TLS certificates and keys were read again"),
        Ok(_) => {}
        Err(error) => log::warn!("{error}. What was served is served further."),
    }
}

fn provider(config: &Config) -> Result<CryptoProvider, String> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    let mut suites = suites::ciphersuites(&provider, &config.tls_ciphersuites)?;
    suites.extend(suites::ciphers(&provider, &config.tls_ciphers)?);
    provider.cipher_suites = suites;
    Ok(provider)
}

/// The server's certificate with its key.
fn certified(config: &Config, provider: &CryptoProvider) -> Result<CertifiedKey, String> {
    let (cert_file, key_file) = (config.tls_cert_file.as_path(), config.tls_key_file.as_path());
    for (name, file) in [("tls-cert-file", cert_file), ("tls-key-file", key_file)] {
        if file.as_os_str().is_empty() {
            return Err(format!("No {name} configured!"));
        }
    }
    let certificates = files::certificates(cert_file)
        .map_err(|error| format!("Failed to load certificate: {}: {error}", cert_file.display()))?;
    let key = files::private_key(key_file, &config.tls_key_file_pass)
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

/// Who checks what clients show.
fn verifier(config: &Config, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let (file, dir) = (config.tls_ca_cert_file.as_path(), config.tls_ca_cert_dir.as_path());
    let named = [file, dir].iter().any(|path| !path.as_os_str().is_empty());
    if config.tls_auth_clients != TlsAuthClients::No && !named {
        return Err("Either tls-ca-cert-file or tls-ca-cert-dir must be specified when tls-cluster, tls-replication or \
                    tls-auth-clients are enabled!"
            .to_owned());
    }
    let failed = |error: String| format!("Failed to configure CA certificate(s) file/directory: {error}");
    let authorities = if named { Some(files::authorities(file, dir).map_err(failed)?) } else { None };
    let Some(authorities) = authorities.filter(|_| config.tls_auth_clients != TlsAuthClients::No) else {
        return Ok(WebPkiClientVerifier::no_client_auth());
    };
    let mut builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), Arc::clone(provider));
    if config.tls_auth_clients == TlsAuthClients::Optional {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map_err(|error| failed(error.to_string()))
}
