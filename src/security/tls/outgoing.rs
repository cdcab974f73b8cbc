//! What this server asks for, and shows, where it connects to another over TLS (`tls-replication`).
//!
//! Design: as in Redis, the other's certificate has to be one of the authorities of `tls-ca-cert-file` and `tls-ca-cert-dir`,
//! while no name in it is compared: servers are told each other's addresses, which change. So whoever has a certificate of these
//! authorities for servers may be any of them. It sees this server's `tls-client-cert-file`, or `tls-cert-file` where there is none.
//!
//! Not here: connecting and the handshake (`replicate::replica`, `io::tls`).

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme, SupportedProtocolVersion,
};

/// How to connect: showing this certificate, to servers of these authorities.
pub(super) fn connect(
    certified: CertifiedKey,
    authorities: RootCertStore,
    provider: &Arc<CryptoProvider>,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<ClientConfig, Error> {
    let algorithms = provider.signature_verification_algorithms;
    let mut config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(versions)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Chain { authorities, algorithms }))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.enable_sni = false;
    // Links last; and what was read anew holds for the next one whole.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Accepts servers whose certificate leads to an authority, whatever their name.
#[derive(Debug)]
struct Chain {
    authorities: RootCertStore,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Chain {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificate = ParsedCertificate::try_from(certificate)?;
        let (authorities, algorithms) = (&self.authorities, self.algorithms.all);
        verify_server_cert_signed_by_trust_anchor(&certificate, authorities, intermediates, now, algorithms)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
