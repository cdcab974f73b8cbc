//! The table of all directives: the only place that knows their names, types, defaults, limits and help.
//!
//! Design: `directives!` turns each row into a typed field of [`Config`] and a [`Directive`] that reads and
//! shows that field. A row reads: field, type, default; name (and older alias); domain with limits; flags;
//! help. `INERT` marks a directive of Redis that Torc accepts and keeps but that changes nothing in it (yet):
//! giving it is reported once at start. The part that starts to act on a directive removes its `INERT`.

use super::cpus::WORKERS_MAX;
use super::domain::{Domain, Enumerated, FileLines, Mode, Parse, Reason, Setting, Text};
use super::password::AdminPassword;
use super::types::{
    BindAddresses, CpuList, FileOnly, KeyspaceEvents, OomScores, OutputBufferLimit, OutputBufferLimits,
    Percentiles, ReplicaOf, SavePoint, SavePoints, ShardCount, ShutdownOptions,
};
use super::words::{
    AclPubsubDefault, ActiveDefrag, AppendFsync, ClusterEndpoint, IoBackend, LogFormat, LogLevel,
    MaxmemoryPolicy, OomScoreAdj, PropagationError, ProtectedAction, ReplDisklessLoad, SanitizeDumpPayload,
    Supervised, SyslogFacility, TlsAuthClients, TlsAuthClientsUser,
};

/// Properties of a directive, as a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(u16);

impl Flags {
    /// None: set at start only.
    pub const FIXED: Self = Self(0);
    /// CONFIG SET may change it.
    pub const MUTABLE: Self = Self(1);
    /// It takes several words.
    pub const MULTI: Self = Self(1 << 1);
    /// CONFIG GET shows it only when named exactly.
    pub const HIDDEN: Self = Self(1 << 2);
    /// Its value is a secret: keep it out of logs.
    pub const SENSITIVE: Self = Self(1 << 3);
    /// CONFIG SET needs `enable-protected-configs`.
    pub const PROTECTED: Self = Self(1 << 4);
    /// Accepted and kept, but Torc does nothing with it.
    pub const INERT: Self = Self(1 << 5);
    /// Torc's own: Redis does not know it.
    pub const OWN: Self = Self(1 << 6);

    /// Both sets together.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` is in this set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// One directive: a row of the table.
pub struct Directive {
    /// Its name, as CONFIG GET shows it.
    pub name: &'static str,
    /// Its older name, if it has one; both are known everywhere.
    pub alias: Option<&'static str>,
    /// What values it takes.
    pub domain: Domain,
    /// Its properties.
    pub flags: Flags,
    /// One line for people.
    pub help: &'static str,
    parse: Parse<Config>,
    format: fn(&Config, &Domain) -> Vec<u8>,
    file_lines: fn(&Config, &Config, &Domain) -> FileLines,
}

impl Directive {
    /// The value in `config`, as CONFIG GET shows it.
    pub fn format(&self, config: &Config) -> Vec<u8> {
        (self.format)(config, &self.domain)
    }

    pub(super) fn parse(&self, config: &mut Config, args: &[Vec<u8>], mode: Mode) -> Result<(), Reason> {
        (self.parse)(config, args, &self.domain, mode)
    }

    pub(super) fn file_lines(&self, config: &Config, default: &Config) -> FileLines {
        (self.file_lines)(config, default, &self.domain)
    }
}

/// All directives, in the order of the table.
pub fn table() -> &'static [Directive] {
    DIRECTIVES
}

/// The directive called `name`, or whose alias that is, in any case.
pub fn lookup(name: &[u8]) -> Option<&'static Directive> {
    let is = |known: &str| known.as_bytes().eq_ignore_ascii_case(name);
    DIRECTIVES.iter().find(|directive| is(directive.name) || directive.alias.is_some_and(is))
}

macro_rules! alias {
    () => {
        None
    };
    ($alias:literal) => {
        Some($alias)
    };
}

macro_rules! directives {
    ($($field:ident: $type:ty = $default:expr; $name:literal $(| $alias:literal)?;
       $domain:expr; $flag:ident $(| $flags:ident)*; $help:literal)*) => {
        /// The whole configuration, typed. A field's documentation is its directive's help.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Config {
            $(#[doc = $help] pub $field: $type,)*
            /// What only a file or the command line can say.
            pub file_only: FileOnly,
        }

        impl Default for Config {
            fn default() -> Self {
                Self { $($field: $default,)* file_only: FileOnly::default() }
            }
        }

        static DIRECTIVES: &[Directive] = &[$(Directive {
            name: $name,
            alias: alias!($($alias)?),
            domain: $domain,
            flags: Flags::$flag$(.with(Flags::$flags))*,
            help: $help,
            parse: |config, args, domain, mode| config.$field.parse(args, domain, mode),
            format: |config, domain| config.$field.format(domain),
            file_lines: |config, default, domain| config.$field.file_lines(domain, &default.$field),
        },)*];
    };
}

impl Config {
    /// Moves values that any number is accepted for into the range that works, as Redis does.
    pub(super) fn clamp(&mut self) {
        const HZ_MIN: u32 = 1;
        const HZ_MAX: u32 = 500;
        const REPL_BACKLOG_BYTES_MIN: u64 = 16 << 10;
        self.hz = self.hz.clamp(HZ_MIN, HZ_MAX);
        self.repl_backlog_size = self.repl_backlog_size.max(REPL_BACKLOG_BYTES_MIN);
    }
}

const INT: i128 = i32::MAX as i128;
const UINT: i128 = u32::MAX as i128;
const LONG: i128 = i64::MAX as i128;
const ULONG: i128 = u64::MAX as i128;
const MIB: u64 = 1 << 20;

fn text(text: &str) -> Text {
    Text::from(text)
}

fn working_directory() -> Text {
    let path = std::env::current_dir().unwrap_or_else(|_| "/".into());
    Text::from(path.as_os_str().as_encoded_bytes())
}

fn save_points() -> SavePoints {
    let point = |(seconds, changes)| SavePoint { seconds, changes };
    SavePoints([(3600, 1), (300, 100), (60, 10_000)].map(point).to_vec())
}

fn output_buffer_limits() -> OutputBufferLimits {
    let limit = |hard_mib, soft_mib, soft_seconds| OutputBufferLimit {
        hard_bytes: hard_mib * MIB,
        soft_bytes: soft_mib * MIB,
        soft_seconds,
    };
    OutputBufferLimits { normal: limit(0, 0, 0), replica: limit(256, 64, 60), pubsub: limit(32, 8, 60) }
}

directives! {
    // Torc's own.
    workers: usize = 0; "workers"; Domain::Integer(0, WORKERS_MAX as i128); FIXED | OWN;
        "Worker threads; 0 is as many as the CPUs this process may use, up to 64."
    worker_cpus: CpuList = CpuList::default(); "worker-cpus";
        Domain::Special("CPUS such as 0,2-5"); FIXED | OWN;
        "CPUs the workers are pinned to, in order; none given: those of the affinity mask."
    active_workers_min: usize = 1; "active-workers-min"; Domain::Integer(1, WORKERS_MAX as i128); MUTABLE | OWN;
        "Workers that serve connections however little there is to do; more join while the load is high."
    active_workers_max: usize = WORKERS_MAX; "active-workers-max"; Domain::Integer(1, WORKERS_MAX as i128);
        MUTABLE | OWN;
        "Workers that may serve connections however much there is to do; where this is less than the least, it counts."
    io_backend: IoBackend = IoBackend::Auto; "io-backend"; Domain::Words(IoBackend::WORDS); FIXED | OWN;
        "Kernel interface for sockets; auto takes io_uring where the kernel allows it."
    shards: ShardCount = ShardCount(0); "shards"; Domain::Special("POWER-OF-TWO"); FIXED | OWN;
        "Parts the keyspace is cut into: a power of two; 0 is 256 for each worker, rounded up, and at most 4096."
    sqpoll: bool = false; "sqpoll"; Domain::Bool; FIXED | OWN;
        "Let a kernel thread submit for io_uring: for dedicated cores only."
    busy_poll_us: u32 = 0; "busy-poll-us"; Domain::Integer(0, 1000000); FIXED | OWN;
        "Microseconds to poll before sleeping; 0 sleeps at once."
    receive_buffers: u16 = 512; "receive-buffers"; Domain::Integer(4, 32768); FIXED | OWN;
        "The most receive buffers that a worker's connections share, rounded up to a power of two."
    receive_buffer_bytes: u32 = 16384; "receive-buffer-bytes"; Domain::Integer(64, 1048576); FIXED | OWN;
        "Size of one receive buffer."
    turn_warn_us: u64 = 10000; "turn-warn-us"; Domain::Integer(0, INT); MUTABLE | OWN;
        "Log a worker's turn that is longer, in microseconds; 0 never does."
    lease_warn_us: u64 = 10000; "lease-warn-us"; Domain::Integer(0, INT); MUTABLE | OWN;
        "Log a group of commands that keeps others off its shards for longer, in microseconds; 0 never does."
    admin_port: u16 = 0; "admin-port"; Domain::Integer(0, 65535); FIXED | OWN;
        "Port for HTTP: metrics for Prometheus, health, a live page; 0 for none."
    admin_bind: BindAddresses = BindAddresses::loopback(); "admin-bind"; Domain::Special("ADDRESS...");
        FIXED | MULTI | OWN;
        "Addresses of the admin port; other hosts need a password, as protected-mode has it."
    admin_unixsocket: Text = text(""); "admin-unixsocket"; Domain::Text; FIXED | OWN;
        "Path of a Unix socket that serves what the admin port does; who may open it needs no password."
    admin_unixsocket_perm: u32 = 0o600; "admin-unixsocket-perm"; Domain::Octal(0, 0o777); FIXED | OWN;
        "Permissions of that socket, octal."
    admin_password: AdminPassword = AdminPassword(None); "admin-password"; Domain::Text; MUTABLE | SENSITIVE | OWN;
        "Password of the admin port for HTTP basic authentication, kept as its SHA-256 (#DIGITS); empty is none."

    // Network.
    bind: BindAddresses = BindAddresses::all(); "bind"; Domain::Special("ADDRESS..."); MUTABLE | MULTI;
        "Addresses to listen on; a leading - makes one optional."
    bind_source_addr: Text = text(""); "bind-source-addr"; Domain::Text; MUTABLE | INERT;
        "Source address of outgoing connections."
    port: u16 = 6379; "port"; Domain::Integer(0, 65535); MUTABLE;
        "TCP port; 0 does not listen on TCP."
    protected_mode: bool = true; "protected-mode"; Domain::Bool; MUTABLE;
        "Without a password, serve only clients of this host."
    tcp_backlog: u32 = 511; "tcp-backlog"; Domain::Integer(0, INT); FIXED;
        "Connections the kernel queues for accepting."
    tcp_keepalive: u32 = 300; "tcp-keepalive"; Domain::Integer(0, INT); MUTABLE;
        "Seconds between keep-alive probes; 0 sends none."
    unixsocket: Text = text(""); "unixsocket"; Domain::Text; FIXED;
        "Path of a Unix socket to listen on."
    unixsocketperm: u32 = 0; "unixsocketperm"; Domain::Octal(0, 0o777); FIXED;
        "Permissions of the Unix socket, octal; 0 leaves the umask's."
    timeout: u32 = 0; "timeout"; Domain::Integer(0, INT); MUTABLE;
        "Seconds after which an idle client is closed; 0 never."
    maxclients: u32 = 10000; "maxclients"; Domain::Unsigned(1, UINT); MUTABLE;
        "Most clients at once."
    socket_mark_id: u32 = 0; "socket-mark-id"; Domain::Integer(0, UINT); FIXED | INERT;
        "Mark of listening sockets."
    client_query_buffer_limit: u64 = 1024 * MIB; "client-query-buffer-limit";
        Domain::UnsignedMemory(1 << 20, LONG); MUTABLE;
        "Most bytes of one client's unfinished command."
    client_output_buffer_limit: OutputBufferLimits = output_buffer_limits();
        "client-output-buffer-limit";
        Domain::Special("CLASS HARD SOFT SECONDS..."); MUTABLE | MULTI;
        "Limits of unread replies, per class: normal, replica, pubsub."
    proto_max_bulk_len: u64 = 512 * MIB; "proto-max-bulk-len"; Domain::Memory(1 << 20, LONG); MUTABLE;
        "Most bytes of one argument."
    max_new_connections_per_cycle: u32 = 10; "max-new-connections-per-cycle";
        Domain::Unsigned(1, 1000); MUTABLE | INERT;
        "Connections accepted in one turn."
    max_new_tls_connections_per_cycle: u32 = 1; "max-new-tls-connections-per-cycle";
        Domain::Unsigned(1, 1000); MUTABLE;
        "TLS handshakes that go on in one turn."
    io_threads: u32 = 1; "io-threads"; Domain::Integer(1, 128); FIXED | INERT;
        "Redis's I/O threads; see workers."

    prefetch_batch_max_size: u32 = 16; "prefetch-batch-max-size"; Domain::Integer(0, 128); MUTABLE | HIDDEN | INERT;
        "Commands whose keys Redis fetches together."

    // TLS.
    tls_port: u16 = 0; "tls-port"; Domain::Integer(0, 65535); MUTABLE;
        "Port for TLS; 0 for none."
    tls_session_cache_size: u32 = 20480; "tls-session-cache-size"; Domain::Integer(0, INT); MUTABLE;
        "TLS sessions kept for resumption."
    tls_session_cache_timeout: u32 = 300; "tls-session-cache-timeout";
        Domain::Integer(0, INT); MUTABLE;
        "Seconds a TLS session is kept."
    tls_cluster: bool = false; "tls-cluster"; Domain::Bool; MUTABLE | INERT;
        "TLS on the cluster bus."
    tls_replication: bool = false; "tls-replication"; Domain::Bool; MUTABLE;
        "TLS to the primary."
    tls_auth_clients: TlsAuthClients = TlsAuthClients::Yes; "tls-auth-clients";
        Domain::Words(TlsAuthClients::WORDS); MUTABLE;
        "Whether TLS clients show a certificate."
    tls_auth_clients_user: TlsAuthClientsUser = TlsAuthClientsUser::Off; "tls-auth-clients-user";
        Domain::Words(TlsAuthClientsUser::WORDS); MUTABLE | OWN;
        "What of a TLS client's certificate names its user: off, CN."
    tls_prefer_server_ciphers: bool = false; "tls-prefer-server-ciphers"; Domain::Bool; MUTABLE;
        "Prefer the server's ciphers."
    tls_session_caching: bool = true; "tls-session-caching"; Domain::Bool; MUTABLE;
        "Keep TLS sessions."
    tls_cert_file: Text = text(""); "tls-cert-file"; Domain::Text; MUTABLE;
        "Certificate that TLS clients are shown, PEM; its chain behind it."
    tls_key_file: Text = text(""); "tls-key-file"; Domain::Text; MUTABLE;
        "Private key of that certificate, PEM."
    tls_key_file_pass: Text = text(""); "tls-key-file-pass"; Domain::Text; MUTABLE | SENSITIVE;
        "Password of the private key."
    tls_client_cert_file: Text = text(""); "tls-client-cert-file"; Domain::Text; MUTABLE;
        "Certificate as a client."
    tls_client_key_file: Text = text(""); "tls-client-key-file"; Domain::Text; MUTABLE;
        "Private key as a client."
    tls_client_key_file_pass: Text = text(""); "tls-client-key-file-pass";
        Domain::Text; MUTABLE | SENSITIVE;
        "Password of the private key as a client."
    tls_dh_params_file: Text = text(""); "tls-dh-params-file"; Domain::Text; MUTABLE | INERT;
        "Diffie-Hellman parameters."
    tls_ca_cert_file: Text = text(""); "tls-ca-cert-file"; Domain::Text; MUTABLE;
        "Certificate authorities of TLS clients, PEM."
    tls_ca_cert_dir: Text = text(""); "tls-ca-cert-dir"; Domain::Text; MUTABLE;
        "Directory of such files."
    tls_protocols: Text = text(""); "tls-protocols"; Domain::Text; MUTABLE;
        "TLS versions: TLSv1.2, TLSv1.3."
    tls_ciphers: Text = text(""); "tls-ciphers"; Domain::Text; MUTABLE;
        "Ciphers up to TLS 1.2."
    tls_ciphersuites: Text = text(""); "tls-ciphersuites"; Domain::Text; MUTABLE;
        "Cipher suites of TLS 1.3."

    // Process, log, files.
    daemonize: bool = false; "daemonize"; Domain::Bool; FIXED;
        "Go to the background; Torc stays in the foreground, under a service manager."
    supervised: Supervised = Supervised::No; "supervised"; Domain::Words(Supervised::WORDS); FIXED;
        "Service manager that is told when Torc is ready."
    pidfile: Text = text(""); "pidfile"; Domain::Text; FIXED;
        "File that holds the process's number while it runs; in the background, /var/run/torc.pid if none is named."
    loglevel: LogLevel = LogLevel::Notice; "loglevel"; Domain::Words(LogLevel::WORDS); MUTABLE;
        "Least important message that is logged."
    log_format: LogFormat = LogFormat::Text; "log-format"; Domain::Words(LogFormat::WORDS); MUTABLE | OWN;
        "What a line of the log is: text as in Redis, an object of JSON, or names with values (logfmt)."
    logfile: Text = text(""); "logfile"; Domain::Text; FIXED;
        "Log file; empty is the standard output."
    syslog_enabled: bool = false; "syslog-enabled"; Domain::Bool; FIXED | INERT;
        "Log to syslog too."
    syslog_ident: Text = text("torc"); "syslog-ident"; Domain::Text; FIXED | INERT;
        "Name in syslog."
    syslog_facility: SyslogFacility = SyslogFacility::Local0; "syslog-facility";
        Domain::Words(SyslogFacility::WORDS); FIXED | INERT;
        "Source in syslog."
    always_show_logo: bool = false; "always-show-logo"; Domain::Bool; FIXED | INERT;
        "Show the logo at start wherever the log goes."
    set_proc_title: bool = true; "set-proc-title"; Domain::Bool; FIXED | INERT;
        "Show the state in the process's title."
    proc_title_template: Text = text("{title} {listen-addr} {server-mode}"); "proc-title-template";
        Domain::Title; MUTABLE | INERT;
        "The process's title."
    crash_log_enabled: bool = true; "crash-log-enabled"; Domain::Bool; MUTABLE | INERT;
        "Report crashes."
    crash_memcheck_enabled: bool = true; "crash-memcheck-enabled"; Domain::Bool; MUTABLE | INERT;
        "Check memory after a crash."
    use_exit_on_panic: bool = false; "use-exit-on-panic"; Domain::Bool; MUTABLE | HIDDEN | INERT;
        "Exit rather than abort on a panic."
    watchdog_period: u32 = 0; "watchdog-period"; Domain::Integer(0, INT); MUTABLE | HIDDEN | INERT;
        "Milliseconds; see turn-warn-us."
    ignore_warnings: Text = text(""); "ignore-warnings"; Domain::Text; MUTABLE | INERT;
        "Warnings about the host that do not stop the start."
    locale_collate: Text = text(""); "locale-collate"; Domain::Text; MUTABLE | INERT;
        "Locale that SORT ALPHA compares by."
    dir: Text = working_directory(); "dir"; Domain::Directory; MUTABLE | PROTECTED;
        "Working directory: where the files are."
    oom_score_adj: OomScoreAdj = OomScoreAdj::No; "oom-score-adj";
        Domain::Words(OomScoreAdj::WORDS); MUTABLE | INERT;
        "Whether the out-of-memory score is set."
    oom_score_adj_values: OomScores = OomScores([0, 200, 800]); "oom-score-adj-values";
        Domain::Special("PRIMARY REPLICA CHILD"); MUTABLE | MULTI | INERT;
        "Out-of-memory scores."
    disable_thp: bool = true; "disable-thp"; Domain::Bool; FIXED | INERT;
        "Turn huge pages off, which fork needs; Torc does not fork and uses them."
    server_cpulist: Text = text(""); "server-cpulist" | "server_cpulist"; Domain::Text; FIXED | INERT;
        "CPUs of Redis's main thread; see worker-cpus."
    bio_cpulist: Text = text(""); "bio-cpulist" | "bio_cpulist"; Domain::Text; FIXED | INERT;
        "CPUs of background threads."
    aof_rewrite_cpulist: Text = text(""); "aof-rewrite-cpulist" | "aof_rewrite_cpulist";
        Domain::Text; FIXED | INERT;
        "CPUs of log rewriting."
    bgsave_cpulist: Text = text(""); "bgsave-cpulist" | "bgsave_cpulist"; Domain::Text; FIXED | INERT;
        "CPUs of saving."
    jemalloc_bg_thread: bool = true; "jemalloc-bg-thread"; Domain::Bool; MUTABLE | INERT;
        "Background thread of Redis's allocator."
    shutdown_on_sigint: ShutdownOptions = ShutdownOptions::default(); "shutdown-on-sigint";
        Domain::Special("OPTION..."); MUTABLE | MULTI;
        "What SIGINT does: default, save, nosave, now, force."
    shutdown_on_sigterm: ShutdownOptions = ShutdownOptions::default(); "shutdown-on-sigterm";
        Domain::Special("OPTION..."); MUTABLE | MULTI;
        "What SIGTERM does: default, save, nosave, now, force."
    shutdown_timeout: u32 = 10; "shutdown-timeout"; Domain::Integer(0, INT); MUTABLE;
        "Seconds to wait for replicas at shutdown."

    // Security.
    requirepass: Text = text(""); "requirepass"; Domain::Text; MUTABLE | SENSITIVE;
        "Password of the default user; empty is none."
    aclfile: Text = text(""); "aclfile"; Domain::Text; FIXED;
        "File with the users; where it is given, requirepass counts for nothing at the start."
    acllog_max_len: u64 = 128; "acllog-max-len"; Domain::Integer(0, LONG); MUTABLE;
        "Entries of ACL LOG."
    acl_pubsub_default: AclPubsubDefault = AclPubsubDefault::ResetChannels; "acl-pubsub-default";
        Domain::Words(AclPubsubDefault::WORDS); MUTABLE;
        "Channels of a new user."
    enable_protected_configs: ProtectedAction = ProtectedAction::No; "enable-protected-configs";
        Domain::Words(ProtectedAction::WORDS); FIXED;
        "Who may set protected directives: no, yes, local."
    enable_debug_command: ProtectedAction = ProtectedAction::No; "enable-debug-command";
        Domain::Words(ProtectedAction::WORDS); FIXED;
        "Who may use DEBUG: no, yes, local."
    enable_module_command: ProtectedAction = ProtectedAction::No; "enable-module-command";
        Domain::Words(ProtectedAction::WORDS); FIXED;
        "Who may use MODULE: no, yes, local."
    sanitize_dump_payload: SanitizeDumpPayload = SanitizeDumpPayload::No; "sanitize-dump-payload";
        Domain::Words(SanitizeDumpPayload::WORDS); MUTABLE;
        "Whose RESTORE payloads are checked deeply; Torc checks all."
    hide_user_data_from_log: bool = false; "hide-user-data-from-log"; Domain::Bool; MUTABLE;
        "Keep keys and values out of the log; Torc never puts them there."

    // Keyspace, memory, expiry.
    databases: u32 = 16; "databases"; Domain::Integer(1, INT); FIXED;
        "Databases, numbered from 0."
    maxmemory: u64 = 0; "maxmemory"; Domain::UnsignedMemory(0, ULONG); MUTABLE;
        "Most bytes of data; 0 is no limit."
    maxmemory_policy: MaxmemoryPolicy = MaxmemoryPolicy::Noeviction;
        "maxmemory-policy";
        Domain::Words(MaxmemoryPolicy::WORDS); MUTABLE;
        "What is evicted when maxmemory is reached."
    maxmemory_samples: u32 = 5; "maxmemory-samples"; Domain::Integer(1, 64); MUTABLE;
        "Keys that eviction compares."
    maxmemory_eviction_tenacity: u32 = 10; "maxmemory-eviction-tenacity"; Domain::Integer(0, 100); MUTABLE;
        "How hard eviction tries in one go: 0 little, 100 until done."
    maxmemory_clients: i64 = 0; "maxmemory-clients"; Domain::MemoryOrPercent(100); MUTABLE;
        "Most bytes of all clients; N% is of maxmemory (kept as -N); 0 is no limit."
    lfu_log_factor: u32 = 10; "lfu-log-factor"; Domain::Integer(0, INT); MUTABLE;
        "How slowly the use counter grows."
    lfu_decay_time: u32 = 1; "lfu-decay-time"; Domain::Integer(0, INT); MUTABLE;
        "Minutes after which the use counter falls by one."
    active_expire_effort: u32 = 1; "active-expire-effort"; Domain::Integer(1, 10); MUTABLE | INERT;
        "How hard expired keys are sought: 1 to 10."
    lazyfree_lazy_eviction: bool = false; "lazyfree-lazy-eviction"; Domain::Bool; MUTABLE;
        "Free evicted values in slices; Torc always does, where they are large."
    lazyfree_lazy_expire: bool = false; "lazyfree-lazy-expire"; Domain::Bool; MUTABLE;
        "Free expired values in slices; Torc always does, where they are large."
    lazyfree_lazy_server_del: bool = false; "lazyfree-lazy-server-del"; Domain::Bool; MUTABLE;
        "Free overwritten values in slices; Torc always does, where they are large."
    lazyfree_lazy_user_del: bool = false; "lazyfree-lazy-user-del"; Domain::Bool; MUTABLE;
        "DEL behaves as UNLINK; in Torc it always does."
    lazyfree_lazy_user_flush: bool = false; "lazyfree-lazy-user-flush"; Domain::Bool; MUTABLE;
        "FLUSHALL and FLUSHDB behave as with ASYNC."
    lazyexpire_nested_arbitrary_keys: bool = true; "lazyexpire-nested-arbitrary-keys";
        Domain::Bool; MUTABLE | HIDDEN | INERT;
        "Expire keys that a script meets."
    hz: u32 = 10; "hz"; Domain::Integer(0, INT); MUTABLE;
        "Rounds of the cron a second, 1 to 500."
    dynamic_hz: bool = true; "dynamic-hz"; Domain::Bool; MUTABLE;
        "More rounds with more clients, fewer while nothing happens."
    activerehashing: bool = true; "activerehashing"; Domain::Bool; MUTABLE | INERT;
        "Redis's background rehashing; Torc's table grows without it."
    activedefrag: ActiveDefrag = ActiveDefrag::Auto; "activedefrag"; Domain::Words(ActiveDefrag::WORDS); MUTABLE;
        "Empty sparse memory in the background; auto: while there is a maxmemory."
    active_defrag_ignore_bytes: u64 = 100 * MIB; "active-defrag-ignore-bytes";
        Domain::UnsignedMemory(1, LONG); MUTABLE;
        "Fragmentation that is left alone."
    active_defrag_cycle_min: u32 = 1; "active-defrag-cycle-min"; Domain::Integer(1, 99); MUTABLE;
        "Least effort of defragmentation, percent."
    active_defrag_cycle_max: u32 = 25; "active-defrag-cycle-max"; Domain::Integer(1, 99); MUTABLE;
        "Most effort of defragmentation, percent."
    active_defrag_threshold_lower: u32 = 10; "active-defrag-threshold-lower";
        Domain::Integer(0, 1000); MUTABLE;
        "Fragmentation at which defragmentation starts, percent."
    active_defrag_threshold_upper: u32 = 100; "active-defrag-threshold-upper";
        Domain::Integer(0, 1000); MUTABLE;
        "Fragmentation at which effort is greatest, percent."
    active_defrag_max_scan_fields: u64 = 1000; "active-defrag-max-scan-fields";
        Domain::Integer(1, LONG); MUTABLE | INERT;
        "Elements above which a value is defragmented in slices."
    tracking_table_max_keys: u64 = 1000000; "tracking-table-max-keys"; Domain::Unsigned(0, LONG); MUTABLE;
        "Keys remembered for client-side caching; 0 is no limit."

    // Encodings: up to these limits a collection is one packed allocation.
    hash_max_listpack_entries: u64 = 512; "hash-max-listpack-entries" | "hash-max-ziplist-entries";
        Domain::Unsigned(0, LONG); MUTABLE;
        "Fields of a packed hash."
    hash_max_listpack_value: u64 = 64; "hash-max-listpack-value" | "hash-max-ziplist-value";
        Domain::UnsignedMemory(0, LONG); MUTABLE;
        "Bytes of a packed hash's field or value."
    list_max_listpack_size: i32 = -2; "list-max-listpack-size" | "list-max-ziplist-size";
        Domain::Integer(-INT - 1, INT); MUTABLE;
        "Elements of a list's node; -1 to -5: 4 to 64 KiB."
    list_compress_depth: u32 = 0; "list-compress-depth"; Domain::Integer(0, INT); MUTABLE | INERT;
        "Nodes at a list's ends that are not compressed; 0 compresses none."
    set_max_intset_entries: u64 = 512; "set-max-intset-entries"; Domain::Unsigned(0, LONG); MUTABLE;
        "Members of a set of integers."
    set_max_listpack_entries: u64 = 128; "set-max-listpack-entries"; Domain::Unsigned(0, LONG); MUTABLE;
        "Members of a packed set."
    set_max_listpack_value: u64 = 64; "set-max-listpack-value"; Domain::Unsigned(0, LONG); MUTABLE;
        "Bytes of a packed set's member."
    zset_max_listpack_entries: u64 = 128; "zset-max-listpack-entries" | "zset-max-ziplist-entries";
        Domain::Unsigned(0, LONG); MUTABLE;
        "Members of a packed sorted set."
    zset_max_listpack_value: u64 = 64; "zset-max-listpack-value" | "zset-max-ziplist-value";
        Domain::UnsignedMemory(0, LONG); MUTABLE;
        "Bytes of a packed sorted set's member."
    hll_sparse_max_bytes: u64 = 3000; "hll-sparse-max-bytes"; Domain::UnsignedMemory(0, LONG); MUTABLE;
        "Bytes of a sparse HyperLogLog."
    stream_node_max_bytes: u64 = 4096; "stream-node-max-bytes"; Domain::UnsignedMemory(0, LONG); MUTABLE;
        "Bytes of a stream's node; 0 is no limit."
    stream_node_max_entries: u64 = 100; "stream-node-max-entries"; Domain::Integer(0, LONG); MUTABLE;
        "Entries of a stream's node; 0 is no limit."
    stream_idmp_duration: u32 = 100; "stream-idmp-duration"; Domain::Unsigned(1, 86_400); MUTABLE;
        "Seconds for which a stream knows what its producers have sent."
    stream_idmp_maxsize: u32 = 100; "stream-idmp-maxsize"; Domain::Unsigned(1, 10_000); MUTABLE;
        "Messages of each producer that a stream knows."

    vset_force_single_threaded_execution: bool = false; "vset-force-single-threaded-execution";
        Domain::Bool; MUTABLE | INERT;
        "Search vector sets in the thread that serves clients."

    // Observation.
    slowlog_log_slower_than: i64 = 10000; "slowlog-log-slower-than"; Domain::Integer(-1, LONG); MUTABLE;
        "Microseconds above which a command enters the slow log; -1 none, 0 all."
    slowlog_max_len: u64 = 128; "slowlog-max-len"; Domain::Integer(0, LONG); MUTABLE;
        "Entries of the slow log."
    latency_tracking: bool = true; "latency-tracking"; Domain::Bool; MUTABLE;
        "Keep latency histograms per command."
    latency_tracking_info_percentiles: Percentiles = Percentiles(vec![50.0, 99.0, 99.9]);
        "latency-tracking-info-percentiles";
        Domain::Special("PERCENTILE..."); MUTABLE | MULTI;
        "Percentiles that INFO latencystats shows."
    latency_monitor_threshold: u64 = 0; "latency-monitor-threshold"; Domain::Integer(0, LONG); MUTABLE;
        "Milliseconds above which an event is kept for LATENCY; 0 keeps none."
    notify_keyspace_events: KeyspaceEvents = KeyspaceEvents::default(); "notify-keyspace-events";
        Domain::Special("FLAGS of Ag$lshzxeKEtmdnoc"); MUTABLE;
        "Events on keys that are published."
    busy_reply_threshold: u64 = 5000; "busy-reply-threshold" | "lua-time-limit";
        Domain::Integer(0, LONG); MUTABLE | INERT;
        "Milliseconds after which a script makes others get BUSY."
    lua_enable_deprecated_api: bool = false; "lua-enable-deprecated-api";
        Domain::Bool; FIXED | HIDDEN | INERT;
        "Old functions in scripts."

    // Snapshot and log.
    save: SavePoints = save_points(); "save"; Domain::Special("SECONDS CHANGES..."); MUTABLE | MULTI;
        "Save after so many seconds with so many changes; \"\" never does."
    dbfilename: Text = text("dump.rdb"); "dbfilename";
        Domain::FileName("dbfilename"); MUTABLE | PROTECTED;
        "Name of the snapshot."
    stop_writes_on_bgsave_error: bool = true; "stop-writes-on-bgsave-error"; Domain::Bool; MUTABLE;
        "Refuse writes after a snapshot failed."
    rdbcompression: bool = true; "rdbcompression"; Domain::Bool; MUTABLE;
        "Compress snapshots."
    rdbchecksum: bool = true; "rdbchecksum"; Domain::Bool; FIXED;
        "Sum snapshots."
    rdb_del_sync_files: bool = false; "rdb-del-sync-files"; Domain::Bool; MUTABLE;
        "Remove snapshots made for replicas."
    rdb_save_incremental_fsync: bool = true; "rdb-save-incremental-fsync"; Domain::Bool; MUTABLE;
        "Sync snapshots as they are written."
    rdb_key_save_delay: i32 = 0; "rdb-key-save-delay";
        Domain::Integer(-INT - 1, INT); MUTABLE | HIDDEN;
        "Microseconds per saved key, for tests."
    snapshot_buffer_limit: u64 = 64 * MIB; "snapshot-buffer-limit";
        Domain::Memory(1 << 20, LONG); MUTABLE | OWN;
        "Bytes held for a snapshot, beyond which writes to what it has not saved yet wait."
    snapshot_rate_max: u64 = 0; "snapshot-rate-max"; Domain::Memory(0, LONG); MUTABLE | OWN;
        "Bytes a second that a snapshot writes at most; 0: as many as it can."
    snapshot_wait_max: u32 = 60; "snapshot-wait-max"; Domain::Integer(1, INT); MUTABLE | OWN;
        "Seconds that writes wait for a snapshot which writes nothing; then it fails, and they go on."
    key_load_delay: i32 = 0; "key-load-delay"; Domain::Integer(-INT - 1, INT); MUTABLE | HIDDEN | INERT;
        "Microseconds per loaded key, for tests."
    loading_process_events_interval_bytes: u64 = MIB / 2; "loading-process-events-interval-bytes";
        Domain::Integer(1024, INT); MUTABLE | HIDDEN | INERT;
        "Bytes loaded between two looks at clients."
    appendonly: bool = false; "appendonly"; Domain::Bool; MUTABLE;
        "Keep the append-only log."
    appendfilename: Text = text("appendonly.aof"); "appendfilename";
        Domain::FileName("appendfilename"); FIXED;
        "Base name of the log."
    appenddirname: Text = text("appendonlydir"); "appenddirname";
        Domain::FileName("appenddirname"); FIXED;
        "Directory of the log, under dir."
    appendfsync: AppendFsync = AppendFsync::Everysec; "appendfsync";
        Domain::Words(AppendFsync::WORDS); MUTABLE;
        "When the log is synced: always, everysec, no."
    journal_limit: u64 = 256 * MIB; "journal-limit"; Domain::Memory(1 << 20, LONG); MUTABLE | OWN;
        "Bytes that wait to be appended, beyond which commands that write wait."
    no_appendfsync_on_rewrite: bool = false; "no-appendfsync-on-rewrite"; Domain::Bool; MUTABLE;
        "Do not sync while rewriting."
    auto_aof_rewrite_percentage: u32 = 100; "auto-aof-rewrite-percentage";
        Domain::Integer(0, INT); MUTABLE;
        "Growth at which the log is rewritten, percent; 0 never."
    auto_aof_rewrite_min_size: u64 = 64 * MIB; "auto-aof-rewrite-min-size";
        Domain::Memory(0, LONG); MUTABLE;
        "Size below which the log is not rewritten."
    aof_load_truncated: bool = true; "aof-load-truncated"; Domain::Bool; MUTABLE;
        "Load a log whose end is torn."
    aof_use_rdb_preamble: bool = true; "aof-use-rdb-preamble"; Domain::Bool; MUTABLE;
        "Rewrite the log as a snapshot."
    aof_timestamp_enabled: bool = false; "aof-timestamp-enabled"; Domain::Bool; MUTABLE;
        "Note times in the log."
    aof_rewrite_incremental_fsync: bool = true; "aof-rewrite-incremental-fsync";
        Domain::Bool; MUTABLE;
        "Sync the log as it is rewritten."
    aof_disable_auto_gc: bool = false; "aof-disable-auto-gc"; Domain::Bool; MUTABLE | HIDDEN | INERT;
        "Keep old log files."

    // Replication.
    replicaof: ReplicaOf = ReplicaOf(None); "replicaof" | "slaveof";
        Domain::Special("HOST PORT"); FIXED | MULTI;
        "Primary that this server replicates."
    masterauth: Text = text(""); "masterauth"; Domain::Text; MUTABLE | SENSITIVE;
        "Password for the primary."
    masteruser: Text = text(""); "masteruser"; Domain::Text; MUTABLE | SENSITIVE;
        "User for the primary."
    replica_serve_stale_data: bool = true; "replica-serve-stale-data" | "slave-serve-stale-data";
        Domain::Bool; MUTABLE;
        "Answer while the link to the primary is down."
    replica_read_only: bool = true; "replica-read-only" | "slave-read-only"; Domain::Bool; MUTABLE;
        "Refuse writes on a replica."
    replica_lazy_flush: bool = false; "replica-lazy-flush" | "slave-lazy-flush";
        Domain::Bool; MUTABLE;
        "Free the old keyspace in slices on a resync."
    replica_ignore_maxmemory: bool = true; "replica-ignore-maxmemory" | "slave-ignore-maxmemory";
        Domain::Bool; MUTABLE;
        "A replica does not evict."
    replica_ignore_disk_write_errors: bool = false; "replica-ignore-disk-write-errors";
        Domain::Bool; MUTABLE | INERT;
        "A replica goes on when its log cannot be written."
    replica_announced: bool = true; "replica-announced"; Domain::Bool; MUTABLE;
        "Tell sentinels about this replica."
    replica_announce_ip: Text = text(""); "replica-announce-ip" | "slave-announce-ip";
        Domain::Text; MUTABLE;
        "Address told to the primary."
    replica_announce_port: u16 = 0; "replica-announce-port" | "slave-announce-port";
        Domain::Integer(0, 65535); MUTABLE;
        "Port told to the primary."
    replica_priority: u32 = 100; "replica-priority" | "slave-priority";
        Domain::Integer(0, INT); MUTABLE;
        "Rank for promotion; 0 is never."
    min_replicas_to_write: u32 = 0; "min-replicas-to-write" | "min-slaves-to-write";
        Domain::Integer(0, INT); MUTABLE;
        "Replicas without which writes are refused."
    min_replicas_max_lag: u32 = 10; "min-replicas-max-lag" | "min-slaves-max-lag";
        Domain::Integer(0, INT); MUTABLE;
        "Seconds a replica may lag and still count; 0 asks for no replicas."
    repl_backlog_size: u64 = MIB; "repl-backlog-size"; Domain::Memory(1, LONG); MUTABLE;
        "Bytes kept for replicas that come back."
    repl_backlog_ttl: u64 = 3600; "repl-backlog-ttl"; Domain::Integer(0, LONG); MUTABLE;
        "Seconds the backlog is kept without replicas."
    replica_full_sync_buffer_limit: u64 = 0; "replica-full-sync-buffer-limit";
        Domain::Memory(0, LONG); MUTABLE | INERT;
        "Bytes a replica keeps of the stream while it loads a snapshot; 0 is the limit of its output buffer."
    repl_rdb_channel: bool = true; "repl-rdb-channel"; Domain::Bool; MUTABLE | HIDDEN;
        "Send a snapshot to a replica over a connection of its own."
    repl_disable_tcp_nodelay: bool = false; "repl-disable-tcp-nodelay"; Domain::Bool; MUTABLE;
        "Send to replicas in larger packets."
    repl_diskless_sync: bool = true; "repl-diskless-sync"; Domain::Bool; MUTABLE;
        "Send snapshots to replicas without a file."
    repl_diskless_sync_delay: u32 = 5; "repl-diskless-sync-delay"; Domain::Integer(0, INT); MUTABLE;
        "Seconds to wait for more replicas."
    repl_diskless_sync_max_replicas: u32 = 0; "repl-diskless-sync-max-replicas";
        Domain::Integer(0, INT); MUTABLE;
        "Replicas that are enough to start."
    repl_diskless_load: ReplDisklessLoad = ReplDisklessLoad::Disabled; "repl-diskless-load";
        Domain::Words(ReplDisklessLoad::WORDS); MUTABLE;
        "How a received snapshot is loaded."
    repl_ping_replica_period: u32 = 10; "repl-ping-replica-period" | "repl-ping-slave-period";
        Domain::Integer(1, INT); MUTABLE;
        "Seconds between pings to replicas."
    repl_timeout: u32 = 60; "repl-timeout"; Domain::Integer(1, INT); MUTABLE;
        "Seconds after which a silent link is closed."
    propagation_error_behavior: PropagationError = PropagationError::Ignore; "propagation-error-behavior";
        Domain::Words(PropagationError::WORDS); MUTABLE | INERT;
        "What happens when a replicated command fails."

    // Cluster.
    cluster_enabled: bool = false; "cluster-enabled"; Domain::Bool; FIXED | INERT;
        "Take part in a cluster."
    cluster_config_file: Text = text("nodes.conf"); "cluster-config-file"; Domain::Text; FIXED | INERT;
        "File with the cluster's state."
    cluster_port: u16 = 0; "cluster-port"; Domain::Integer(0, 65535); FIXED | INERT;
        "Port of the cluster bus."
    cluster_node_timeout: u64 = 15000; "cluster-node-timeout"; Domain::Integer(0, LONG); MUTABLE | INERT;
        "Milliseconds after which a silent node is failing."
    cluster_migration_barrier: u32 = 1; "cluster-migration-barrier"; Domain::Integer(0, INT); MUTABLE | INERT;
        "Replicas a primary keeps."
    cluster_replica_validity_factor: u32 = 10;
        "cluster-replica-validity-factor" | "cluster-slave-validity-factor";
        Domain::Integer(0, INT); MUTABLE | INERT;
        "How stale a replica may be to be promoted."
    cluster_replica_no_failover: bool = false; "cluster-replica-no-failover" | "cluster-slave-no-failover";
        Domain::Bool; MUTABLE | INERT;
        "Never promote this replica."
    cluster_require_full_coverage: bool = true; "cluster-require-full-coverage";
        Domain::Bool; MUTABLE | INERT;
        "Serve only while all slots are served."
    cluster_allow_reads_when_down: bool = false; "cluster-allow-reads-when-down";
        Domain::Bool; MUTABLE | INERT;
        "Serve reads while the cluster is down."
    cluster_allow_pubsubshard_when_down: bool = true; "cluster-allow-pubsubshard-when-down";
        Domain::Bool; MUTABLE | INERT;
        "Serve sharded channels while the cluster is down."
    cluster_allow_replica_migration: bool = true; "cluster-allow-replica-migration";
        Domain::Bool; MUTABLE | INERT;
        "Replicas move to primaries that have none."
    cluster_announce_ip: Text = text(""); "cluster-announce-ip"; Domain::Text; MUTABLE | INERT;
        "Address told to the cluster."
    cluster_announce_hostname: Text = text(""); "cluster-announce-hostname"; Domain::Text; MUTABLE | INERT;
        "Host name told to the cluster."
    cluster_announce_human_nodename: Text = text(""); "cluster-announce-human-nodename";
        Domain::NodeName; MUTABLE | INERT;
        "Name told to the cluster."
    cluster_announce_port: u16 = 0; "cluster-announce-port"; Domain::Integer(0, 65535); MUTABLE | INERT;
        "Port told to the cluster."
    cluster_announce_tls_port: u16 = 0; "cluster-announce-tls-port";
        Domain::Integer(0, 65535); MUTABLE | INERT;
        "TLS port told to the cluster."
    cluster_announce_bus_port: u16 = 0; "cluster-announce-bus-port";
        Domain::Integer(0, 65535); MUTABLE | INERT;
        "Bus port told to the cluster."
    cluster_preferred_endpoint_type: ClusterEndpoint = ClusterEndpoint::Ip;
        "cluster-preferred-endpoint-type";
        Domain::Words(ClusterEndpoint::WORDS); MUTABLE | INERT;
        "What redirections name: ip, hostname, unknown-endpoint."
    cluster_link_sendbuf_limit: u64 = 0; "cluster-link-sendbuf-limit";
        Domain::UnsignedMemory(0, ULONG); MUTABLE | INERT;
        "Most bytes queued to a node; 0 is no limit."
    cluster_ping_interval: u32 = 0; "cluster-ping-interval"; Domain::Integer(0, INT); MUTABLE | HIDDEN | INERT;
        "Milliseconds between pings to a node; 0 is chosen by Redis."
    cluster_compatibility_sample_ratio: u32 = 0; "cluster-compatibility-sample-ratio";
        Domain::Integer(0, 100); MUTABLE | INERT;
        "Percentage of commands that are checked for whether a cluster would run them."
    cluster_slot_stats_enabled: bool = false; "cluster-slot-stats-enabled"; Domain::Bool; MUTABLE | INERT;
        "Count what each slot uses."
}
