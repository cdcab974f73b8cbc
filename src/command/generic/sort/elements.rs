//! The elements that SORT puts in order: where they come from, their texts, and what they are compared by.
//!
//! Design: all texts lie in one piece of memory; an element names its own and that of its weight. Where comparing says
//! nothing, the place in the collection does, so that the order is total and any algorithm finds the same.

use std::cmp::Ordering;
use std::ops::Range;

use crate::command::args::c_string;
use crate::resp::number::parse_i64;
use crate::store::Item;

/// Elements and what they are sorted by.
#[derive(Default)]
pub(super) struct Elements {
    text: Vec<u8>,
    elements: Vec<Element>,
}

#[derive(Clone, Copy)]
struct Element {
    text: Slice,
    weight: Weight,
}

/// What an element is sorted by.
#[derive(Clone, Copy, Debug)]
pub(super) enum Weight {
    /// Its key does not exist: before all texts.
    Missing,
    /// A number, which is not NaN.
    Score(f64),
    /// A text.
    Text(Slice),
}

/// A part of the texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slice {
    start: usize,
    end: usize,
}

impl Slice {
    fn of(self, text: &[u8]) -> &[u8] {
        &text[self.start..self.end]
    }
}

/// The order asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Ascending,
    Descending,
}

impl Elements {
    pub(super) fn len(&self) -> usize {
        self.elements.len()
    }

    /// The text of element `index`.
    pub(super) fn text(&self, index: usize) -> &[u8] {
        self.elements[index].text.of(&self.text)
    }

    /// Adds an element.
    pub(super) fn push(&mut self, item: &Item<'_>) {
        let text = self.add(item.bytes(&mut itoa::Buffer::new()));
        self.elements.push(Element { text, weight: Weight::Missing });
    }

    fn add(&mut self, text: &[u8]) -> Slice {
        let start = self.text.len();
        self.text.extend_from_slice(text);
        Slice { start, end: self.text.len() }
    }

    /// Gives an element a weight.
    pub(super) fn weigh(&mut self, index: usize, weight: Weight) {
        self.elements[index].weight = weight;
    }

    /// Gives an element a text as its weight: whole, or up to its first zero byte.
    pub(super) fn weigh_by_text(&mut self, index: usize, text: &[u8], is_whole: bool) {
        let text = self.add(if is_whole { text } else { c_string(text) });
        self.weigh(index, Weight::Text(text));
    }

    /// As [`Self::weigh_by_text`], its own text.
    pub(super) fn weigh_by_itself(&mut self, index: usize, is_whole: bool) {
        let mut text = self.elements[index].text;
        if !is_whole {
            text.end = text.start + c_string(text.of(&self.text)).len();
        }
        self.weigh(index, Weight::Text(text));
    }

    /// Puts the elements in order, as far as they are chosen; the others are anywhere around these.
    pub(super) fn sort(&mut self, order: Order, chosen: Range<usize>) {
        let text = &self.text[..];
        let compare = |a: &Element, b: &Element| {
            let ordering = compare(text, a, b);
            let ordering = if order == Order::Descending { ordering.reverse() } else { ordering };
            ordering.then(a.text.cmp(&b.text))
        };
        let elements = &mut self.elements[..];
        if chosen.is_empty() {
            return;
        }
        if chosen.end < elements.len() {
            elements.select_nth_unstable_by(chosen.end, compare);
        }
        if chosen.start > 0 {
            elements[..chosen.end].select_nth_unstable_by(chosen.start, compare);
        }
        elements[chosen].sort_unstable_by(compare);
    }
}

fn compare(text: &[u8], a: &Element, b: &Element) -> Ordering {
    match (a.weight, b.weight) {
        (Weight::Score(x), Weight::Score(y)) => {
            let ordering = x.partial_cmp(&y).expect("scores are not NaN");
            ordering.then_with(|| a.text.of(text).cmp(b.text.of(text)))
        }
        (Weight::Text(x), Weight::Text(y)) => x.of(text).cmp(y.of(text)),
        (Weight::Missing, Weight::Missing) => Ordering::Equal,
        (Weight::Missing, _) => Ordering::Less,
        (_, Weight::Missing) => Ordering::Greater,
        _ => unreachable!("the weights of one command are of one kind"),
    }
}

/// Reads a weight as SORT of Redis 8.2 does: a decimal number up to the first zero byte, without space around it. What an `f64`
/// cannot hold is infinite or zero; NaN is refused.
pub(super) fn score(text: &[u8]) -> Option<f64> {
    if let Some(integer) = parse_i64(text) {
        return Some(integer as f64);
    }
    let text = c_string(text);
    if text.is_empty() {
        return Some(0.0);
    }
    std::str::from_utf8(text).ok()?.parse().ok().filter(|value: &f64| !value.is_nan())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn scores_are_read_as_redis_does() {
        for (text, expected) in [
            ("", Some(0.0)),
            ("\0x", Some(0.0)),
            (" ", None),
            (" 1", None),
            ("\t\x0b1", None),
            ("1 ", None),
            ("1\0 ", Some(1.0)),
            ("+1", Some(1.0)),
            ("-.5", Some(-0.5)),
            ("5.", Some(5.0)),
            (".", None),
            ("- 1", None),
            ("--1", None),
            ("1e", None),
            ("0x10", None),
            ("0x", None),
            ("1e-310", Some(1e-310)),
            ("2.2250738585072014e-308", Some(f64::MIN_POSITIVE)),
            ("1e-400", Some(0.0)),
            ("0e-999", Some(0.0)),
            ("1e400", Some(f64::INFINITY)),
            ("-1e400", Some(f64::NEG_INFINITY)),
            ("-inf", Some(f64::NEG_INFINITY)),
            ("+INFINITY", Some(f64::INFINITY)),
            ("infinit", None),
            ("1_0", None),
            ("e5", None),
            ("1e+", None),
            ("-Infinity", Some(f64::NEG_INFINITY)),
            ("nan", None),
            ("nan(1)", None),
            ("9007199254740993", Some(9_007_199_254_740_992.0)),
        ] {
            assert_eq!(score(text.as_bytes()), expected, "{text:?}");
        }
    }

    proptest! {
        /// Whatever part of them is chosen, it is that part of all elements in order, found by a stable sort.
        #[test]
        fn parts_are_those_of_the_whole(
            texts in prop::collection::vec("[a-c]{0,2}", 0..40),
            weights in prop::collection::vec(0_u8..4, 40),
            from in 0_usize..40,
            count in 0_usize..40,
            descending: bool,
        ) {
            let mut elements = Elements::default();
            texts.iter().for_each(|text| elements.push(&Item::Bytes(text.as_bytes())));
            for (index, weight) in weights[..texts.len()].iter().enumerate() {
                if *weight > 0 {
                    elements.weigh_by_text(index, weight.to_string().as_bytes(), true);
                }
            }
            let mut expected: Vec<_> = texts.iter().zip(&weights).collect();
            expected.sort_by(|a, b| if descending { b.1.cmp(a.1) } else { a.1.cmp(b.1) });
            let start = from.min(texts.len());
            let chosen = start..(start + count).min(texts.len());
            elements.sort(if descending { Order::Descending } else { Order::Ascending }, chosen.clone());
            for index in chosen {
                prop_assert_eq!(elements.text(index), expected[index].0.as_bytes());
            }
        }
    }
}
