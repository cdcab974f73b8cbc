//! The family `server`: what operators ask of the process itself.
//!
//! | file | what |
//! |---|---|
//! | `config` | CONFIG |
//! | `reload` | what SIGHUP asks for |
//! | `info/` | INFO, one function per section |
//! | `sample` | counting keys and memory without holding everything up |
//! | `memory` | MEMORY |
//! | `slowlog`, `latency`, `monitor` | SLOWLOG, LATENCY, MONITOR |
//! | `hotkeys` | HOTKEYS |
//! | `debug/` | DEBUG |
//! | `shutdown` | SHUTDOWN |
//! | `replica_of` | REPLICAOF, SLAVEOF |
//! | `replication` | ROLE |
//! | `rewriting` | BGREWRITEAOF |
//! | `backup` | BACKUP |
//! | `saving` | BGSAVE, LASTSAVE |
//! | `time`, `lolwut`, `module` | TIME, LOLWUT, MODULE |
//!
//! Not here: COMMAND (`introspect`); DBSIZE, FLUSHALL, FLUSHDB and SWAPDB (`generic`).

mod backup;
mod config;
mod debug;
mod hotkeys;
mod info;
mod latency;
mod lolwut;
mod memory;
mod module;
mod monitor;
mod reload;
mod replica_of;
mod replication;
mod rewriting;
mod sample;
mod save;
mod saving;
mod shutdown;
mod slowlog;
mod time;

pub use backup::cut_for_backup;
pub use hotkeys::process_use;
pub use info::{InfoFields, memory_by_kind};
pub use reload::reload;
pub use replica_of::{drop_replicas, follow, promote};
pub use rewriting::{aof_store, base_options, cut_for_rewrite, journal_settings};
pub use sample::server_bytes;
pub use save::{changes, load_libraries, save_now};
pub use saving::{cut_for_save, rdb_options, save_is_due, stream_note};

use super::row::BASE;
use super::{Args, Command, Context, Flags, Group, Outcome, Session, help};
use crate::config::{Caller, ProtectedAction};
use crate::observe::flag;
use crate::resp::Reply;

/// What rows of this family have in common.
const SERVER: Command = Command { group: Group::Server, ..BASE };

/// Administrators' commands that are allowed at any time.
const ADMIN: Flags = Flags::ADMIN.with(Flags::NOSCRIPT).with(Flags::LOADING).with(Flags::STALE);
/// Harmless ones.
const ANY_TIME: Flags = Flags::LOADING.with(Flags::STALE);

/// A container's HELP.
const HELP: Command = Command {
    name: "help",
    arity: 2,
    flags: ANY_TIME,
    since: "5.0.0",
    summary: "Lists the subcommands.",
    handler: help::show,
    ..SERVER
};

/// The rows of the family.
pub const ROWS: &[Command] = &[
    backup::ROW,
    config::ROW,
    debug::ROW,
    hotkeys::ROW,
    info::ROW,
    save::SAVE,
    rewriting::BGREWRITEAOF,
    saving::BGSAVE,
    saving::LASTSAVE,
    latency::ROW,
    lolwut::ROW,
    memory::ROW,
    module::ROW,
    monitor::ROW,
    replica_of::REPLICAOF,
    replication::ROLE,
    shutdown::ROW,
    replica_of::SLAVEOF,
    slowlog::ROW,
    time::ROW,
];

/// Whether a directive such as `enable-debug-command` allows the client what it is about.
fn is_allowed(action: ProtectedAction, session: &Session) -> bool {
    match action {
        ProtectedAction::Yes => true,
        ProtectedAction::No => false,
        ProtectedAction::Local => caller(session) == Caller::Local,
    }
}

/// Where the client is.
fn caller(session: &Session) -> Caller {
    let client_info = &session.client_info;
    let local =
        ["127.", "[::1]", "::1", "[::ffff:127."].iter().any(|start| client_info.address.starts_with(start));
    if local || client_info.has(flag::UNIX_SOCKET) { Caller::Local } else { Caller::Remote }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::{ClientInfo, ClientPlace, RegistrySlot};

    #[test]
    fn callers_of_this_host_are_local() {
        let registry_slot = RegistrySlot { worker: 0, number: 0 };
        let place = ClientPlace { worker: 0, slot: 0, generation: 0 };
        let session = |address: &str| {
            let client_info = ClientInfo::new(1, registry_slot, place, address.into(), String::new(), 3, 0);
            Session::superuser(std::sync::Arc::new(client_info))
        };
        assert_eq!(caller(&session("127.0.0.1:4000")), Caller::Local);
        assert_eq!(caller(&session("[::1]:4000")), Caller::Local);
        assert_eq!(caller(&session("10.0.0.1:4000")), Caller::Remote);
        let unix = session("/run/torc:0");
        unix.client_info.set(flag::UNIX_SOCKET, true);
        assert_eq!(caller(&unix), Caller::Local);
    }
}
