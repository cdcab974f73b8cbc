//! TLS between any backend and its worker: connections of some listeners are encrypted, and the worker need not know which.
//!
//! Design: [`Tls`] is an [`Io`] around another one. A connection that arrives at a listener for TLS gets a [`Session`], which its
//! socket carries along, to another worker too. What the backend receives for it is decrypted before the worker sees it, what the
//! worker sends is encrypted before the backend does. Everything else passes through.
//!
//! ```text
//!   backend: Received -> carry -> decrypt -> Decrypted, BulkReceived          worker
//!            Sent <- send <- records <- encrypt <- send
//! ```
//!
//! A handshake costs as much as hundreds of commands. So what belongs to one only waits in a queue, of which each turn takes a
//! few; a flood of clients then makes each other wait, and nobody else. How long one may take is for the worker to say.
//!
//! Invariants:
//! - at most one send of a connection is in the backend; what is encrypted goes there at once, so records leave in their order;
//! - a connection whose socket is wanted back sends nothing;
//! - events of a token are in the order of its stream, as in every backend.
//!
//! Costs: without a listener for TLS one branch per call; with one, an index by slot for each event and call. Of a long reply no
//! more than [`SLICE_BYTES`] are encrypted at a time, so it takes that much memory and turn, whatever its length.
//!
//! A connection that a thread has made by itself comes with its session too, and is served like all others.
//!
//! Not here: records (`session`), threads that wait for their peer (`blocking`), what certificates are shown and asked for
//! (`security::tls`).

mod blocking;
mod session;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bytes::BytesMut;
use rustls::ServerConfig;

use super::sending::Sending;
use super::{EndCause, Event, Input, Io, Listener, Outgoing, Socket, Token, Wait, Waker};
pub use blocking::BlockingStream;
pub use session::Session;
use session::{BROKEN, Bulk, Plain, Stage};

/// Plain bytes encrypted for one send: a long reply is sent in such slices, so that its connection takes no more of a turn.
const SLICE_BYTES: usize = 256 << 10;
/// What is received while a handshake waits for its turn; with more the connection is not read from.
const HELD_BYTES_MAX: usize = 64 << 10;
/// Emptied buffers kept for the next records, and the largest of them.
const SPARES_MAX: usize = 64;
const SPARE_BYTES_MAX: usize = 64 << 10;

/// What is served to those who connect from now on.
pub type Served = Arc<ArcSwapOption<ServerConfig>>;

/// A backend whose listeners for TLS take encrypted connections.
pub struct Tls<I> {
    inner: I,
    served: Served,
    /// By number: whether it is for TLS.
    listeners: Vec<bool>,
    /// By slot.
    attached: Vec<Option<Box<Attached>>>,
    /// How many of them there are.
    count: usize,
    /// Those that have more of their handshake to be processed.
    handshakes: VecDeque<Token>,
    handshakes_per_turn: u32,
    /// Happened without an event of the backend.
    ready: Vec<Event>,
    translated: Vec<Event>,
    /// Memory for what is received.
    spare: Vec<u8>,
    /// Memory for records.
    spares: Vec<Vec<u8>>,
}

/// A connection that is attached.
struct Attached {
    token: Token,
    session: Box<Session>,
    /// What the worker is sending.
    sending: Option<Sending>,
    /// The worker waits for the end of that only to use its buffer again.
    unawaited: bool,
    /// The backend sends records.
    in_flight: bool,
    /// The worker wants input.
    wanted: bool,
    /// Its input was stopped here.
    held_back: bool,
    /// In the list of handshakes.
    queued: bool,
    releasing: bool,
    closing: bool,
    /// The end of its input, and whether the worker knows.
    ended: Option<EndCause>,
    end_told: bool,
    bulk: Option<Bulk>,
}

impl<I: Io> Tls<I> {
    /// Puts TLS over `inner`: with what `served` has when a client connects.
    pub fn new(inner: I, served: Served) -> Tls<I> {
        Tls {
            inner,
            served,
            listeners: Vec::new(),
            attached: Vec::new(),
            count: 0,
            handshakes: VecDeque::new(),
            handshakes_per_turn: 1,
            ready: Vec::new(),
            translated: Vec::new(),
            spare: Vec::new(),
            spares: Vec::new(),
        }
    }

    #[inline]
    fn find(&mut self, token: Token) -> Option<&mut Attached> {
        if self.count == 0 {
            return None;
        }
        let attached = self.attached.get_mut(token.slot as usize)?.as_deref_mut()?;
        (attached.token == token).then_some(attached)
    }

    fn take(&mut self, token: Token) -> Option<Box<Attached>> {
        self.find(token)?;
        self.count -= 1;
        self.attached[token.slot as usize].take()
    }

    /// Makes events of the backend, from `from` on, events of what they say.
    fn translate(&mut self, events: &mut Vec<Event>, from: usize) {
        let mut translated = std::mem::take(&mut self.translated);
        translated.extend(events.drain(from..));
        for event in translated.drain(..) {
            match event {
                Event::Accepted { listener, socket } => self.accepted(listener, socket, events),
                Event::Received { token, input } if self.find(token).is_some() => {
                    self.received(token, input, events);
                }
                Event::InputEnded { token, cause } if self.find(token).is_some() => {
                    self.ended(token, cause, events);
                }
                Event::Sent { token, outgoing, result } if self.find(token).is_some() => {
                    self.sent(token, outgoing, result, events);
                }
                Event::Detached { token } => {
                    drop(self.take(token));
                    events.push(event);
                }
                Event::Released { token, socket } => {
                    let session = self.take(token).map(|attached| attached.session);
                    events.push(Event::Released { token, socket: socket.with_session(session) });
                }
                _ => events.push(event),
            }
        }
        self.translated = translated;
    }

    /// A connection that arrives at a listener for TLS gets a session. Where there is nothing to be served, it is closed.
    fn accepted(&mut self, listener: u16, socket: Socket, events: &mut Vec<Event>) {
        let is_tls = self.listeners.get(usize::from(listener)).copied().unwrap_or_default();
        if !is_tls {
            return events.push(Event::Accepted { listener, socket });
        }
        let session = self.served.load_full().and_then(|config| Session::new(config).ok());
        if session.is_some() {
            let socket = socket.with_session(session.map(Box::new));
            events.push(Event::Accepted { listener, socket });
        }
    }

    fn received(&mut self, token: Token, input: Input, events: &mut Vec<Event>) {
        let mut spare = std::mem::take(&mut self.spare);
        let bytes = self.inner.input(&input);
        let attached = self.attached[token.slot as usize].as_deref_mut().expect("callers have found it");
        let is_open = !attached.closing && attached.ended.is_none();
        if is_open {
            attached.session.keep(bytes, &mut spare);
        }
        self.spare = spare;
        self.inner.give_back(input);
        if !is_open {
            return;
        }
        match self.find(token).map(|attached| attached.session.stage()) {
            Some(Stage::Handshake) => self.queue(token),
            _ => self.process(token, events),
        }
    }

    /// Something came that belongs to a handshake: it waits for its turn.
    fn queue(&mut self, token: Token) {
        let attached = self.attached[token.slot as usize].as_deref_mut().expect("callers have found it");
        if attached.session.carried_bytes() > HELD_BYTES_MAX && !attached.held_back {
            attached.held_back = true;
            self.inner.pause(token);
        }
        if !attached.queued && attached.session.has_record() {
            attached.queued = true;
            self.handshakes.push_back(token);
        }
    }

    /// Takes this turn's share of the handshakes.
    fn process_handshakes(&mut self, events: &mut Vec<Event>) {
        let mut left = self.handshakes_per_turn;
        while left > 0
            && let Some(token) = self.handshakes.pop_front()
        {
            let Some(attached) = self.find(token) else { continue };
            attached.queued = false;
            if attached.closing {
                continue;
            }
            left -= 1;
            self.process(token, events);
            let Some(attached) = self.find(token) else { continue };
            if std::mem::take(&mut attached.held_back) && attached.wanted && !attached.closing {
                self.inner.receive(token);
            }
            let Some(attached) = self.find(token) else { continue };
            if let Some(cause) = attached.ended.filter(|_| !attached.end_told) {
                self.tell_end(token, cause, events);
            }
        }
    }

    /// Decrypts what has been received, and tells the worker what it says.
    fn process(&mut self, token: Token, events: &mut Vec<Event>) {
        let attached = self.attached[token.slot as usize].as_deref_mut().expect("callers have found it");
        let before = attached.session.stage();
        let mut plain = Plain { bulk: attached.bulk.take(), bytes: Vec::new() };
        let outcome = attached.session.process(&mut plain, &mut self.spare);
        let after = attached.session.stage();
        if before == Stage::Handshake && after == Stage::Established {
            events.push(Event::Established { token, certificate: attached.session.certificate() });
        }
        match plain.bulk {
            Some(Bulk { bytes, len }) if bytes.len() >= len => {
                events.push(Event::BulkReceived { token, bulk: bytes, done: Ok(()) });
            }
            bulk => attached.bulk = bulk,
        }
        if !plain.bytes.is_empty() {
            events.push(Event::Decrypted { token, bytes: plain.bytes });
        }
        match outcome {
            Err(error) if before == Stage::Handshake => {
                attached.ended = Some(BROKEN);
                attached.end_told = true;
                events.push(Event::HandshakeFailed { token, reason: error.to_string() });
            }
            // Whoever it moves to is told by its session.
            _ if attached.releasing => {}
            _ => match attached.session.end() {
                Some(cause) => self.tell_end(token, cause, events),
                None => self.pump(token),
            },
        }
    }

    /// The backend has met the end of the input.
    fn ended(&mut self, token: Token, cause: EndCause, events: &mut Vec<Event>) {
        let attached = self.attached[token.slot as usize].as_deref_mut().expect("callers have found it");
        if attached.queued {
            // What came before is yet to be looked at.
            attached.ended = Some(cause);
        } else {
            self.tell_end(token, cause, events);
        }
    }

    fn tell_end(&mut self, token: Token, cause: EndCause, events: &mut Vec<Event>) {
        let Some(attached) = self.find(token) else { return };
        attached.ended = Some(cause);
        // Whose input has ended stays.
        attached.releasing = false;
        if std::mem::replace(&mut attached.end_told, true) || attached.closing {
            return;
        }
        match attached.bulk.take() {
            Some(bulk) => events.push(Event::BulkReceived { token, bulk: bulk.bytes, done: Err(cause) }),
            None => events.push(Event::InputEnded { token, cause }),
        }
    }

    /// Sends what is to be sent, if nothing is being sent: records of the protocol's own, then a slice of a reply.
    fn pump(&mut self, token: Token) {
        let Some(attached) = self.attached.get_mut(token.slot as usize).and_then(Option::as_deref_mut) else {
            return;
        };
        if attached.in_flight || attached.closing || attached.releasing {
            return;
        }
        let mut records = self.spares.pop().unwrap_or_default();
        records.clear();
        attached.session.take_control(&mut records);
        let mut is_last = false;
        if let Some(sending) = &mut attached.sending
            && attached.session.stage() == Stage::Established
        {
            if let Err(cause) = attached.session.encrypt(sending, SLICE_BYTES, &mut records) {
                let sending = attached.sending.take().expect("it is there");
                self.ready.push(Event::Sent { token, outgoing: sending.outgoing, result: Err(cause) });
                return;
            }
            is_last = sending.is_finished();
        }
        if records.is_empty() {
            // What was to be said once the session had failed is never sent, and whoever waits for that has to know.
            if attached.session.stage() == Stage::Failed
                && let Some(Sending { outgoing, .. }) = attached.sending.take()
            {
                self.ready.push(Event::Sent { token, outgoing, result: Err(EndCause::Reset) });
            }
            return self.keep_spare(records);
        }
        attached.in_flight = true;
        if is_last && attached.unawaited {
            self.inner.send_unawaited(token, Outgoing::Flat(records));
        } else {
            self.inner.send(token, Outgoing::Flat(records));
        }
    }

    /// Encrypts and sends; `unawaited`: nobody hurries to hear of its end.
    fn begin_send(&mut self, token: Token, outgoing: Outgoing, unawaited: bool) {
        let Some(attached) = self.find(token) else { return };
        assert!(attached.sending.is_none(), "one send at a time");
        attached.unawaited = unawaited;
        attached.sending = Some(Sending::new(outgoing));
        self.pump(token);
    }

    /// The backend has sent records.
    fn sent(
        &mut self,
        token: Token,
        records: Outgoing,
        result: Result<usize, EndCause>,
        events: &mut Vec<Event>,
    ) {
        let Some(attached) = self.find(token) else { return };
        attached.in_flight = false;
        let is_over = result.is_err() || attached.sending.as_ref().is_some_and(Sending::is_finished);
        match (result, attached.sending.take_if(|_| is_over)) {
            (Ok(_), Some(Sending { outgoing, total, .. })) => {
                // The buffers change places: the worker gets that of the records.
                match outgoing {
                    Outgoing::Flat(plain) => {
                        self.keep_spare(plain);
                        events.push(Event::Sent { token, outgoing: records, result: Ok(total) });
                    }
                    outgoing => {
                        self.keep_records(records);
                        events.push(Event::Sent { token, outgoing, result: Ok(total) });
                    }
                }
            }
            (Err(cause), Some(sending)) => {
                events.push(Event::Sent { token, outgoing: sending.outgoing, result: Err(cause) });
            }
            (Ok(_), None) => self.keep_records(records),
            (Err(cause), None) => self.tell_end(token, cause, events),
        }
        match self.find(token) {
            Some(attached) if attached.releasing && !attached.closing => self.inner.release(token),
            _ => self.pump(token),
        }
    }

    fn keep_records(&mut self, records: Outgoing) {
        if let Outgoing::Flat(records) = records {
            self.keep_spare(records);
        }
    }

    fn keep_spare(&mut self, buffer: Vec<u8>) {
        if self.spares.len() < SPARES_MAX && (1..=SPARE_BYTES_MAX).contains(&buffer.capacity()) {
            self.spares.push(buffer);
        }
    }
}

impl<I: Io> Io for Tls<I> {
    fn accept(&mut self, listener: u16, from: Listener) -> io::Result<()> {
        let index = usize::from(listener);
        if from.is_tls() {
            self.listeners.resize(self.listeners.len().max(index + 1), false);
            self.listeners[index] = true;
        }
        self.inner.accept(listener, from)
    }

    fn stop_accepting(&mut self) {
        self.inner.stop_accepting();
    }

    fn attach(&mut self, token: Token, socket: Socket) {
        let (socket, session) = socket.split_session();
        self.inner.attach(token, socket);
        let Some(session) = session else { return };
        let (index, is_new) = (token.slot as usize, session.stage() == Stage::Handshake);
        let end = session.end();
        if self.attached.len() <= index {
            self.attached.resize_with(index + 1, || None);
        }
        assert!(self.attached[index].is_none(), "the slot is in use");
        self.count += 1;
        self.attached[index] = Some(Box::new(Attached {
            token,
            session,
            sending: None,
            unawaited: false,
            in_flight: false,
            wanted: false,
            held_back: false,
            queued: false,
            releasing: false,
            closing: false,
            ended: end,
            end_told: end.is_some(),
            bulk: None,
        }));
        // It may have come from another worker.
        if let Some(cause) = end {
            self.ready.push(Event::InputEnded { token, cause });
        } else if is_new {
            self.queue(token);
        } else {
            self.pump(token);
        }
    }

    fn receive(&mut self, token: Token) {
        if let Some(attached) = self.find(token) {
            attached.wanted = true;
            if attached.held_back {
                return;
            }
        }
        self.inner.receive(token);
    }

    fn pause(&mut self, token: Token) {
        if let Some(attached) = self.find(token) {
            attached.wanted = false;
        }
        self.inner.pause(token);
    }

    fn receive_into(&mut self, token: Token, bulk: BytesMut, len: usize) {
        let Some(attached) = self.find(token) else {
            return self.inner.receive_into(token, bulk, len);
        };
        let mut bulk = Bulk { bytes: bulk, len };
        let missing = len.saturating_sub(bulk.bytes.len());
        bulk.bytes.reserve(missing);
        let ended = attached.ended.filter(|_| attached.end_told);
        if bulk.is_full() {
            self.ready.push(Event::BulkReceived { token, bulk: bulk.bytes, done: Ok(()) });
        } else if let Some(cause) = ended {
            self.ready.push(Event::BulkReceived { token, bulk: bulk.bytes, done: Err(cause) });
        } else {
            attached.bulk = Some(bulk);
            self.receive(token);
        }
    }

    fn send(&mut self, token: Token, outgoing: Outgoing) {
        match self.find(token) {
            Some(_) => self.begin_send(token, outgoing, false),
            None => self.inner.send(token, outgoing),
        }
    }

    fn send_unawaited(&mut self, token: Token, outgoing: Outgoing) {
        match self.find(token) {
            Some(_) => self.begin_send(token, outgoing, true),
            None => self.inner.send_unawaited(token, outgoing),
        }
    }

    fn close(&mut self, token: Token) {
        if let Some(attached) = self.find(token)
            && !std::mem::replace(&mut attached.closing, true)
            && !attached.in_flight
            && !attached.releasing
        {
            // Where a send is under way it is cut off, and an alert behind it would be garbage.
            let mut last = Vec::new();
            attached.session.take_control(&mut last);
            attached.session.say_goodbye(&mut last);
            if !last.is_empty() {
                self.inner.send_last(token, &last);
            }
        }
        self.ready.retain(|event| match event {
            Event::Sent { token: of, .. }
            | Event::BulkReceived { token: of, .. }
            | Event::InputEnded { token: of, .. } => *of != token,
            _ => true,
        });
        self.inner.close(token);
    }

    fn send_last(&mut self, token: Token, bytes: &[u8]) {
        self.inner.send_last(token, bytes);
    }

    fn fill_packets(&mut self, token: Token) {
        self.inner.fill_packets(token);
    }

    fn release(&mut self, token: Token) {
        if let Some(attached) = self.find(token) {
            attached.releasing = true;
            if attached.in_flight {
                return;
            }
        }
        self.inner.release(token);
    }

    fn turn(&mut self, wait: Wait) -> io::Result<()> {
        let is_idle = self.handshakes.is_empty() && self.ready.is_empty();
        self.inner.turn(if is_idle { wait } else { Wait::Poll })
    }

    fn reap(&mut self, events: &mut Vec<Event>) {
        let from = events.len();
        self.inner.reap(events);
        if self.count == 0 && self.listeners.is_empty() {
            return;
        }
        self.translate(events, from);
        self.process_handshakes(events);
        events.append(&mut self.ready);
    }

    fn look_for_end(&mut self, token: Token) {
        self.inner.look_for_end(token);
    }

    fn look_for_ends(&mut self) {
        self.inner.look_for_ends();
    }

    fn input(&self, input: &Input) -> &[u8] {
        self.inner.input(input)
    }

    fn give_back(&mut self, input: Input) {
        self.inner.give_back(input);
    }

    fn waker(&self) -> Waker {
        self.inner.waker()
    }

    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn limit_handshakes(&mut self, per_turn: u32) {
        self.handshakes_per_turn = per_turn.max(1);
    }

    fn is_handshaking(&self, token: Token) -> bool {
        let attached = self.attached.get(token.slot as usize).and_then(Option::as_deref);
        attached
            .is_some_and(|attached| attached.token == token && attached.session.stage() == Stage::Handshake)
    }

    #[inline(always)]
    fn yield_point(&self) {
        self.inner.yield_point();
    }
}

#[cfg(all(test, feature = "tls"))]
mod tests;
