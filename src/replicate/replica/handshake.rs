//! How a replica introduces itself to its primary, and asks where the stream goes on.
//!
//! Design: one question at a time, in the order of Redis's replicas. What an old primary does not know is passed over where the
//! stream can do without (REPLCONF).
//!
//! Not here: the snapshot that may follow (`payload`), connecting (`follow`).

use std::io::{Read, Write};

use super::wire::Wire;
use crate::replicate::ReplicationId;

/// What the primary is told.
pub struct Introduction {
    /// User, if it is not the default one, and password.
    pub credentials: Option<(Option<Vec<u8>>, Vec<u8>)>,
    /// The port to be told to others.
    pub port: u16,
    /// The address to be told to others, if it is not the socket's.
    pub address: Option<Vec<u8>>,
    /// Of which Redis this server is like.
    pub version: &'static str,
    /// A history and how far it is known, to continue it.
    pub position: Option<(ReplicationId, u64)>,
    /// Whether it is asked to take the role of the primary, which this server has had.
    pub hands_over: bool,
}

/// What the primary offers.
#[derive(Debug, PartialEq, Eq)]
pub enum Offer {
    /// A snapshot, made there in this history.
    Snapshot(ReplicationId, u64),
    /// The stream from there on which was asked for; the name of its history, if it has another by now.
    Stream(Option<ReplicationId>),
    /// It does not take the role, for this reason.
    Refusal(String),
}

/// Introduces this server, and asks for the stream.
///
/// # Errors
/// The socket, or what the primary said.
pub fn introduce<S: Read + Write>(wire: &mut Wire<S>, about: &Introduction) -> Result<Offer, String> {
    let io = |error: std::io::Error| error.to_string();
    let pong = wire.ask(&["PING"]).map_err(io)?;
    // That a password is needed is as good an answer.
    let is_known = ["-NOAUTH", "-NOPERM", "-ERR operation not permitted"];
    if !pong.starts_with('+') && !is_known.iter().any(|known| pong.starts_with(known)) {
        return Err(format!("the primary answers PING with '{pong}'"));
    }
    if let Some((user, password)) = &about.credentials {
        let mut words: Vec<&[u8]> = vec![b"AUTH"];
        words.extend(user.as_deref());
        words.push(password);
        let answer = wire.ask(&words).map_err(io)?;
        if answer.starts_with('-') {
            return Err(format!("the primary refuses `masterauth`: '{answer}'"));
        }
    }
    let port = about.port.to_string();
    let mut asides: Vec<Vec<&[u8]>> = vec![vec![b"listening-port", port.as_bytes()]];
    asides.extend(about.address.as_ref().map(|address| vec![&b"ip-address"[..], address]));
    // Others pass over what they do not know.
    asides.push(vec![b"capa", b"eof", b"capa", b"psync2", b"capa", b"torc"]);
    asides.push(vec![b"version", about.version.as_bytes()]);
    for aside in asides {
        let words = [&[&b"REPLCONF"[..]], &aside[..]].concat();
        let answer = wire.ask(&words).map_err(io)?;
        if answer.starts_with('-') {
            log::debug!("The primary does not understand REPLCONF {}: {answer}", aside[0].escape_ascii());
        }
    }
    ask_for_stream(wire, about)
}

fn ask_for_stream<S: Read + Write>(wire: &mut Wire<S>, about: &Introduction) -> Result<Offer, String> {
    let (id, from) = match &about.position {
        Some((id, offset)) => (id.as_str(), (offset + 1).to_string()),
        None => ("?", "-1".to_owned()),
    };
    let words = ["PSYNC", id, &from, "FAILOVER"];
    let count = if about.hands_over { 4 } else { 3 };
    let answer = wire.ask(&words[..count]).map_err(|error| error.to_string())?;
    match offer(&answer, about.position.is_some()) {
        Some(offer) => Ok(offer),
        None if about.hands_over => Ok(Offer::Refusal(answer)),
        None => Err(format!("the primary answers PSYNC with '{answer}'")),
    }
}

/// What this line offers; nothing unless the stream was asked for from a position where it offers that.
fn offer(answer: &str, has_position: bool) -> Option<Offer> {
    let mut words = answer.split(' ');
    match words.next()? {
        "+FULLRESYNC" => {
            let id = ReplicationId::parse(words.next()?.as_bytes())?;
            // It stays below what offsets can be added to.
            let offset = words.next()?.parse::<u64>().ok().filter(|offset| *offset <= i64::MAX as u64)?;
            Some(Offer::Snapshot(id, offset))
        }
        "+CONTINUE" if has_position => match words.next() {
            None | Some("") => Some(Offer::Stream(None)),
            Some(id) => Some(Offer::Stream(Some(ReplicationId::parse(id.as_bytes())?))),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::Duration;

    use super::*;

    /// A primary that has answered beforehand.
    struct Script {
        answers: io::Cursor<Vec<u8>>,
        said: Vec<u8>,
    }

    impl Read for Script {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            // One byte at a time: lines are cut everywhere.
            self.answers.read(&mut into[..1])
        }
    }

    impl Write for Script {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.said.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const ID: &str = "0123456789abcdef0123456789abcdef01234567";

    fn about() -> Introduction {
        Introduction {
            credentials: None,
            port: 7,
            address: None,
            version: "8.2.3",
            position: None,
            hands_over: false,
        }
    }

    fn introduced(answers: &str, about: &Introduction) -> (Result<Offer, String>, String) {
        let script = Script { answers: io::Cursor::new(answers.as_bytes().to_vec()), said: Vec::new() };
        let mut wire = Wire::new(script, Duration::from_secs(60));
        let outcome = introduce(&mut wire, about);
        let (script, _) = wire.into_parts();
        let said = String::from_utf8_lossy(&script.said).into_owned();
        (
            outcome,
            said.split("\r\n").filter(|word| !word.starts_with(['*', '$'])).collect::<Vec<_>>().join(" "),
        )
    }

    #[test]
    fn replica_says_what_redis_replicas_say() {
        let id = ReplicationId::parse(ID.as_bytes()).expect("a name");
        let full = format!("+PONG\r\n+OK\r\n-ERR what\r\n+OK\r\n\n\n+FULLRESYNC {ID} 12\r\n");
        let (outcome, said) = introduced(&full, &about());
        assert_eq!(outcome, Ok(Offer::Snapshot(id, 12)));
        assert_eq!(
            said.trim_end(),
            "PING REPLCONF listening-port 7 REPLCONF capa eof capa psync2 capa torc REPLCONF version 8.2.3 PSYNC ? -1"
        );
        let about = Introduction {
            credentials: Some((Some(b"me".to_vec()), b"word".to_vec())),
            address: Some(b"1.2.3.4".to_vec()),
            position: Some((id, 11)),
            ..about()
        };
        let (outcome, said) =
            introduced("-NOAUTH no\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+CONTINUE\r\n", &about);
        assert_eq!(outcome, Ok(Offer::Stream(None)));
        assert!(said.starts_with("PING AUTH me word REPLCONF listening-port 7 REPLCONF ip-address 1.2.3.4 "));
        assert!(said.trim_end().ends_with(&format!("PSYNC {ID} 12")), "{said}");
    }

    #[test]
    fn what_is_no_offer_is_an_error() {
        assert_eq!(
            offer(&format!("+CONTINUE {ID}"), true),
            Some(Offer::Stream(ReplicationId::parse(ID.as_bytes())))
        );
        let wrong = [
            "",
            "+",
            "+OK",
            "-LOADING",
            "-NOMASTERLINK Can't SYNC",
            "+FULLRESYNC",
            "+FULLRESYNC ? 1",
            "+FULLRESYNC 0123456789abcdef0123456789abcdef01234567 -1",
            "+CONTINUE x",
            "$5",
            "+FULLRESYNC 0123456789abcdef0123456789abcdef01234567 99999999999999999999",
        ];
        for answer in wrong {
            assert_eq!(offer(answer, true), None, "{answer}");
        }
        // Nothing was asked for that could be continued.
        assert_eq!(offer("+CONTINUE", false), None);
        assert!(introduced("-ERR who are you\r\n", &about()).0.is_err());
        let endless = "x".repeat(200_000);
        assert!(introduced(&endless, &about()).0.is_err_and(|error| error.contains("without end")));
    }
}
