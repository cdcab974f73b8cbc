//! Clients that push into queues and clients that wait for what comes: BLPOP on several keys, LPOP of several elements,
//! transactions that push into two queues, connections that die while they wait.
//!
//! Design: a popper waits on all queues and, last, on one that says the end: it is filled when all has been pushed, and comes into
//! its own when the others are empty. A connection that died may still take an end that was meant for another, so ends are
//! pushed until all poppers have gone.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Fate, Link, Request, Run, sometimes};
use crate::harness::{Rng, Value, command, until};
use crate::history::queue::{Pop, Push};

/// What is run.
#[derive(Clone, Copy)]
pub struct Plan {
    /// Clients that push.
    pub pushers: u32,
    /// Clients that pop.
    pub poppers: u32,
    /// Elements pushed, about.
    pub elements: usize,
    /// What is random depends on it.
    pub seed: u64,
    /// A step in so many ends with a dead connection; 0 for none.
    pub deaths: usize,
}

/// What was recorded.
#[derive(Default)]
pub struct History {
    /// All pushes, those of one connection in order.
    pub pushes: Vec<Push>,
    /// All pops that were answered.
    pub pops: Vec<Pop>,
    /// How many elements may have gone to pops that were not.
    pub open_pops: usize,
}

const QUEUES: u32 = 4;
const PUSHED_MAX: usize = 3;
const POPPED_MAX: usize = 3;
const END: &str = "queue:end";

/// Runs it.
pub fn run(run: &Run<'_>, plan: Plan) -> History {
    let mut history = History::default();
    let popping = AtomicUsize::new(plan.poppers as usize);
    std::thread::scope(|scope| {
        let popping = &popping;
        let poppers: Vec<_> = (0..plan.poppers)
            .map(|client| scope.spawn(move || pop_all(run, plan, client, popping)))
            .collect();
        let pushers: Vec<_> =
            (0..plan.pushers).map(|client| scope.spawn(move || push_all(run, plan, client))).collect();
        for pusher in pushers {
            history.pushes.append(&mut pusher.join().expect("clients do not panic"));
        }
        let mut link = Link::new(run);
        let ended = until(|| {
            let length = link.exchange(&[Request { bytes: command(&["LLEN", END]), replies: 1 }]).1;
            if matches!(&length[..], [(Fate::Answered(replies), _)] if replies[0] == Value::Int(0)) {
                link.exchange(&[Request { bytes: command(&["RPUSH", END, "end"]), replies: 1 }]);
            }
            popping.load(Ordering::Acquire) == 0 || run.stopped()
        });
        if !ended {
            // Their waiting ends when the server does not answer in time.
            run.fail("a client that waits was not served".to_owned());
        }
        for popper in poppers {
            let mut part = popper.join().expect("clients do not panic");
            history.pops.append(&mut part.pops);
            history.open_pops += part.open_pops;
        }
    });
    run.operations.fetch_add(history.pushes.len() + history.pops.len(), Ordering::Relaxed);
    history
}

fn name(queue: u32) -> String {
    format!("queue:{queue}")
}

fn push_all(run: &Run<'_>, plan: Plan, client: u32) -> Vec<Push> {
    let mut rng = Rng(plan.seed << 8 | u64::from(client));
    let mut link = Link::new(run);
    let mut pushes = Vec::new();
    let mut next = client << 24;
    while pushes.len() < plan.elements / plan.pushers as usize && !run.stopped() {
        let multi = rng.once_in(4);
        // Of a step, the requests with what each pushes.
        let mut steps: Vec<Vec<(u32, Vec<u32>)>> = Vec::new();
        for _ in 0..1 + rng.below(4) {
            let commands = if multi { 2 } else { 1 };
            let pushed = (0..commands).map(|_| {
                let elements = (0..1 + rng.below(PUSHED_MAX)).map(|_| {
                    next += 1;
                    next
                });
                let elements = elements.collect();
                (rng.below(QUEUES as usize) as u32, elements)
            });
            steps.push(pushed.collect());
        }
        let requests: Vec<Request> = steps.iter().map(|step| push_request(step, multi)).collect();
        let connection = link.connection;
        let fates = if sometimes(&mut rng, plan.deaths) {
            link.die(&requests, &mut rng)
        } else {
            link.exchange(&requests).1
        };
        for (step, (fate, span)) in steps.iter().zip(fates) {
            if matches!(fate, Fate::Cut) {
                continue;
            }
            if let Fate::Answered(replies) = &fate
                && let Some(bad) = replies.iter().find(|reply| reply.is_error())
            {
                run.fail(format!("{bad} as the reply to {step:?}"));
            }
            for (queue, elements) in step {
                let push = |element: &u32| Push { connection, span, queue: *queue, element: *element };
                pushes.extend(elements.iter().map(push));
            }
        }
    }
    pushes
}

fn push_request(step: &[(u32, Vec<u32>)], multi: bool) -> Request {
    let commands = step.iter().flat_map(|(queue, elements)| {
        let elements = elements.iter().map(u32::to_string);
        let words: Vec<String> = ["RPUSH".to_owned(), name(*queue)].into_iter().chain(elements).collect();
        command(&words)
    });
    if !multi {
        return Request { bytes: commands.collect(), replies: step.len() };
    }
    let bytes = command(&["MULTI"]).into_iter().chain(commands).chain(command(&["EXEC"]));
    Request { bytes: bytes.collect(), replies: step.len() + 2 }
}

fn pop_all(run: &Run<'_>, plan: Plan, client: u32, popping: &AtomicUsize) -> History {
    let mut rng = Rng(plan.seed << 8 | 0x80 | u64::from(client));
    let mut link = Link::new(run);
    let mut history = History::default();
    let mut ended = false;
    while !ended && !run.stopped() {
        let first = rng.below(QUEUES as usize) as u32;
        let blocking = !rng.once_in(4);
        let request = if blocking {
            let names = (0..QUEUES).map(|offset| name((first + offset) % QUEUES));
            let last = [END.to_owned(), "0".to_owned()];
            let words: Vec<String> = std::iter::once("BLPOP".to_owned()).chain(names).chain(last).collect();
            Request { bytes: command(&words), replies: 1 }
        } else {
            Request { bytes: command(&["LPOP", &name(first), &POPPED_MAX.to_string()]), replies: 1 }
        };
        let connection = link.connection;
        let fates = if sometimes(&mut rng, plan.deaths) {
            link.die(&[request], &mut rng)
        } else {
            link.exchange(&[request]).1
        };
        let Some((fate, span)) = fates.into_iter().next() else { continue };
        let reply = match fate {
            Fate::Cut => continue,
            Fate::Unanswered => {
                history.open_pops += if blocking { 1 } else { POPPED_MAX };
                continue;
            }
            Fate::Answered(mut replies) => replies.remove(0),
        };
        let (key, elements) = match &reply {
            Value::Array(pair) if blocking && pair.len() == 2 => (pair[0].string(), pair[1..].to_vec()),
            Value::Array(elements) if !blocking => (name(first), elements.clone()),
            Value::NullBulk | Value::NullArray if !blocking => continue,
            _ => {
                run.fail(format!("{reply} as the reply to a pop"));
                continue;
            }
        };
        ended = key == END;
        if ended {
            continue;
        }
        let queue = key.trim_start_matches("queue:").parse().unwrap_or(u32::MAX);
        for element in elements {
            let element = element.int().and_then(|number| u32::try_from(number).ok()).unwrap_or(u32::MAX);
            history.pops.push(Pop { span, connection, queue, element });
        }
    }
    popping.fetch_sub(1, Ordering::Release);
    history
}
