//! What leaves the process to live longer than it: Redis's RDB format and append-only file.
//!
//! | place | what |
//! |---|---|
//! | `aof` | the append-only file's directory, manifest and files |
//! | `rdb` | the format: values, files |
//! | `background` | saving beside a running server, whatever becomes of it |
//! | `backup` | a snapshot that becomes a file in a directory of its own, and is read again |
//! | `rdb_target` | a snapshot that becomes a file |
//! | `command_target` | a snapshot that becomes a file of commands |
//! | `save` | all keys into a file, while everybody waits |
//! | `append_only` | the append-only file beside a running server: on, off, rewrites |
//! | `journal` | the effects of all workers' commands in one order |
//! | `load` | a file into the keyspace, while clients may connect |
//!
//! Not here: which commands use it (`command`), which thread does what when (`worker`, `main`).

pub mod aof;
pub mod append_only;
pub mod background;
pub mod backup;
pub mod command_target;
pub mod journal;
pub mod load;
pub mod rdb;
pub mod rdb_target;
pub mod save;
