//! The `torc` binary: arguments to configuration to one pinned thread per worker.

use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use torc::command::{DebugSwitches, Facts, Pause, Rng, Shared, Shutdown};
use torc::config::{self, Action, Config, Startup, live::Live};
use torc::observe::{Registry, SlowLog, Stats};
use torc::store::{Keyspace, KeyspaceOptions};
use torc::worker::Recruits;
use torc::{command, net, observe};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Set in the environment of the process that `daemonize yes` starts.
const DAEMON: &str = "TORC_DAEMON";
/// Descriptors needed besides those of clients.
const FILES_RESERVED: u64 = 64;

fn main() -> ExitCode {
    let startup = match Config::from_args(std::env::args_os().skip(1), &mut std::io::stdin()) {
        Ok(startup) => startup,
        Err(fatal) => return fail(&fatal.to_string()),
    };
    match startup.action {
        Action::Version => println!("{}", config::version_line(env!("CARGO_PKG_VERSION"))),
        Action::Help => print!("{}", config::help()),
        Action::Run if startup.config.daemonize && std::env::var_os(DAEMON).is_none() => {
            return daemonize().map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS);
        }
        Action::Run => return serve(startup).map_or_else(|error| fail(&error), ExitCode::from),
    }
    ExitCode::SUCCESS
}

fn fail(message: &str) -> ExitCode {
    eprintln!("{message}");
    ExitCode::FAILURE
}

/// Starts this program again, detached: a process is never forked here.
fn daemonize() -> Result<(), String> {
    let program = std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let mut child = Command::new(program);
    child.args(std::env::args_os().skip(1)).env(DAEMON, "1");
    child.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    child.spawn().map(drop).map_err(|error| format!("cannot start in the background: {error}"))
}

/// Runs the server until it is told to stop; the process's exit status.
fn serve(startup: Startup) -> Result<u8, String> {
    let Startup { mut config, source, warnings, .. } = startup;
    if std::env::var_os(DAEMON).is_some() {
        // Fails only for a leader of a process group, which a child is not.
        rustix::process::setsid().map(drop).unwrap_or_default();
    }
    std::env::set_current_dir(config.dir.as_path())
        .map_err(|error| format!("Can't chdir to '{}': {error}", config.dir.as_path().display()))?;
    observe::log::init(&config)?;
    warnings.iter().for_each(|warning| log::warn!("{warning}"));
    // Before anyone can connect: who has seen the server may tell it to stop.
    let signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP]);
    let mut signals = signals.map_err(|error| format!("cannot handle signals: {error}"))?;
    limit_clients(&mut config);
    let renames = config.file_only.renamed_commands.iter();
    let renames: Vec<_> =
        renames.map(|(old, new)| (old.lossy().into_owned(), new.lossy().into_owned())).collect();
    command::install(&renames)?;

    torc::store::keep_spares(&config::spare_cpus(&config))
        .map_err(|error| format!("cannot start a thread: {error}"))?;
    let recruits = Recruits::enlist(&config)?;
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
        monitors: Default::default(),
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
    write_pidfile(&config);
    for (_, address) in &listeners.sockets {
        log::info!("listening on {address}");
    }
    log::info!("Ready to accept connections with {} workers", shared.facts.workers);
    notify_supervisor("READY=1");

    let (wakers, told) = (crew.wakers(), Arc::clone(&shared));
    std::thread::spawn(move || {
        for signal in signals.forever().filter(|signal| *signal != SIGHUP) {
            log::warn!("Received signal {signal}, shutting down");
            told.shutdown.request();
            wakers.iter().for_each(|waker| waker.wake());
        }
    });
    crew.join().map_err(|error| format!("a worker failed: {error}"))?;
    notify_supervisor("STOPPING=1");
    for path in [config.pidfile.as_path(), config.unixsocket.as_path()] {
        // They may be gone already, or never have been.
        std::fs::remove_file(path).unwrap_or_default();
    }
    log::warn!("Torc is now ready to exit, bye bye...");
    Ok(shared.shutdown.exit_code() as u8)
}

/// Raises the limit of open files to what `maxclients` needs, or lowers `maxclients` to what the limit allows.
fn limit_clients(config: &mut Config) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let wanted = u64::from(config.maxclients) + FILES_RESERVED;
    let now = getrlimit(Resource::Nofile);
    if now.current.is_some_and(|current| current < wanted) {
        let most = now.maximum.map_or(wanted, |maximum| maximum.max(wanted));
        let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: Some(most) });
        let within = Rlimit { current: now.maximum.map(|maximum| maximum.min(wanted)), maximum: now.maximum };
        if raised.is_err() && setrlimit(Resource::Nofile, within).is_err() {
            log::warn!("The limit of open files cannot be raised");
        }
    }
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if limit < wanted {
        let clients = limit.saturating_sub(FILES_RESERVED).max(1) as u32;
        log::warn!(
            "maxclients is {clients} instead of {}, because of the limit of open files",
            config.maxclients
        );
        config.maxclients = clients;
    }
}

fn write_pidfile(config: &Config) {
    let path = config.pidfile.as_path();
    if !path.as_os_str().is_empty() {
        let written =
            std::fs::File::create(path).and_then(|mut file| writeln!(file, "{}", std::process::id()));
        written.unwrap_or_else(|error| log::warn!("Can't write the pid file {}: {error}", path.display()));
    }
}

/// Tells systemd, where it started this process with `Type=notify`.
fn notify_supervisor(state: &str) {
    if let Some(path) = std::env::var_os("NOTIFY_SOCKET") {
        let sent = UnixDatagram::unbound().and_then(|socket| socket.send_to(state.as_bytes(), path));
        sent.map(drop).unwrap_or_else(|error| log::warn!("Cannot notify the supervisor: {error}"));
    }
}
