//! The simulation's own cases: echo servers under every fault, and that a seed is all there is to a run.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::io::EndCause;

const TURNS_MAX: u32 = 200_000;

struct EchoWorker {
    io: SimIo,
    next_slot: u32,
    echoes: HashMap<Token, (Vec<u8>, bool, bool)>,
}

impl EchoWorker {
    fn new(net: &SimNet, options: &Options) -> EchoWorker {
        let mut io = SimIo::new(net, options);
        io.accept(0, net.listen(1)).expect("always");
        EchoWorker { io, next_slot: 0, echoes: HashMap::new() }
    }

    fn turn(&mut self) {
        self.io.turn(Wait::Forever).expect("always");
        let mut events = Vec::new();
        self.io.reap(&mut events);
        for event in events {
            self.handle(event);
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Accepted { socket, .. } => {
                let token = Token { slot: self.next_slot, generation: 9 };
                self.next_slot += 1;
                self.io.attach(token, socket);
                self.io.receive(token);
                self.echoes.insert(token, (Vec::new(), false, false));
            }
            Event::Received { token, input } => {
                let echo = self.echoes.get_mut(&token).expect("attached");
                echo.0.extend_from_slice(self.io.input(&input));
                self.io.give_back(input);
                self.flush(token);
            }
            Event::Sent { token, result, .. } => {
                self.echoes.get_mut(&token).expect("attached").1 = false;
                match result {
                    Ok(_) => self.flush(token),
                    Err(cause) => {
                        assert_eq!(cause, EndCause::Reset);
                        self.io.close(token);
                    }
                }
            }
            Event::InputEnded { token, .. } => {
                self.echoes.get_mut(&token).expect("attached").2 = true;
                self.flush(token);
            }
            Event::Detached { token } => {
                self.echoes.remove(&token).expect("attached");
            }
            other => panic!("unexpected {other:?}"),
        }
    }

    fn flush(&mut self, token: Token) {
        let (out, sending, ended) = self.echoes.get_mut(&token).expect("attached");
        if *sending {
            return;
        }
        if !out.is_empty() {
            *sending = true;
            let out = std::mem::take(out);
            // Alternate the two forms.
            let outgoing = match out.len() % 2 {
                0 => Outgoing::Flat(out),
                _ => {
                    let whole = Bytes::from(out);
                    let middle = whole.len() / 2;
                    Outgoing::Gather(vec![whole.slice(..middle), whole.slice(middle..)])
                }
            };
            self.io.send(token, outgoing);
        } else if *ended {
            self.io.close(token);
        }
    }
}

/// Two workers echo for ten clients; returns the digest, the virtual time and the turns it took.
fn run(seed: u64) -> (u64, Duration, u32) {
    let mut rng = Rng::new(seed);
    let faults = Faults::random(&mut rng);
    let net = SimNet::new(rng.next_u64(), faults);
    let options = Options {
        buffer_count: 1 << rng.below(5),
        buffer_bytes: rng.size(20_000) as u32,
        ..Options::default()
    };
    let mut workers = [0; 2].map(|_| EchoWorker::new(&net, &options));
    let lens: Vec<usize> = (0..10).map(|_| rng.size(3000)).collect();
    let clients: Vec<SimClient> = lens.iter().map(|_| net.connect(1)).collect();
    let byte = |client: usize, index: usize| (client * 31 + index * 7 + index / 251) as u8;
    for (client, (&len, connected)) in lens.iter().zip(&clients).enumerate() {
        let bytes: Vec<u8> = (0..len).map(|index| byte(client, index)).collect();
        let (first, second) = bytes.split_at(rng.below(len as u64 + 1) as usize);
        connected.send(first);
        connected.send(second);
        connected.finish();
    }
    let mut got = vec![Vec::new(); 10];
    for turns in 1..TURNS_MAX {
        let ready = net.ready_workers();
        if !ready.is_empty() {
            workers[ready[net.choose(ready.len())]].turn();
        } else if !net.advance_to_next_deadline() {
            let all_read = clients.iter().all(|client| client.ended().is_some());
            assert!(all_read, "seed {seed}: stuck after {turns} turns");
        }
        for (client, got) in clients.iter().zip(&mut got) {
            // Slow readers, each in its own way.
            if rng.chance(30) {
                got.extend(client.read_some(rng.size(1000)));
            }
        }
        if clients.iter().all(|client| client.ended().is_some()) {
            for (client, (&len, got)) in lens.iter().zip(&got).enumerate() {
                let expected = (0..len).map(|index| byte(client, index));
                assert!(expected.eq(got.iter().copied()), "seed {seed}: client {client}");
            }
            assert!(workers.iter().all(|worker| worker.echoes.is_empty()));
            return (net.trace(), net.now(), turns);
        }
        if net.ready_workers().is_empty() && net.next_deadline().is_none() {
            for (client, got) in clients.iter().zip(&mut got) {
                got.extend(client.read());
            }
        }
    }
    panic!("seed {seed}: no end after {TURNS_MAX} turns");
}

#[test]
fn echoes_under_faults_for_many_seeds() {
    for seed in 0..150 {
        run(seed);
    }
}

#[test]
fn a_seed_is_all_there_is_to_a_run() {
    let digests: Vec<_> = (0..20).map(run).collect();
    let again: Vec<_> = (0..20).map(run).collect();
    assert_eq!(digests, again);
    let mut traces: Vec<u64> = digests.iter().map(|digest| digest.0).collect();
    traces.sort_unstable();
    traces.dedup();
    assert_eq!(traces.len(), 20, "different seeds give different runs");
}

fn one_connection(faults: Faults) -> (SimNet, SimIo, SimClient, Token) {
    let net = SimNet::new(1, faults);
    let mut io = SimIo::new(&net, &Options::default());
    io.accept(3, net.listen(9)).expect("always");
    let client = net.connect(9);
    let token = Token { slot: 2, generation: 5 };
    let [Event::Accepted { listener: 3, .. }] = &events_of(&mut io)[..] else { panic!("not accepted") };
    io.attach(token, Socket::simulated(client.number()));
    (net, io, client, token)
}

fn events_of(io: &mut SimIo) -> Vec<Event> {
    let mut events = Vec::new();
    io.turn(Wait::Forever).expect("always");
    io.reap(&mut events);
    events
}

#[test]
fn bulk_takes_its_bytes_and_leaves_the_rest() {
    let faults = Faults { piece_bytes_max: 7, ..Faults::default() };
    let (_net, mut io, client, token) = one_connection(faults);
    client.send(&[b'a'; 100]);
    client.send(&[b'b'; 50]);
    io.receive_into(token, BytesMut::from(&b"xy"[..]), 102);
    let bulk = (0..100).flat_map(|_| events_of(&mut io)).next();
    let Some(Event::BulkReceived { bulk, done: Ok(()), .. }) = bulk else { panic!("{bulk:?}") };
    assert_eq!(&bulk[..2], b"xy");
    assert_eq!(&bulk[2..], &[b'a'; 100]);
    assert!(!io.is_ready(), "input rests until it is asked for");
    io.receive(token);
    assert!(io.is_ready());
    let mut got = 0;
    while got < 50 {
        for event in events_of(&mut io) {
            let Event::Received { input, .. } = event else { panic!("{event:?}") };
            assert!(io.input(&input).iter().all(|&byte| byte == b'b'));
            got += input.len();
            io.give_back(input);
        }
    }
}

#[test]
fn a_client_that_does_not_read_makes_sends_wait() {
    let faults = Faults { socket_bytes: 1000, ..Faults::default() };
    let (_net, mut io, client, token) = one_connection(faults);
    io.send(token, Outgoing::Flat(vec![1; 2500]));
    while io.is_ready() {
        assert!(events_of(&mut io).is_empty());
    }
    let mut got = client.read().len();
    assert_eq!(got, 1000);
    let mut sent = false;
    while got < 2500 {
        sent |= events_of(&mut io).iter().any(|event| matches!(event, Event::Sent { result: Ok(2500), .. }));
        got += client.read().len();
    }
    assert!(sent);
}

#[test]
fn reset_reaches_both_directions() {
    let (_net, mut io, client, token) = one_connection(Faults::default());
    io.receive(token);
    io.send(token, Outgoing::Flat(vec![1; 4 << 20]));
    client.reset();
    let events = events_of(&mut io);
    let [Event::Sent { result: Err(EndCause::Reset), .. }, Event::InputEnded { cause: EndCause::Reset, .. }] =
        &events[..]
    else {
        panic!("{events:?}")
    };
    io.close(token);
    let events = events_of(&mut io);
    let [Event::Detached { token: of }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(*of, token);
}

#[test]
fn waits_end_by_time_and_by_wakers() {
    let net = SimNet::new(1, Faults::default());
    let mut io = SimIo::new(&net, &Options::default());
    assert!(io.is_ready(), "a worker that never turned has work");
    io.turn(Wait::For(Duration::from_millis(10))).expect("always");
    assert!(!io.is_ready());
    assert_eq!(net.next_deadline(), Some(Duration::from_millis(10)));
    assert!(net.advance_to_next_deadline());
    assert!(io.is_ready());
    assert!(events_of(&mut io).is_empty());
    assert!(!io.is_ready());
    io.waker().wake();
    assert_eq!(net.ready_workers(), [io.index()]);
    assert!(matches!(events_of(&mut io)[..], [Event::Woken]));
    io.turn(Wait::Poll).expect("always");
    assert!(io.is_ready(), "a worker that polls has work");
}

/// What comes while a connection is being released comes before `Released`; the rest waits for the next worker.
#[test]
fn a_released_connection_goes_on_at_another_worker() {
    for seed in 0..50 {
        let faults = Faults { piece_bytes_max: 3, delay_max: Duration::from_micros(20), ..Faults::default() };
        let net = SimNet::new(seed, faults);
        let mut ios = [0; 2].map(|_| SimIo::new(&net, &Options::default()));
        net.listen(9);
        let client = net.connect(9);
        let token = Token { slot: 0, generation: 0 };
        ios[0].attach(token, Socket::simulated(client.number()));
        ios[0].receive(token);
        ios[0].release(token);
        let sent: Vec<u8> = (0..=255).collect();
        client.send(&sent);
        let (mut here, mut got) = (0, Vec::new());
        while got.len() < sent.len() {
            for event in events_of(&mut ios[here]) {
                match event {
                    Event::Received { input, .. } => {
                        got.extend_from_slice(ios[here].input(&input));
                        ios[here].give_back(input);
                    }
                    Event::Released { socket, .. } => {
                        here += 1;
                        ios[here].attach(token, socket);
                        ios[here].receive(token);
                        break;
                    }
                    other => panic!("{other:?}"),
                }
            }
            net.advance_to_next_deadline();
        }
        assert_eq!((here, got), (1, sent), "seed {seed}");
    }
}
