//! The types of directives that are more than a number, a text or one word: flags, lists, limits.
//!
//! Design: one type per syntax, each knowing how to read and show itself in Redis's form. Not here: the
//! directives that have these types (`table`), and sets of words of which one is meant (`words`).

use super::domain::{
    Domain, FileLines, Mode, Reason, Setting, Text, format_memory, parse_integer, parse_memory, single,
    word_index,
};
use super::split::quote;

/// What a signal's shutdown does, as the options of SHUTDOWN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownOptions {
    /// Save even without save points.
    pub save: bool,
    /// Do not save.
    pub nosave: bool,
    /// Do not wait for replicas.
    pub now: bool,
    /// Shut down even if saving fails.
    pub force: bool,
}

impl ShutdownOptions {
    /// The words, `default` being none of the others.
    pub const WORDS: &'static [&'static str] = &["default", "save", "nosave", "now", "force"];
}

impl Setting for ShutdownOptions {
    fn parse(&mut self, args: &[Vec<u8>], _: &Domain, _: Mode) -> Result<(), Reason> {
        let mut options = Self::default();
        if args.is_empty() {
            word_index(b"", Self::WORDS)?;
        }
        for arg in args {
            match word_index(arg, Self::WORDS)? {
                0 => {}
                1 => options.save = true,
                2 => options.nosave = true,
                3 => options.now = true,
                _ => options.force = true,
            }
        }
        if options.save && options.nosave {
            return Err("shutdown options SAVE and NOSAVE can't be used simultaneously".into());
        }
        *self = options;
        Ok(())
    }

    fn format(&self, _: &Domain) -> Vec<u8> {
        let given = [self.save, self.nosave, self.now, self.force];
        let words: Vec<&str> =
            Self::WORDS[1..].iter().zip(given).filter(|(_, given)| *given).map(|(word, _)| *word).collect();
        if words.is_empty() { b"default".to_vec() } else { words.join(" ").into_bytes() }
    }
}

/// Save when `changes` keys changed within `seconds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavePoint {
    /// The period, in seconds, at least 1.
    pub seconds: u32,
    /// The number of changes, at least 0.
    pub changes: u32,
}

/// The save points; none means that nothing is saved by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SavePoints(pub Vec<SavePoint>);

impl Setting for SavePoints {
    fn parse(&mut self, args: &[Vec<u8>], _: &Domain, mode: Mode) -> Result<(), Reason> {
        // Lines of one start add up (an empty one clears what came before); CONFIG SET replaces.
        let args = match args {
            [empty] if empty.is_empty() => {
                self.0.clear();
                &[]
            }
            args => args,
        };
        if args.len() % 2 != 0 {
            return Err("Invalid save parameters".into());
        }
        let mut points = Vec::new();
        for pair in args.chunks_exact(2) {
            let number = |text: &[u8], low| {
                let number = parse_integer(text).and_then(|number| i32::try_from(number).ok());
                number.filter(|number| *number >= low).map(i32::unsigned_abs).ok_or("Invalid save parameters")
            };
            points.push(SavePoint { seconds: number(&pair[0], 1)?, changes: number(&pair[1], 0)? });
        }
        if mode != (Mode::Load { first: false }) {
            self.0.clear();
        }
        self.0.extend(points);
        Ok(())
    }

    fn format(&self, _: &Domain) -> Vec<u8> {
        let points: Vec<String> =
            self.0.iter().map(|point| format!("{} {}", point.seconds, point.changes)).collect();
        points.join(" ").into_bytes()
    }

    fn file_lines(&self, _: &Domain, default: &Self) -> FileLines {
        if self.0.is_empty() {
            return vec![(b"\"\"".to_vec(), true)];
        }
        let line = |point: &SavePoint| format!("{} {}", point.seconds, point.changes).into_bytes();
        self.0.iter().map(|point| (line(point), self != default)).collect()
    }
}

/// When a client that reads its replies too slowly is closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputBufferLimit {
    /// At once above this many bytes; 0 is no limit.
    pub hard_bytes: u64,
    /// Above this many bytes for `soft_seconds`; 0 is no limit.
    pub soft_bytes: u64,
    /// How long the soft limit may be exceeded.
    pub soft_seconds: u32,
}

/// The output limits of the three classes of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputBufferLimits {
    /// Ordinary clients.
    pub normal: OutputBufferLimit,
    /// Replicas.
    pub replica: OutputBufferLimit,
    /// Subscribers.
    pub pubsub: OutputBufferLimit,
}

impl OutputBufferLimits {
    fn class(&mut self, name: &[u8]) -> Option<&mut OutputBufferLimit> {
        match name.to_ascii_lowercase().as_slice() {
            b"normal" => Some(&mut self.normal),
            b"slave" | b"replica" => Some(&mut self.replica),
            b"pubsub" => Some(&mut self.pubsub),
            _ => None,
        }
    }
}

impl Setting for OutputBufferLimits {
    fn parse(&mut self, args: &[Vec<u8>], _: &Domain, _: Mode) -> Result<(), Reason> {
        const WRONG: &str = "Error in hard, soft or soft_seconds setting in buffer limit configuration.";
        let args = if matches!(args, [empty] if empty.is_empty()) { &[] } else { args };
        if args.len() % 4 != 0 {
            return Err("Wrong number of arguments in buffer limit configuration.".into());
        }
        for class in args.chunks_exact(4) {
            let limit = self
                .class(&class[0])
                .ok_or("Invalid client class specified in buffer limit configuration.")?;
            let seconds = parse_integer(&class[3]).and_then(|number| i32::try_from(number).ok());
            *limit = OutputBufferLimit {
                hard_bytes: parse_memory(&class[1]).ok_or(WRONG)?,
                soft_bytes: parse_memory(&class[2]).ok_or(WRONG)?,
                soft_seconds: seconds.and_then(|seconds| u32::try_from(seconds).ok()).ok_or(WRONG)?,
            };
        }
        Ok(())
    }

    fn format(&self, _: &Domain) -> Vec<u8> {
        let class = |name: &str, limit: &OutputBufferLimit| {
            format!("{name} {} {} {}", limit.hard_bytes, limit.soft_bytes, limit.soft_seconds)
        };
        let classes =
            [class("normal", &self.normal), class("slave", &self.replica), class("pubsub", &self.pubsub)];
        classes.join(" ").into_bytes()
    }

    fn file_lines(&self, _: &Domain, default: &Self) -> FileLines {
        let class = |name: &str, limit: &OutputBufferLimit, default: &OutputBufferLimit| {
            let (hard, soft) = (format_memory(limit.hard_bytes), format_memory(limit.soft_bytes));
            (format!("{name} {hard} {soft} {}", limit.soft_seconds).into_bytes(), limit != default)
        };
        vec![
            class("normal", &self.normal, &default.normal),
            class("replica", &self.replica, &default.replica),
            class("pubsub", &self.pubsub, &default.pubsub),
        ]
    }
}

/// Which keyspace events are published, as a set of the classes below.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyspaceEvents(pub u32);

impl KeyspaceEvents {
    /// `K`: publish on `__keyspace@N__`.
    pub const KEYSPACE: u32 = 1;
    /// `E`: publish on `__keyevent@N__`.
    pub const KEYEVENT: u32 = 1 << 1;
    /// `g`: commands on any type.
    pub const GENERIC: u32 = 1 << 2;
    /// `$`: strings.
    pub const STRING: u32 = 1 << 3;
    /// `l`: lists.
    pub const LIST: u32 = 1 << 4;
    /// `s`: sets.
    pub const SET: u32 = 1 << 5;
    /// `h`: hashes.
    pub const HASH: u32 = 1 << 6;
    /// `z`: sorted sets.
    pub const ZSET: u32 = 1 << 7;
    /// `x`: expired keys.
    pub const EXPIRED: u32 = 1 << 8;
    /// `e`: evicted keys.
    pub const EVICTED: u32 = 1 << 9;
    /// `t`: streams.
    pub const STREAM: u32 = 1 << 10;
    /// `m`: reads of keys that are not there.
    pub const KEY_MISS: u32 = 1 << 11;
    /// `d`: modules' events.
    pub const MODULE: u32 = 1 << 13;
    /// `n`: new keys.
    pub const NEW: u32 = 1 << 14;
    /// `o`: values replaced as a whole.
    pub const OVERWRITTEN: u32 = 1 << 15;
    /// `c`: values replaced by such of another type.
    pub const TYPE_CHANGED: u32 = 1 << 16;
    /// `A`: all classes but `m`, `n`, `o` and `c`.
    pub const ALL: u32 = Self::GENERIC
        | Self::STRING
        | Self::LIST
        | Self::SET
        | Self::HASH
        | Self::ZSET
        | Self::EXPIRED
        | Self::EVICTED
        | Self::STREAM
        | Self::MODULE;

    /// The letters of the classes that `A` stands for, in the order in which they are shown.
    const CLASSES: [(u8, u32); 13] = [
        (b'g', Self::GENERIC),
        (b'$', Self::STRING),
        (b'l', Self::LIST),
        (b's', Self::SET),
        (b'h', Self::HASH),
        (b'z', Self::ZSET),
        (b'x', Self::EXPIRED),
        (b'e', Self::EVICTED),
        (b't', Self::STREAM),
        (b'd', Self::MODULE),
        (b'n', Self::NEW),
        (b'o', Self::OVERWRITTEN),
        (b'c', Self::TYPE_CHANGED),
    ];
    const TARGETS: [(u8, u32); 3] = [(b'K', Self::KEYSPACE), (b'E', Self::KEYEVENT), (b'm', Self::KEY_MISS)];

    /// Whether any event is published.
    #[inline]
    pub const fn is_any(self) -> bool {
        let targets = Self::KEYSPACE | Self::KEYEVENT;
        self.0 & targets != 0 && self.0 & !targets != 0
    }

    /// Whether all classes of `set` are in this set.
    pub const fn contains(self, set: u32) -> bool {
        self.0 & set == set
    }
}

impl Setting for KeyspaceEvents {
    fn parse(&mut self, args: &[Vec<u8>], _: &Domain, _: Mode) -> Result<(), Reason> {
        let mut set = 0;
        for letter in single(args)? {
            let class = Self::CLASSES.iter().chain(&Self::TARGETS).find(|(name, _)| name == letter);
            set |= match (letter, class) {
                (b'A', _) => Self::ALL,
                (_, Some((_, class))) => *class,
                (_, None) => return Err("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.".into()),
            };
        }
        *self = Self(set);
        Ok(())
    }

    fn format(&self, _: &Domain) -> Vec<u8> {
        let mut letters = Vec::new();
        if self.contains(Self::ALL) {
            letters.push(b'A');
        } else {
            letters.extend(
                Self::CLASSES.iter().filter(|(_, class)| self.contains(*class)).map(|(name, _)| *name),
            );
        }
        letters
            .extend(Self::TARGETS.iter().filter(|(_, class)| self.contains(*class)).map(|(name, _)| *name));
        letters
    }

    fn file_lines(&self, domain: &Domain, default: &Self) -> FileLines {
        let mut letters = self.format(domain);
        // CONFIG GET leaves out what `A` does not include, as Redis's does; a file must not lose it.
        if letters.first() == Some(&b'A') {
            let beyond = Self::CLASSES.iter().filter(|(_, class)| class & Self::ALL == 0);
            letters.extend(beyond.filter(|(_, class)| self.contains(*class)).map(|(name, _)| *name));
        }
        vec![(quote(&letters), self != default)]
    }
}

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindAddress {
    /// The address or host name; `*` and `::*` are all addresses of IPv4 and IPv6.
    pub address: String,
    /// Written with a leading `-`: if this host does not have the address, go on without.
    pub optional: bool,
}

/// The addresses to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindAddresses(pub Vec<BindAddress>);

impl BindAddresses {
    /// The most addresses one `bind` may have.
    pub const COUNT_MAX: usize = 16;

    pub(super) fn all() -> Self {
        let bind = |address: &str, optional| BindAddress { address: address.to_string(), optional };
        Self(vec![bind("*", false), bind("::*", true)])
    }

    /// This host only.
    pub(super) fn loopback() -> Self {
        let bind = |address: &str, optional| BindAddress { address: address.to_string(), optional };
        Self(vec![bind("127.0.0.1", false), bind("::1", true)])
    }
}

impl Setting for BindAddresses {
    fn parse(&mut self, args: &[Vec<u8>], _: &Domain, _: Mode) -> Result<(), Reason> {
        if args.len() > Self::COUNT_MAX {
            return Err("Too many bind addresses specified.".into());
        }
        let args = if matches!(args, [empty] if empty.is_empty()) { &[] } else { args };
        let mut addresses = Vec::new();
        for arg in args {
            let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b".:*%_-".contains(byte);
            let text = std::str::from_utf8(arg)
                .ok()
                .filter(|text| !text.is_empty() && text.bytes().all(|byte| plain(&byte)));
            let text = text.ok_or("Failed to bind to specified addresses.")?;
            let (address, optional) = text.strip_prefix('-').map_or((text, false), |rest| (rest, true));
            addresses.push(BindAddress { address: address.to_string(), optional });
        }
        self.0 = addresses;
        Ok(())
    }

    fn format(&self, _: &Domain) -> Vec<u8> {
        let sign = |bind: &BindAddress| if bind.optional { "-" } else { "" };
        let words: Vec<String> =
            self.0.iter().map(|bind| format!("{}{}", sign(bind), bind.address)).collect();
        words.join(" ").into_bytes()
    }

    fn file_lines(&self, domain: &Domain, default: &Self) -> FileLines {
        let line = if self.0.is_empty() { b"\"\"".to_vec() } else { self.format(domain) };
        vec![(line, self != default)]
    }
}

/// Percentiles, each from 0 to 100.
#[derive(Clone, Debug, PartialEq)]
pub struct Percentiles(pub Vec<f64>);

impl Setting for Percentiles {
    fn parse(&mut self, args: &[Vec<u8>], _: &Domain, _: Mode) -> Result<(), Reason> {
        let args = if matches!(args, [empty] if empty.is_empty()) { &[] } else { args };
        let mut percentiles = Vec::new();
        for arg in args {
            let number = std::str::from_utf8(arg).ok().and_then(|text| text.parse::<f64>().ok());
            let number = number
                .filter(|number| number.is_finite())
                .ok_or("Invalid latency-tracking-info-percentiles parameters")?;
            if !(0.0..=100.0).contains(&number) {
                return Err(
                    "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]".into()
                );
            }
            // Six decimals are what is shown, so they are what is kept.
            percentiles.push((number * 1e6).round() / 1e6);
        }
        self.0 = percentiles;
        Ok(())
    }

    fn format(&self, _: &Domain) -> Vec<u8> {
        let words: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        words.join(" ").into_bytes()
    }

    fn file_lines(&self, domain: &Domain, default: &Self) -> FileLines {
        let line = if self.0.is_empty() { b"\"\"".to_vec() } else { self.format(domain) };
        vec![(line, self != default)]
    }
}

/// Out-of-memory scores of a primary, a replica and a child process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OomScores(pub [i32; 3]);

impl Setting for OomScores {
    fn parse(&mut self, args: &[Vec<u8>], _: &Domain, _: Mode) -> Result<(), Reason> {
        if args.len() != self.0.len() {
            return Err("wrong number of arguments".into());
        }
        for (score, arg) in self.0.iter_mut().zip(args) {
            let number = parse_integer(arg).filter(|number| (-2000..=2000).contains(number));
            let number = number.and_then(|number| i32::try_from(number).ok());
            *score =
                number.ok_or("Invalid oom-score-adj-values, elements must be between -2000 and 2000.")?;
        }
        Ok(())
    }

    fn format(&self, _: &Domain) -> Vec<u8> {
        let [primary, replica, child] = self.0;
        format!("{primary} {replica} {child}").into_bytes()
    }
}

/// The primary this server replicates, if any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicaOf(pub Option<(String, u16)>);

impl Setting for ReplicaOf {
    fn parse(&mut self, args: &[Vec<u8>], _: &Domain, _: Mode) -> Result<(), Reason> {
        let [host, port] = args else { return Err("wrong number of arguments".into()) };
        if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
            self.0 = None;
            return Ok(());
        }
        let host = std::str::from_utf8(host).map_err(|_| "Invalid master host")?;
        let port =
            parse_integer(port).and_then(|port| u16::try_from(port).ok()).ok_or("Invalid master port")?;
        self.0 = Some((host.to_string(), port));
        Ok(())
    }

    fn format(&self, _: &Domain) -> Vec<u8> {
        self.0.as_ref().map(|(host, port)| format!("{host} {port}")).unwrap_or_default().into_bytes()
    }

    fn file_lines(&self, domain: &Domain, _: &Self) -> FileLines {
        if self.0.is_some() { vec![(self.format(domain), true)] } else { Vec::new() }
    }
}

/// CPUs by number, as `0,2-5`; empty means "not said".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuList(pub Vec<usize>);

impl CpuList {
    /// The largest CPU number that is believed.
    pub const CPU_MAX: usize = 4095;

    /// Reads `0,2-5`, in the order given; `None` if that is not a list of CPUs.
    pub fn from_text(text: &str) -> Option<Self> {
        let mut cpus = Vec::new();
        for part in text.trim().split(',').filter(|_| !text.trim().is_empty()) {
            let (low, high) = part.split_once('-').unwrap_or((part, part));
            let (low, high) = (low.parse::<usize>().ok()?, high.parse::<usize>().ok()?);
            if low > high || high > Self::CPU_MAX {
                return None;
            }
            cpus.extend(low..=high);
        }
        let distinct = cpus.iter().collect::<std::collections::HashSet<_>>().len() == cpus.len();
        distinct.then_some(Self(cpus))
    }
}

impl Setting for CpuList {
    fn parse(&mut self, args: &[Vec<u8>], _: &Domain, _: Mode) -> Result<(), Reason> {
        let list = std::str::from_utf8(single(args)?).ok().and_then(Self::from_text);
        *self = list.ok_or("argument must be a list of distinct CPUs such as 0,2-5")?;
        Ok(())
    }

    fn format(&self, _: &Domain) -> Vec<u8> {
        let mut parts = Vec::new();
        let mut rest = self.0.as_slice();
        while let [low, ..] = rest {
            let run = rest.iter().enumerate().take_while(|(offset, cpu)| **cpu == low + offset).count();
            parts.push(if run == 1 { low.to_string() } else { format!("{low}-{}", low + run - 1) });
            rest = &rest[run..];
        }
        parts.join(",").into_bytes()
    }

    fn file_lines(&self, domain: &Domain, default: &Self) -> FileLines {
        vec![(quote(&self.format(domain)), self != default)]
    }
}

/// A number of shards: 0 (Torc chooses) or a power of two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardCount(pub usize);

impl ShardCount {
    /// The most shards there may be.
    pub const COUNT_MAX: usize = 4096;
    /// What 0 stands for, for each worker: the more workers there are, the more leases are held at a time.
    pub const COUNT_EACH_DEFAULT: usize = 256;

    /// The number of shards to make for so many workers.
    pub fn count(self, workers: usize) -> usize {
        match self.0 {
            0 => (workers * Self::COUNT_EACH_DEFAULT).next_power_of_two().min(Self::COUNT_MAX),
            count => count,
        }
    }
}

impl Setting for ShardCount {
    fn parse(&mut self, args: &[Vec<u8>], _: &Domain, _: Mode) -> Result<(), Reason> {
        let number = parse_integer(single(args)?).and_then(|number| usize::try_from(number).ok());
        let number =
            number.filter(|number| *number == 0 || number.is_power_of_two() && *number <= Self::COUNT_MAX);
        self.0 = number.ok_or("argument must be 0 or a power of two up to 4096")?;
        Ok(())
    }

    fn format(&self, _: &Domain) -> Vec<u8> {
        self.0.to_string().into_bytes()
    }
}

/// What only a file or the command line can say: lines that are no directives for CONFIG GET and SET.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileOnly {
    /// `rename-command OLD NEW`, in order; an empty new name removes the command. Each was a command of Redis by then.
    pub renamed_commands: Vec<(Text, Text)>,
    /// `user NAME RULE...`, each name once.
    pub users: Vec<UserLine>,
}

/// A `user` line: who is declared, and the rules. What they mean is not known here (`security`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserLine {
    /// The user's name.
    pub name: Vec<u8>,
    /// Its rules.
    pub rules: Vec<Vec<u8>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_follow_the_workers_unless_they_are_given() {
        let counts = [1, 2, 3, 8, 16, 17, 254].map(|workers| ShardCount(0).count(workers));
        assert_eq!(counts, [256, 512, 1024, 2048, 4096, 4096, 4096]);
        assert_eq!(ShardCount(64).count(16), 64);
    }
}
