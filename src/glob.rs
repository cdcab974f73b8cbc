//! Glob patterns as Redis matches them: KEYS, SCAN, PSUBSCRIBE, CONFIG GET.
//!
//! Design: `*`, `?`, `[a-z]`, `[^a-z]` and `\x`, over bytes. One star is remembered at a time: when a match
//! fails, the last star takes one byte more. An earlier star never needs another try, because the leftmost
//! place where the part between two stars fits leaves the most room for the rest.
//!
//! Odd cases, as Redis has them: a range may be reversed (`[z-a]`); an unclosed class ends with the pattern;
//! `\` at the end is itself; inside a class `\` escapes; `[]` matches nothing and `[^]` any byte; the empty
//! text is matched by the empty pattern and by `*`, but not by `**`.
//!
//! Costs: O(pattern * text) at worst, nothing allocated.

/// Whether upper and lower case of ASCII letters differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// They do.
    Sensitive,
    /// They do not.
    Insensitive,
}

/// Whether `text` is exactly what `pattern` describes.
pub fn matches(pattern: &[u8], text: &[u8], case: Case) -> bool {
    if text.is_empty() {
        return pattern.is_empty() || pattern == b"*";
    }
    let (mut pattern_at, mut text_at) = (0, 0);
    // Behind the last star: where its pattern goes on, and up to where in the text it reaches.
    let mut star: Option<(usize, usize)> = None;
    loop {
        if pattern.get(pattern_at) == Some(&b'*') {
            pattern_at += 1;
            if pattern_at == pattern.len() {
                return true;
            }
            star = Some((pattern_at, text_at));
            continue;
        }
        if pattern_at == pattern.len() && text_at == text.len() {
            return true;
        }
        let step = text.get(text_at).and_then(|byte| one(&pattern[pattern_at..], *byte, case));
        if let Some(length) = step {
            pattern_at += length;
            text_at += 1;
            continue;
        }
        match &mut star {
            Some((after_star, reach)) if *reach < text.len() => {
                *reach += 1;
                (pattern_at, text_at) = (*after_star, *reach);
            }
            _ => return false,
        }
    }
}

/// Whether `pattern` has anything but plain bytes, so that it must be matched rather than compared.
pub fn is_pattern(pattern: &[u8]) -> bool {
    pattern.iter().any(|byte| matches!(byte, b'*' | b'?' | b'['))
}

/// How many bytes of `pattern` describe `byte`, if they do.
fn one(pattern: &[u8], byte: u8, case: Case) -> Option<usize> {
    match pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'[', class @ ..] => {
            let (found, length) = class_of(class, byte, case);
            found.then_some(1 + length)
        }
        [b'\\', escaped, ..] => same(*escaped, byte, case).then_some(2),
        [plain, ..] => same(*plain, byte, case).then_some(1),
    }
}

/// Whether `byte` is in the class that `class` begins with (behind its bracket), and how long the class is.
fn class_of(class: &[u8], byte: u8, case: Case) -> (bool, usize) {
    let negated = class.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut found = false;
    loop {
        match &class[at..] {
            [] => break,
            [b']', ..] => {
                at += 1;
                break;
            }
            [b'\\', escaped, ..] => {
                found |= same(*escaped, byte, case);
                at += 2;
            }
            [low, b'-', high, ..] => {
                found |= within(*low, *high, byte, case);
                at += 3;
            }
            [plain, ..] => {
                found |= same(*plain, byte, case);
                at += 1;
            }
        }
    }
    (found != negated, at)
}

fn fold(byte: u8, case: Case) -> u8 {
    match case {
        Case::Sensitive => byte,
        Case::Insensitive => byte.to_ascii_lowercase(),
    }
}

fn same(left: u8, right: u8, case: Case) -> bool {
    fold(left, case) == fold(right, case)
}

fn within(low: u8, high: u8, byte: u8, case: Case) -> bool {
    // Ordered before folding, as Redis does.
    let (low, high) = if low <= high { (low, high) } else { (high, low) };
    (fold(low, case)..=fold(high, case)).contains(&fold(byte, case))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn matches_what_redis_matches() {
        let cases: [(&str, &str, bool); 34] = [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("**", "", false),
            ("*", "abc", true),
            ("?", "", false),
            ("?", "a", true),
            ("a*c", "abbc", true),
            ("a*c", "abbd", false),
            ("*a*b*", "xaxbx", true),
            ("*ab", "aab", true),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hello", false),
            ("h[^e]llo", "hallo", true),
            ("h[a-b]llo", "hbllo", true),
            ("h[b-a]llo", "hallo", true),
            ("[a-]", "]", true),
            ("[\\]]", "]", true),
            ("[\\^]", "^", true),
            ("[]", "a", false),
            ("[]a", "a", false),
            ("[^]", "a", true),
            ("[", "[", false),
            ("[a", "a", true),
            ("[^", "a", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("\\", "\\", true),
            ("a\\", "a\\", true),
            ("\\\\", "\\", true),
            ("a]", "a]", true),
            ("[a-b-c]", "-", true),
            ("A", "a", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes(), Case::Sensitive),
                expected,
                "{pattern:?} {text:?}"
            );
        }
        assert!(matches(b"A[b-B]?*", b"aBc", Case::Insensitive));
    }

    #[test]
    fn many_stars_take_polynomial_time() {
        let pattern = b"*a".repeat(500);
        let text = b"a".repeat(100_000);
        assert!(!matches(&[&pattern[..], b"b"].concat(), &text, Case::Sensitive));
        assert!(matches(&pattern, &text, Case::Sensitive));
    }

    /// The same language by plain recursion: exponential, obviously right.
    fn naive(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], _) => text.is_empty(),
            ([b'*', rest @ ..], _) => (0..=text.len()).any(|skip| naive(rest, &text[skip..])),
            (_, []) => false,
            (_, [byte, rest @ ..]) => {
                one(pattern, *byte, Case::Sensitive).is_some_and(|length| naive(&pattern[length..], rest))
            }
        }
    }

    proptest! {
        #[test]
        fn agrees_with_plain_recursion(pattern in "[ab*?\\[\\]^\\\\-]{0,10}", text in "[ab^\\-\\]]{0,10}") {
            prop_assume!(!text.is_empty());
            let fast = matches(pattern.as_bytes(), text.as_bytes(), Case::Sensitive);
            prop_assert_eq!(fast, naive(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
