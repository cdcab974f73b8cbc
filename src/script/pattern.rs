//! How long Lua's own matcher would take for a pattern: found out before it begins, as nothing can stop it.
//!
//! Design: most calls are seen to be short by their lengths. For others the match is made here first, step by step, for as many
//! steps as a call may take; what comes to an end will do so there, too. Where a pattern is wrong the matcher itself says so.
//!
//! Costs: none for short texts; one more pass over longer ones.
//! Not here: the results (Lua's own functions).

/// Steps that a call may take, which is less than a second, and so many more for each byte of the text. Without optimisation steps
/// take many times as long.
const STEPS_MAX: u64 = if cfg!(debug_assertions) { 2_000_000 } else { 100_000_000 };
const STEPS_PER_BYTE: u64 = 100;
/// A call that takes no more than this is not looked at any further.
const SHORT_STEPS: f64 = 1e7;
/// How deep items of a pattern may nest here, on the script's stack.
const DEPTH_MAX: u32 = 1000;
const CAPTURES_MAX: usize = 32;

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// The first match, at this place or behind it.
    First(usize),
    /// So many matches, one behind the other.
    Many(u64),
    /// All, where `^` is a letter like others.
    Each,
}

/// Whether Lua's matcher comes to an end soon.
pub fn is_short(text: &[u8], pattern: &[u8], search: Search) -> bool {
    // As far as C reads it.
    let pattern = &pattern[..memchr::memchr(0, pattern).unwrap_or(pattern.len())];
    if bound(text.len(), pattern) <= SHORT_STEPS {
        return true;
    }
    ends_within(text, pattern, search, STEPS_MAX + STEPS_PER_BYTE * text.len() as u64)
}

fn ends_within(text: &[u8], pattern: &[u8], search: Search, steps: u64) -> bool {
    let mut walk = Walk { text, pattern, captures: Vec::new(), steps_left: steps, depth: 0 };
    !matches!(walk.search(search), Err(Stop::TooLong))
}

/// The most steps that there can be.
fn bound(text: usize, pattern: &[u8]) -> f64 {
    let repeats = pattern.iter().filter(|byte| matches!(byte, b'*' | b'+' | b'-' | b'%')).count();
    let options = pattern.iter().filter(|byte| **byte == b'?').count();
    let text = text as f64 + 2.0;
    text * (pattern.len() as f64 + 1.0) * text.powf(repeats as f64) * 2_f64.powf(options as f64)
}

/// Why there is no answer.
enum Stop {
    /// The pattern is wrong.
    Malformed,
    TooLong,
}

type Matched = Result<Option<usize>, Stop>;

/// Where a capture begins, and how long it is once it is closed.
type Capture = (usize, Option<usize>);

struct Walk<'a> {
    text: &'a [u8],
    pattern: &'a [u8],
    captures: Vec<Capture>,
    steps_left: u64,
    depth: u32,
}

impl Walk<'_> {
    fn search(&mut self, search: Search) -> Result<(), Stop> {
        let is_anchored = search != Search::Each && self.pattern.first() == Some(&b'^');
        let first = usize::from(is_anchored);
        let (mut at, mut left) = match search {
            Search::First(at) => (at, 1),
            Search::Many(count) => (0, count),
            Search::Each => (0, u64::MAX),
        };
        while left > 0 && at <= self.text.len() {
            self.captures.clear();
            let found = self.matched(at, first)?;
            left -= u64::from(found.is_some());
            at = found.filter(|end| *end > at).unwrap_or(at + 1);
            if is_anchored {
                break;
            }
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), Stop> {
        self.steps_left = self.steps_left.checked_sub(1).ok_or(Stop::TooLong)?;
        Ok(())
    }

    /// Where a match ends that begins here with the pattern's rest.
    fn matched(&mut self, at: usize, item: usize) -> Matched {
        if self.depth == DEPTH_MAX {
            return Err(Stop::TooLong);
        }
        self.depth += 1;
        let matched = self.rest(at, item);
        self.depth -= 1;
        matched
    }

    fn rest(&mut self, mut at: usize, mut item: usize) -> Matched {
        loop {
            self.step()?;
            let Some(byte) = self.pattern.get(item).copied() else { return Ok(Some(at)) };
            let next = self.pattern.get(item + 1).copied();
            match (byte, next) {
                (b'(', _) => return self.open(at, item),
                (b')', _) => return self.close(at, item),
                (b'$', None) => return Ok((at == self.text.len()).then_some(at)),
                (b'%', Some(b'b')) => match self.balanced(at, item + 2)? {
                    Some(end) => (at, item) = (end, item + 4),
                    None => return Ok(None),
                },
                (b'%', Some(b'f')) => {
                    let class = item + 2;
                    if self.pattern.get(class) != Some(&b'[') {
                        return Err(Stop::Malformed);
                    }
                    let end = self.class_end(class)?;
                    let before = at.checked_sub(1).map_or(0, |before| self.text[before]);
                    let here = self.text.get(at).copied().unwrap_or(0);
                    if self.is_in_set(before, class, end - 1) || !self.is_in_set(here, class, end - 1) {
                        return Ok(None);
                    }
                    item = end;
                }
                (b'%', Some(digit @ b'0'..=b'9')) => match self.again(at, digit)? {
                    Some(end) => (at, item) = (end, item + 2),
                    None => return Ok(None),
                },
                _ => {
                    let end = self.class_end(item)?;
                    let fits = self.fits(at, item, end);
                    match self.pattern.get(end) {
                        Some(b'?') => {
                            if fits && let Some(found) = self.matched(at + 1, end + 1)? {
                                return Ok(Some(found));
                            }
                            item = end + 1;
                        }
                        Some(b'*') => return self.longest(at, item, end),
                        Some(b'+') if fits => return self.longest(at + 1, item, end),
                        Some(b'-') => return self.shortest(at, item, end),
                        Some(b'+') => return Ok(None),
                        _ if fits => (at, item) = (at + 1, end),
                        _ => return Ok(None),
                    }
                }
            }
        }
    }

    fn open(&mut self, at: usize, item: usize) -> Matched {
        if self.captures.len() == CAPTURES_MAX {
            return Err(Stop::Malformed);
        }
        let is_position = self.pattern.get(item + 1) == Some(&b')');
        self.captures.push((at, is_position.then_some(0)));
        let count = self.captures.len();
        let matched = self.matched(at, item + if is_position { 2 } else { 1 })?;
        if matched.is_none() {
            self.captures.truncate(count - 1);
        }
        Ok(matched)
    }

    fn close(&mut self, at: usize, item: usize) -> Matched {
        let open = self.captures.iter().rposition(|(_, len)| len.is_none()).ok_or(Stop::Malformed)?;
        self.captures[open].1 = Some(at - self.captures[open].0);
        let matched = self.matched(at, item + 1)?;
        if matched.is_none() {
            self.captures[open].1 = None;
        }
        Ok(matched)
    }

    fn balanced(&mut self, at: usize, item: usize) -> Matched {
        let (Some(begin), Some(end)) = (self.pattern.get(item), self.pattern.get(item + 1)) else {
            return Err(Stop::Malformed);
        };
        let (begin, end) = (*begin, *end);
        if self.text.get(at) != Some(&begin) {
            return Ok(None);
        }
        let mut open = 1;
        let text = self.text;
        for (place, byte) in text.iter().copied().enumerate().skip(at + 1) {
            self.step()?;
            if byte == end {
                open -= 1;
                if open == 0 {
                    return Ok(Some(place + 1));
                }
            } else if byte == begin {
                open += 1;
            }
        }
        Ok(None)
    }

    /// What a capture has matched, once more.
    fn again(&mut self, at: usize, digit: u8) -> Matched {
        let index = usize::from(digit).checked_sub(usize::from(b'1')).ok_or(Stop::Malformed)?;
        let (start, len) = *self.captures.get(index).ok_or(Stop::Malformed)?;
        let len = len.ok_or(Stop::Malformed)?;
        self.steps_left = self.steps_left.checked_sub(len as u64).ok_or(Stop::TooLong)?;
        let same = self.text[at..].starts_with(&self.text[start..start + len]);
        Ok(same.then_some(at + len))
    }

    fn longest(&mut self, at: usize, item: usize, end: usize) -> Matched {
        let mut count = 0;
        while self.fits(at + count, item, end) {
            self.step()?;
            count += 1;
        }
        loop {
            if let Some(found) = self.matched(at + count, end + 1)? {
                return Ok(Some(found));
            }
            if count == 0 {
                return Ok(None);
            }
            count -= 1;
        }
    }

    fn shortest(&mut self, mut at: usize, item: usize, end: usize) -> Matched {
        loop {
            if let Some(found) = self.matched(at, end + 1)? {
                return Ok(Some(found));
            }
            if !self.fits(at, item, end) {
                return Ok(None);
            }
            at += 1;
        }
    }

    /// Where the item ends that stands for one byte.
    fn class_end(&self, item: usize) -> Result<usize, Stop> {
        let byte = |place: usize| self.pattern.get(place).copied().ok_or(Stop::Malformed);
        match byte(item)? {
            b'%' => byte(item + 1).map(|_| item + 2),
            b'[' => {
                let mut place = item + 1;
                if byte(place)? == b'^' {
                    place += 1;
                }
                loop {
                    let this = byte(place)?;
                    place += 1;
                    if this == b'%' && place < self.pattern.len() {
                        place += 1;
                    }
                    if byte(place)? == b']' {
                        return Ok(place + 1);
                    }
                }
            }
            _ => Ok(item + 1),
        }
    }

    /// Whether a byte of the text is one that an item stands for.
    fn fits(&self, at: usize, item: usize, end: usize) -> bool {
        let Some(byte) = self.text.get(at).copied() else { return false };
        match self.pattern[item] {
            b'.' => true,
            b'%' => is_of_class(byte, self.pattern[item + 1]),
            b'[' => self.is_in_set(byte, item, end - 1),
            literal => literal == byte,
        }
    }

    /// Whether a byte is of the set that begins with `[` at `item` and ends with `]` at `end`.
    fn is_in_set(&self, byte: u8, item: usize, end: usize) -> bool {
        let set = &self.pattern[item + 1..end];
        let (set, is_in) = match set.strip_prefix(b"^") {
            Some(set) => (set, false),
            None => (set, true),
        };
        let mut place = 0;
        while let Some(first) = set.get(place).copied() {
            match (first, set.get(place + 1), set.get(place + 2)) {
                (b'%', Some(class), _) => {
                    if is_of_class(byte, *class) {
                        return is_in;
                    }
                    place += 2;
                }
                (_, Some(b'-'), Some(last)) => {
                    if (first..=*last).contains(&byte) {
                        return is_in;
                    }
                    place += 3;
                }
                _ if first == byte => return is_in,
                _ => place += 1,
            }
        }
        !is_in
    }
}

/// Whether a byte is of the class that a letter behind `%` stands for: a capital for what is not of it.
fn is_of_class(byte: u8, class: u8) -> bool {
    let is_of = match class.to_ascii_lowercase() {
        b'a' => byte.is_ascii_alphabetic(),
        b'c' => byte.is_ascii_control(),
        b'd' => byte.is_ascii_digit(),
        b'l' => byte.is_ascii_lowercase(),
        b'p' => byte.is_ascii_punctuation(),
        b's' => byte.is_ascii_whitespace() || byte == 0x0b,
        b'u' => byte.is_ascii_uppercase(),
        b'w' => byte.is_ascii_alphanumeric(),
        b'x' => byte.is_ascii_hexdigit(),
        b'z' => byte == 0,
        _ => return class == byte,
    };
    is_of != class.is_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(text: &str, pattern: &str) -> Option<Option<usize>> {
        let mut walk = Walk {
            text: text.as_bytes(),
            pattern: pattern.as_bytes(),
            captures: Vec::new(),
            steps_left: 10_000,
            depth: 0,
        };
        walk.matched(0, 0).ok()
    }

    #[test]
    fn matches_end_where_those_of_lua_do() {
        for (text, pattern, end) in [
            ("hello", "h.-l", Some(3)),
            ("hello", "h.*l", Some(4)),
            ("aaab", "a+b$", Some(4)),
            ("aaabc", "a+b$", None),
            ("key=value", "(%w+)=(%w+)", Some(9)),
            ("abab", "(ab)%1", Some(4)),
            ("abac", "(ab)%1", None),
            ("((a)b)c", "%b()", Some(6)),
            ("THE end", "%f[%a]%u+%f[%A]", Some(3)),
            ("]x", "[]]x", Some(2)),
            ("-", "[a%-]", Some(1)),
            ("b", "[^a-c]", None),
            ("ab", "()ab()", Some(2)),
            ("", "a?", Some(0)),
        ] {
            assert_eq!(first(text, pattern), Some(end), "{text} {pattern}");
        }
        for pattern in ["%", "[a", "(a)%2", "a)", "%bx", "%fa"] {
            assert_eq!(first("a", pattern), None, "{pattern}");
        }
    }

    #[test]
    fn patterns_that_explode_are_noticed() {
        const STEPS: u64 = 1_000_000;
        let text = "a".repeat(1000);
        let ends = |count, pattern: &str, search| {
            let text = &text.as_bytes()[..count];
            assert!(bound(count, pattern.as_bytes()) > SHORT_STEPS, "{pattern}");
            ends_within(text, pattern.as_bytes(), search, STEPS)
        };
        assert!(!ends(40, &("a?".repeat(40) + &text[..40] + "b"), Search::First(0)));
        assert!(!ends(1000, ".-.-.-.-b", Search::First(0)));
        assert!(!ends(1000, "(a*)*b%1", Search::Each));
        assert!(ends(1000, "(.-):(.-):(.-)$", Search::First(900)));
        assert!(ends(1000, "%w+%s*", Search::Each));
        assert!(ends(1000, "^a-b*.-$", Search::Many(1)));
        assert!(is_short(b"a b c", b"(%w+)%s(%w+)", Search::Each));
    }
}
