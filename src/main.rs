//! The `torc` binary: arguments to configuration to one pinned thread per worker.

mod data;
mod host;
mod supervise;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{SystemTime, UNIX_EPOCH};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use torc::command::{Ask, DebugSwitches, Facts, Pause, Shared, Shutdown};
use torc::config::{self, Action, Config, ConfigFile, Startup, live::Live};
use torc::observe::{Registry, SlowLog, Stats};
use torc::persist::aof::check::Check;
use torc::persist::background::{Background, LastSave};
use torc::persist::journal::{Journal, Order};
use torc::persist::load::Loading;
use torc::persist::rdb::file::check;
use torc::pubsub::PubSub;
use torc::replicate::Replication;
use torc::security::secret;
use torc::security::tls;
use torc::store::{Keyspace, KeyspaceOptions, prefault};
use torc::worker::{StartedThreads, active_at_start, follow, take_role};
use torc::{admin, command, doctor, exposure, net, observe};

#[global_allocator]
static ALLOCATOR: torc::store::mapping::Allocator = torc::store::mapping::Allocator;

fn main() -> ExitCode {
    observe::panic::report_and_abort();
    let startup = match Config::from_args(std::env::args_os().skip(1), &mut std::io::stdin()) {
        Ok(startup) => startup,
        Err(fatal) => return fail(&fatal.to_string()),
    };
    match startup.action {
        Action::Version => show(&format!("{}\n", config::version_line(env!("CARGO_PKG_VERSION")))),
        Action::Help => show(&config::help()),
        Action::Man(page) => show(&page.text()),
        Action::Completion(shell) => show(&shell.completion()),
        Action::Doctor { json } => return examine(&startup, json),
        Action::CheckRdb => return check_rdb(),
        Action::CheckAof { fixes, until_s } => return check_aof(fixes, until_s),
        Action::Run => return run(startup).map_or_else(|error| fail(&error), ExitCode::from),
    }
    ExitCode::SUCCESS
}

/// Prints a text. Whoever reads may have had enough of it before its end (`torc --help | head`).
fn show(text: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).unwrap_or_default();
}

/// Says what is seen of this host, for a server with this configuration; fails where something matters.
fn examine(startup: &Startup, json: bool) -> ExitCode {
    let findings = doctor::examine(&doctor::System::new(), &startup.config);
    show(&if json { doctor::json(&findings) } else { doctor::text(&findings) });
    if doctor::has_warning(&findings) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Says what the file holds that is the second argument, or where it is damaged.
fn check_rdb() -> ExitCode {
    let path = std::env::args_os().nth(2).unwrap_or_default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    match check::check(Path::new(&path), now.as_millis() as u64) {
        Ok(report) => {
            print!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{}: {error}", Path::new(&path).display());
            ExitCode::FAILURE
        }
    }
}

/// Says whether the append-only file can be loaded that is the last argument, and mends its end if that is wanted.
fn check_aof(fixes: bool, until_s: Option<i64>) -> ExitCode {
    let path = std::env::args_os().next_back().unwrap_or_default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut say = |line: &str| println!("{line}");
    let mut ask = |question: &str| {
        use std::io::Write as _;
        print!("{question}");
        let mut answer = String::new();
        let answered = std::io::stdout().flush().and_then(|()| std::io::stdin().read_line(&mut answer));
        answered.is_ok() && answer.starts_with(['y', 'Y'])
    };
    let now_ms = now.as_millis() as u64;
    match (Check { fixes, until_s, now_ms, say: &mut say, ask: &mut ask }).run(Path::new(&path)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn fail(message: &str) -> ExitCode {
    observe::log::crash_log(message);
    ExitCode::FAILURE
}

/// Serves, or has another process do so in the background; the process's exit status.
fn run(startup: Startup) -> Result<u8, String> {
    // Before anything is detached: whoever starts the server is to see what is wrong.
    config::check_worker_cpus(&startup.config)
        .map_err(|reason| startup.places.blame("worker-cpus", reason).to_string())?;
    if host::is_to_detach(&startup.config) {
        return host::daemonize(startup.sources.stdin()).map(|()| 0);
    }
    serve(startup)
}

/// Runs the server until it is told to stop; the process's exit status.
fn serve(startup: Startup) -> Result<u8, String> {
    let Startup { mut config, sources, warnings, places, .. } = startup;
    let mut read_last = config.clone();
    // Before anything else is opened, which could have their numbers if they are not there.
    let passed = net::passed::take(&mut config)?;
    host::detach();
    host::name_pidfile(&mut config);
    std::env::set_current_dir(config.dir.as_path())
        .map_err(|error| format!("Can't chdir to '{}': {error}", config.dir.as_path().display()))?;
    observe::log::init(&config)?;
    // Before anyone can connect: who has seen the server may tell it to stop.
    let signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP]);
    let mut signals = signals.map_err(|error| format!("cannot handle signals: {error}"))?;
    host::limit_clients(&mut config)?;
    let renames = config.file_only.renamed_commands.iter();
    let renames: Vec<_> =
        renames.map(|(old, new)| (old.lossy().into_owned(), new.lossy().into_owned())).collect();
    command::install(&renames)?;
    let users = command::make_users(&config)
        .map_err(|error| places.blame_user(error.index, error.reason).to_string())?;
    command::read_users(&users, &config)?;
    if !config.aclfile.is_empty() && !config.requirepass.is_empty() {
        let file = config.aclfile.lossy();
        log::warn!("'requirepass' counts for nothing, as in Redis: the users are those of {file} (aclfile)");
    }

    torc::store::allocator::leave_to_purge();
    let (spare, all) = (config::spare_cpus(&config), config::available_cpus());
    prefault::start(&spare).map_err(|error| format!("cannot start a thread: {error}"))?;
    let started = StartedThreads::start(&config)?;
    log::info!("{}", start_line(&started, sources.file.as_ref()));
    warnings.iter().chain(&host::data_not_loaded(&config)).for_each(|warning| log::warn!("{warning}"));
    let tls = tls::Tls::from(tls::prepare(&config)?);
    // Before clients can come: who sees the server finds its admin port, too.
    let admin = admin::open(&config)?;
    let listeners = passed.map_or_else(|| net::listener::open(&config), Ok)?;
    let settle = Arc::new(move || prefault::keep_to(&spare, &all));
    let (link_settle, admin_settle) = (Arc::clone(&settle), Arc::clone(&settle));
    let path = config.dir.as_path().join(config.dbfilename.as_path());
    let kept = data::open(&config, path)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let shared = Arc::new(Shared {
        keyspace: Arc::new(Keyspace::new(KeyspaceOptions {
            shards: config.shards.count(started.count()),
            databases: config.databases as usize,
            workers: started.count(),
            hash_seed: u128::from_ne_bytes(secret()?),
        })),
        clients: Registry::new(started.count()),
        stats: Stats::new(started.count(), command::table().rows().len()),
        slowlog: SlowLog::default(),
        pause: Pause::default(),
        shutdown: Shutdown::default(),
        active_workers: AtomicUsize::new(active_at_start(&config, started.count())),
        monitoring: Default::default(),
        pubsub: PubSub::new(started.count()),
        attack_warned_ms: Default::default(),
        loading: Loading::default(),
        journal: Arc::new(Journal::default()),
        append_only: Arc::default(),
        replay: Default::default(),
        replication: Arc::new(Replication::new(u64::from_ne_bytes(secret()?))),
        link: Default::default(),
        migrations: torc::command::Migrations::default(),
        facts: Facts {
            // Published, so drawn apart from what is secret.
            run_id: secret::<20>()?.iter().map(|byte| format!("{byte:02x}")).collect(),
            started_ms: now.as_millis() as u64,
            workers: started.count(),
            io_backend: started.backend(),
            tcp_port: listeners.tcp_port,
            tls_port: config.tls_port,
        },
        background: Arc::new(Background::new(move || settle())),
        backups: Arc::default(),
        scripts: torc::script::ScriptCache::default(),
        script_state: torc::script::ScriptState::default(),
        busy: torc::command::BusyScripts::default(),
        last_save: Arc::new(LastSave::new(now.as_secs())),
        debug: DebugSwitches::default(),
        config_file: sources.file.clone(),
        users,
        tls,
        config: Live::new(config.clone()),
    });
    let copies = || listeners.sockets.iter().map(|(listener, _)| listener.try_clone()).collect();
    if let Some(bytes) = kept.bytes() {
        shared.loading.begin(bytes, now.as_millis() as u64);
    }
    let primary = take_role(&config, &shared);
    let threads = started.setup(&shared, u64::from_ne_bytes(secret()?), copies)?;
    host::write_pidfile(&config);
    let addresses: Vec<&str> = listeners.sockets.iter().map(|(_, address)| address.as_str()).collect();
    let (level, exposure) = exposure::line(&addresses, &config, &shared.users.load());
    log::log!(level, "{exposure}");
    if let Some(admin) = admin {
        let (level, line) = admin.line(&config);
        log::log!(level, "{line}");
        admin::start(admin, Arc::clone(&shared), move || admin_settle())
            .map_err(|error| format!("cannot serve the admin port: {error}"))?;
    }
    let ready = format!("Ready to accept connections on {}", addresses.join(", "));
    let link_wakers = threads.wakers();
    shared.link.set_hooks(move || link_wakers.iter().for_each(|waker| waker.wake()), move || link_settle());
    let journal_thread = data::start_journal(&shared, &config, threads.wakers())?;
    supervise::watch(&shared, threads.wakers())?;
    if kept.bytes().is_some() {
        let (shared, wakers) = (Arc::clone(&shared), threads.wakers());
        std::thread::spawn(move || {
            data::load(kept, &shared, &wakers, &ready);
            follow(&shared, primary);
        });
    } else {
        data::tell_ready(&ready);
        follow(&shared, primary);
    }

    let (wakers, told) = (threads.wakers(), Arc::clone(&shared));
    std::thread::spawn(move || {
        for signal in signals.forever() {
            if signal == SIGHUP {
                supervise::notify_reload(|| command::reload(&told, &sources, &mut read_last));
                wakers.iter().for_each(|waker| waker.wake());
                continue;
            }
            let (name, ask) = if signal == SIGINT { ("SIGINT", Ask::Int) } else { ("SIGTERM", Ask::Term) };
            log::warn!("Received {name}, shutting down");
            supervise::notify(&format!("STATUS=Received {name}: saving what is to be saved, then ending"));
            told.shutdown.ask(ask);
            wakers.iter().for_each(|waker| waker.wake());
        }
    });
    let outcome = threads.join();
    shared.background.stop();
    shared.journal.order(Order::Finish);
    journal_thread.join().map_err(|_| "the journal's thread panicked".to_owned())?;
    supervise::notify("STOPPING=1\nSTATUS=Ending");
    let socket = (!listeners.are_passed).then_some(config.unixsocket.as_path());
    let files = [config.pidfile.as_path(), config.admin_unixsocket.as_path()];
    for path in files.into_iter().chain(socket) {
        // They may be gone already, or never have been.
        std::fs::remove_file(path).unwrap_or_default();
    }
    outcome?;
    log::warn!("Torc is now ready to exit, bye bye...");
    Ok(shared.shutdown.exit_code() as u8)
}

/// What an operator asks first of a log: which server this is, what it was told, and what it runs on.
fn start_line(started: &StartedThreads, source: Option<&ConfigFile>) -> String {
    let version = format!("Torc {} (compatible with Redis {})", config::TORC_VERSION, config::REDIS_VERSION);
    let file = source.map_or_else(|| "none".to_owned(), |file| file.path.display().to_string());
    let (count, plural) = (started.count(), if started.count() == 1 { "" } else { "s" });
    let (pid, backend) = (std::process::id(), started.backend());
    format!("{version}, pid {pid}, configuration {file}, {count} worker{plural}, {backend}")
}
