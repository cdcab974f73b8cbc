//! A connection: its input on the way to commands, its replies on the way out, its session in between.
//!
//! Design: input is parsed where the kernel put it. In one turn a connection parses from one source: its query buffer, if a
//! command was cut, or else one receive buffer. What the turn leaves (a cut command, commands that could not run) goes to the
//! query buffer when the turn settles, so that a receive buffer is never kept beyond its turn. An idle connection holds no
//! buffers at all. What arrives while the connection is blocked is copied, to pieces. A further piece is taken only when all
//! whole commands of the query buffer have run, so that a client that sends very much costs no turn more than others: the query
//! buffer is never longer than one piece and a cut command.
//!
//! ```text
//!   received (still unread) -> source of the turn -> commands of the batch -> output -> in flight -> Sent
//!                                     |                       |
//!                                     +--- query buffer <-----+  (cut, or requeued unrun)
//! ```
//!
//! A command with large bulks that could not run stays parsed, and its bulks stay where they lie: in the query buffer they would
//! be copied each time, count as input that the client has yet to end, and may be more than offsets can tell.
//!
//! Invariants:
//! - while the parser is midway, the command's bytes from its first on are in the query buffer;
//! - `large` belongs to the command at the beginning of the query buffer; if that was requeued, it is in `requeued`;
//! - at most one send and one large receive are in flight;
//! - a blocked connection has no receive buffers.
//!
//! Not here: sockets (`io`), when to read and to send (`worker`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::{Bytes, BytesMut};

use crate::command::{Role, Session, Table};
use crate::exec::{Batch, Origin, Source, Waiter};
use crate::io::{Input, Io, Outgoing, Token};
use crate::observe::flag;
use crate::resp::{Limits, Output, ParseOutcome, Parser, ProtocolError, Span, inline};
use crate::store::Keyspace;

/// Commands that one connection may have in one batch.
pub const COMMANDS_PER_TURN_MAX: usize = 1024;
/// A client with more unsent reply bytes than this has no commands run and is not read from.
pub const OUTPUT_BYTES_HIGH: usize = 1 << 20;
/// Below this it goes on.
pub const OUTPUT_BYTES_LOW: usize = OUTPUT_BYTES_HIGH / 4;
/// Received buffers that may wait to be parsed before the connection is no longer read from.
pub const RECEIVED_MAX: usize = 8;
/// What arrives while a connection is blocked is copied to pieces of up to so many bytes.
const COPIED_BYTES_MAX: usize = 64 << 10;
/// A client whose command is longer than this, large bulks not counted, is closed, whatever `client-query-buffer-limit` says:
/// arguments are found by offsets of 32 bits.
const QUERY_BUFFER_BYTES_MAX: usize = u32::MAX as usize - QUERY_BUFFER_GROWTH_MAX;
/// Far more than what a turn adds to the query buffer: one piece.
const QUERY_BUFFER_GROWTH_MAX: usize = 1 << 26;
/// A query buffer or output buffer larger than this is not kept for the next use.
pub const BUFFER_BYTES_KEPT: usize = 64 << 10;

const _: () = assert!(OUTPUT_BYTES_LOW < OUTPUT_BYTES_HIGH);
const _: () = assert!(COPIED_BYTES_MAX < QUERY_BUFFER_GROWTH_MAX);

/// One client's connection on its worker.
pub struct Connection {
    /// Its name towards the I/O backend.
    pub token: Token,
    /// What its commands have set.
    pub session: Session,
    /// Replies not yet handed to the kernel.
    pub output: Output,
    /// Bytes of the send in flight; 0 when there is none.
    pub sending_bytes: usize,
    /// Replies, counted as being sent, that leave once what they tell is on disk.
    pub held: Option<Outgoing>,
    /// In the worker's list of connections with input to parse.
    pub ready: bool,
    /// In the worker's list of connections with output to send.
    pub dirty: bool,
    /// The turn in which no more of its commands run: one was refused, held back, or output is high.
    pub requeued_in_turn: u64,
    /// The client will send no more.
    pub input_ended: bool,
    /// No more of what has arrived is run: the connection is to be closed once its replies are sent.
    pub ended: bool,
    /// Why none of its commands run for longer than this turn; `set_block_reason` changes it.
    pub block_reason: BlockReason,
    /// The command that waits, while the connection is blocked by it.
    pub wait: Option<Arc<Waiter>>,
    /// `close` was asked of the backend; only its last completion is awaited.
    pub closing: bool,
    /// The backend was told not to read from it.
    pub input_paused: bool,
    /// Turns in a row in which its next command was refused its leases.
    pub refusals: u32,
    /// The window of its worker's `balance` in which it last had input.
    pub seen_in_window: u32,
    /// Since when its output has been above the soft limit, Unix time in ms; 0 while it is not.
    pub soft_limit_since_ms: u64,
    /// How far a large bulk's bytes have come.
    bulk: Option<Bulk>,
    parser: Parser,
    query_buffer: Vec<u8>,
    /// The query buffer has been parsed to its end, and what it has is the beginning of a command.
    query_buffer_is_cut: bool,
    /// Copied pieces come before received ones.
    received: VecDeque<Piece>,
    received_bytes: usize,
    large: Vec<Bytes>,
    /// Where in the query buffer the last of them was cut out.
    large_end: usize,
    /// The command at the beginning of the query buffer, if it has large bulks and was requeued.
    requeued: Option<Box<Requeued>>,
    turn: Turn,
}

/// A command that was parsed, and waits to be run.
struct Requeued {
    spans: Vec<Span>,
    /// Where in the query buffer the next one begins.
    end: usize,
}

/// Why a connection's commands do not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockReason {
    /// They do.
    None,
    /// The client does not read its replies.
    Output,
    /// CLIENT PAUSE.
    Paused,
    /// A command of it waits for a key.
    Blocked,
    /// A script of it is suspended.
    Busy,
    /// It is about to leave for another worker.
    Moving {
        /// That worker.
        target: u16,
    },
}

/// Bytes that have arrived.
pub enum Piece {
    /// In the buffer they were received into.
    Received(Input),
    /// Decrypted, or copied so that others can use the buffer.
    Copied(Vec<u8>),
}

impl Piece {
    /// How many there are.
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        match self {
            Piece::Received(input) => input.len(),
            Piece::Copied(bytes) => bytes.len(),
        }
    }

    fn bytes<'a, I: Io>(&'a self, io: &'a I) -> &'a [u8] {
        match self {
            Piece::Received(input) => io.input(input),
            Piece::Copied(bytes) => bytes,
        }
    }

    /// Its bytes are no longer needed.
    pub fn give_back<I: Io>(self, io: &mut I) {
        if let Piece::Received(input) = self {
            io.give_back(input);
        }
    }
}

/// A large bulk being received straight into the memory that will hold it.
struct Bulk {
    /// Bytes in all.
    len: usize,
}

/// What one turn does with the connection's source.
#[derive(Default)]
struct Turn {
    source: Option<Source>,
    /// Bytes before this offset of the source are done with.
    keep_from: usize,
    /// Whether a command that was gathered could not run and is at `keep_from`.
    is_requeued: bool,
    /// What the client did wrong behind the commands of this turn.
    error: Option<ProtocolError>,
}

/// What gathering found besides commands.
#[derive(Debug, PartialEq, Eq)]
pub enum Gathering {
    /// Nothing to do but wait for more input.
    Drained,
    /// There is more to parse in the next turn.
    More,
    /// A large bulk's remaining bytes are to be received into this buffer, up to this length.
    Bulk(BytesMut, usize),
}

impl Connection {
    /// A fresh connection.
    pub fn new(token: Token, session: Session) -> Self {
        Self {
            token,
            session,
            output: Output::new(),
            sending_bytes: 0,
            held: None,
            ready: false,
            dirty: false,
            requeued_in_turn: 0,
            input_ended: false,
            ended: false,
            block_reason: BlockReason::None,
            wait: None,
            closing: false,
            input_paused: false,
            refusals: 0,
            seen_in_window: 0,
            soft_limit_since_ms: 0,
            bulk: None,
            parser: Parser::new(),
            query_buffer: Vec::new(),
            query_buffer_is_cut: false,
            received: VecDeque::new(),
            received_bytes: 0,
            large: Vec::new(),
            large_end: 0,
            requeued: None,
            turn: Turn::default(),
        }
    }

    /// A piece of input has arrived.
    #[inline]
    pub fn receive(&mut self, piece: Piece) {
        self.received_bytes += piece.len();
        match piece {
            Piece::Received(input) => self.received.push_back(Piece::Received(input)),
            Piece::Copied(bytes) => self.receive_copied(bytes),
        }
    }

    /// Behind what is copied already, so that many short pieces take no more memory than their bytes.
    fn receive_copied(&mut self, bytes: Vec<u8>) {
        match self.received.back_mut() {
            Some(Piece::Copied(last)) if last.len() + bytes.len() <= COPIED_BYTES_MAX => {
                last.extend_from_slice(&bytes);
            }
            _ => self.received.push_back(Piece::Copied(bytes)),
        }
    }

    /// What arrived first and is not parsed.
    #[inline]
    fn next_piece(&mut self) -> Option<Piece> {
        let piece = self.received.pop_front()?;
        self.received_bytes -= piece.len();
        Some(piece)
    }

    /// These bytes have arrived before it was a connection.
    pub fn give(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.received_bytes += bytes.len();
            self.received.push_back(Piece::Copied(bytes));
        }
    }

    /// The connection is blocked, for as long as its client likes: what has arrived is copied, so that it keeps no receive
    /// buffer that others may need.
    pub fn copy_out<I: Io>(&mut self, io: &mut I) {
        debug_assert!(self.turn.source.is_none());
        assert!(self.bulk.is_none(), "no command runs, so none is held, while a large bulk is received");
        let copied_count = self.received.partition_point(|piece| matches!(piece, Piece::Copied(_)));
        for piece in self.received.split_off(copied_count) {
            let bytes = piece.bytes(io);
            match self.received.back_mut() {
                Some(Piece::Copied(last)) if last.len() + bytes.len() <= COPIED_BYTES_MAX => {
                    last.extend_from_slice(bytes);
                }
                _ => self.received.push_back(Piece::Copied(bytes.to_vec())),
            }
            piece.give_back(io);
        }
    }

    /// Whether it may go to another worker: all its replies are sent, nothing keeps it, and no list of its worker names it.
    pub fn may_move(&self) -> bool {
        debug_assert!(self.turn.source.is_none());
        let rests = self.unsent_bytes() == 0 && self.refusals == 0 && self.bulk.is_none();
        let goes_on = !self.ended && !self.input_ended && !self.closing && !self.session.close_after_reply;
        let listens = self.session.is_subscriber() || self.session.tracking.is_some();
        let is_named = self.session.monitor
            || self.session.replica.is_some()
            || self.session.upstream.is_some()
            || listens
            || self.session.client_info.is_pinned();
        rests && goes_on && self.block_reason == BlockReason::None && !is_named
    }

    /// It has come to another worker, which calls it by this token.
    pub fn attach(&mut self, token: Token) {
        debug_assert!(self.received.iter().all(|piece| matches!(piece, Piece::Copied(_))));
        debug_assert!(self.unsent_bytes() == 0);
        self.token = token;
        self.block_reason = BlockReason::None;
        (self.ready, self.dirty, self.input_paused) = (false, false, false);
        (self.requeued_in_turn, self.seen_in_window) = (0, 0);
    }

    /// Blocks it, or lets it go on. As in Redis, a paused client counts as blocked.
    pub fn set_block_reason(&mut self, block_reason: BlockReason) {
        self.block_reason = block_reason;
        self.session
            .client_info
            .set(flag::BLOCKED, matches!(block_reason, BlockReason::Blocked | BlockReason::Paused));
    }

    /// Pieces of input not yet parsed.
    pub fn received_len(&self) -> usize {
        self.received.len()
    }

    /// What has arrived will not be parsed: the connection ends.
    pub fn discard_received<I: Io>(&mut self, io: &mut I) {
        self.received.drain(..).for_each(|piece| piece.give_back(io));
        self.received_bytes = 0;
    }

    /// Whether its command is longer than can be parsed.
    pub fn is_endless(&self) -> bool {
        self.query_buffer.len() > QUERY_BUFFER_BYTES_MAX
    }

    /// Reserved bytes of the query buffer that are free.
    pub fn query_buffer_bytes_free(&self) -> usize {
        self.query_buffer.capacity() - self.query_buffer.len()
    }

    /// Memory held by this connection, in bytes. Large values on their way out count, as in Redis: that somebody else has them too
    /// may end at any time.
    #[inline]
    pub fn allocated_bytes(&self) -> usize {
        let output = self.output.allocated_bytes() + self.output.large_bytes() + self.sending_bytes;
        let buffers = self.query_buffer.capacity() + self.received_bytes + output;
        size_of::<Self>() + buffers + if self.holds_buffers_only() { 0 } else { self.other_bytes() }
    }

    /// Whether it has nothing that most connections have not, either.
    #[inline]
    fn holds_buffers_only(&self) -> bool {
        let Session { scan, subscriptions, watch, fieldsets, multi, .. } = &self.session;
        let holds_input = !self.large.is_empty() | self.requeued.is_some() | self.bulk.is_some();
        let holds_state = scan.is_some() | subscriptions.is_some() | watch.is_some() | fieldsets.is_some();
        !(holds_input | holds_state | multi.is_some() | self.wait.is_some())
    }

    /// Memory held besides buffers.
    #[cold]
    fn other_bytes(&self) -> usize {
        let large: usize = self.large.iter().map(Bytes::len).sum();
        let requeued =
            self.requeued.as_ref().map_or(0, |command| command.spans.capacity() * size_of::<Span>());
        let scanned = self.session.scan.as_ref().map_or(0, |scan| scan.bytes_allocated());
        let subscribed = self.session.subscriptions.as_ref().map_or(0, |all| all.bytes_allocated());
        let watched = self.session.watch.as_ref().map_or(0, |watch| watch.bytes_allocated());
        let prepared = self.session.fieldsets.as_ref().map_or(0, |all| all.bytes_allocated());
        let waiting = self.wait.as_ref().map_or(0, |waiter| waiter.bytes_allocated());
        let input = large + requeued + self.bulk_bytes();
        input + self.queued_bytes() + scanned + subscribed + watched + prepared + waiting
    }

    /// Shows in the client's info what memory it holds now: what was shown before, and what is.
    #[inline]
    pub fn recount_bytes(&self) -> (u64, u64) {
        let bytes = self.allocated_bytes() as u64;
        let shown = &self.session.client_info.total_bytes;
        let before = shown.load(Relaxed);
        shown.store(bytes, Relaxed);
        (before, bytes)
    }

    /// It counts no more where it was: what was counted of it.
    pub fn forget_bytes(&self) -> u64 {
        self.session.client_info.total_bytes.swap(0, Relaxed)
    }

    /// Memory that a large bulk is being received into.
    fn bulk_bytes(&self) -> usize {
        self.bulk.as_ref().map_or(0, |bulk| bulk.len)
    }

    /// Memory of the commands queued in a transaction.
    fn queued_bytes(&self) -> usize {
        self.session.multi.as_ref().map_or(0, |queue| queue.bytes_allocated())
    }

    /// Replies that the kernel does not have yet.
    #[inline]
    pub fn unsent_bytes(&self) -> usize {
        self.output.len() + self.sending_bytes
    }

    /// Received bytes of commands that have not run, with all of a large bulk that is being received. As in Redis, large bulks
    /// that are complete count no more.
    pub fn query_bytes(&self) -> usize {
        self.query_buffer.len() + self.received_bytes + self.bulk_bytes() + self.queued_bytes()
    }

    /// What of these is kept because the client has not sent a whole command, or is blocked. What has arrived behind and is
    /// parsed next is as good as in the kernel: a client may send as much at once as it likes.
    pub fn kept_query_bytes(&self) -> usize {
        let arrived = if self.block_reason == BlockReason::None { self.received_bytes } else { 0 };
        self.query_bytes() - arrived
    }

    /// Shows in the client's info what a turn has changed.
    pub fn show(&self, now_ms: u64) {
        let client_info = &self.session.client_info;
        client_info.active_ms.store(now_ms, Relaxed);
        client_info.last_command.store(self.session.last_row, Relaxed);
        client_info.commands_run.store(self.session.commands_run, Relaxed);
        client_info.query_bytes.store(self.query_bytes() as u64, Relaxed);
        client_info.query_bytes_free.store(self.query_buffer_bytes_free() as u64, Relaxed);
        client_info.output_bytes.store(self.unsent_bytes() as u64, Relaxed);
        if let Some(watch) = &self.session.watch {
            client_info.set(flag::DIRTY_CAS, watch.flag.is_touched());
        }
    }

    /// Whether it was parsed in this turn, which is not settled yet.
    pub fn is_parsed(&self) -> bool {
        self.turn.source.is_some()
    }

    /// Parses what has arrived and adds its commands to the batch.
    pub fn gather<I: Io>(
        &mut self,
        slot: u32,
        batch: &mut Batch,
        io: &mut I,
        limits: &Limits,
        table: &Table,
        keyspace: &Keyspace,
    ) -> Gathering {
        debug_assert!(self.turn.source.is_none());
        if self.bulk.is_some() {
            return Gathering::Drained;
        }
        let requeued = self.requeued.take();
        let needs_more = requeued.is_none() && (self.query_buffer.is_empty() || self.query_buffer_is_cut);
        let input = match needs_more.then(|| self.next_piece()) {
            // There may be whole commands left.
            None => None,
            Some(None) => return Gathering::Drained,
            Some(Some(Piece::Received(input))) if self.query_buffer.is_empty() => Some(input),
            Some(Some(piece)) => {
                self.extend_query_buffer(piece, io);
                None
            }
        };
        let source = input.as_ref().map_or(Source::QueryBuffer, |_| Source::Input(batch.inputs.len() as u32));
        self.turn = Turn { source: Some(source), ..Turn::default() };
        if let Some(applied) = &mut self.session.upstream {
            applied.begin_source();
        }
        let buffer = input.as_ref().map_or(&self.query_buffer[..], |input| io.input(input));
        let queueing = self.session.multi.is_some();
        let origin = Origin { slot, source, buffer, large: &self.large, db_hint: self.session.db, queueing };
        let stop = parse(&mut self.parser, origin, requeued, batch, limits, table, keyspace);
        batch.inputs.extend(input);
        self.turn.keep_from = stop.at;
        self.query_buffer_is_cut = matches!(stop.why, Why::Incomplete);
        match stop.why {
            Why::Incomplete => Gathering::Drained,
            Why::Full => Gathering::More,
            // Every byte of a primary's stream is passed on as it came.
            Why::Inline if self.session.upstream.is_some() => {
                self.turn.error = Some(ProtocolError::InvalidMultibulkLength);
                Gathering::Drained
            }
            Why::Inline => {
                self.rewrite_inline(batch, io, limits);
                Gathering::More
            }
            Why::Large { header_end, len } => self.begin_bulk(batch, io, header_end, len),
            Why::Error(error) => {
                self.turn.error = Some(error);
                Gathering::Drained
            }
        }
    }

    /// A received piece goes to the query buffer, behind a cut command.
    fn extend_query_buffer<I: Io>(&mut self, piece: Piece, io: &mut I) {
        match piece {
            Piece::Copied(bytes) if self.query_buffer.is_empty() => self.query_buffer = bytes,
            piece => {
                self.query_buffer.extend_from_slice(piece.bytes(io));
                piece.give_back(io);
            }
        }
    }

    /// Turns the inline commands at the beginning of the source into RESP, in the query buffer, to be parsed next turn.
    fn rewrite_inline<I: Io>(&mut self, batch: &Batch, io: &I, limits: &Limits) {
        let source = match self.turn.source {
            Some(Source::Input(index)) => io.input(&batch.inputs[index as usize]).to_vec(),
            _ => std::mem::take(&mut self.query_buffer),
        };
        let (mut at, mut rewritten, mut spans) = (self.turn.keep_from, Vec::new(), Vec::new());
        loop {
            match self.parser.next(&source, at, &mut spans, limits) {
                ParseOutcome::Inline { end } => match inline::split(&source[at..end]) {
                    Ok(args) if args.is_empty() => at = end,
                    Ok(args) => {
                        rewritten.extend_from_slice(&inline::encode(&args));
                        at = end;
                    }
                    Err(error) if rewritten.is_empty() => {
                        self.turn.error = Some(error);
                        break;
                    }
                    Err(_) => break,
                },
                ParseOutcome::Empty { end } => at = end,
                _ => break,
            }
        }
        self.parser.reset();
        rewritten.extend_from_slice(&source[at..]);
        self.query_buffer = rewritten;
        self.turn.source = Some(Source::QueryBuffer);
        self.turn.keep_from = 0;
    }

    /// A large bulk has begun: what of it has arrived is copied to its own memory, the rest will be received there.
    fn begin_bulk<I: Io>(&mut self, batch: &Batch, io: &mut I, header_end: usize, len: u64) -> Gathering {
        let len = len as usize;
        let Some(mut buffer) = room_for(len) else {
            self.turn.error = Some(ProtocolError::InvalidBulkLength);
            return Gathering::Drained;
        };
        match self.turn.source {
            Some(Source::Input(index)) => {
                let source = io.input(&batch.inputs[index as usize]);
                self.query_buffer.extend_from_slice(&source[self.turn.keep_from..header_end]);
                buffer.extend_from_slice(&source[header_end..]);
            }
            _ => {
                buffer.extend_from_slice(&self.query_buffer[header_end..]);
                self.query_buffer.truncate(header_end);
                self.query_buffer.drain(..self.turn.keep_from);
            }
        }
        self.turn = Turn { source: Some(Source::QueryBuffer), ..Turn::default() };
        self.bulk = Some(Bulk { len });
        while let Some(piece) = self.next_piece() {
            let bytes = piece.bytes(io);
            let room = (len - buffer.len()).min(bytes.len());
            buffer.extend_from_slice(&bytes[..room]);
            if room < bytes.len() {
                self.take_bulk(buffer);
                self.query_buffer.extend_from_slice(&bytes[room..]);
                piece.give_back(io);
                return Gathering::More;
            }
            piece.give_back(io);
        }
        if buffer.len() == len {
            self.take_bulk(buffer);
            return Gathering::Drained;
        }
        Gathering::Bulk(buffer, len)
    }

    /// The large bulk is complete.
    pub fn take_bulk(&mut self, buffer: BytesMut) {
        let bulk = self.bulk.take().expect("a large bulk was awaited");
        assert_eq!(buffer.len(), bulk.len);
        self.large.push(buffer.freeze());
        self.large_end = self.query_buffer.len();
        self.query_buffer_is_cut = false;
        self.parser.bulk_taken();
    }

    /// The command at `start` of the source could not run this turn, or the one before it has to wait: it and all behind it
    /// are parsed again.
    pub fn requeue_from(&mut self, start: usize) {
        if !self.turn.is_requeued {
            self.turn.is_requeued = true;
            self.turn.keep_from = start;
            self.turn.error = None;
            self.query_buffer_is_cut = false;
        }
    }

    /// The command that was requeued, with these spans, is the first of the query buffer: if it has large bulks, it stays as it
    /// was parsed.
    pub fn requeue_parsed(&mut self, spans: &[Span]) {
        if !self.large.is_empty() && self.turn.keep_from == 0 && self.requeued.is_none() {
            let last = spans.last().expect("a command has a name");
            let is_large = last.large_index().is_some();
            let end = if is_large { self.large_end } else { last.start as usize + last.len as usize };
            let end = end + b"\r\n".len();
            self.requeued = Some(Box::new(Requeued { spans: spans.to_vec(), end }));
        }
    }

    /// The protocol error found after the commands of this turn, once they have all run.
    pub fn take_error(&mut self) -> Option<ProtocolError> {
        self.turn.error.take()
    }

    /// The connection to a primary: whatever was done with in this turn's source, what is no command too, counts as applied.
    /// `pass` is given the source, and up to where that is so.
    pub fn pass_on<I: Io>(&mut self, batch: &Batch, io: &I, pass: impl FnOnce(&mut Session, &[u8], usize)) {
        let source = match self.turn.source {
            Some(Source::Input(index)) => io.input(&batch.inputs[index as usize]),
            Some(Source::QueryBuffer) => &self.query_buffer,
            None => return,
        };
        pass(&mut self.session, source, self.turn.keep_from);
    }

    /// Ends the turn: what is left of its source goes to the query buffer.
    pub fn settle<I: Io>(&mut self, batch: &Batch, io: &I) {
        let Some(source) = self.turn.source.take() else { return };
        let keep_from = self.turn.keep_from;
        match source {
            Source::Input(index) => {
                let bytes = io.input(&batch.inputs[index as usize]);
                if keep_from < bytes.len() {
                    self.query_buffer.extend_from_slice(&bytes[keep_from..]);
                }
            }
            Source::QueryBuffer if keep_from == self.query_buffer.len() => {
                self.query_buffer.clear();
                if self.query_buffer.capacity() > BUFFER_BYTES_KEPT || self.received.is_empty() {
                    self.query_buffer = Vec::new();
                }
            }
            Source::QueryBuffer => {
                self.query_buffer.drain(..keep_from);
            }
        }
        if self.turn.is_requeued {
            self.parser.reset();
        }
        if keep_from > 0 {
            // The first command, whose they are, has run, whatever became of those behind it.
            self.large.clear();
            assert!(self.requeued.is_none());
        } else if self.turn.is_requeued {
            assert!(
                self.large.is_empty() || self.requeued.is_some(),
                "its bulks are not in the query buffer"
            );
        }
    }

    /// What running commands from `source` needs: its bytes (`input`, if it is a receive buffer), the bulks that lie elsewhere, the
    /// session and the output.
    #[inline]
    pub fn parts<'a>(
        &'a mut self,
        source: Source,
        input: &'a [u8],
    ) -> (&'a [u8], &'a [Bytes], &'a mut Session, &'a mut Output) {
        let buffer = match source {
            Source::QueryBuffer => &self.query_buffer[..],
            Source::Input(_) => input,
        };
        (buffer, &self.large, &mut self.session, &mut self.output)
    }
}

/// Adds a command that was parsed before. Apart, so that adding one stays a part of the loop over all others.
#[cold]
#[inline(never)]
fn push_requeued(
    command: &Requeued,
    origin: Origin<'_>,
    batch: &mut Batch,
    table: &Table,
    keyspace: &Keyspace,
) -> Role {
    let spans_start = batch.spans.len();
    batch.spans.extend_from_slice(&command.spans);
    batch.push(origin, 0, spans_start, None, table, keyspace)
}

/// Whether what comes behind a command is queued.
#[inline]
fn queues_behind(role: Role, before: bool) -> bool {
    match role {
        Role::Queued | Role::AtOnce => before,
        role => role == Role::Begin,
    }
}

/// An empty buffer for so many bytes, unless there is no memory for them: nothing but a number has been sent yet.
fn room_for(len: usize) -> Option<BytesMut> {
    let mut room = Vec::new();
    room.try_reserve_exact(len).ok()?;
    Some(BytesMut::from(Bytes::from(room)))
}

/// Where and why parsing stopped.
struct Stop {
    at: usize,
    why: Why,
}

enum Why {
    Incomplete,
    Full,
    Inline,
    Large { header_end: usize, len: u64 },
    Error(ProtocolError),
}

/// Adds the source's commands to the batch until something stops it. What needs the source to itself (an inline command, a
/// large bulk) stops it before, unless it comes first.
#[inline]
fn parse(
    parser: &mut Parser,
    mut origin: Origin<'_>,
    requeued: Option<Box<Requeued>>,
    batch: &mut Batch,
    limits: &Limits,
    table: &Table,
    keyspace: &Keyspace,
) -> Stop {
    let (mut at, mut count) = (0, 0);
    if let Some(command) = requeued {
        let role = push_requeued(&command, origin, batch, table, keyspace);
        origin.queueing = queues_behind(role, origin.queueing);
        (at, count) = (command.end, 1);
    }
    loop {
        if count == COMMANDS_PER_TURN_MAX {
            return Stop { at, why: Why::Full };
        }
        let spans_start = batch.spans.len();
        let Batch { spans, known, .. } = batch;
        let (step, row) = match parser.next_like(&known.prefix, origin.buffer, at, spans, limits) {
            Some(end) => (ParseOutcome::Command { end }, Some(known.row)),
            None => (parser.next(origin.buffer, at, spans, limits), None),
        };
        match step {
            ParseOutcome::Command { end } => {
                let role = batch.push(origin, at, spans_start, row, table, keyspace);
                origin.queueing = queues_behind(role, origin.queueing);
                (at, count) = (end, count + 1);
            }
            ParseOutcome::Empty { end } => at = end,
            ParseOutcome::Incomplete => return Stop { at, why: Why::Incomplete },
            ParseOutcome::Error(error) => return Stop { at, why: Why::Error(error) },
            ParseOutcome::Inline { .. } if count > 0 => return Stop { at, why: Why::Full },
            ParseOutcome::Inline { .. } => return Stop { at, why: Why::Inline },
            ParseOutcome::LargeBulk { .. } if count > 0 => {
                parser.reset();
                return Stop { at, why: Why::Full };
            }
            ParseOutcome::LargeBulk { header_end, len } => {
                return Stop { at, why: Why::Large { header_end, len } };
            }
        }
    }
}
