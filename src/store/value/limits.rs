//! Up to which size values are packed: the directives that end in `-max-listpack-...`, and their like.

use super::ListLimits;
use super::stream::IidLimits;

/// The limits of all types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of lists, and of their nodes.
    pub list: ListLimits,
    /// Of hashes; the longer of field and value counts.
    pub hash: PackLimits,
    /// Of sets.
    pub set: PackLimits,
    /// Members of a set of integers.
    pub intset_entries_max: u64,
    /// Of sorted sets.
    pub sorted_set: PackLimits,
    /// Of a stream's nodes.
    pub stream: NodeLimits,
    /// Of what is kept of a stream's producers.
    pub iids: IidLimits,
}

impl Default for Limits {
    /// The defaults of Redis's directives.
    fn default() -> Limits {
        let pack = |entries_max| PackLimits { entries_max, value_bytes_max: 64 };
        Limits {
            list: ListLimits::new(-2),
            hash: pack(512),
            set: pack(128),
            intset_entries_max: 512,
            sorted_set: pack(128),
            stream: NodeLimits { bytes_max: 4096, entries_max: 100 },
            iids: IidLimits::default(),
        }
    }
}

/// How large a packed collection may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackLimits {
    /// Its entries: members, or fields.
    pub entries_max: u64,
    /// Bytes of an entry's longest part.
    pub value_bytes_max: u64,
}

/// How large a stream's node may be; 0 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeLimits {
    /// Its bytes.
    pub bytes_max: u64,
    /// Its entries.
    pub entries_max: u64,
}
