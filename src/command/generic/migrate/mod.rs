//! MIGRATE: keys go to another server.
//!
//! Design: a server that waited for another one in the middle of its loop would keep all its clients waiting. So values are taken
//! under the keys' leases, as DUMP takes them; a thread brings them to the target (`exchange`), while the client waits as it would
//! for a key; and with the answer the command runs again, under the same leases, and removes what is over there.
//!
//! ```text
//! under leases: values -> thread: RESTORE ... -> under leases: as sent? remove : send what it is now, again
//! ```
//!
//! What is promised is what Redis promises, whose loop stands still meanwhile: a key that was answered with OK is at the target
//! with the value that it had when it was removed here, and no write to it is lost. Others may read it and write to it until then;
//! if one has, its new value is sent, over the one that was sent before, or it is removed there if it is gone. A key that is changed
//! so often that this leads nowhere is sent under its leases, as in Redis, for the timeout at most; so is every key in a transaction
//! or a script, which has to be whole. Where the answer does not come, the key may be on both sides, as in Redis.
//!
//! Not here: the format (`persist::rdb`), waiting (`worker::blocking`).

mod exchange;

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::GENERIC;
use crate::command::row::{Begin, Find, KeyAccess, KeySpec, key_at};
use crate::command::{
    Args, Blocking, Categories, Command, CommandError, Context, Flags, OnTimeout, Outcome, Scope,
};
use crate::observe::ClientInfo;
use crate::persist::rdb;
use crate::resp::Reply;
use crate::resp::number::parse_i64;
use crate::store::{Event, View};
use exchange::{Answer, Change, Item, Sockets, Target};

/// MIGRATE.
pub const ROWS: &[Command] = &[Command {
    name: "migrate",
    arity: -6,
    flags: Flags::WRITE,
    keys: &[key_at(3, KeyAccess::ReadDelete), KEYS],
    since: "2.6.0",
    complexity: "O(N), N bytes of the values, here and at the target",
    categories: Categories::DANGEROUS,
    tips: &["nondeterministic_output"],
    summary: "Moves keys to another server.",
    syntax: "host port:integer key-selector:<key | empty-string=> destination-db:integer timeout:integer [COPY@3.0.0] [REPLACE@3.0.0] authentication:[AUTH auth/password@4.0.7 | AUTH2 auth2:<username password>@6.0.0] [KEYS keys/key#1@3.0.6...]",
    finder: Some(find_keys),
    secrets: Some(find_secrets),
    handler: migrate,
    ..GENERIC
}];

/// Those behind KEYS.
const KEYS: KeySpec = KeySpec {
    access: KeyAccess::ReadDelete,
    begin: Begin::Keyword("KEYS", -2),
    find: Find::Range { last: -1, step: 1, limit: 0 },
    is_incomplete: true,
};

/// The first option.
const OPTIONS: usize = 6;
/// Time between two looks whether the target has answered, ms.
const LOOK_MS: u64 = 1;
/// Times that what has changed meanwhile is sent again before it is sent under its leases.
const ROUNDS_MAX: u32 = 3;
/// After so long nobody takes an answer any more: a client would have looked within ms.
const LOST_AFTER: Duration = Duration::from_secs(600);
/// Where no timeout is given.
const TIMEOUT_MS: i64 = 1000;

/// Exchanges at the same time, each of which has a thread: beyond that a command is refused.
const EXCHANGES_MAX: usize = 512;
const TOO_MANY: CommandError =
    CommandError::Text("ERR too many MIGRATE commands are waiting for their targets");

/// The exchanges under way, and sockets for the next ones.
#[derive(Default)]
pub struct Migrations {
    sockets: Arc<Sockets>,
    running: Mutex<HashMap<u64, Running>>,
    /// How many there were.
    count: AtomicU64,
}

/// An exchange that a client waits for.
struct Running {
    client_info: Weak<ClientInfo>,
    since: Instant,
    items: Arc<Vec<Item>>,
    round: u32,
    answer: Arc<Mutex<Option<Answer>>>,
}

/// How far an exchange is.
enum Progress {
    Runs,
    Answered(Arc<Vec<Item>>, Answer, u32),
    /// Nobody was there for its answer.
    Lost,
}

impl Migrations {
    /// Sockets that are kept for the next exchange.
    pub fn sockets_count(&self) -> usize {
        self.sockets.count()
    }

    /// Closes sockets that were not used for a while.
    pub fn tend(&self) {
        self.sockets.close_old();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Running>> {
        // Nobody panics midway.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn progress(&self, number: u64) -> Progress {
        let mut all = self.lock();
        let Some(running) = all.get(&number) else { return Progress::Lost };
        let answer = running.answer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(answer) = answer else { return Progress::Runs };
        all.remove(&number)
            .map_or(Progress::Lost, |running| Progress::Answered(running.items, answer, running.round))
    }

    /// Begins an exchange on a thread of its own, under the number of the one before it if it is not the first of its command:
    /// its number, if there is room for another thread.
    fn begin(
        &self,
        ctx: &Context<'_>,
        target: Target,
        items: Vec<Item>,
        (round, number): (u32, Option<u64>),
    ) -> Option<u64> {
        if !self.has_room() {
            return None;
        }
        let (items, answer) = (Arc::new(items), Arc::<Mutex<Option<Answer>>>::default());
        let client_info = Arc::downgrade(&ctx.session.client_info);
        let (sent, told) = (Arc::clone(&items), Arc::clone(&answer));
        let running = Running { client_info, since: Instant::now(), items, round, answer };
        let (sockets, settle) = (Arc::clone(&self.sockets), ctx.shared.link.settler());
        let thread = std::thread::Builder::new().name("torc-migrate".into()).spawn(move || {
            settle();
            let outcome = sockets.exchange(&target, &sent);
            *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        });
        thread.ok()?;
        let number = number.unwrap_or_else(|| self.count.fetch_add(1, Relaxed) + 1);
        self.lock().insert(number, running);
        Some(number)
    }

    fn has_room(&self) -> bool {
        let mut all = self.lock();
        // Clients that did not wait for the answer: they have gone, or somebody has ended their wait.
        all.retain(|_, running| {
            running.client_info.strong_count() > 0 && running.since.elapsed() < LOST_AFTER
        });
        all.len() < EXCHANGES_MAX
    }
}

struct Options {
    copy: bool,
    replace: bool,
    target: Target,
    /// The arguments that are keys.
    keys: std::ops::Range<usize>,
}

fn options(args: &Args<'_>) -> Result<Options, CommandError> {
    let (mut copy, mut replace, mut credentials) = (false, false, Vec::new());
    let (mut keys, mut index) = (3..4, OPTIONS);
    while index < args.len() {
        let left = args.len() - index - 1;
        if args.is(index, "COPY") {
            copy = true;
        } else if args.is(index, "REPLACE") {
            replace = true;
        } else if args.is(index, "AUTH") {
            let password = if left >= 1 { args.at(index + 1) } else { return Err(CommandError::Syntax) };
            credentials = vec![password.to_vec()];
            index += 1;
        } else if args.is(index, "AUTH2") {
            if left < 2 {
                return Err(CommandError::Syntax);
            }
            credentials = vec![args.at(index + 1).to_vec(), args.at(index + 2).to_vec()];
            index += 2;
        } else if args.is(index, "KEYS") {
            if !args.at(3).is_empty() {
                return Err(CommandError::Text(
                    "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string",
                ));
            }
            keys = index + 1..args.len();
            break;
        } else {
            return Err(CommandError::Syntax);
        }
        index += 1;
    }
    let timeout_ms = parse_i64(args.at(5)).ok_or(CommandError::NotInteger)?;
    let db = parse_i64(args.at(4)).ok_or(CommandError::NotInteger)?;
    let timeout_ms = if timeout_ms <= 0 { TIMEOUT_MS } else { timeout_ms };
    let timeout = Duration::from_millis(timeout_ms.min(i64::from(i32::MAX)) as u64);
    let (host, port) = (args.at(1).to_vec(), args.at(2).to_vec());
    Ok(Options { copy, replace, target: Target { host, port, db, credentials, timeout }, keys })
}

fn migrate(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    const LOST: CommandError = CommandError::Text("IOERR error or timeout reading to target instance");
    let options = options(args)?;
    let migrations = &ctx.shared.migrations;
    let number = match ctx.session.waited_for {
        OnTimeout::Migration(number) => Some(number),
        _ => None,
    };
    let (items, round) = match number.map(|number| (number, migrations.progress(number))) {
        None => (present(ctx, args, &options), 0),
        Some((number, Progress::Runs)) => return wait(ctx, number),
        Some((_, Progress::Lost)) => return Err(LOST),
        Some((_, Progress::Answered(items, answer, round))) => {
            match take_up(ctx, args, &options, &items, answer, reply)? {
                None => return Ok(()),
                Some(again) => (again, round + 1),
            }
        }
    };
    if items.is_empty() {
        reply.simple("NOKEY");
        return Ok(());
    }
    if ctx.may_block() && round <= ROUNDS_MAX {
        let begun = migrations.begin(ctx, options.target, items, (round, number));
        return begun.map_or(Err(TOO_MANY), |number| wait(ctx, number));
    }
    // Under the leases nothing changes meanwhile.
    let answer = migrations.sockets.exchange(&options.target, &items);
    let again = take_up(ctx, args, &options, &items, answer, reply)?;
    assert!(again.is_none(), "nobody else changes what is sent");
    Ok(())
}

/// The client waits for the answer.
fn wait(ctx: &mut Context<'_>, number: u64) -> Outcome {
    ctx.block(Blocking::without_keys(0, ctx.now_ms + LOOK_MS, OnTimeout::Migration(number)))
}

/// The keys that are there, each once, as they are.
fn present(ctx: &mut Context<'_>, args: &Args<'_>, options: &Options) -> Vec<Item> {
    let mut items: Vec<Item> = Vec::new();
    for index in options.keys.clone() {
        if items.iter().any(|item| item.key == args.at(index)) {
            continue;
        }
        if let Some((payload, deadline_ms)) = value(ctx, args, index) {
            let change = Change::Set { payload, deadline_ms, replaces: options.replace };
            items.push(Item { key: args.at(index).to_vec(), index, change });
        }
    }
    items
}

/// A key's value and deadline.
fn value(ctx: &mut Context<'_>, args: &Args<'_>, index: usize) -> Option<(Vec<u8>, Option<u64>)> {
    let compress = ctx.config.rdbcompression;
    let entry = ctx.read(args, index)?;
    Some((rdb::payload(&View::of(entry), entry.bytes_allocated(), compress), entry.deadline()))
}

/// The target has answered: what is there goes here, unless it has changed since. What is to be sent again, or the reply.
fn take_up(
    ctx: &mut Context<'_>,
    args: &Args<'_>,
    options: &Options,
    items: &[Item],
    answer: Answer,
    reply: &mut Reply<'_>,
) -> Result<Option<Vec<Item>>, CommandError> {
    let mut again = Vec::new();
    let done = items.iter().zip(answer.done).filter(|(_, is_done)| *is_done);
    for (item, _) in done.filter(|_| !options.copy) {
        let now = value(ctx, args, item.index);
        let change = match (&item.change, now) {
            (Change::Remove, None) => continue,
            (Change::Set { payload, deadline_ms, .. }, Some(now))
                if (payload, deadline_ms) == (&now.0, &now.1) =>
            {
                let mut place = ctx.write(args, item.index);
                place.remove();
                place.event(Event::DEL);
                place.repeat_as(|words| {
                    words.add("DEL").add(args.at(item.index));
                });
                continue;
            }
            (_, Some((payload, deadline_ms))) => Change::Set { payload, deadline_ms, replaces: true },
            (_, None) => Change::Remove,
        };
        again.push(Item { key: item.key.clone(), index: item.index, change });
    }
    if let Some(error) = answer.error {
        reply.error_bytes(&error);
        return Err(CommandError::Replied);
    }
    if again.is_empty() {
        reply.ok();
        return Ok(None);
    }
    Ok(Some(again))
}

/// KEYS means those behind it; where the key itself is not empty, none, as that is refused.
fn find_keys(args: &Args<'_>, found: &mut dyn FnMut(usize, KeyAccess)) -> Scope {
    let mut index = OPTIONS;
    while index < args.len() {
        if args.is(index, "KEYS") {
            let keys = if args.at(3).is_empty() { index + 1..args.len() } else { 0..0 };
            keys.for_each(|key| found(key, KeyAccess::ReadDelete));
            return Scope::Keys;
        }
        index += match () {
            () if args.is(index, "AUTH") => 2,
            () if args.is(index, "AUTH2") => 3,
            () => 1,
        };
    }
    found(3, KeyAccess::ReadDelete);
    Scope::Keys
}

fn find_secrets(args: &Args<'_>, found: &mut dyn FnMut(usize)) {
    let mut index = OPTIONS;
    while index < args.len() && !args.is(index, "KEYS") {
        let count = match () {
            () if args.is(index, "AUTH") => 1,
            () if args.is(index, "AUTH2") => 2,
            () => 0,
        };
        (index + 1..=index + count).filter(|secret| *secret < args.len()).for_each(&mut *found);
        index += 1 + count;
    }
}
