//! What a run does: the known operations and templates, as units of prepared requests with what is to come back.
//!
//! Design: a known operation's reply has a known length, so the bytes that come back are counted and not looked at. A
//! template's replies are framed and counted. All threads of a run share one `Plan`.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Fatal;
use crate::keys::{KeyPicker, Random};
use crate::template::Template;

/// Of so many units of `mix`, one is a SET.
const MIX_SET_EVERY: u64 = 10;
/// Bytes of `+OK\r\n`.
const OK_BYTES: u64 = 5;

/// What a run does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// GET of keys that are there.
    Get,
    /// SET.
    Set,
    /// Nine GETs to one SET.
    Mix,
    /// SET of every key once, in order.
    Fill,
    /// Anything else.
    Template(String),
}

impl Operation {
    /// A known operation by its name.
    pub fn named(name: &str) -> Result<Operation, Fatal> {
        match name {
            "get" => Ok(Operation::Get),
            "set" => Ok(Operation::Set),
            "mix" => Ok(Operation::Mix),
            "fill" => Ok(Operation::Fill),
            _ => Err(Fatal(format!("'{name}' is no operation: get, set, mix or fill (or use --template)"))),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operation::Get => "get",
            Operation::Set => "set",
            Operation::Mix => "mix",
            Operation::Fill => "fill",
            Operation::Template(text) => text,
        })
    }
}

/// What is to come back for requests, or has come back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Replies.
    pub replies: u64,
    /// Their bytes; meaningless for templates.
    pub bytes: u64,
}

/// An operation made ready.
#[derive(Debug)]
pub struct Plan {
    kind: Kind,
    picker: KeyPicker,
    value_bytes: usize,
    /// The next key of a fill.
    fill_next: AtomicU64,
}

#[derive(Debug)]
enum Kind {
    Get(Template),
    Set(Template),
    Mix { get: Template, set: Template },
    Fill(Template),
    Template(Template),
}

impl Plan {
    /// Prepares an operation on keys of `picker` and values of so many bytes.
    pub fn new(operation: &Operation, value_bytes: usize, picker: KeyPicker) -> Result<Plan, Fatal> {
        let get = || Template::parse("GET %k", value_bytes);
        let set = || Template::parse("SET %k %v", value_bytes);
        let kind = match operation {
            Operation::Get => Kind::Get(get()?),
            Operation::Set => Kind::Set(set()?),
            Operation::Mix => Kind::Mix { get: get()?, set: set()? },
            Operation::Fill => Kind::Fill(set()?),
            Operation::Template(text) => Kind::Template(Template::parse(text, value_bytes)?),
        };
        Ok(Plan { kind, picker, value_bytes, fill_next: AtomicU64::new(0) })
    }

    /// Whether replies have a known length, and an error is a failure.
    pub fn is_known(&self) -> bool {
        !matches!(self.kind, Kind::Template(_))
    }

    /// Whether the run ends with the keys, not with the time.
    pub fn is_fill(&self) -> bool {
        matches!(self.kind, Kind::Fill(_))
    }

    /// Whether every key was sent.
    pub fn is_filled(&self) -> bool {
        self.fill_next.load(Ordering::Relaxed) >= self.picker.keys()
    }

    /// Appends one unit; what is to come back for it.
    #[inline]
    pub fn write_unit(&self, out: &mut Vec<u8>, random: &mut Random) -> Answer {
        match &self.kind {
            Kind::Get(get) => self.write_get(get, out, random),
            Kind::Set(set) => self.write_set(set, out, random),
            Kind::Mix { get, set } => match random.below(MIX_SET_EVERY) {
                0 => self.write_set(set, out, random),
                _ => self.write_get(get, out, random),
            },
            Kind::Fill(set) => {
                // The last batch may begin again, so that every batch has its full depth.
                let key = self.fill_next.fetch_add(1, Ordering::Relaxed) % self.picker.keys();
                set.write(out, || key);
                Answer { replies: 1, bytes: OK_BYTES }
            }
            Kind::Template(template) => {
                template.write(out, || self.picker.pick(random));
                Answer { replies: template.commands(), bytes: 0 }
            }
        }
    }

    fn write_get(&self, get: &Template, out: &mut Vec<u8>, random: &mut Random) -> Answer {
        get.write(out, || self.picker.pick(random));
        Answer { replies: 1, bytes: bulk_bytes(self.value_bytes) }
    }

    fn write_set(&self, set: &Template, out: &mut Vec<u8>, random: &mut Random) -> Answer {
        set.write(out, || self.picker.pick(random));
        Answer { replies: 1, bytes: OK_BYTES }
    }
}

/// Bytes of a bulk of so many bytes, header included.
fn bulk_bytes(len: usize) -> u64 {
    let digits = len.checked_ilog10().unwrap_or(0) as usize + 1;
    (1 + digits + 2 + len + 2) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(operation: &Operation) -> Plan {
        Plan::new(operation, 9, KeyPicker::new(3, None)).expect("the operation is valid")
    }

    #[test]
    fn bulks_have_their_length() {
        for len in [0, 1, 9, 10, 99, 100, 1000] {
            let bulk = format!("${len}\r\n{}\r\n", "x".repeat(len));
            assert_eq!(bulk_bytes(len), bulk.len() as u64);
        }
    }

    #[test]
    fn fill_sends_each_key_in_order() {
        let (plan, mut out, mut random) = (plan(&Operation::Fill), Vec::new(), Random::new(1));
        for key in 0..3 {
            assert!(!plan.is_filled());
            out.clear();
            plan.write_unit(&mut out, &mut random);
            assert!(String::from_utf8_lossy(&out).contains(&format!("key:{key:012}")));
        }
        assert!(plan.is_filled());
    }

    #[test]
    fn mix_is_mostly_gets_and_knows_its_bytes() {
        let (plan, mut random) = (plan(&Operation::Mix), Random::new(1));
        let (mut out, mut sets) = (Vec::new(), 0);
        for _ in 0..1000 {
            out.clear();
            let answer = plan.write_unit(&mut out, &mut random);
            let is_set = out.starts_with(b"*3");
            assert_eq!(answer, Answer { replies: 1, bytes: if is_set { 5 } else { 15 } });
            sets += u32::from(is_set);
        }
        assert!((50..200).contains(&sets), "{sets}");
    }

    #[test]
    fn names_are_known() {
        for operation in [Operation::Get, Operation::Set, Operation::Mix, Operation::Fill] {
            assert_eq!(Operation::named(&operation.to_string()), Ok(operation));
        }
        assert!(Operation::named("gte").is_err());
    }
}
