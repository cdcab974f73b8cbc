//! Protocols and cipher suites, as Redis's directives name them: by OpenSSL's names and in its language.
//!
//! Design: of OpenSSL's cipher strings what can mean something here: names and classes of suites, `+` between classes, `!` and
//! `-` before what is taken out. What is unknown matches nothing, as there. `rustls` has only suites with forward secrecy and
//! authenticated encryption, so the rest of the language is about what is not there anyway.

use rustls::crypto::CryptoProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, ProtocolVersion, SupportedCipherSuite, SupportedProtocolVersion};

/// A suite of TLS 1.2: its number, OpenSSL's name, and the classes it is in.
struct Named {
    suite: CipherSuite,
    name: &'static str,
    classes: &'static [&'static str],
}

/// What all of them are.
const COMMON_CLASSES: &[&str] = &["ALL", "DEFAULT", "HIGH", "ECDHE", "EECDH", "kECDHE", "kEECDH", "TLSv1.2"];

const TLS12_SUITES: &[Named] = &[
    Named {
        suite: CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        name: "ECDHE-ECDSA-AES256-GCM-SHA384",
        classes: &["ECDSA", "aECDSA", "AES", "AES256", "AESGCM", "SHA384"],
    },
    Named {
        suite: CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        name: "ECDHE-ECDSA-AES128-GCM-SHA256",
        classes: &["ECDSA", "aECDSA", "AES", "AES128", "AESGCM", "SHA256"],
    },
    Named {
        suite: CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        name: "ECDHE-ECDSA-CHACHA20-POLY1305",
        classes: &["ECDSA", "aECDSA", "CHACHA20", "SHA256"],
    },
    Named {
        suite: CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        name: "ECDHE-RSA-AES256-GCM-SHA384",
        classes: &["aRSA", "AES", "AES256", "AESGCM", "SHA384"],
    },
    Named {
        suite: CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        name: "ECDHE-RSA-AES128-GCM-SHA256",
        classes: &["aRSA", "AES", "AES128", "AESGCM", "SHA256"],
    },
    Named {
        suite: CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        name: "ECDHE-RSA-CHACHA20-POLY1305",
        classes: &["aRSA", "CHACHA20", "SHA256"],
    },
];

const TLS13_SUITES: &[(&str, CipherSuite)] = &[
    ("TLS_AES_128_GCM_SHA256", CipherSuite::TLS13_AES_128_GCM_SHA256),
    ("TLS_AES_256_GCM_SHA384", CipherSuite::TLS13_AES_256_GCM_SHA384),
    ("TLS_CHACHA20_POLY1305_SHA256", CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
];

/// The versions that `tls-protocols` names.
pub(super) fn versions(words: &[u8]) -> Result<Vec<&'static SupportedProtocolVersion>, String> {
    let text = String::from_utf8_lossy(words);
    let (mut versions, mut old) = (Vec::new(), Vec::new());
    for word in text.split_ascii_whitespace() {
        match word.to_ascii_lowercase().as_str() {
            "tlsv1" | "tlsv1.1" => old.push(word),
            "tlsv1.2" => versions.push(&TLS12),
            "tlsv1.3" => versions.push(&TLS13),
            _ => {
                return Err("Invalid tls-protocols specified. Use a combination of 'TLSv1', 'TLSv1.1', 'TLSv1.2' and \
                            'TLSv1.3'."
                    .to_owned());
            }
        }
    }
    match (versions.is_empty(), old.is_empty()) {
        (true, true) => Ok(vec![&TLS12, &TLS13]),
        (true, false) => {
            Err("tls-protocols names only versions that are broken; Torc speaks TLSv1.2 and TLSv1.3"
                .to_owned())
        }
        (false, true) => Ok(versions),
        (false, false) => {
            log::warn!("tls-protocols: {} are left out, since they are broken", old.join(" "));
            Ok(versions)
        }
    }
}

/// The suites of TLS 1.3 that `tls-ciphersuites` names, in its order.
pub(super) fn ciphersuites(
    provider: &CryptoProvider,
    words: &[u8],
) -> Result<Vec<SupportedCipherSuite>, String> {
    let all = || provider.cipher_suites.iter().copied().filter(is_tls13);
    let text = String::from_utf8_lossy(words);
    if text.is_empty() {
        return Ok(all().collect());
    }
    let mut suites = Vec::new();
    for word in text.split(':').filter(|word| !word.is_empty()) {
        let known = TLS13_SUITES.iter().find(|(name, _)| *name == word);
        let suite = known.and_then(|(_, number)| all().find(|suite| suite.suite() == *number));
        suites.push(suite.ok_or_else(|| format!("Failed to configure ciphersuites: {text}"))?);
    }
    Ok(suites)
}

/// The suites of TLS 1.2 that `tls-ciphers` names, in its order.
pub(super) fn ciphers(provider: &CryptoProvider, words: &[u8]) -> Result<Vec<SupportedCipherSuite>, String> {
    let all = || provider.cipher_suites.iter().copied().filter(|suite| !is_tls13(suite));
    let text = String::from_utf8_lossy(words);
    if text.is_empty() {
        return Ok(all().collect());
    }
    let (mut chosen, mut banned): (Vec<&Named>, Vec<&Named>) = (Vec::new(), Vec::new());
    for word in text.split([':', ',', ' ']).filter(|word| !word.is_empty() && !word.starts_with('@')) {
        let (sign, classes) = match word.strip_prefix(['!', '-', '+']) {
            Some(classes) => (word.as_bytes()[0], classes),
            None => (0, word),
        };
        let matched = |named: &&Named| classes.split('+').all(|class| named.is_in(class));
        let matching: Vec<&Named> = TLS12_SUITES.iter().filter(matched).collect();
        let is_matching = |named: &&Named| matching.iter().any(|other| other.suite == named.suite);
        match sign {
            b'!' => {
                chosen.retain(|named| !is_matching(named));
                banned.extend(&matching);
            }
            b'-' => chosen.retain(|named| !is_matching(named)),
            b'+' => chosen.sort_by_key(|named| is_matching(named)),
            _ => {
                for named in matching {
                    let has = |list: &[&Named]| list.iter().any(|other| other.suite == named.suite);
                    if !has(&chosen) && !has(&banned) {
                        chosen.push(named);
                    }
                }
            }
        }
    }
    let suites: Vec<_> =
        chosen.iter().filter_map(|named| all().find(|suite| suite.suite() == named.suite)).collect();
    if suites.is_empty() { Err(format!("Failed to configure ciphers: {text}")) } else { Ok(suites) }
}

impl Named {
    fn is_in(&self, class: &str) -> bool {
        self.name == class || self.classes.contains(&class) || COMMON_CLASSES.contains(&class)
    }
}

fn is_tls13(suite: &SupportedCipherSuite) -> bool {
    suite.version().version == ProtocolVersion::TLSv1_3
}

#[cfg(all(test, feature = "tls"))]
mod tests {
    use super::*;

    fn provider() -> CryptoProvider {
        rustls::crypto::aws_lc_rs::default_provider()
    }

    fn names(words: &str) -> Result<Vec<&'static str>, String> {
        let name = |suite: SupportedCipherSuite| {
            TLS12_SUITES.iter().find(|named| named.suite == suite.suite()).expect("all have names").name
        };
        Ok(ciphers(&provider(), words.as_bytes())?.into_iter().map(name).collect())
    }

    #[test]
    fn every_suite_has_its_name() {
        let provider = provider();
        assert_eq!(provider.cipher_suites.len(), TLS12_SUITES.len() + TLS13_SUITES.len());
        assert_eq!(names("").map(|names| names.len()), Ok(TLS12_SUITES.len()));
        let all = "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256";
        assert_eq!(ciphersuites(&provider, all.as_bytes()).map(|suites| suites.len()), Ok(3));
    }

    #[test]
    fn cipher_strings_choose_order_and_exclude() {
        const RSA_128: &str = "ECDHE-RSA-AES128-GCM-SHA256";
        assert_eq!(names(RSA_128), Ok(vec![RSA_128]));
        assert_eq!(names("DEFAULT:!MEDIUM").map(|names| names.len()), Ok(6));
        let mixed = format!("{RSA_128}:nothing:HIGH:!aECDSA:-CHACHA20:@STRENGTH");
        assert_eq!(names(&mixed), Ok(vec![RSA_128, "ECDHE-RSA-AES256-GCM-SHA384"]));
        assert_eq!(names("ECDHE+CHACHA20+aRSA"), Ok(vec!["ECDHE-RSA-CHACHA20-POLY1305"]));
        assert_eq!(names("!AES:AES:CHACHA20").map(|names| names.len()), Ok(2));
        assert_eq!(names("ALL:+AES").map(|names| names[0]), Ok("ECDHE-ECDSA-CHACHA20-POLY1305"));
        for none in ["nope", "RC4-SHA", "ALL:!ALL", "aNULL"] {
            assert_eq!(names(none), Err(format!("Failed to configure ciphers: {none}")));
        }
        let wrong = ciphersuites(&provider(), b"TLS_AES_128_GCM_SHA256:nope").err();
        assert_eq!(wrong.as_deref(), Some("Failed to configure ciphersuites: TLS_AES_128_GCM_SHA256:nope"));
    }

    #[test]
    fn protocols_are_those_that_are_not_broken() {
        let count = |words: &str| versions(words.as_bytes()).map(|versions| versions.len());
        assert_eq!((count(""), count("TLSv1.3"), count("tlsv1.2 TLSv1.3")), (Ok(2), Ok(1), Ok(2)));
        assert_eq!(count("TLSv1.1 TLSv1.2"), Ok(1));
        assert!(count("TLSv1.1").is_err_and(|error| error.contains("broken")));
        assert!(count("SSLv3").is_err_and(|error| error.starts_with("Invalid tls-protocols specified. ")));
    }
}
