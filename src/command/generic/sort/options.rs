//! What a SORT asks for, and which keys and shards it needs for that.
//!
//! Invariants: for options without an error, `scan` finds the destination that `Options::read` finds, and asks for all
//! leases if a pattern names keys. (With an error, no key is touched.)

use std::ops::Range;

use crate::command::args::c_string;
use crate::command::row::KeyAccess;
use crate::command::{Args, CommandError, Scope};
use crate::resp::number::parse_i64;

/// The options of a SORT.
#[derive(Default)]
pub(super) struct Options<'a> {
    pub descending: bool,
    pub alpha: bool,
    /// A BY without `*` was given: nothing is sorted.
    pub keeps_order: bool,
    /// What the elements are sorted by, where it is not they themselves.
    pub by: Option<Pattern<'a>>,
    /// What is asked for in the place of each element.
    pub gets: Vec<Pattern<'a>>,
    /// The argument of the key where the result is stored.
    pub destination: Option<usize>,
    /// It is SORT, which may write, and no SORT_RO, which may share its leases.
    pub may_write: bool,
    limit: Option<(i64, i64)>,
}

/// What BY and GET name for each element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pattern<'a> {
    /// `#`: the element.
    Element,
    /// Without `*`: nothing.
    Nothing,
    /// The key whose name has the element in the place of the first `*`, or the field behind `->` of what it holds.
    Key { before: &'a [u8], after: &'a [u8], field: Option<&'a [u8]> },
}

impl<'a> Pattern<'a> {
    /// Redis searches patterns as strings of C: neither a `*` nor a `->` is found behind a zero byte.
    pub(super) fn read(text: &'a [u8]) -> Pattern<'a> {
        let searched = c_string(text);
        let Some(star) = searched.iter().position(|byte| *byte == b'*') else {
            return if searched == b"#" { Pattern::Element } else { Pattern::Nothing };
        };
        let (before, after) = (&text[..star], &text[star + 1..]);
        let arrow = searched[star + 1..].windows(2).position(|pair| pair == b"->");
        match arrow {
            // An arrow that nothing follows is part of the key's name.
            Some(at) if !c_string(&after[at + 2..]).is_empty() => {
                Pattern::Key { before, after: &after[..at], field: Some(&after[at + 2..]) }
            }
            _ => Pattern::Key { before, after, field: None },
        }
    }

    fn names_keys(&self) -> bool {
        matches!(self, Pattern::Key { .. })
    }
}

const BY_DENIED: CommandError =
    CommandError::Text("ERR BY option of SORT denied due to insufficient ACL permissions.");
const GET_DENIED: CommandError =
    CommandError::Text("ERR GET option of SORT denied due to insufficient ACL permissions.");

impl<'a> Options<'a> {
    /// What is stored must not depend on how a set lies in memory: where its own order was to be kept, its texts are sorted.
    pub(super) fn order_unordered(&mut self) {
        if self.keeps_order {
            (self.keeps_order, self.alpha, self.by) = (false, true, None);
        }
    }

    /// Reads the options behind the key; `stores`: whether STORE is one; `may_read_all`: whether the user may read keys that
    /// no argument names.
    pub(super) fn read(
        args: &Args<'a>,
        stores: bool,
        may_read_all: &dyn Fn() -> bool,
    ) -> Result<Options<'a>, CommandError> {
        let mut options = Options { may_write: stores, ..Options::default() };
        let mut index = 2;
        while index < args.len() {
            let left = args.len() - index - 1;
            if args.is(index, "ASC") {
                options.descending = false;
            } else if args.is(index, "DESC") {
                options.descending = true;
            } else if args.is(index, "ALPHA") {
                options.alpha = true;
            } else if args.is(index, "LIMIT") && left >= 2 {
                let number = |index| parse_i64(args.at(index)).ok_or(CommandError::NotInteger);
                options.limit = Some((number(index + 1)?, number(index + 2)?));
                index += 2;
            } else if stores && args.is(index, "STORE") && left >= 1 {
                options.destination = Some(index + 1);
                index += 1;
            } else if args.is(index, "BY") && left >= 1 {
                let pattern = Pattern::read(args.at(index + 1));
                options.keeps_order |= !pattern.names_keys();
                if pattern.names_keys() && !may_read_all() {
                    return Err(BY_DENIED);
                }
                options.by = Some(pattern);
                index += 1;
            } else if args.is(index, "GET") && left >= 1 {
                if !may_read_all() {
                    return Err(GET_DENIED);
                }
                options.gets.push(Pattern::read(args.at(index + 1)));
                index += 1;
            } else {
                return Err(CommandError::Syntax);
            }
            index += 1;
        }
        Ok(options)
    }

    /// Which of so many elements LIMIT chooses.
    pub(super) fn chosen(&self, len: usize) -> Range<usize> {
        let Some((start, count)) = self.limit else { return 0..len };
        let start = usize::try_from(start).unwrap_or(0).min(len);
        // A negative count means all.
        let count = usize::try_from(count).unwrap_or(len);
        start..start + count.min(len - start)
    }
}

/// The keys and the scope of SORT.
pub(super) fn find_keys(args: &Args<'_>, found: &mut dyn FnMut(usize, KeyAccess)) -> Scope {
    let (scope, destination) = scan(args);
    found(1, KeyAccess::Read);
    if let Some(destination) = destination {
        found(destination, KeyAccess::Overwrite);
    }
    scope
}

/// The key and the scope of SORT_RO.
pub(super) fn find_keys_read(args: &Args<'_>, found: &mut dyn FnMut(usize, KeyAccess)) -> Scope {
    found(1, KeyAccess::Read);
    scan(args).0
}

/// The scope and the destination, found without judging the options, as COMMAND GETKEYS does.
fn scan(args: &Args<'_>) -> (Scope, Option<usize>) {
    let (mut scope, mut destination) = (Scope::Keys, None);
    let mut index = 2;
    while index < args.len() {
        let value = args.find(index + 1);
        if args.is(index, "LIMIT") {
            index += 2;
        } else if args.is(index, "BY") || args.is(index, "GET") {
            if value.is_some_and(|pattern| Pattern::read(pattern).names_keys()) {
                scope = Scope::All;
            }
            index += 1;
        } else if args.is(index, "STORE") && value.is_some() {
            destination = Some(index + 1);
            index += 1;
        }
        index += 1;
    }
    (scope, destination)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::resp::Span;

    fn key<'a>(before: &'a str, after: &'a str, field: Option<&'a str>) -> Pattern<'a> {
        let field = field.map(str::as_bytes);
        Pattern::Key { before: before.as_bytes(), after: after.as_bytes(), field }
    }

    #[test]
    fn patterns_are_read_as_redis_does() {
        for (text, expected) in [
            ("#", Pattern::Element),
            ("#\0*", Pattern::Element),
            ("", Pattern::Nothing),
            ("w_", Pattern::Nothing),
            ("w\0*", Pattern::Nothing),
            ("#*", key("#", "", None)),
            ("w_*", key("w_", "", None)),
            ("**", key("", "*", None)),
            ("->*", key("->", "", None)),
            ("h_*x->f", key("h_", "x", Some("f"))),
            ("*->f->g", key("", "", Some("f->g"))),
            ("*->", key("", "->", None)),
            ("*->\0f", key("", "->\0f", None)),
            ("*\0->f", key("", "\0->f", None)),
        ] {
            assert_eq!(Pattern::read(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn limits_choose_what_redis_chooses() {
        for (limit, expected) in [
            ((0, -1), 0..5),
            ((-3, 2), 0..2),
            ((1, -7), 1..5),
            ((4, 9), 4..5),
            ((2, 0), 2..2),
            ((5, 1), 5..5),
            ((i64::MAX, i64::MAX), 5..5),
            ((i64::MIN, i64::MAX), 0..5),
        ] {
            let options = Options { limit: Some(limit), ..Options::default() };
            assert_eq!(options.chosen(5), expected, "{limit:?}");
        }
    }

    proptest! {
        /// What is leased is what is touched: a word may be an option or the value of one.
        #[test]
        fn the_scan_finds_what_is_read(words in prop::collection::vec(
            prop::sample::select(vec!["by", "get", "store", "limit", "asc", "0", "1", "w*", "#", "x"]), 0..8,
        )) {
            let (mut buffer, mut spans) = (Vec::new(), Vec::new());
            for word in ["sort", "key"].iter().chain(&words) {
                spans.push(Span { start: buffer.len() as u32, len: word.len() as u32 });
                buffer.extend_from_slice(word.as_bytes());
            }
            let args = Args::new(&buffer, &spans, &[]);
            if let Ok(options) = Options::read(&args, true, &|| true) {
                let (scope, destination) = scan(&args);
                let touches = options.by.iter().chain(&options.gets).any(Pattern::names_keys);
                prop_assert!(scope == Scope::All || !touches);
                prop_assert!(scope == Scope::Keys || words.contains(&"w*"));
                prop_assert_eq!(destination, options.destination);
            }
        }
    }
}
