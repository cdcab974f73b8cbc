//! Connections that meet: transactions, watched keys and commands that wait, the same to Torc and to Redis.
//!
//! Design: a seed gives a stream of commands over several connections, one command at a time. Redis, which runs one command
//! after another, says who gets a reply: the connection itself unless it has to wait, and those that waited and were served. Two
//! PINGs over a connection of their own show that it has said everything. The same must come from Torc, over the same
//! connections. Who waits must be waiting there too before the next command goes out: CLIENT LIST says so.
//!
//! SWAPDB serves keys in the order of a hash table; it is not drawn where that matters: in transactions, and while a
//! command waits that pushes or that waits for several keys.
//!
//! `TORC_DIFFERENTIAL` and `TORC_DIFFERENTIAL_SEED` are as in `differential`.

use std::collections::VecDeque;

use super::shapes::{
    self, Compare, ID, NAMED_CONNECTIONS, PAYLOAD, PAYLOADS, Shape, WAITED_KEYS, exact, rare,
};
use super::{Pair, Sent, alike, compare_states, line};
use crate::harness::{Client, Rng, Server, Value, until};

/// Commands sent in a normal run, per configuration.
const COMMANDS: usize = 10_000;
/// Commands of a round.
const ROUND: usize = 200;
/// Steps shown when one fails.
const STEPS_SHOWN: usize = 60;

/// Commands that do not wait.
const COMMON: &[Shape] = &[
    exact("LPUSH W E+"),
    exact("RPUSH W E+"),
    exact("LPUSH W E"),
    exact("RPUSH W E"),
    exact("LPUSHX W E+"),
    exact("RPUSHX W E+"),
    exact("LPOP W (R|)"),
    exact("RPOP W (R|)"),
    exact("LLEN W"),
    exact("LRANGE W 0 -1"),
    exact("LINDEX W R"),
    exact("LSET W R E"),
    exact("LINSERT W (BEFORE|AFTER) E E"),
    exact("LREM W (0|1|-2) E"),
    rare("LTRIM W R R"),
    exact("LPOS W E (RANK,1|RANK,-1|) (COUNT,R|)"),
    exact("LMOVE W W (LEFT|RIGHT) (LEFT|RIGHT)"),
    exact("RPOPLPUSH W W"),
    exact("LMPOP 1 W (LEFT|RIGHT) (COUNT,R|)"),
    exact("LMPOP 2 W W (LEFT|RIGHT) (COUNT,R|)"),
    exact("DEL W"),
    exact("DEL W+"),
    exact("UNLINK W+"),
    exact("EXISTS W+"),
    exact("TYPE W"),
    exact("EXPIRE W S"),
    exact("PERSIST W"),
    exact("RENAME W W"),
    exact("RENAMENX W W"),
    exact("COPY W W (DB,0|DB,1|) (REPLACE|)"),
    exact("MOVE W (0|1)"),
    exact("RESTORE W 0 Y (REPLACE|)"),
    rare("SELECT (0|1)"),
    rare("SELECT (0|1)"),
    rare("FLUSHDB"),
    rare("FLUSHALL"),
    exact("DBSIZE"),
    exact("MULTI"),
    rare("EXEC"),
    rare("DISCARD"),
    exact("WATCH W+"),
    rare("UNWATCH"),
    exact("CLIENT UNBLOCK N (TIMEOUT|ERROR|)"),
    exact("SET W V (GET|)"),
    exact("SET W V (NX|XX|)"),
    exact("APPEND W V"),
    rare("GETDEL W"),
    exact("RESTORE W 0 PAYLOAD:0 (REPLACE|)"),
    // Not with STORE: Redis serves nobody where that puts a list in the place of a string.
    exact("SORT W ALPHA (BY,*|BY,x|) (GET,*|GET,#|)"),
    exact(SWAPDB),
];
const SWAPDB: &str = "SWAPDB (0|1) (0|1)";

/// Every other command of a transaction.
const PUSHES: &[Shape] = &[
    exact("LLEN W"),
    exact("DEL W"),
    exact("RPUSH W E E"),
    exact("LPUSH W E"),
    exact("RPUSH W E"),
    exact("RENAME W W"),
];

/// Commands that wait.
const WAITING: &[Shape] = &[
    exact("BLPOP W T"),
    exact("BRPOP W T"),
    exact("BLMPOP T 1 W (LEFT|RIGHT) (COUNT,R|)"),
    exact("BLMOVE W W (LEFT|RIGHT) (LEFT|RIGHT) T"),
    exact("BLMOVE W W (LEFT|RIGHT) (LEFT|RIGHT) T"),
    exact("BRPOPLPUSH W W T"),
    exact("BLPOP W+ T"),
    exact("BRPOP W+ T"),
    exact("BLPOP W W W T"),
    exact("BLMPOP T 2 W W (LEFT|RIGHT) (COUNT,R|)"),
    exact("BLMPOP T 3 W W W (LEFT|RIGHT) (COUNT,R|)"),
];

/// All shapes that are drawn here.
pub fn shapes() -> impl Iterator<Item = &'static Shape> {
    COMMON.iter().chain(PUSHES).chain(WAITING)
}

/// A connection to each server, and what is known of it.
struct Member {
    pair: Pair,
    /// Its ids: Redis's and Torc's.
    ids: [String; 2],
    in_multi: bool,
    /// The command that waits.
    waits: Option<Sent>,
}

struct Meeting {
    redis: Server,
    torc: Server,
    /// A pair of connections that only ask.
    control: Pair,
    members: Vec<Member>,
    /// What DUMP says of the same values: Redis's and Torc's.
    payloads: Vec<[Vec<u8>; 2]>,
    rng: Rng,
    seed: u64,
    steps: VecDeque<String>,
    /// Clients served, and those among them that a transaction served.
    served: [usize; 2],
}

impl Meeting {
    fn new(seed: u64, args: &[&str]) -> Self {
        let (redis, torc) = (Server::redis(&[]), Server::start(args));
        let mut control = Pair { torc: torc.client(), redis: redis.client() };
        let payloads = (0..PAYLOADS).map(|number| {
            match number {
                0 => control.both("SET payload text"),
                _ => control.both(&format!("RPUSH payload {}", "a 1 -300 ".repeat(number * number))),
            };
            let (expected, reply) = control.both("DUMP payload");
            control.both("DEL payload");
            [expected.text().to_vec(), reply.text().to_vec()]
        });
        let payloads = payloads.collect();
        let mut meeting = Self {
            redis,
            torc,
            control,
            members: Vec::new(),
            payloads,
            rng: Rng(seed),
            seed,
            steps: VecDeque::new(),
            served: [0; 2],
        };
        for number in 0..NAMED_CONNECTIONS {
            let member = meeting.member(number);
            meeting.members.push(member);
        }
        meeting
    }

    fn member(&self, number: usize) -> Member {
        let pair = Pair { torc: self.torc.client(), redis: self.redis.client() };
        let mut pair = pair.speaking(if number.is_multiple_of(2) { 2 } else { 3 });
        let (redis, torc) = pair.both("CLIENT ID");
        let ids = [redis, torc].map(|id| id.int().expect("an id").to_string());
        Member { pair, ids, in_multi: false, waits: None }
    }

    /// Some commands; in the end nobody waits and no transaction is open.
    fn round(&mut self) {
        for _ in 0..ROUND {
            if self.rng.once_in(200) {
                self.replace();
            }
            let free: Vec<usize> =
                (0..self.members.len()).filter(|number| self.members[*number].waits.is_none()).collect();
            let number = *self.rng.pick(&free);
            let (words, compare) = self.draw(number, free.len() == 1);
            self.step(Sent { words, compare, connection: number });
        }
        for number in 0..self.members.len() {
            if self.members[number].waits.is_some() {
                let [redis, torc] = &self.members[number].ids;
                self.control.redis.ask(&format!("CLIENT UNBLOCK {redis}"));
                self.control.torc.ask(&format!("CLIENT UNBLOCK {torc}"));
                self.steps.push_back(format!("  [{number}] is unblocked"));
                self.compare_replies(None);
                assert!(self.members[number].waits.is_none());
            } else if self.members[number].in_multi {
                self.step(Sent {
                    words: vec![b"DISCARD".into()],
                    compare: Compare::Exact,
                    connection: number,
                });
            }
        }
    }

    /// What a connection sends next. The last that waits for nothing must not wait.
    fn draw(&mut self, number: usize, is_last: bool) -> (Vec<Vec<u8>>, Compare) {
        let in_multi = self.members[number].in_multi;
        if in_multi && self.rng.once_in(6) {
            return (
                vec![if self.rng.once_in(8) { b"DISCARD".into() } else { b"EXEC".into() }],
                Compare::Exact,
            );
        }
        if in_multi && self.rng.once_in(2) {
            // What makes several keys ready at once is what matters most.
            return shapes::draw(&PUSHES.iter().collect::<Vec<_>>(), &mut self.rng);
        }
        let pushes = |sent: &Sent| {
            let keys = sent.words[1..].iter().filter(|word| WAITED_KEYS.contains(&&word[..])).count();
            keys > 1 || sent.words[0] == b"BLMOVE" || sent.words[0] == b"BRPOPLPUSH"
        };
        let pusher_waits = self.members.iter().any(|member| member.waits.as_ref().is_some_and(pushes));
        let shapes: Vec<&'static Shape> = COMMON
            .iter()
            .chain(WAITING)
            // They come twice as often.
            .chain(WAITING)
            .filter(|shape| shape.words != SWAPDB || !(in_multi || pusher_waits))
            .filter(|shape| in_multi || !is_last || !shape.words.starts_with('B'))
            .collect();
        shapes::draw(&shapes, &mut self.rng)
    }

    /// Sends one command to both servers, and compares all that comes of it.
    fn step(&mut self, sent: Sent) {
        let number = sent.connection;
        let [redis, torc] = [0, 1].map(|server| self.own_words(&sent.words, server));
        self.steps.push_back(line(&sent));
        if self.steps.len() > STEPS_SHOWN {
            self.steps.pop_front();
        }
        let member = &mut self.members[number];
        member.pair.redis.send(&redis).expect("Redis takes commands");
        member.pair.torc.send(&torc).expect("Torc takes commands");
        let name = sent.words[0].clone();
        let refused = self.compare_replies(Some(sent)).is_none_or(|reply| reply.is_error());
        let member = &mut self.members[number];
        match &name[..] {
            b"MULTI" if !refused => member.in_multi = true,
            b"EXEC" => member.in_multi = false,
            b"DISCARD" => member.in_multi &= refused,
            _ => {}
        }
    }

    /// A command's words as one of the servers is to get them.
    fn own_words(&self, words: &[Vec<u8>], server: usize) -> Vec<Vec<u8>> {
        if words.get(1).is_some_and(|word| word.starts_with(ID.as_bytes())) {
            // It lacks its subcommand; the error would show the id.
            return words.to_vec();
        }
        let own = |word: &Vec<u8>| {
            let text = std::str::from_utf8(word).unwrap_or_default();
            let number = |prefix| text.strip_prefix(prefix).and_then(|number| number.parse::<usize>().ok());
            match (number(ID), number(PAYLOAD)) {
                (Some(number), _) => self.members[number].ids[server].clone().into_bytes(),
                (_, Some(number)) => self.payloads[number][server].clone(),
                _ => word.clone(),
            }
        };
        words.iter().map(own).collect()
    }

    /// Everything that comes of the command just sent: Redis says what that is. The reply to the command itself.
    fn compare_replies(&mut self, mut sent: Option<Sent>) -> Option<Value> {
        // A command that cannot wait has its reply first: one that is long is not read in one turn.
        let mut first = match &sent {
            Some(sent) if sent.words[0][0] != b'B' => {
                let redis = &mut self.members[sent.connection].pair.redis;
                Some(redis.read().expect("Redis replies"))
            }
            _ => None,
        };
        // The second is read after the replies of the turn that the first came in have been written.
        (0..2).for_each(|_| drop(self.control.redis.ask("PING")));
        let sender = sent.as_ref().map(|sent| sent.connection);
        let is_exec = sent.as_ref().is_some_and(|sent| sent.words[0] == b"EXEC");
        let mut own_reply = None;
        for number in 0..self.members.len() {
            let member = &mut self.members[number];
            let is_sender = Some(number) == sender;
            if !is_sender && member.waits.is_none() {
                continue;
            }
            let expected = match first.take_if(|_| is_sender) {
                Some(first) => Some(first),
                None => member.pair.redis.try_read().expect("Redis replies"),
            };
            let Some(expected) = expected else {
                if is_sender {
                    member.waits = sent.take();
                    self.steps.push_back(format!("  [{number}] waits"));
                }
                continue;
            };
            let answered = if is_sender { sent.take() } else { member.waits.take() };
            let answered = answered.expect("there was a command");
            let reply = member.pair.torc.read();
            let Ok(reply) = reply else {
                self.fail(&format!("[{number}] gets {expected} from Redis, and from Torc: {reply:?}"));
            };
            let same = alike(answered.compare, &expected, &reply);
            if !same {
                self.fail(&format!("[{number}] Redis: {expected}\n[{number}] Torc:  {reply}"));
            }
            if !is_sender && !expected.is_null() {
                self.served[0] += 1;
                self.served[1] += usize::from(is_exec);
            }
            if !is_sender {
                self.steps.push_back(format!("  [{number}] is served {expected}"));
            }
            own_reply = if is_sender { Some(expected) } else { own_reply };
        }
        self.check_waiting(sender);
        own_reply
    }

    /// Who waits at Redis waits at Torc.
    fn check_waiting(&mut self, sender: Option<usize>) {
        for number in 0..self.members.len() {
            if self.members[number].waits.is_none() {
                continue;
            }
            let id = self.members[number].ids[1].clone();
            let mut early = None;
            let waits = until(|| {
                early = self.members[number].pair.torc.try_read().expect("Torc is there");
                early.is_some() || Some(number) != sender || is_blocked(&mut self.control.torc, &id)
            });
            if let Some(early) = early {
                self.fail(&format!("[{number}] waits at Redis, and Torc says {early}"));
            }
            if !waits {
                self.fail(&format!("[{number}] waits at Redis, but not at Torc"));
            }
        }
    }

    /// A connection ends, whatever it is at, and another takes its place.
    fn replace(&mut self) {
        let number = self.rng.below(self.members.len());
        let member = self.member(number);
        let Member { pair, ids: [redis, torc], .. } = std::mem::replace(&mut self.members[number], member);
        drop(pair);
        self.steps.push_back(format!("  [{number}] is replaced"));
        for (client, id) in [(&mut self.control.redis, redis), (&mut self.control.torc, torc)] {
            let gone = until(|| client.ask(&format!("CLIENT LIST ID {id}")).text().is_empty());
            assert!(gone, "client {id} does not go");
        }
    }

    fn fail(&self, why: &str) -> ! {
        let steps: Vec<&str> = self.steps.iter().map(String::as_str).collect();
        panic!("seed {}:\n{}\n{why}\n{}", self.seed, steps.join("\n"), self.torc.log())
    }
}

fn is_blocked(client: &mut Client, id: &str) -> bool {
    let line = client.ask(&format!("CLIENT LIST ID {id}")).string();
    let flags = line.split(' ').find_map(|field| field.strip_prefix("flags="));
    flags.is_some_and(|flags| flags.contains('b'))
}

fn run(seed: u64, args: &[&str]) {
    let commands = std::env::var("TORC_DIFFERENTIAL").ok().map_or(COMMANDS, |n| n.parse().expect("a number"));
    let seed = std::env::var("TORC_DIFFERENTIAL_SEED").ok().map_or(seed, |n| n.parse().expect("a number"));
    let mut meeting = Meeting::new(seed, args);
    for _ in 0..commands.div_ceil(ROUND) {
        meeting.round();
    }
    compare_states(seed, &mut meeting.control, &[]);
    meeting.torc.check_alive();
    let [served, by_transactions] = meeting.served;
    println!("{commands} commands, {served} served, {by_transactions} of them by transactions");
    assert!(served > commands / 100, "only {served} were served");
    assert!(by_transactions > commands / 1000, "only {by_transactions} were served by transactions");
}

#[test]
fn connections_that_meet_at_one_worker() {
    run(11, &["--workers", "1"]);
}

#[test]
fn connections_that_meet_at_three_workers() {
    run(12, &["--workers", "3"]);
}
