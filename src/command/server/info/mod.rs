//! INFO: what the server says of itself, in sections of `name:value` lines, for people and monitoring tools.
//!
//! Design: a section is a function over one [`InfoContext`], which is put together once. The names, their order and their
//! formats are Redis 8.2's; what Torc does not have (scripts) is 0, which is the truth. Torc's own:
//! `torc_version` and the section `Workers`.
//!
//! Costs: no lease is held while text is made; see `sample`.

mod fields;
pub mod proc;
mod process;
mod replica;
mod statistics;
mod text;
mod workers;

use super::sample::{self, KeyspaceSample, ProcessMemory};
use super::{ANY_TIME, Args, Command, Context, Flags, Outcome, Reply, SERVER};
use crate::command::{Categories, Scope, Shared};
use crate::config::Config;
use text::InfoText;

pub use fields::{InfoFields, memory_by_kind};

/// INFO.
pub const ROW: Command = Command {
    name: "info",
    arity: -1,
    flags: ANY_TIME.with(Flags::SENTINEL),
    // It reads files of /proc.
    scope: Scope::Alone,
    summary: "Figures and facts about the server, by section.",
    syntax: "[section...]",
    categories: Categories::DANGEROUS,
    tips: &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
    handler: info,
    ..SERVER
};

/// What the sections are made of.
struct InfoContext<'a> {
    shared: &'a Shared,
    config: &'a Config,
    now_ms: u64,
    now_us: u64,
    keyspace: KeyspaceSample,
    memory: ProcessMemory,
}

/// A section: its name as an argument, whether it is shown by default, and what writes it.
struct Section {
    name: &'static str,
    default: bool,
    write: fn(&InfoContext<'_>, &mut InfoText),
}

const fn section(name: &'static str, write: fn(&InfoContext<'_>, &mut InfoText)) -> Section {
    Section { name, default: true, write }
}

/// All sections, in the order of the reply.
const SECTIONS: &[Section] = &[
    section("server", process::server),
    section("clients", process::clients),
    section("memory", process::memory),
    section("persistence", process::persistence),
    section("threads", workers::threads),
    section("stats", statistics::stats),
    section("replication", process::replication),
    section("cpu", process::cpu),
    section("workers", workers::workers),
    section("modules", process::modules),
    Section { name: "commandstats", default: false, write: statistics::commands },
    section("errorstats", statistics::errors),
    Section { name: "latencystats", default: false, write: statistics::latencies },
    section("cluster", process::cluster),
    section("keyspace", process::keyspace),
];

fn info(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let wanted = |section: &Section| {
        let named = |word: &[u8]| {
            let is = |text: &str| word.eq_ignore_ascii_case(text.as_bytes());
            is(section.name) || is("all") || is("everything") || (section.default && is("default"))
        };
        if args.len() == 1 { section.default } else { args.from(1).any(named) }
    };
    let keyspace = sample::keyspace(ctx);
    let (shared, config, now_ms, now_us) = (ctx.shared, &**ctx.config, ctx.now_ms, ctx.now_us);
    let memory = sample::memory(shared, &keyspace, now_ms);
    let info = InfoContext { shared, config, now_ms, now_us, keyspace, memory };
    let mut text = InfoText::default();
    for section in SECTIONS.iter().filter(|section| wanted(section)) {
        (section.write)(&info, &mut text);
    }
    reply.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_have_names_of_their_own() {
        for (index, section) in SECTIONS.iter().enumerate() {
            assert!(SECTIONS[..index].iter().all(|other| other.name != section.name));
            assert_eq!(section.name, section.name.to_ascii_lowercase());
        }
    }
}
