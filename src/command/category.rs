//! ACL categories: which a command belongs to follows from its flags, its group and what its row adds.
//!
//! Design: as Redis does it, with one rule more: what Redis's own tables repeat for every command of a family is taken from
//! the group. A container stands for no family of its own; its subcommands do.

use super::row::{Command, Flags, Group};

/// A set of ACL categories.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Categories(u32);

macro_rules! categories {
    ($($name:ident = $bit:literal, $text:literal;)*) => {
        impl Categories {
            /// No category.
            pub const NONE: Self = Self(0);
            $(#[doc = concat!("`@", $text, "`")] pub const $name: Self = Self(1 << $bit);)*
            /// Every category with its name, in the order of `COMMAND INFO`.
            pub const NAMES: &'static [(Self, &'static str)] = &[$((Self::$name, $text)),*];
        }
    };
}

categories! {
    KEYSPACE = 0, "keyspace";
    READ = 1, "read";
    WRITE = 2, "write";
    SET = 3, "set";
    SORTED_SET = 4, "sortedset";
    LIST = 5, "list";
    HASH = 6, "hash";
    STRING = 7, "string";
    BITMAP = 8, "bitmap";
    HYPERLOGLOG = 9, "hyperloglog";
    GEO = 10, "geo";
    STREAM = 11, "stream";
    PUBSUB = 12, "pubsub";
    ADMIN = 13, "admin";
    FAST = 14, "fast";
    SLOW = 15, "slow";
    BLOCKING = 16, "blocking";
    DANGEROUS = 17, "dangerous";
    CONNECTION = 18, "connection";
    TRANSACTION = 19, "transaction";
    SCRIPTING = 20, "scripting";
}

/// What says how a command behaves; all other categories name families.
const MANNERS: Categories = Categories::READ
    .with(Categories::WRITE)
    .with(Categories::ADMIN)
    .with(Categories::FAST)
    .with(Categories::SLOW)
    .with(Categories::BLOCKING)
    .with(Categories::DANGEROUS);

/// Categories that flags imply.
const IMPLIED: &[(Flags, Categories)] = &[
    (Flags::WRITE, Categories::WRITE),
    (Flags::READONLY, Categories::READ),
    (Flags::ADMIN, Categories::ADMIN.with(Categories::DANGEROUS)),
    (Flags::PUBSUB, Categories::PUBSUB),
    (Flags::FAST, Categories::FAST),
    (Flags::BLOCKING, Categories::BLOCKING),
];

impl Categories {
    /// The categories of a command.
    pub fn of(command: &Command) -> Self {
        let mut all = command.categories;
        if command.subcommands.is_empty() && !all.has(Self(!MANNERS.0)) {
            all = all.with(Self::of_group(command.group));
        }
        for (flag, implied) in IMPLIED {
            // What runs a script that only reads is no read itself.
            let is_script = *flag == Flags::READONLY && command.group == Group::Scripting;
            if command.flags.has(*flag) && !is_script {
                all = all.with(*implied);
            }
        }
        if all.has(Self::FAST) { all } else { all.with(Self::SLOW) }
    }

    fn of_group(group: Group) -> Self {
        match group {
            Group::Generic => Self::KEYSPACE,
            Group::String => Self::STRING,
            Group::List => Self::LIST,
            Group::Set => Self::SET,
            Group::SortedSet => Self::SORTED_SET,
            Group::Hash => Self::HASH,
            Group::Stream => Self::STREAM,
            Group::Bitmap => Self::BITMAP,
            Group::HyperLogLog => Self::HYPERLOGLOG,
            Group::Geo => Self::GEO,
            Group::Connection => Self::CONNECTION,
            Group::Server | Group::PubSub => Self::NONE,
            Group::Scripting => Self::SCRIPTING,
            Group::Transactions => Self::TRANSACTION,
        }
    }

    /// The category of this name, in any case.
    pub fn named(name: &[u8]) -> Option<Self> {
        let mut all = Self::NAMES.iter();
        all.find(|(_, text)| text.as_bytes().eq_ignore_ascii_case(name)).map(|(category, _)| *category)
    }

    /// The names of the categories in this set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.iter().filter(move |(category, _)| self.has(*category)).map(|(_, name)| *name)
    }

    /// Both sets together, usable in constants.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// A bit for each.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether any category of `other` is in `self`.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::BASE;
    use super::*;

    fn names(command: &Command) -> Vec<&'static str> {
        Categories::of(command).names().collect()
    }

    #[test]
    fn flags_and_group_imply_categories() {
        let get = Command { flags: Flags::READONLY.with(Flags::FAST), group: Group::String, ..BASE };
        assert_eq!(names(&get), ["read", "string", "fast"]);
        let kill = Command { flags: Flags::ADMIN, group: Group::Connection, ..BASE };
        assert_eq!(names(&kill), ["admin", "slow", "dangerous", "connection"]);
        let container = Command { group: Group::Connection, subcommands: &[BASE], ..BASE };
        assert_eq!(names(&container), ["slow"]);
    }

    #[test]
    fn a_family_named_by_the_row_stands_in_for_the_groups() {
        let wait = Command { categories: Categories::CONNECTION, ..BASE };
        assert_eq!(names(&wait), ["slow", "connection"]);
        let keys = Command { categories: Categories::DANGEROUS, flags: Flags::READONLY, ..BASE };
        assert_eq!(names(&keys), ["keyspace", "read", "slow", "dangerous"]);
    }
}
