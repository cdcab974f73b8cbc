//! The TLS side of one connection: records in, plain bytes out, and the other way round; for the one who was connected to, and
//! for the one who has connected.
//!
//! Design: `rustls` with its unbuffered interface, which decrypts records where they lie and encrypts into memory of ours. What
//! has been received and is not a whole record stays in `carry`; it is always handed to `rustls` whole, since `rustls`
//! remembers places in it (a handshake message may be spread over records).
//!
//! ```text
//!   received -> carry -> rustls -> plain bytes (a large bulk first, if one is awaited)
//!   replies  ----------> rustls -> records          control: handshake, tickets, key updates, alerts
//! ```
//!
//! Invariants:
//! - once the handshake is done, `carry` holds less than a record between calls;
//! - `control` goes out before any reply that is encrypted later;
//! - after a failure nothing is decrypted or encrypted any more but the alert, which is in `control`.
//!
//! Costs: a copy of what is received and two of what is sent, an allocation for each record; an idle session holds no buffer.
//!
//! Not here: sockets and the order of sends (`tls`), certificates and settings (`security::tls`).

use std::fmt;
use std::sync::Arc;

use bytes::BytesMut;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus, WriteTraffic};
use rustls::{ClientConfig, CommonState, Error, ServerConfig};

use super::super::sending::Sending;
use super::super::{EndCause, Outgoing};

/// Most plain bytes of one record.
pub(super) const RECORD_BYTES_MAX: usize = 1 << 14;
/// What a record is longer than its plain bytes, at most: header, nonce or content type, tag.
const RECORD_OVERHEAD: usize = 5 + 8 + 1 + 16;
const HEADER_BYTES: usize = 5;
/// A received record is no longer than this; what is longer `rustls` refuses by its header.
const RECORD_ENCRYPTED_BYTES_MAX: usize = RECORD_BYTES_MAX + 2048;
/// Content types of TLS records (RFC 8446, 5.1): from change_cipher_spec to application_data.
const CONTENT_TYPES: std::ops::RangeInclusive<u8> = 20..=23;
/// Room for handshake records to begin with; `rustls` says when it needs more.
const CONTROL_BYTES: usize = 4096;

/// The end of a session that failed.
pub(super) const BROKEN: EndCause = EndCause::Error(libc::EPROTO);

/// How far a session is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// The handshake is not over.
    Handshake,
    /// Plain bytes go both ways.
    Established,
    /// It failed; only its alert is yet to be sent.
    Failed,
}

/// A large bulk that is awaited.
pub(super) struct Bulk {
    pub(super) bytes: BytesMut,
    pub(super) len: usize,
}

/// Where plain bytes go.
#[derive(Default)]
pub(super) struct Plain {
    /// First here, until it is full.
    pub(super) bulk: Option<Bulk>,
    pub(super) bytes: Vec<u8>,
}

/// Which of the two ends this is. Beyond the handshake they do the same.
enum End {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// One connection's TLS.
pub struct Session {
    tls: End,
    stage: Stage,
    carry: Vec<u8>,
    control: Vec<u8>,
    peer_closed: bool,
    has_said_goodbye: bool,
}

impl Bulk {
    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= self.len
    }
}

impl Plain {
    fn push(&mut self, mut payload: &[u8]) {
        if let Some(bulk) = &mut self.bulk {
            let taken = payload.len().min(bulk.len - bulk.bytes.len());
            bulk.bytes.extend_from_slice(&payload[..taken]);
            payload = &payload[taken..];
        }
        self.bytes.extend_from_slice(payload);
    }
}

impl Session {
    /// A session for a connection that has just been accepted.
    pub(super) fn new(config: Arc<ServerConfig>) -> Result<Session, Error> {
        Ok(Session::of(End::Server(UnbufferedServerConnection::new(config)?)))
    }

    /// A session for a connection that was just made, to the server of this name.
    pub(super) fn connecting(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Session, Error> {
        Ok(Session::of(End::Client(UnbufferedClientConnection::new(config, name)?)))
    }

    fn of(tls: End) -> Session {
        Session {
            tls,
            stage: Stage::Handshake,
            carry: Vec::new(),
            control: Vec::new(),
            peer_closed: false,
            has_said_goodbye: false,
        }
    }

    fn common(&self) -> &CommonState {
        match &self.tls {
            End::Server(tls) => tls,
            End::Client(tls) => tls,
        }
    }

    pub(super) fn stage(&self) -> Stage {
        self.stage
    }

    /// Why no more plain bytes will come, if none will: the client has said so, or something went wrong.
    pub(super) fn end(&self) -> Option<EndCause> {
        match self.stage {
            Stage::Failed => Some(BROKEN),
            _ => self.peer_closed.then_some(EndCause::Eof),
        }
    }

    /// The peer's certificate, if it has shown one.
    pub(super) fn certificate(&self) -> Option<Vec<u8>> {
        Some(self.common().peer_certificates()?.first()?.to_vec())
    }

    /// Bytes that have been received and not decrypted.
    pub(super) fn carried_bytes(&self) -> usize {
        self.carry.len()
    }

    /// Keeps what was received, using `spare` if it has no memory yet.
    pub(super) fn keep(&mut self, received: &[u8], spare: &mut Vec<u8>) {
        if self.carry.capacity() == 0 {
            self.carry = std::mem::take(spare);
        }
        self.carry.extend_from_slice(received);
    }

    /// Whether there is a whole record, or what can never become one: whether [`Session::process`] would do anything costly.
    pub(super) fn has_record(&self) -> bool {
        let Some(header) = self.carry.first_chunk::<HEADER_BYTES>() else {
            return self.carry.first().is_some_and(|kind| !CONTENT_TYPES.contains(kind));
        };
        let len = usize::from(u16::from_be_bytes([header[3], header[4]]));
        let is_record = CONTENT_TYPES.contains(&header[0]) && len <= RECORD_ENCRYPTED_BYTES_MAX;
        !is_record || self.carry.len() >= HEADER_BYTES + len
    }

    /// Takes all records that are whole. Memory that is free by then goes to `spare`.
    ///
    /// # Errors
    /// What the peer did wrong. The alert that tells it is then in `control`, and the session is of no more use.
    pub(super) fn process(&mut self, plain: &mut Plain, spare: &mut Vec<u8>) -> Result<(), Error> {
        if self.stage == Stage::Failed {
            self.forget(self.carry.len(), spare);
            return Ok(());
        }
        let mut at = 0;
        let outcome = loop {
            match self.step(at, plain) {
                Ok(NextState::On(discard)) => at += discard,
                Ok(NextState::Wait(discard)) => {
                    at += discard;
                    break Ok(());
                }
                Err(error) => break Err(error),
            }
        };
        if outcome.is_err() {
            self.fail(at);
            at = self.carry.len();
        }
        self.forget(at, spare);
        outcome
    }

    /// One state of the connection; the rest of `carry` begins at `at`.
    fn step(&mut self, at: usize, plain: &mut Plain) -> Result<NextState, Error> {
        let (rest, control) = (&mut self.carry[at..], &mut self.control);
        let (discard, met) = match &mut self.tls {
            End::Server(tls) => meet(tls.process_tls_records(rest), plain, control)?,
            End::Client(tls) => meet(tls.process_tls_records(rest), plain, control)?,
        };
        match met {
            Met::Something => return Ok(NextState::On(discard)),
            Met::PeerClosed => {
                self.peer_closed = true;
                return Ok(NextState::On(discard));
            }
            Met::Established => self.stage = Stage::Established,
            Met::Nothing => {}
        }
        Ok(NextState::Wait(discard))
    }

    /// Nothing more comes of it but the alert that says why.
    fn fail(&mut self, at: usize) {
        self.stage = Stage::Failed;
        // As long as it has something to say, it looks at no record again.
        while self.common().wants_write() {
            let (rest, control) = (&mut self.carry[at..], &mut self.control);
            let is_encoded = match &mut self.tls {
                End::Server(tls) => encode_control(tls.process_tls_records(rest), control),
                End::Client(tls) => encode_control(tls.process_tls_records(rest), control),
            };
            if !is_encoded {
                return;
            }
        }
    }

    /// The first `count` bytes of `carry` are done with.
    fn forget(&mut self, count: usize, spare: &mut Vec<u8>) {
        let rest = self.carry.len() - count;
        if rest == 0 {
            self.carry.clear();
            *spare = std::mem::take(&mut self.carry);
        } else if rest < self.carry.capacity() / 4 {
            let kept = self.carry[count..].to_vec();
            *spare = std::mem::replace(&mut self.carry, kept);
            spare.clear();
        } else {
            self.carry.drain(..count);
        }
    }

    /// Moves the records of the protocol's own to `records`.
    pub(super) fn take_control(&mut self, records: &mut Vec<u8>) {
        records.append(&mut self.control);
        self.control = Vec::new();
    }

    /// Encrypts up to `bytes_max` of what is to be sent, in as few records as possible; `sending` moves on.
    pub(super) fn encrypt(
        &mut self,
        sending: &mut Sending,
        bytes_max: usize,
        records: &mut Vec<u8>,
    ) -> Result<(), EndCause> {
        let end = sending.total.min(sending.sent + bytes_max);
        let mut gathered = Vec::new();
        while sending.sent < end {
            let piece = match &sending.outgoing {
                Outgoing::Flat(bytes) => &bytes[sending.sent..end],
                Outgoing::Gather(pieces) => {
                    let rest = &pieces[sending.piece_index][sending.piece_sent..];
                    &rest[..rest.len().min(end - sending.sent)]
                }
            };
            let count = if gathered.is_empty()
                && (piece.len() >= RECORD_BYTES_MAX || sending.sent + piece.len() == end)
            {
                // From where it lies; but for the last, only whole records.
                let is_last = sending.sent + piece.len() == end;
                let count =
                    if is_last { piece.len() } else { piece.len() / RECORD_BYTES_MAX * RECORD_BYTES_MAX };
                self.encrypt_all(&piece[..count], records)?;
                count
            } else {
                let count = piece.len().min(RECORD_BYTES_MAX - gathered.len());
                gathered.extend_from_slice(&piece[..count]);
                if gathered.len() == RECORD_BYTES_MAX || sending.sent + count == end {
                    self.encrypt_all(&gathered, records)?;
                    gathered.clear();
                }
                count
            };
            sending.advance(count);
        }
        Ok(())
    }

    /// Encrypts all of it, behind what `rustls` has to send of its own.
    pub(super) fn encrypt_all(&mut self, plain: &[u8], records: &mut Vec<u8>) -> Result<(), EndCause> {
        self.write(&Words::Plain(plain), records)
    }

    /// Says that no more will be sent; once.
    pub(super) fn say_goodbye(&mut self, records: &mut Vec<u8>) {
        if self.stage == Stage::Established && !self.has_said_goodbye {
            self.has_said_goodbye = true;
            // Whoever cannot be told learns it by the end of the stream.
            self.write(&Words::Goodbye, records).unwrap_or_default();
        }
    }

    fn write(&mut self, words: &Words<'_>, records: &mut Vec<u8>) -> Result<(), EndCause> {
        if self.stage == Stage::Failed {
            return Err(BROKEN);
        }
        loop {
            let carry = &mut self.carry;
            let met = match &mut self.tls {
                End::Server(tls) => put(tls.process_tls_records(carry), words, records)?,
                End::Client(tls) => put(tls.process_tls_records(carry), words, records)?,
            };
            match met {
                Met::Established => return Ok(()),
                Met::PeerClosed => self.peer_closed = true,
                Met::Something | Met::Nothing => {}
            }
        }
    }
}

/// What is said to the peer once the handshake is over.
enum Words<'p> {
    Plain(&'p [u8]),
    Goodbye,
}

impl Words<'_> {
    /// No record of them is longer in all.
    fn record_bytes_max(&self) -> usize {
        match self {
            Words::Plain(plain) => plain.len() + plain.len().div_ceil(RECORD_BYTES_MAX) * RECORD_OVERHEAD,
            Words::Goodbye => 2 + RECORD_OVERHEAD,
        }
    }

    fn write_to<Data>(
        &self,
        writer: &mut WriteTraffic<'_, Data>,
        room: &mut [u8],
    ) -> Result<usize, EncryptError> {
        match self {
            Words::Plain(plain) => writer.encrypt(plain, room),
            Words::Goodbye => writer.queue_close_notify(room),
        }
    }
}

/// What a state of the connection was.
enum Met {
    /// There may be more.
    Something,
    /// The peer sends no more.
    PeerClosed,
    /// The handshake is over, and there is no more now.
    Established,
    /// There is no more now.
    Nothing,
}

/// Takes what a state of the connection brings, and how many bytes are done with.
fn meet<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    plain: &mut Plain,
    control: &mut Vec<u8>,
) -> Result<(usize, Met), Error> {
    let UnbufferedStatus { mut discard, state, .. } = status;
    let met = match state? {
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                let record = record?;
                discard += record.discard;
                plain.push(record.payload);
            }
            Met::Something
        }
        ConnectionState::EncodeTlsData(mut data) => {
            append(control, |room| data.encode(room))?;
            Met::Something
        }
        ConnectionState::TransmitTlsData(data) => {
            // It is as good as sent: nothing overtakes it.
            data.done();
            Met::Something
        }
        ConnectionState::PeerClosed => Met::PeerClosed,
        ConnectionState::WriteTraffic(_) => Met::Established,
        ConnectionState::BlockedHandshake | ConnectionState::Closed => Met::Nothing,
        // It is not enabled, nor is anything that a later version may add.
        _ => return Err(Error::General("early data".into())),
    };
    Ok((discard, met))
}

/// Encodes a record of the protocol's own, if that is what the connection has.
fn encode_control<Data>(status: UnbufferedStatus<'_, '_, Data>, control: &mut Vec<u8>) -> bool {
    let Ok(ConnectionState::EncodeTlsData(mut data)) = status.state else { return false };
    append(control, |room| data.encode(room)).is_ok()
}

/// Writes `words` where the connection takes them, else what it has to send of its own.
fn put<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    words: &Words<'_>,
    records: &mut Vec<u8>,
) -> Result<Met, EndCause> {
    match status.state {
        Ok(ConnectionState::WriteTraffic(mut writer)) => {
            let (at, mut room) = (records.len(), words.record_bytes_max());
            loop {
                records.resize(at + room, 0);
                match words.write_to(&mut writer, &mut records[at..]) {
                    Ok(written) => {
                        records.truncate(at + written);
                        return Ok(Met::Established);
                    }
                    Err(EncryptError::InsufficientSize(size)) if size.required_size > room => {
                        room = size.required_size;
                    }
                    Err(_) => {
                        records.truncate(at);
                        return Err(BROKEN);
                    }
                }
            }
        }
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            append(records, |room| data.encode(room)).map_err(|_| BROKEN)?;
            Ok(Met::Something)
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Ok(Met::Something)
        }
        Ok(ConnectionState::PeerClosed) => Ok(Met::PeerClosed),
        // All whole records were processed, so there is nothing to read.
        _ => Err(BROKEN),
    }
}

/// What is next.
enum NextState {
    /// Another state; so many bytes are done with.
    On(usize),
    /// More input.
    Wait(usize),
}

/// Appends what `encode` writes to `records`, with as much room as it asks for.
fn append(
    records: &mut Vec<u8>,
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
) -> Result<(), Error> {
    let (at, mut room) = (records.len(), CONTROL_BYTES);
    loop {
        records.resize(at + room, 0);
        match encode(&mut records[at..]) {
            Ok(written) => {
                records.truncate(at + written);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(size)) if size.required_size > room => {
                room = size.required_size;
            }
            Err(error) => {
                records.truncate(at);
                return Err(Error::General(error.to_string()));
            }
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("stage", &self.stage).finish_non_exhaustive()
    }
}

const _: () = {
    const fn movable<T: Send>() {}
    movable::<Session>();
};
