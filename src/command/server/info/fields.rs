//! INFO for a thread that is no worker: the admin port's. It takes no lease, so what it says of the keyspace is what the shards said
//! last.

use std::collections::HashMap;

use super::super::sample::{self, KeyspaceSample, ProcessMemory};
use super::text::InfoText;
use super::{InfoContext, process, statistics};
use crate::command::Shared;

/// The fields of INFO that say something in one word, by their names, and what they are made of.
pub struct InfoFields {
    fields: HashMap<String, String>,
    /// Databases and memory of the shards.
    pub keyspace: KeyspaceSample,
    /// Memory of the process.
    pub memory: ProcessMemory,
}

impl InfoFields {
    /// As they are now, Unix time in us.
    pub fn of(shared: &Shared, now_us: u64) -> Self {
        let config = shared.config.load();
        let (now_ms, keyspace) = (now_us / 1000, sample::noted(shared));
        let memory = sample::memory(shared, &keyspace, now_ms);
        let info = InfoContext { shared, config: &config, now_ms, now_us, keyspace, memory };
        let mut text = InfoText::default();
        let sections = [
            process::server,
            process::clients,
            process::memory,
            process::persistence,
            statistics::stats,
            process::replication,
            process::cpu,
        ];
        sections.iter().for_each(|write| write(&info, &mut text));
        let fields = text.fields().map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self { fields: fields.collect(), keyspace: info.keyspace, memory: info.memory }
    }

    /// A field's value, if INFO has it now.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }

    /// The same as a number; 0 where INFO has none.
    pub fn number(&self, name: &str) -> u64 {
        self.get(name).and_then(|text| text.parse().ok()).unwrap_or(0)
    }
}

/// Where memory is, in bytes. What lies in shards and what clients hold is part of what `maxmemory` limits.
pub fn memory_by_kind(shared: &Shared, fields: &InfoFields) -> Vec<(&'static str, u64)> {
    let (memory, shards) = (&fields.memory, &fields.keyspace.memory);
    let scripts = fields.number("used_memory_vm_total") + fields.number("used_memory_scripts");
    vec![
        ("entries", shards.used_bytes.saturating_sub(shards.table_bytes + shards.blob_bytes)),
        ("large_values", shards.blob_bytes),
        ("tables", shards.table_bytes),
        ("slab_room", shards.slack_bytes),
        ("clients", memory.clients),
        ("server", memory.startup),
        ("scripts", scripts),
        ("replication", shared.replication.stream.bytes_allocated()),
        ("journal", shared.journal.queued_bytes()),
    ]
}
