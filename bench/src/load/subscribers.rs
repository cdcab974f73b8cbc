//! Connections that subscribe and count what is delivered to them, on a thread of their own.
//!
//! Design: a message begins with the time at which it was made, by the clock of this program, so its latency is that of the whole
//! way: publisher, server, subscriber. Subscriber `i` listens to channel `i` modulo the number of channels. Publishers begin when
//! all subscriptions are confirmed.

use std::io::{self, Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use rustls::ClientConfig;

use crate::address::{Address, Stream};
use crate::greeting::Greeting;
use crate::reply::{Reply, parse};
use crate::report::{Delivered, Latencies};
use crate::template::{TIME_DIGITS, clock_ns};
use crate::{Fatal, fatal};

/// How long confirmations may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a thread without messages looks whether it is to stop.
const WAIT: Duration = Duration::from_millis(20);
/// Bytes received at once.
const SCRATCH_BYTES: usize = 64 << 10;

/// Subscribers, confirmed.
#[derive(Debug)]
pub struct Subscribers {
    poll: Poll,
    connections: Vec<(Stream, Vec<u8>)>,
    scratch: Vec<u8>,
    delivered: Delivered,
    confirmed: usize,
}

impl Subscribers {
    /// So many, dealt out among servers and channels.
    pub fn connect(
        count: usize,
        channels: u64,
        addresses: &[Address],
        greeting: &Greeting,
        over: Option<&Arc<ClientConfig>>,
    ) -> Result<Subscribers, Fatal> {
        let failed = |error: io::Error| Fatal(format!("cannot subscribe: {error}"));
        let poll = Poll::new().map_err(failed)?;
        let mut connections = Vec::new();
        for (index, address) in addresses.iter().cycle().take(count).enumerate() {
            let mut stream = address.connect(over).map_err(failed)?;
            let channel = format!("channel:key:{:012}", index as u64 % channels);
            let subscribe = format!("*2\r\n$9\r\nSUBSCRIBE\r\n${}\r\n{channel}\r\n", channel.len());
            stream.write_all(&[&greeting.request, subscribe.as_bytes()].concat()).map_err(failed)?;
            stream.flush().map_err(failed)?;
            poll.registry().register(&mut stream, Token(index), Interest::READABLE).map_err(failed)?;
            connections.push((stream, Vec::new()));
        }
        let delivered = Delivered { count: 0, latencies: Latencies::default() };
        let mut subscribers =
            Subscribers { poll, connections, scratch: vec![0; SCRATCH_BYTES], delivered, confirmed: 0 };
        let end = Instant::now() + PATIENCE;
        while subscribers.confirmed < count {
            subscribers.wait(Instant::now())?;
            if Instant::now() > end {
                return fatal("subscriptions are not confirmed");
            }
        }
        Ok(subscribers)
    }

    /// Counts until it is told to stop, and then what is still there.
    pub fn run(mut self, warm: Instant, stop: &AtomicBool) -> Result<Delivered, Fatal> {
        loop {
            let is_over = stop.load(Ordering::Acquire);
            let had = self.wait(warm)?;
            if is_over && !had {
                return Ok(self.delivered);
            }
        }
    }

    /// Takes what comes within a moment; whether something came.
    fn wait(&mut self, warm: Instant) -> Result<bool, Fatal> {
        let failed = |error: io::Error| Fatal(format!("lost a subscriber: {error}"));
        let mut events = Events::with_capacity(256);
        match self.poll.poll(&mut events, Some(WAIT)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => outcome.map_err(failed)?,
        }
        for event in &events {
            let (stream, pending) = &mut self.connections[event.token().0];
            loop {
                match stream.read(&mut self.scratch) {
                    Ok(0) => return fatal("the server closed a subscriber: it may have been too slow"),
                    Ok(read) => pending.extend_from_slice(&self.scratch[..read]),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(failed(error)),
                }
            }
            let (now, now_ns, mut at) = (Instant::now(), clock_ns(), 0);
            while let Some((reply, length)) = parse(&pending[at..])? {
                at += length;
                match message(&reply) {
                    Message::Confirmation => self.confirmed += 1,
                    Message::Payload(made) if now >= warm => {
                        self.delivered.count += 1;
                        self.delivered.latencies.record(Duration::from_nanos(now_ns.saturating_sub(made)));
                    }
                    Message::Payload(_) | Message::Other => {}
                }
            }
            pending.drain(..at);
        }
        Ok(!events.is_empty())
    }
}

enum Message {
    Confirmation,
    /// When it was made.
    Payload(u64),
    Other,
}

fn message(reply: &Reply<'_>) -> Message {
    let Reply::Array(elements) = reply else { return Message::Other };
    match &elements[..] {
        [Reply::Bulk(b"subscribe"), ..] => Message::Confirmation,
        [Reply::Bulk(b"message"), _, Reply::Bulk(payload)] => {
            let time = payload.get(..TIME_DIGITS).and_then(|digits| std::str::from_utf8(digits).ok());
            time.and_then(|digits| digits.parse().ok()).map_or(Message::Other, Message::Payload)
        }
        _ => Message::Other,
    }
}
