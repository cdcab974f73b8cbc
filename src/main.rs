//! The `torc` binary: arguments to configuration to one pinned thread per worker.

mod host;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{SystemTime, UNIX_EPOCH};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use torc::command::{DebugSwitches, Facts, Pause, Rng, Shared, Shutdown};
use torc::config::{self, Action, Config, ConfigFile, Startup, live::Live};
use torc::observe::{Registry, SlowLog, Stats};
use torc::store::{Keyspace, KeyspaceOptions};
use torc::worker::{Recruits, active_at_start};
use torc::{command, net, observe};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    observe::panic::report_and_abort();
    let startup = match Config::from_args(std::env::args_os().skip(1), &mut std::io::stdin()) {
        Ok(startup) => startup,
        Err(fatal) => return fail(&fatal.to_string()),
    };
    match startup.action {
        Action::Version => println!("{}", config::version_line(env!("CARGO_PKG_VERSION"))),
        Action::Help => print!("{}", config::help()),
        Action::Run => return run(startup).map_or_else(|error| fail(&error), ExitCode::from),
    }
    ExitCode::SUCCESS
}

fn fail(message: &str) -> ExitCode {
    observe::log::last_words(message);
    ExitCode::FAILURE
}

/// Serves, or has another process do so in the background; the process's exit status.
fn run(startup: Startup) -> Result<u8, String> {
    // Before anything is detached: whoever starts the server is to see what is wrong.
    config::check_worker_cpus(&startup.config)?;
    if host::is_to_detach(&startup.config) {
        return host::daemonize(&startup.stdin).map(|()| 0);
    }
    serve(startup)
}

/// Runs the server until it is told to stop; the process's exit status.
fn serve(startup: Startup) -> Result<u8, String> {
    let Startup { mut config, source, warnings, .. } = startup;
    host::detach();
    host::name_pidfile(&mut config);
    std::env::set_current_dir(config.dir.as_path())
        .map_err(|error| format!("Can't chdir to '{}': {error}", config.dir.as_path().display()))?;
    observe::log::init(&config)?;
    // Before anyone can connect: who has seen the server may tell it to stop.
    let signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP]);
    let mut signals = signals.map_err(|error| format!("cannot handle signals: {error}"))?;
    host::limit_clients(&mut config);
    let renames = config.file_only.renamed_commands.iter();
    let renames: Vec<_> =
        renames.map(|(old, new)| (old.lossy().into_owned(), new.lossy().into_owned())).collect();
    command::install(&renames)?;

    torc::store::keep_spares(&config::spare_cpus(&config))
        .map_err(|error| format!("cannot start a thread: {error}"))?;
    let recruits = Recruits::enlist(&config)?;
    log::info!("{}", start_line(&recruits, source.as_ref()));
    warnings.iter().for_each(|warning| log::warn!("{warning}"));
    let listeners = net::listener::open(&config)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut rng = Rng::new(now.as_nanos() as u64 ^ u64::from(std::process::id()) << 32);
    let shared = Arc::new(Shared {
        keyspace: Arc::new(Keyspace::new(KeyspaceOptions {
            shards: config.shards.count(),
            databases: config.databases as usize,
            workers: recruits.count(),
            hash_seed: rng.next(),
        })),
        clients: Registry::new(recruits.count()),
        stats: Stats::new(recruits.count(), command::table().rows().len()),
        slowlog: SlowLog::default(),
        pause: Pause::default(),
        shutdown: Shutdown::default(),
        active_workers: AtomicUsize::new(active_at_start(&config, recruits.count())),
        monitoring: Default::default(),
        attack_warned_ms: Default::default(),
        facts: Facts {
            run_id: (0..3).map(|_| format!("{:016x}", rng.next())).collect::<String>()[..40].to_owned(),
            started_ms: now.as_millis() as u64,
            workers: recruits.count(),
            io_backend: recruits.backend(),
            tcp_port: listeners.tcp_port,
        },
        debug: DebugSwitches::default(),
        config_file: source,
        config: Live::new(config.clone()),
    });
    let copies = || listeners.sockets.iter().map(|(listener, _)| listener.try_clone()).collect();
    let crew = recruits.seat(&shared, rng.next(), copies)?;
    host::write_pidfile(&config);
    let addresses: Vec<&str> = listeners.sockets.iter().map(|(_, address)| address.as_str()).collect();
    log::info!("Ready to accept connections on {}", addresses.join(", "));
    host::notify_supervisor("READY=1");

    let (wakers, told) = (crew.wakers(), Arc::clone(&shared));
    std::thread::spawn(move || {
        for signal in signals.forever().filter(|signal| *signal != SIGHUP) {
            let name = if signal == SIGINT { "SIGINT" } else { "SIGTERM" };
            log::warn!("Received {name}, shutting down");
            told.shutdown.request();
            wakers.iter().for_each(|waker| waker.wake());
        }
    });
    crew.join().map_err(|error| format!("a worker failed: {error}"))?;
    host::notify_supervisor("STOPPING=1");
    for path in [config.pidfile.as_path(), config.unixsocket.as_path()] {
        // They may be gone already, or never have been.
        std::fs::remove_file(path).unwrap_or_default();
    }
    log::warn!("Torc is now ready to exit, bye bye...");
    Ok(shared.shutdown.exit_code() as u8)
}

/// What an operator asks first of a log: which server this is, what it was told, and what it runs on.
fn start_line(recruits: &Recruits, source: Option<&ConfigFile>) -> String {
    let version = format!("Torc {} (compatible with Redis {})", config::TORC_VERSION, config::REDIS_VERSION);
    let file = source.map_or_else(|| "none".to_owned(), |file| file.path.display().to_string());
    let (count, plural) = (recruits.count(), if recruits.count() == 1 { "" } else { "s" });
    let (pid, backend) = (std::process::id(), recruits.backend());
    format!("{version}, pid {pid}, configuration {file}, {count} worker{plural}, {backend}")
}
