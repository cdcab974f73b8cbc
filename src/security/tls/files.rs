//! Certificates and keys out of PEM files.
//!
//! Design: keys as PKCS#8, PKCS#1 or SEC1, and PKCS#8 encrypted with a password (PBES2), which is what OpenSSL 3 and `openssl
//! pkcs8 -topk8` write. The older encryption of OpenSSL (`Proc-Type: 4,ENCRYPTED`) derives its key by MD5 and is refused.

use std::fs;
use std::path::Path;

use pkcs8::der::Decode as _;
use pkcs8::{EncryptedPrivateKeyInfoRef, SecretDocument};
use rustls::RootCertStore;
use rustls::pki_types::pem::{Error as PemError, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

const ENCRYPTED_BEGIN: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
const ENCRYPTED_END: &str = "-----END ENCRYPTED PRIVATE KEY-----";
const OLD_ENCRYPTION: &str = "Proc-Type: 4,ENCRYPTED";
/// A file of keys or certificates is not longer than this.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// All certificates of a file, the server's own first.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = read(path)?;
    let all: Vec<_> = CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>().map_err(pem_error)?;
    if all.is_empty() { Err("there is no certificate in it".to_owned()) } else { Ok(all) }
}

/// The first private key of a file; `password` opens it if it is encrypted, which the directive of this name says.
pub(super) fn private_key(
    path: &Path,
    password: &[u8],
    password_name: &str,
) -> Result<PrivateKeyDer<'static>, String> {
    let text = Zeroizing::new(read(path)?);
    match PrivateKeyDer::from_pem_slice(&text) {
        Ok(key) => Ok(key),
        Err(_) if contains(&text, OLD_ENCRYPTION) => Err(
            "it is encrypted in an old format; 'openssl pkcs8 -topk8' makes a file of it that can be read"
                .to_owned(),
        ),
        Err(_) if contains(&text, ENCRYPTED_BEGIN) => decrypt(&text, password, password_name),
        Err(PemError::NoItemsFound) => Err("there is no private key in it".to_owned()),
        Err(error) => Err(pem_error(error)),
    }
}

fn decrypt(text: &[u8], password: &[u8], password_name: &str) -> Result<PrivateKeyDer<'static>, String> {
    if password.is_empty() {
        return Err(format!("it is encrypted, and there is no {password_name}"));
    }
    let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
    let begin = text.find(ENCRYPTED_BEGIN).unwrap_or(0);
    let end = text[begin..].find(ENCRYPTED_END).map_or(text.len(), |end| begin + end + ENCRYPTED_END.len());
    let (_, document) = SecretDocument::from_pem(&text[begin..end]).map_err(|error| error.to_string())?;
    let encrypted =
        EncryptedPrivateKeyInfoRef::from_der(document.as_bytes()).map_err(|error| error.to_string())?;
    // Which of the two is wrong cannot be told.
    let key = encrypted
        .decrypt(password)
        .map_err(|error| format!("tls-key-file-pass does not open it: {error}"))?;
    Ok(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec())))
}

/// The authorities whose certificates are accepted: those of a file and of the files of a directory, as far as they are named.
pub(super) fn authorities(file: &Path, dir: &Path) -> Result<RootCertStore, String> {
    let mut all = Vec::new();
    if !file.as_os_str().is_empty() {
        all.extend(certificates(file).map_err(|error| format!("{}: {error}", file.display()))?);
    }
    if !dir.as_os_str().is_empty() {
        let failed = |error: std::io::Error| format!("{}: {error}", dir.display());
        for entry in fs::read_dir(dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            // Whatever else lies there is not meant.
            if path.is_file() {
                all.extend(certificates(&path).unwrap_or_default());
            }
        }
    }
    let mut authorities = RootCertStore::empty();
    authorities.add_parsable_certificates(all);
    if authorities.is_empty() { Err("there is no certificate".to_owned()) } else { Ok(authorities) }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let metadata = fs::metadata(path).map_err(|error| error.to_string())?;
    if metadata.len() > FILE_BYTES_MAX {
        return Err("it is too long".to_owned());
    }
    fs::read(path).map_err(|error| error.to_string())
}

fn contains(text: &[u8], what: &str) -> bool {
    memchr::memmem::find(text, what.as_bytes()).is_some()
}

#[expect(clippy::needless_pass_by_value, reason = "it is called where errors are mapped")]
fn pem_error(error: PemError) -> String {
    error.to_string()
}
