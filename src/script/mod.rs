//! Scripts: the interpreter, what scripts find in it, the scripts that are known.
//!
//! | file | what |
//! |---|---|
//! | `lua` | Lua behind an interface that safe code cannot misuse; the only `unsafe` here, with `lua/native` |
//! | `host` | what an interpreter and its worker share |
//! | `engine` | one worker's interpreter: scripts compiled, run, suspended |
//! | `base` | the world of scripts: Lua's own functions, nothing that can be changed |
//! | `api` | the `redis` table |
//! | `reply` | replies to values, values to replies |
//! | `cjson`, `json_read`, `cmsgpack`, `structs`, `bit`, `strings`, `random` | libraries |
//! | `shebang` | the first line of a script |
//! | `cache` | the scripts that are known to all workers |
//!
//! Why Lua's interface (`mlua-sys`) rather than `mlua`: a script is to cost less than a microsecond, its
//! command included; `mlua` protects each access to a table with a call of its own, and it cannot suspend a
//! script from inside of a function of ours.
//!
//! Not here: running the commands that a script asks for, under which leases (`worker::script`).

mod api;
mod args;
mod base;
mod bit;
mod cache;
mod cjson;
mod cmsgpack;
mod engine;
mod host;
mod json_read;
mod lua;
mod random;
mod reply;
mod shebang;
mod strings;
mod structs;

pub use cache::{EVALUATED_MAX, Script, ScriptCache, Sha, parse_sha, sha_text};
pub use engine::{Compiled, End, Engine, script_name};
pub use host::{Answer, Host, LogLine, REPL_ALL, REPL_AOF, REPL_REPLICA, Request, Words};
pub use shebang::ScriptFlags;
