//! Clients that push into queues and clients that wait for what comes: BLPOP and BRPOP on several keys, BLMPOP of several
//! elements, BLMOVE and BRPOPLPUSH from queue to queue, LPOP and RPOP, transactions that push into several queues, connections
//! that die while they wait.
//!
//! Design: a popper waits on all queues and, last, on one that says the end: it is filled when all has been pushed, and comes into
//! its own when the others are empty. A connection that died may still take an end that was meant for another, so ends are
//! pushed until all poppers have gone. Who waits to move an element has a timeout, because he sees no end.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Fate, Link, Request, Run, sometimes};
use crate::harness::{Rng, Value, command, until};
use crate::history::queue::{End, Operation, Place, Step};
use crate::history::record::Span;

/// What is run.
#[derive(Clone, Copy)]
pub struct Plan {
    /// Clients that push.
    pub pushers: u32,
    /// Clients that pop and move.
    pub poppers: u32,
    /// Elements pushed, about.
    pub elements: usize,
    /// What is random depends on it.
    pub seed: u64,
    /// A step in so many ends with a dead connection; 0 for none.
    pub deaths: usize,
}

const QUEUES: u32 = 4;
const PUSHED_MAX: usize = 3;
const POPPED_MAX: usize = 3;
const PIPELINE_MAX: usize = 4;
const TRANSACTION_COMMANDS: usize = 2;
const MOVE_TIMEOUT_MS: usize = 20;
const END: &str = "queue:end";
/// Elements of one client are below this; the client's number is above.
const ELEMENTS_OF_CLIENT_MAX: u32 = 1 << 24;

/// Runs it.
pub fn run(run: &Run<'_>, plan: Plan) -> Vec<Operation> {
    let mut history = Vec::new();
    let popping = AtomicUsize::new(plan.poppers as usize);
    std::thread::scope(|scope| {
        let popping = &popping;
        let poppers: Vec<_> = (0..plan.poppers)
            .map(|client| scope.spawn(move || pop_all(run, plan, client, popping)))
            .collect();
        let pushers: Vec<_> =
            (0..plan.pushers).map(|client| scope.spawn(move || push_all(run, plan, client))).collect();
        for pusher in pushers {
            history.append(&mut pusher.join().expect("clients do not panic"));
        }
        let mut link = Link::new(run);
        let ended = until(|| {
            let length = link.exchange(&[Request::plain(command(&["LLEN", END]))]);
            if matches!(&length[..], [(Fate::Answered(replies), _)] if replies[0] == Value::Int(0)) {
                link.exchange(&[Request::plain(command(&["RPUSH", END, "end"]))]);
            }
            popping.load(Ordering::Acquire) == 0 || run.stopped()
        });
        if !ended {
            // Their waiting ends when the server does not answer in time.
            run.fail("a client that waits was not served".to_owned());
        }
        for popper in poppers {
            history.append(&mut popper.join().expect("clients do not panic"));
        }
    });
    run.operations.fetch_add(history.iter().map(|operation| operation.steps.len()).sum(), Ordering::Relaxed);
    history
}

/// Where commands on queues come from.
pub struct Source {
    /// What is random depends on it.
    pub rng: Rng,
    queues: u32,
    next: u32,
}

/// A command and what it does.
pub type Drawn = (Vec<u8>, Step);

impl Source {
    /// For one of several clients.
    pub fn new(rng: Rng, queues: u32, client: u32) -> Self {
        Self { rng, queues, next: client * ELEMENTS_OF_CLIENT_MAX }
    }

    /// Pushes a few elements.
    pub fn push(&mut self) -> Drawn {
        let count = 1 + self.rng.below(PUSHED_MAX) as u32;
        let elements: Vec<u32> = (self.next + 1..=self.next + count).collect();
        self.next += count;
        let place = Place { queue: self.queue(), end: self.end() };
        let mut words = vec![format!("{}PUSH", letter(place.end)), name(place.queue)];
        words.extend(elements.iter().map(u32::to_string));
        (command(&words), Step::Push { place, elements })
    }

    /// Takes a few elements from one queue if it has any.
    pub fn pop(&mut self) -> Drawn {
        let (queue, max) = (self.queue(), 1 + self.rng.below(POPPED_MAX));
        self.pop_up_to(queue, max)
    }

    /// The same, of that queue.
    pub fn pop_up_to(&mut self, queue: u32, max: usize) -> Drawn {
        let end = self.end();
        let words = [format!("{}POP", letter(end)), name(queue), max.to_string()];
        (command(&words), Step::Pop { queues: vec![queue], end, max, taken: None })
    }

    /// Waits on so many queues; without a timeout, for a further key as well.
    pub fn wait(&mut self, count: u32, timeout_ms: usize, last: Option<&str>) -> Drawn {
        let first = self.queue();
        let queues: Vec<u32> = (0..count).map(|offset| (first + offset) % self.queues).collect();
        let (end, timeout) = (self.end(), seconds(timeout_ms));
        let keys = queues.iter().map(|queue| name(*queue)).chain(last.map(str::to_owned));
        let (words, max): (Vec<String>, usize) = if self.rng.once_in(3) {
            let max = 1 + self.rng.below(POPPED_MAX);
            let key_count = (queues.len() + usize::from(last.is_some())).to_string();
            let head = ["BLMPOP".to_owned(), timeout, key_count].into_iter();
            let tail = [word(end).to_owned(), "COUNT".to_owned(), max.to_string()];
            (head.chain(keys).chain(tail).collect(), max)
        } else {
            (std::iter::once(format!("B{}POP", letter(end))).chain(keys).chain([timeout]).collect(), 1)
        };
        (command(&words), Step::Pop { queues, end, max, taken: None })
    }

    /// Waits for an element to move to a queue with a larger number.
    pub fn wait_to_move(&mut self, timeout_ms: usize) -> Drawn {
        let from = self.rng.below(self.queues as usize - 1) as u32;
        let to = from + 1 + self.rng.below((self.queues - 1 - from) as usize) as u32;
        let (mut source, mut target) =
            (Place { queue: from, end: self.end() }, Place { queue: to, end: self.end() });
        let (source_name, target_name, timeout) = (name(from), name(to), seconds(timeout_ms));
        let words = if self.rng.once_in(5) {
            (source.end, target.end) = (End::Right, End::Left);
            vec!["BRPOPLPUSH".to_owned(), source_name, target_name, timeout]
        } else {
            let ends = [source.end, target.end].map(|end| word(end).to_owned());
            [vec!["BLMOVE".to_owned(), source_name, target_name], ends.to_vec(), vec![timeout]].concat()
        };
        (command(&words), Step::Move { source, target, moved: None })
    }

    fn queue(&mut self) -> u32 {
        self.rng.below(self.queues as usize) as u32
    }

    fn end(&mut self) -> End {
        *self.rng.pick(&[End::Left, End::Right])
    }
}

/// Notes what replies say.
///
/// # Errors
/// They are no replies to that.
pub fn fill(steps: &mut [Step], replies: &[Value]) -> Result<(), String> {
    if replies.len() != steps.len() {
        return Err(format!("{replies:?} as the replies to {steps:?}"));
    }
    steps.iter_mut().zip(replies).try_for_each(|(step, reply)| fill_one(step, reply))
}

fn fill_one(step: &mut Step, reply: &Value) -> Result<(), String> {
    let asked = format!("{step:?}");
    let wrong = || Err(format!("{reply} as the reply to {asked}"));
    let nothing = matches!(reply, Value::NullArray | Value::NullBulk);
    match step {
        Step::Push { elements, .. } => {
            if !matches!(reply, Value::Int(length) if *length >= elements.len() as i64) {
                return wrong();
            }
        }
        _ if nothing => {}
        Step::Move { moved, .. } => {
            let Some(element) = element(reply) else { return wrong() };
            *moved = Some(element);
        }
        Step::Pop { queues, max, taken, .. } => {
            let Value::Array(parts) = reply else { return wrong() };
            let queue = parts.first().and_then(queue_named);
            let elements: Option<Vec<u32>> = match (&parts[..], queue) {
                ([_, Value::Array(elements)], Some(_)) => elements.iter().map(element).collect(),
                ([_, one], Some(_)) => element(one).map(|element| vec![element]),
                (elements, _) => elements.iter().map(element).collect(),
            };
            match (queue.or(queues.first().copied()), elements) {
                (Some(queue), Some(elements))
                    if queues.contains(&queue) && (1..=*max).contains(&elements.len()) =>
                {
                    *taken = Some((queue, elements));
                }
                _ => return wrong(),
            }
        }
    }
    Ok(())
}

fn element(value: &Value) -> Option<u32> {
    value.int().and_then(|number| u32::try_from(number).ok())
}

fn queue_named(value: &Value) -> Option<u32> {
    let Value::Bulk(name) = value else { return None };
    std::str::from_utf8(name).ok()?.strip_prefix("queue:")?.parse().ok()
}

fn name(queue: u32) -> String {
    format!("queue:{queue}")
}

fn word(end: End) -> &'static str {
    match end {
        End::Left => "LEFT",
        End::Right => "RIGHT",
    }
}

fn letter(end: End) -> &'static str {
    &word(end)[..1]
}

fn seconds(ms: usize) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

/// A client's connection and what it did.
struct Actor<'r> {
    run: &'r Run<'r>,
    source: Source,
    link: Link<'r>,
    history: Vec<Operation>,
}

impl<'r> Actor<'r> {
    fn new(run: &'r Run<'r>, seed: u64, client: u32) -> Self {
        let source = Source::new(Rng(seed), QUEUES, client);
        Self { run, source, link: Link::new(run), history: Vec::new() }
    }

    /// Carries out requests in one go, each a command or a transaction; whether one of them was told the end.
    fn exchange(&mut self, drawn: Vec<Vec<Drawn>>, deaths: usize) -> bool {
        let requests: Vec<Request> = drawn.iter().map(|commands| request(commands)).collect();
        let connection = self.link.connection;
        let dies = sometimes(&mut self.source.rng, deaths);
        let fates = self.link.send(&requests, dies, &mut self.source.rng);
        let mut ended = false;
        for (commands, (fate, span)) in drawn.into_iter().zip(fates) {
            let steps = commands.into_iter().map(|(_, step)| step).collect();
            match fate {
                Fate::Cut => {}
                Fate::Unanswered => self.history.push(Operation { connection, span, steps }),
                Fate::Answered(replies) if is_end(&replies[0]) => ended = true,
                Fate::Answered(replies) => self.note(connection, span, steps, &replies),
            }
        }
        ended
    }

    fn note(&mut self, connection: u32, span: Span, mut steps: Vec<Step>, replies: &[Value]) {
        let replies = match replies {
            [.., Value::Array(replies)] if steps.len() > 1 => replies,
            replies => replies,
        };
        fill(&mut steps, replies).unwrap_or_else(|wrong| self.run.fail(wrong));
        self.history.push(Operation { connection, span, steps });
    }
}

fn is_end(reply: &Value) -> bool {
    matches!(reply, Value::Array(parts) if parts.first() == Some(&Value::Bulk(END.into())))
}

fn request(commands: &[Drawn]) -> Request {
    match commands {
        [(bytes, _)] => Request::plain(bytes.clone()),
        _ => Request::multi(commands.iter().map(|(bytes, _)| bytes.clone())),
    }
}

fn push_all(run: &Run<'_>, plan: Plan, client: u32) -> Vec<Operation> {
    let mut actor = Actor::new(run, plan.seed << 8 | u64::from(client), client);
    let mut pushed = 0;
    while pushed < plan.elements / plan.pushers as usize && !run.stopped() {
        let before = actor.source.next;
        let commands = if actor.source.rng.once_in(4) { TRANSACTION_COMMANDS } else { 1 };
        let count = 1 + actor.source.rng.below(PIPELINE_MAX);
        let drawn = (0..count).map(|_| (0..commands).map(|_| actor.source.push()).collect()).collect();
        actor.exchange(drawn, plan.deaths);
        pushed += (actor.source.next - before) as usize;
    }
    actor.history
}

fn pop_all(run: &Run<'_>, plan: Plan, client: u32, popping: &AtomicUsize) -> Vec<Operation> {
    let client = plan.pushers + client;
    let mut actor = Actor::new(run, plan.seed << 8 | 0x80 | u64::from(client), client);
    let mut ended = false;
    while !ended && !run.stopped() {
        let drawn = match actor.source.rng.below(4) {
            0 => actor.source.pop(),
            1 => actor.source.wait_to_move(MOVE_TIMEOUT_MS),
            _ => actor.source.wait(QUEUES, 0, Some(END)),
        };
        ended = actor.exchange(vec![vec![drawn]], plan.deaths);
    }
    popping.fetch_sub(1, Ordering::Release);
    actor.history
}
