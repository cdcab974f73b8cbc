//! HOTKEYS: which keys take most time, and most bytes on the network (`observe::Hotkeys`).

use super::info::proc;
use super::{Args, Command, Context, Flags, HELP, Outcome, Reply, SERVER};
use crate::command::{CommandError, Shared};
use crate::observe::{HotkeysReport, HotkeysSettings, ProcessUse};
use crate::resp::number::parse_i64;

const GOES_ON: CommandError = CommandError::Text("ERR hotkey tracking session already in progress");
const STOP_FIRST: CommandError =
    CommandError::Text("ERR hotkey tracking session in progress, stop tracking first");
const NO_METRICS: CommandError = CommandError::Text("ERR METRICS parameter is required");
const METRICS_COUNT: CommandError = CommandError::Text("ERR METRICS count must be > 0 and <= 2");
const METRICS_OTHER_COUNT: CommandError =
    CommandError::Text("ERR METRICS count does not match number of metric types provided");
const METRICS_UNKNOWN: CommandError =
    CommandError::Text("ERR METRICS no valid metrics passed. Supported: CPU|NET");
const CPU_TWICE: CommandError = CommandError::Text("ERR METRICS CPU defined more than once!");
const NET_TWICE: CommandError = CommandError::Text("ERR METRICS NET defined more than once!");
const COUNT: CommandError = CommandError::Text("ERR COUNT must be between 1 and 64");
const DURATION: CommandError = CommandError::Text("ERR DURATION must be between 1 and 1000000");
const SAMPLE: CommandError = CommandError::Text("ERR SAMPLE ratio must be positive");
const SLOTS: CommandError = CommandError::Text("ERR SLOTS parameter cannot be used in non-cluster mode");

/// Keys that are shown if START is not told how many.
const COUNT_DEFAULT: usize = 10;
const METRICS_MAX: i64 = 2;
const LAST_SLOT: i64 = 16_383;

const FLAGS: Flags = Flags::ADMIN.with(Flags::NOSCRIPT);
const EVERYWHERE: &[&str] = &["request_policy:special", "response_policy:special"];
const HOTKEYS: Command = Command { flags: FLAGS, since: "8.6.0", tips: EVERYWHERE, ..SERVER };

/// HOTKEYS.
pub const ROW: Command = Command {
    name: "hotkeys",
    arity: -2,
    since: "8.6.0",
    complexity: "that of the subcommand",
    summary: "Keys that take most time, and most bytes on the network.",
    subcommands: &[
        Command {
            name: "get",
            arity: 2,
            complexity: "O(N), N keys known of all workers",
            summary: "Tells what was found so far.",
            tips: &["nondeterministic_output", "request_policy:special", "response_policy:special"],
            handler: get,
            ..HOTKEYS
        },
        Command { since: "8.6.1", ..HELP },
        Command {
            name: "reset",
            arity: 2,
            complexity: "O(N), N keys known of all workers",
            summary: "Forgets what was found.",
            handler: reset,
            ..HOTKEYS
        },
        Command {
            name: "start",
            arity: -2,
            summary: "Begins to measure what commands take, key by key.",
            syntax: "METRICS metrics:<count [CPU] [NET]> [COUNT k:integer] [DURATION seconds:integer] [SAMPLE ratio:integer] [SLOTS slots:<slots-count:integer slot:integer...>]",
            handler: start,
            ..HOTKEYS
        },
        Command {
            name: "stop",
            arity: 2,
            summary: "Ends measuring, and keeps what was found.",
            handler: stop,
            ..HOTKEYS
        },
    ],
    ..SERVER
};

/// What the process has used since it began.
pub fn process_use(shared: &Shared) -> ProcessUse {
    let cpu = proc::cpu_process();
    let ms = |seconds: f64| (seconds * 1000.0) as u64;
    let net_bytes = shared.stats.sum(|counters| &counters.net_input_bytes)
        + shared.stats.sum(|counters| &counters.net_output_bytes);
    ProcessUse { user_ms: ms(cpu.user), system_ms: ms(cpu.system), net_bytes }
}

/// START. Errors in this order: it goes on, metrics, options.
fn start(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let hotkeys = &ctx.shared.stats.hotkeys;
    if hotkeys.is_on(ctx.now_ms) {
        return Err(GOES_ON);
    }
    if args.len() < 4 || !args.is(2, "METRICS") {
        return Err(NO_METRICS);
    }
    let (mut settings, mut index) = metrics(args)?;
    let mut duration_s = None;
    while index < args.len() {
        let value = args.find(index + 1).ok_or(CommandError::Syntax)?;
        if args.is(index, "COUNT") {
            settings.count = within(value, 64, COUNT)? as usize;
        } else if args.is(index, "DURATION") {
            duration_s = Some(within(value, 1_000_000, DURATION)?);
        } else if args.is(index, "SAMPLE") {
            settings.sample_ratio = within(value, i32::MAX.into(), SAMPLE)?;
        } else if args.is(index, "SLOTS") {
            return Err(SLOTS);
        } else {
            return Err(CommandError::Syntax);
        }
        index += 2;
    }
    let until_ms = duration_s.map(|seconds| ctx.now_ms + seconds * 1000);
    if !hotkeys.start(settings, ctx.now_ms, until_ms, process_use(ctx.shared)) {
        return Err(GOES_ON);
    }
    reply.ok();
    Ok(())
}

/// What METRICS says, and what comes behind. Words that are no metrics are passed over if there are others.
fn metrics(args: &Args<'_>) -> Result<(HotkeysSettings, usize), CommandError> {
    const METRICS_AT: usize = 4;
    let count = within(args.at(3), METRICS_MAX, METRICS_COUNT)? as usize;
    let mut settings =
        HotkeysSettings { count: COUNT_DEFAULT, sample_ratio: 1, ..HotkeysSettings::default() };
    let end = (METRICS_AT + count).min(args.len());
    for index in METRICS_AT..end {
        if args.is(index, "CPU") && std::mem::replace(&mut settings.cpu, true) {
            return Err(CPU_TWICE);
        }
        if args.is(index, "NET") && std::mem::replace(&mut settings.net, true) {
            return Err(NET_TWICE);
        }
    }
    if end < METRICS_AT + count {
        return Err(METRICS_OTHER_COUNT);
    }
    if !settings.cpu && !settings.net {
        return Err(METRICS_UNKNOWN);
    }
    Ok((settings, end))
}

fn within(text: &[u8], max: i64, otherwise: CommandError) -> Result<u64, CommandError> {
    let number = parse_i64(text).filter(|number| (1..=max).contains(number)).ok_or(otherwise)?;
    Ok(number.cast_unsigned())
}

/// STOP.
fn stop(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    match ctx.shared.stats.hotkeys.stop(ctx.now_ms, || process_use(ctx.shared)) {
        true => reply.ok(),
        false => reply.null(),
    }
    Ok(())
}

/// RESET.
fn reset(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if !ctx.shared.stats.hotkeys.reset(ctx.now_ms) {
        return Err(STOP_FIRST);
    }
    reply.ok();
    Ok(())
}

/// GET: one map, in an array as of several nodes. Slots cannot be chosen here, so that it has nothing of these by themselves.
fn get(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let report = ctx.shared.stats.hotkeys.report(ctx.now_ms, || process_use(ctx.shared));
    let Some(HotkeysReport { is_active, settings, start_ms, duration_ms, used, ns, bytes, by_ns, by_bytes }) =
        report
    else {
        reply.null();
        return Ok(());
    };
    reply.array(1);
    reply.map(7 + if settings.cpu { 3 } else { 0 } + if settings.net { 2 } else { 0 });
    named(reply, "tracking-active", is_active.into());
    named(reply, "sample-ratio", settings.sample_ratio);
    reply.bulk(b"selected-slots");
    reply.array(1);
    reply.array(2);
    reply.integer(0);
    reply.integer(LAST_SLOT);
    named(reply, "all-commands-all-slots-us", ns / 1000);
    named(reply, "net-bytes-all-commands-all-slots", bytes);
    named(reply, "collection-start-time-unix-ms", start_ms);
    named(reply, "collection-duration-ms", duration_ms);
    if settings.cpu {
        named(reply, "total-cpu-time-user-ms", used.user_ms);
        named(reply, "total-cpu-time-sys-ms", used.system_ms);
    }
    if settings.net {
        named(reply, "total-net-bytes", used.net_bytes);
    }
    if settings.cpu {
        let by_us = by_ns.into_iter().map(|(key, ns)| (key, ns.div_ceil(1000)));
        keys(reply, "by-cpu-time-us", by_us);
    }
    if settings.net {
        keys(reply, "by-net-bytes", by_bytes.into_iter());
    }
    Ok(())
}

fn named(reply: &mut Reply<'_>, name: &str, number: u64) {
    reply.bulk(name.as_bytes());
    reply.integer(number.cast_signed());
}

fn keys(reply: &mut Reply<'_>, name: &str, found: impl ExactSizeIterator<Item = (Vec<u8>, u64)>) {
    reply.bulk(name.as_bytes());
    reply.array(found.len() * 2);
    for (key, weight) in found {
        reply.bulk(&key);
        reply.integer(weight.cast_signed());
    }
}
