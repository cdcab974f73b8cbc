//! The first line of a script: its engine, and what it says of itself.

/// What a script may do, and must not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScriptFlags {
    /// It has no such line, and none of the limits that one brings.
    pub is_plain: bool,
    /// It writes nothing.
    pub no_writes: bool,
    /// It may run although memory is over its limit.
    pub allow_oom: bool,
    /// It may run on a replica whose data is stale.
    pub allow_stale: bool,
    /// It does not run in a cluster.
    pub no_cluster: bool,
    /// Its keys may be of several slots.
    pub allow_cross_slot_keys: bool,
}

impl ScriptFlags {
    /// Sets the flag of this name; false where there is none.
    pub fn set(&mut self, name: &[u8]) -> bool {
        let flag = match name {
            b"no-writes" => &mut self.no_writes,
            b"allow-oom" => &mut self.allow_oom,
            b"allow-stale" => &mut self.allow_stale,
            b"no-cluster" => &mut self.no_cluster,
            b"allow-cross-slot-keys" => &mut self.allow_cross_slot_keys,
            _ => return false,
        };
        *flag = true;
        true
    }

    /// The names of those set, as FUNCTION LIST shows them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        [
            (self.no_writes, "no-writes"),
            (self.allow_oom, "allow-oom"),
            (self.allow_stale, "allow-stale"),
            (self.no_cluster, "no-cluster"),
            (self.allow_cross_slot_keys, "allow-cross-slot-keys"),
        ]
        .into_iter()
        .filter_map(|(is_set, name)| is_set.then_some(name))
    }
}

/// Reads the flags of a script and says where its code begins: at the end of the first line, so that lines keep their numbers.
pub fn parse(text: &[u8]) -> Result<(ScriptFlags, usize), String> {
    if !text.starts_with(b"#!") {
        return Ok((ScriptFlags { is_plain: true, ..ScriptFlags::default() }, 0));
    }
    let end = memchr::memchr(b'\n', text).ok_or("ERR Invalid script shebang")?;
    let mut words = text[..end].split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let engine = words.next().unwrap_or_default();
    if engine != b"#!lua" {
        return Err(format!("ERR Unexpected engine in script shebang: {}", String::from_utf8_lossy(engine)));
    }
    let mut flags = ScriptFlags::default();
    for word in words {
        let Some(names) = word.strip_prefix(b"flags=") else {
            return Err(format!("ERR Unknown lua shebang option: {}", String::from_utf8_lossy(word)));
        };
        for name in names.split(|byte| *byte == b',').filter(|name| !name.is_empty()) {
            if !flags.set(name) {
                return Err(format!(
                    "ERR Unexpected flag in script shebang: {}",
                    String::from_utf8_lossy(name)
                ));
            }
        }
    }
    Ok((flags, end))
}
