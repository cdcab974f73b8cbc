//! Directives whose value is one of a few words: an enum for each.
//!
//! Design: `words!` lists variant and word together. The order is that of Redis, whose error texts list the
//! words in it.

use super::domain::Enumerated;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident {
        $($(#[$variant_doc:meta])* $variant:ident = $($word:literal)|+),+ $(,)?
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant),+ }

        impl Enumerated for $name {
            const WORDS: &'static [&'static str] = &[$($($word),+),+];
            const VALUES: &'static [Self] = &[$($({ let _ = $word; Self::$variant }),+),+];
        }
    };
}

words! {
    /// Which keys eviction may take, and how it chooses.
    MaxmemoryPolicy {
        /// Least recently used, of those with a deadline.
        VolatileLru = "volatile-lru",
        /// Least frequently used, of those with a deadline.
        VolatileLfu = "volatile-lfu",
        /// Any of those with a deadline.
        VolatileRandom = "volatile-random",
        /// The nearest deadline.
        VolatileTtl = "volatile-ttl",
        /// Least recently used.
        AllkeysLru = "allkeys-lru",
        /// Least frequently used.
        AllkeysLfu = "allkeys-lfu",
        /// Any.
        AllkeysRandom = "allkeys-random",
        /// None: commands that need memory fail.
        Noeviction = "noeviction",
    }
}

words! {
    /// Whether memory is defragmented in the background.
    ActiveDefrag {
        /// Under a memory limit.
        Auto = "auto",
        /// Always.
        Yes = "yes",
        /// Never.
        No = "no",
    }
}

words! {
    /// The least important message that is logged.
    LogLevel {
        /// All.
        Debug = "debug",
        /// Rarely useful information.
        Verbose = "verbose",
        /// What an operator wants to know.
        Notice = "notice",
        /// Important only.
        Warning = "warning",
        /// None.
        Nothing = "nothing",
    }
}

words! {
    /// What a line of the log looks like.
    LogFormat {
        /// As in Redis; Valkey calls it legacy.
        Text = "text" | "legacy",
        /// An object of JSON.
        Json = "json",
        /// Pairs of name and value.
        Logfmt = "logfmt",
    }
}

words! {
    /// When the append-only log is synced.
    AppendFsync {
        /// Once a second.
        Everysec = "everysec",
        /// Before a reply.
        Always = "always",
        /// When the kernel likes.
        No = "no",
    }
}

words! {
    /// Who may do something dangerous.
    ProtectedAction {
        /// Nobody.
        No = "no",
        /// Everybody.
        Yes = "yes",
        /// Connections from this host.
        Local = "local",
    }
}

words! {
    /// The service manager that is told about readiness.
    Supervised {
        /// SIGSTOP to upstart.
        Upstart = "upstart",
        /// `READY=1` to `$NOTIFY_SOCKET`.
        Systemd = "systemd",
        /// Whichever the environment names.
        Auto = "auto",
        /// None.
        No = "no",
    }
}

words! {
    /// The source that syslog messages name.
    SyslogFacility {
        /// Generic.
        User = "user",
        /// Local use.
        Local0 = "local0",
        /// Local use.
        Local1 = "local1",
        /// Local use.
        Local2 = "local2",
        /// Local use.
        Local3 = "local3",
        /// Local use.
        Local4 = "local4",
        /// Local use.
        Local5 = "local5",
        /// Local use.
        Local6 = "local6",
        /// Local use.
        Local7 = "local7",
    }
}

words! {
    /// How a replica loads a snapshot that it receives.
    ReplDisklessLoad {
        /// From a file.
        Disabled = "disabled",
        /// From the socket, into an empty keyspace.
        OnEmptyDb = "on-empty-db",
        /// From a file too: the old data is served until all of the new has come.
        Swapdb = "swapdb",
    }
}

words! {
    /// How the out-of-memory score is set.
    OomScoreAdj {
        /// Not at all.
        No = "no",
        /// Relative to what it was at start.
        Relative = "yes" | "relative",
        /// As given.
        Absolute = "absolute",
    }
}

words! {
    /// Which channels a new user may use.
    AclPubsubDefault {
        /// All.
        AllChannels = "allchannels",
        /// None.
        ResetChannels = "resetchannels",
    }
}

words! {
    /// Whose dumps are checked deeply when loaded.
    SanitizeDumpPayload {
        /// Nobody's.
        No = "no",
        /// Everybody's.
        Yes = "yes",
        /// Those of clients.
        Clients = "clients",
    }
}

words! {
    /// What a cluster's redirections name.
    ClusterEndpoint {
        /// The address.
        Ip = "ip",
        /// The host name.
        Hostname = "hostname",
        /// Nothing.
        Unknown = "unknown-endpoint",
    }
}

words! {
    /// What happens when a replicated command fails.
    PropagationError {
        /// Nothing.
        Ignore = "ignore",
        /// Stop.
        Panic = "panic",
        /// Stop, if it came from a primary.
        PanicOnReplicas = "panic-on-replicas",
    }
}

words! {
    /// Whether TLS clients show a certificate.
    TlsAuthClients {
        /// No.
        No = "no",
        /// They must.
        Yes = "yes",
        /// They may.
        Optional = "optional",
    }
}

words! {
    /// What of a client's certificate names the user that it is.
    TlsAuthClientsUser {
        /// Nothing.
        Off = "off",
        /// The subject's common name.
        Cn = "CN",
    }
}

words! {
    /// The kernel interface behind sockets and files.
    IoBackend {
        /// `io_uring` where the kernel allows it, else `epoll`.
        Auto = "auto",
        /// `io_uring` or do not start.
        IoUring = "io_uring",
        /// `epoll`.
        Epoll = "epoll",
    }
}
