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
    /// Whether a snapshot may come through a channel of its own.
    pub takes_channel: bool,
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
    /// A snapshot through a channel, which tells of which client it is.
    Channel(String),
    /// A snapshot through a channel, which says where the stream goes on, to be asked for there.
    ChannelOfValkey,
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
    authenticate(wire, about)?;
    let port = about.port.to_string();
    let mut asides: Vec<Vec<&[u8]>> = vec![vec![b"listening-port", port.as_bytes()]];
    asides.extend(about.address.as_ref().map(|address| vec![&b"ip-address"[..], address]));
    // Others pass over what they do not know; who is not authenticated may say ten words at a time.
    let mut abilities: Vec<&[u8]> = vec![b"capa", b"eof", b"capa", b"psync2"];
    let mut others: Vec<&[u8]> = vec![b"capa", b"torc"];
    if about.takes_channel {
        abilities.extend([&b"capa"[..], b"rdb-channel-repl"]);
        others.extend([&b"capa"[..], b"dual-channel"]);
    }
    asides.extend([abilities, others]);
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

fn authenticate<S: Read + Write>(wire: &mut Wire<S>, about: &Introduction) -> Result<(), String> {
    let Some((user, password)) = &about.credentials else { return Ok(()) };
    let mut words: Vec<&[u8]> = vec![b"AUTH"];
    words.extend(user.as_deref());
    words.push(password);
    let answer = wire.ask(&words).map_err(|error| error.to_string())?;
    match answer.starts_with('-') {
        true => Err(format!("the primary refuses `masterauth`: '{answer}'")),
        false => Ok(()),
    }
}

/// Where a snapshot is made that comes through a channel, and the number of the channel's client, if that is told.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// The history.
    pub id: ReplicationId,
    /// How many bytes of it come before.
    pub offset: u64,
    /// The number.
    pub client: Option<String>,
}

/// Opens the channel for a snapshot: of the client of this number, or one that says where the stream goes on.
///
/// # Errors
/// The socket, or what the primary said.
pub fn introduce_channel<S: Read + Write>(
    wire: &mut Wire<S>,
    about: &Introduction,
    of: Option<&str>,
) -> Result<Place, String> {
    let io = |error: std::io::Error| error.to_string();
    authenticate(wire, about)?;
    let port = about.port.to_string();
    let mut words = vec!["REPLCONF", "capa", "eof", "capa", "torc", "rdb-only", "1", "rdb-channel", "1"];
    match of {
        Some(client) => words.extend(["main-ch-client-id", client]),
        None => words.extend(["version", about.version]),
    }
    words.extend(["listening-port", &port]);
    let answer = wire.ask(&words).map_err(io)?;
    if !answer.starts_with('+') {
        return Err(format!("the primary refuses a channel for its snapshot: '{answer}'"));
    }
    let answer = match of {
        Some(_) => wire.ask(&["PSYNC", "?", "-1"]),
        None => wire.ask(&["SYNC"]),
    };
    let answer = answer.map_err(io)?;
    let place = if of.is_some() { place_of_redis(&answer) } else { place_of_valkey(&answer) };
    place.ok_or_else(|| format!("the primary begins the channel for its snapshot with '{answer}'"))
}

fn place_of_redis(answer: &str) -> Option<Place> {
    match offer(answer, false)? {
        Offer::Snapshot(id, offset) => Some(Place { id, offset, client: None }),
        _ => None,
    }
}

/// `$ENDOFF:<offset> <history> <database> <client>`.
fn place_of_valkey(answer: &str) -> Option<Place> {
    let mut words = answer.strip_prefix("$ENDOFF:")?.split(' ');
    let offset = words.next()?.parse::<u64>().ok().filter(|offset| *offset <= i64::MAX as u64)?;
    let id = ReplicationId::parse(words.next()?.as_bytes())?;
    let (_db, client) = (words.next()?, words.next()?);
    client.parse::<u64>().ok()?;
    Some(Place { id, offset, client: Some(client.to_owned()) })
}

/// Asks for the stream where the channel has said that it goes on.
///
/// # Errors
/// The socket, or what the primary said.
pub fn continue_behind<S: Read + Write>(wire: &mut Wire<S>, place: &Place) -> Result<(), String> {
    let io = |error: std::io::Error| error.to_string();
    if let Some(client) = &place.client {
        let answer = wire.ask(&["REPLCONF", "set-rdb-client-id", client]).map_err(io)?;
        if !answer.starts_with('+') {
            return Err(format!("the primary does not know its channel any more: '{answer}'"));
        }
    }
    let answer = wire.ask(&["PSYNC", place.id.as_str(), &(place.offset + 1).to_string()]).map_err(io)?;
    match offer(&answer, true) {
        Some(Offer::Stream(id)) if id.is_none_or(|id| id == place.id) => Ok(()),
        _ => Err(format!("the primary answers PSYNC behind its snapshot with '{answer}'")),
    }
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
        "+RDBCHANNELSYNC" => {
            let client = words.next()?;
            client.parse::<u64>().ok()?;
            Some(Offer::Channel(client.to_owned()))
        }
        "+DUALCHANNELSYNC" => Some(Offer::ChannelOfValkey),
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
            takes_channel: false,
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
        let full = format!("+PONG\r\n+OK\r\n-ERR what\r\n+OK\r\n+OK\r\n\n\n+FULLRESYNC {ID} 12\r\n");
        let (outcome, said) = introduced(&full, &about());
        assert_eq!(outcome, Ok(Offer::Snapshot(id, 12)));
        assert_eq!(
            said.trim_end(),
            "PING REPLCONF listening-port 7 REPLCONF capa eof capa psync2 REPLCONF capa torc REPLCONF version 8.2.3 PSYNC ? -1"
        );
        let about = Introduction {
            credentials: Some((Some(b"me".to_vec()), b"word".to_vec())),
            address: Some(b"1.2.3.4".to_vec()),
            position: Some((id, 11)),
            ..about()
        };
        let (outcome, said) =
            introduced("-NOAUTH no\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+CONTINUE\r\n", &about);
        assert_eq!(outcome, Ok(Offer::Stream(None)));
        assert!(said.starts_with("PING AUTH me word REPLCONF listening-port 7 REPLCONF ip-address 1.2.3.4 "));
        assert!(said.trim_end().ends_with(&format!("PSYNC {ID} 12")), "{said}");
    }

    #[test]
    fn channel_is_opened_as_redis_and_valkey_want_it() {
        let id = ReplicationId::parse(ID.as_bytes()).expect("a name");
        let opened = |answers: &str, of| {
            let script = Script { answers: io::Cursor::new(answers.as_bytes().to_vec()), said: Vec::new() };
            introduce_channel(&mut Wire::new(script, Duration::from_secs(60)), &about(), of)
        };
        let redis = format!("+OK\r\n\n+FULLRESYNC {ID} 12\r\n");
        assert_eq!(opened(&redis, Some("6")), Ok(Place { id, offset: 12, client: None }));
        let valkey = format!("+OK\r\n$ENDOFF:12 {ID} -1 9\r\n");
        assert_eq!(opened(&valkey, None), Ok(Place { id, offset: 12, client: Some("9".to_owned()) }));
        for wrong in [
            "-ERR no\r\n",
            "+OK\r\n$ENDOFF:\r\n",
            "+OK\r\n$ENDOFF:-1 x\r\n",
            "+OK\r\n+CONTINUE\r\n",
            "+OK\r\n$5\r\n",
        ] {
            assert!(opened(wrong, None).is_err() && opened(wrong, Some("6")).is_err(), "{wrong}");
        }
        assert_eq!(offer("+RDBCHANNELSYNC 6", false), Some(Offer::Channel("6".to_owned())));
        assert_eq!(offer("+RDBCHANNELSYNC x", false), None);
        assert_eq!(offer("+DUALCHANNELSYNC", true), Some(Offer::ChannelOfValkey));
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
