//! Scripts: the interpreter, what scripts find in it, the scripts that are known.
//!
//! | file | what |
//! |---|---|
//! | `lua` | Lua behind an interface that safe code cannot misuse; with `lua/native` and `shared_engine` the only `unsafe` here |
//! | `host` | what an interpreter and its worker share |
//! | `engine` | one worker's interpreter: scripts compiled, run, suspended |
//! | `base` | the world of scripts: Lua's own functions, nothing that can be changed |
//! | `api` | the `redis` table |
//! | `reply` | replies to values, values to replies |
//! | `pattern` | how long a pattern of Lua would take |
//! | `cjson`, `json_read`, `cmsgpack`, `structs`, `bit`, `strings`, `random` | libraries |
//! | `shebang` | the first line of a script |
//! | `cache` | the scripts that are known to all workers |
//! | `library`, `register` | libraries of functions, what they register |
//! | `functions` | libraries in one worker's interpreter |
//! | `library_state`, `bytecode` | whether a library's functions keep something from run to run |
//! | `script_state`, `shared_engine` | what outlives a run, one for all workers |
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
mod bytecode;
mod cache;
mod cjson;
mod cmsgpack;
mod engine;
mod functions;
mod host;
mod json_read;
mod library;
mod library_state;
mod lua;
mod pattern;
mod random;
mod register;
mod reply;
mod script_state;
mod shared_engine;
mod shebang;
mod strings;
mod structs;

pub use cache::{EVALUATED_MAX, Script, ScriptCache, Sha, parse_sha, sha_text};
pub use engine::{Code, Compiled, End, Engine};
pub use host::{Answer, Host, REPL_ALL, REPL_AOF, REPL_REPLICA, Request, Words};
pub use library::{Function, Library, LibrarySet};
pub use script_state::{CodeKind, Policy, ScriptState};
pub use shebang::ScriptFlags;
