//! Random commands of one family each: shapes and word lists, a file per family.
//!
//! A family has a run of its own, on keys that mostly hold its type, besides its part in the runs of all commands. Its shapes
//! name its lists of words as `@name`, those of other families likewise; `@score@member+` is one to four pairs.

mod bitmap;
mod generic;
mod geo;
mod hash;
mod hyperloglog;
mod list;
mod set;
mod sorted_set;
mod stream;
mod string;

use super::shapes::{Compare, Shape};

/// The commands of one family.
pub struct Family {
    /// As its run is named.
    pub name: &'static str,
    /// Its commands, and what other commands are tried on its keys.
    pub shapes: &'static [Shape],
    /// Lists of words by their names.
    pub words: &'static [(&'static str, &'static [&'static [u8]])],
    /// What is asked of every key in the end: the words before the key and after it.
    pub state: &'static [(&'static [&'static str], &'static [&'static str], Compare)],
}

/// All families that have a file here.
pub const FAMILIES: &[Family] = &[
    geo::GEO,
    hash::FAMILY,
    set::FAMILY,
    sorted_set::SORTED_SET,
    stream::FAMILY,
    bitmap::FAMILY,
    hyperloglog::FAMILY,
    string::FAMILY,
    list::FAMILY,
    generic::FAMILY,
];

/// The list of words of this name.
pub fn list(name: &str) -> &'static [&'static [u8]] {
    let mut lists = FAMILIES.iter().flat_map(|family| family.words);
    lists.find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no list of words is named @{name}")).1
}

#[test]
fn lists_of_words_have_names_of_their_own() {
    let mut names: Vec<&str> =
        FAMILIES.iter().flat_map(|family| family.words).map(|(name, _)| *name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}
