//! What a run does: the known operations, mixes of templates and traces, as units of prepared requests with what is to come back.
//!
//! Design: a known operation's reply has a known length, so the bytes that come back are counted and not looked at. A
//! template's replies are framed and counted, and looked into if values are verified. All threads of a run share one `Plan`;
//! what a thread draws from is its own.

use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::keys::{Distribution, KeyPicker, Random};
use crate::presets;
use crate::template::{Check, Draw, Drawn, Template};
use crate::trace::{Request, Trace};
use crate::values::{Sizes, Ttl};
use crate::{Fatal, fatal};

/// Of so many units of `mix`, one is a SET.
const MIX_SET_EVERY: u32 = 10;
/// Bytes of `+OK\r\n`.
const OK_BYTES: u64 = 5;
/// The largest weight of a part.
const WEIGHT_MAX: u32 = 1_000_000;

/// What a run does.
#[derive(Clone, Debug, PartialEq)]
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
    /// Several, by their weights.
    Mixed {
        /// What it is called.
        name: String,
        /// What it consists of.
        parts: Vec<Ingredient>,
        /// How keys are distributed, unless it is said otherwise.
        distribution: Option<Distribution>,
    },
    /// A template with every key once, in order.
    FillWith(String),
    /// A trace from a file.
    Trace(PathBuf),
}

/// A part of a mix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingredient {
    /// What it is called.
    pub name: String,
    /// What is sent.
    pub template: String,
    /// What makes the data for it, with every key once; empty if it needs none.
    pub fill: String,
    /// How often it is sent, compared to the others.
    pub weight: u32,
}

impl Operation {
    /// An operation by its name: a known one, a preset, `get:9+set:1` of presets, or `ycsb-a` to `ycsb-f`.
    pub fn named(name: &str) -> Result<Operation, Fatal> {
        match name {
            "get" => return Ok(Operation::Get),
            "set" => return Ok(Operation::Set),
            "mix" => return Ok(Operation::Mix),
            "fill" => return Ok(Operation::Fill),
            _ => {}
        }
        let letter = name.strip_prefix("ycsb-").and_then(|letter| letter.parse().ok());
        if let Some((parts, distribution)) = letter.and_then(presets::ycsb) {
            return Ok(Operation::Mixed { name: name.into(), parts, distribution: Some(distribution) });
        }
        let part = |word: &str| -> Result<Ingredient, Fatal> {
            let (known, weight) = word.split_once(':').unwrap_or((word, "1"));
            let weight = weight_of(weight)?;
            presets::preset(known, weight).ok_or_else(|| {
                let all: Vec<&str> = presets::names().collect();
                Fatal(format!(
                    "'{known}' is no operation: mix, fill, ycsb-a to ycsb-f, {}, several as in get:9+set:1 (or use --template)",
                    all.join(", ")
                ))
            })
        };
        let parts = name.split('+').map(part).collect::<Result<_, _>>()?;
        Ok(Operation::Mixed { name: name.into(), parts, distribution: None })
    }

    /// One template, or several with weights before them (`9:GET %k`).
    pub fn templates(texts: &[String]) -> Result<Operation, Fatal> {
        if let [text] = texts {
            return Ok(Operation::Template(text.clone()));
        }
        let part = |text: &String| -> Result<Ingredient, Fatal> {
            let weighted =
                text.split_once(':').filter(|(weight, _)| weight.bytes().all(|byte| byte.is_ascii_digit()));
            let (weight, template) = match weighted {
                Some((weight, template)) => (weight_of(weight)?, template),
                None => (1, text.as_str()),
            };
            Ok(Ingredient {
                name: template.into(),
                template: template.into(),
                fill: "SET %k %v".into(),
                weight,
            })
        };
        let parts = texts.iter().map(part).collect::<Result<_, _>>()?;
        Ok(Operation::Mixed { name: texts.join(" + "), parts, distribution: None })
    }

    /// What makes the data for it, if it needs any.
    pub fn fill(&self) -> Option<Operation> {
        match self {
            Operation::Mixed { parts, .. } => {
                let mut fills: Vec<&str> = Vec::new();
                for part in parts {
                    if !part.fill.is_empty() && !fills.contains(&part.fill.as_str()) {
                        fills.push(&part.fill);
                    }
                }
                match fills[..] {
                    [] => None,
                    ["SET %k %v"] => Some(Operation::Fill),
                    _ => Some(Operation::FillWith(fills.join(";"))),
                }
            }
            Operation::Trace(_) => None,
            _ => Some(Operation::Fill),
        }
    }

    /// Whether it is one of those that every server is filled for, and not changed by.
    pub fn is_known(&self) -> bool {
        matches!(self, Operation::Get | Operation::Set | Operation::Mix | Operation::Fill)
    }
}

fn weight_of(text: &str) -> Result<u32, Fatal> {
    let weight = text.parse().ok().filter(|weight| (1..=WEIGHT_MAX).contains(weight));
    weight.ok_or_else(|| Fatal(format!("'{text}' is no weight: 1 to {WEIGHT_MAX}")))
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operation::Get => f.write_str("get"),
            Operation::Set => f.write_str("set"),
            Operation::Mix => f.write_str("mix"),
            Operation::Fill => f.write_str("fill"),
            Operation::Template(text) => f.write_str(text),
            Operation::Mixed { name, .. } => f.write_str(name),
            Operation::FillWith(text) => write!(f, "fill with {text}"),
            Operation::Trace(path) => write!(f, "trace {}", path.display()),
        }
    }
}

/// How a run's keys and values are made, and what is looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Data {
    /// How many keys there are.
    pub keys: u64,
    /// How they are distributed.
    pub distribution: Option<Distribution>,
    /// How long values are.
    pub sizes: Sizes,
    /// How long keys live that are set.
    pub ttl: Option<Ttl>,
    /// Whether values that come back are looked at.
    pub is_verified: bool,
}

/// What is to come back for requests, or has come back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Replies.
    pub replies: u64,
    /// Their bytes; meaningless for templates.
    pub bytes: u64,
}

/// A unit under way.
#[derive(Clone, Copy, Debug)]
pub struct Unit {
    /// Which part of the mix it is.
    pub part: usize,
    step: usize,
    drawn: Drawn,
}

/// What a thread draws from.
#[derive(Debug)]
pub struct Source {
    /// Its numbers.
    pub random: Random,
    /// Lines of a trace, the next one last.
    lines: Vec<String>,
}

impl Source {
    /// With this seed.
    pub fn new(seed: u64) -> Source {
        Source { random: Random::new(seed), lines: Vec::new() }
    }
}

/// An operation made ready.
#[derive(Debug)]
pub struct Plan {
    parts: Vec<Template>,
    names: Vec<String>,
    /// Weights, added up.
    weights: Vec<u32>,
    is_known: bool,
    is_fill: bool,
    trace: Option<Trace>,
    data: Data,
    picker: KeyPicker,
    /// The next key of a fill, or the next new key.
    next: AtomicU64,
    /// How many units may be under way, whose new keys are not there yet.
    pub under_way: u64,
}

impl Plan {
    /// Prepares an operation on this data.
    pub fn new(operation: &Operation, data: &Data) -> Result<Plan, Fatal> {
        let set = if data.ttl.is_some() { "SET %k %v EX %t" } else { "SET %k %v" };
        let known = |parts: &[(&str, &str, u32)]| -> Vec<Ingredient> {
            let part = |(name, template, weight): &(&str, &str, u32)| Ingredient {
                name: (*name).into(),
                template: (*template).into(),
                fill: String::new(),
                weight: *weight,
            };
            parts.iter().map(part).collect()
        };
        let parts = match operation {
            Operation::Get => known(&[("get", "GET %k", 1)]),
            Operation::Set | Operation::Fill => known(&[("set", set, 1)]),
            Operation::Mix => known(&[("get", "GET %k", MIX_SET_EVERY - 1), ("set", set, 1)]),
            Operation::Template(text) | Operation::FillWith(text) => known(&[(text, text, 1)]),
            Operation::Mixed { parts, .. } => parts
                .iter()
                .map(|part| match part.template.as_str() {
                    "SET %k %v" => Ingredient { template: set.into(), ..part.clone() },
                    _ => part.clone(),
                })
                .collect(),
            Operation::Trace(_) => Vec::new(),
        };
        let is_fill = matches!(operation, Operation::Fill | Operation::FillWith(_));
        let is_known = operation.is_known() && !data.is_verified && (is_fill || data.ttl.is_none());
        let templates = parts.iter().map(|part| Template::parse(&part.template, &data.sizes));
        let templates: Vec<Template> = templates.collect::<Result<_, _>>()?;
        if data.ttl.is_none() && templates.iter().any(Template::needs_ttl) {
            return fatal("%t is seconds to live: say them with --ttl");
        }
        let trace = match operation {
            Operation::Trace(_) if data.is_verified => {
                return fatal("values of a trace cannot be verified: they do not follow from their keys");
            }
            Operation::Trace(path) => Some(Trace::open(path)?),
            _ => None,
        };
        let own = match operation {
            Operation::Mixed { distribution, .. } => *distribution,
            _ => None,
        };
        let distribution = data.distribution.or(own).unwrap_or(Distribution::Uniform);
        let add_up = |all: &mut u32, part: &Ingredient| {
            *all += part.weight;
            Some(*all)
        };
        Ok(Plan {
            names: parts.iter().map(|part| part.name.clone()).collect(),
            weights: parts.iter().scan(0, add_up).collect(),
            parts: templates,
            is_known,
            is_fill,
            trace,
            picker: KeyPicker::of(data.keys, distribution),
            data: data.clone(),
            next: AtomicU64::new(if is_fill { 0 } else { data.keys }),
            under_way: 0,
        })
    }

    /// Whether replies have a known length, and an error is a failure.
    pub fn is_known(&self) -> bool {
        self.is_known
    }

    /// Whether the run ends with the keys, not with the time.
    pub fn is_fill(&self) -> bool {
        self.is_fill
    }

    /// Whether values that come back are looked at.
    pub fn is_verified(&self) -> bool {
        self.data.is_verified
    }

    /// Whether every key was sent.
    pub fn is_filled(&self) -> bool {
        self.next.load(Ordering::Relaxed) >= self.picker.keys()
    }

    /// What the parts of the mix are called.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The length of a key's value.
    pub fn value_bytes(&self, key: u64) -> usize {
        self.data.sizes.of(key)
    }

    /// Appends a unit's first step; what is to come back for it.
    #[inline]
    pub fn begin(
        &self,
        out: &mut Vec<u8>,
        source: &mut Source,
        checks: &mut VecDeque<(Check, u64)>,
    ) -> Result<(Unit, Answer), Fatal> {
        if let Some(trace) = &self.trace {
            if source.lines.is_empty() {
                source.lines = trace.take();
            }
            let line = source.lines.pop().ok_or_else(|| trace.failure())?;
            Request::parse(&line).map_err(Fatal)?.write(out);
            let unit = Unit { part: 0, step: 1, drawn: Drawn::default() };
            return Ok((unit, Answer { replies: 1, bytes: 0 }));
        }
        let part = match self.weights.len() {
            1 => 0,
            count => {
                let at = source.random.below(u64::from(self.weights[count - 1])) as u32;
                self.weights.partition_point(|weight| *weight <= at)
            }
        };
        let mut unit = Unit { part, step: 0, drawn: Drawn::default() };
        let answer = self.write_step(&mut unit, out, source, checks);
        Ok((unit, answer))
    }

    /// Appends a unit's next step, if there is one.
    #[inline]
    pub fn go_on(
        &self,
        unit: &mut Unit,
        out: &mut Vec<u8>,
        source: &mut Source,
        checks: &mut VecDeque<(Check, u64)>,
    ) -> Option<Answer> {
        let is_over = self.parts.get(unit.part).is_none_or(|part| unit.step >= part.steps());
        (!is_over).then(|| self.write_step(unit, out, source, checks))
    }

    fn write_step(
        &self,
        unit: &mut Unit,
        out: &mut Vec<u8>,
        source: &mut Source,
        checks: &mut VecDeque<(Check, u64)>,
    ) -> Answer {
        let template = &self.parts[unit.part];
        let mut drawer = Drawer { plan: self, random: &mut source.random, fill: None };
        if self.is_fill && unit.step == 0 {
            // The last batch may begin again, so that every batch has its full depth.
            drawer.fill = Some(self.next.fetch_add(1, Ordering::Relaxed) % self.picker.keys());
        }
        let step = unit.step;
        template.write(step, out, &mut unit.drawn, &mut drawer, self.data.is_verified.then_some(checks));
        unit.step += 1;
        let bytes = match self.is_known {
            true if self.names[unit.part] == "get" => bulk_bytes(self.value_bytes(unit.drawn.key)),
            _ => OK_BYTES,
        };
        Answer { replies: template.commands(step, unit.drawn), bytes }
    }
}

struct Drawer<'a> {
    plan: &'a Plan,
    random: &'a mut Random,
    /// The key that a fill is at.
    fill: Option<u64>,
}

impl Draw for Drawer<'_> {
    #[inline]
    fn key(&mut self) -> u64 {
        let plan = self.plan;
        if let Some(key) = self.fill {
            return key;
        }
        // The newest keys may not be there yet.
        let made = plan.next.load(Ordering::Relaxed).saturating_sub(plan.under_way);
        plan.picker.pick_of(made.max(plan.picker.keys()), self.random)
    }

    fn new_key(&mut self) -> u64 {
        self.plan.next.fetch_add(1, Ordering::Relaxed)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    fn number(&mut self) -> u64 {
        self.key()
    }

    #[inline]
    fn value_bytes(&self, key: u64) -> usize {
        self.plan.data.sizes.of(key)
    }

    fn ttl(&mut self) -> u64 {
        self.plan.data.ttl.map_or(1, |ttl| ttl.draw(self.random))
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

    fn data(keys: u64) -> Data {
        Data { keys, distribution: None, sizes: Sizes::Fixed(9), ttl: None, is_verified: false }
    }

    fn plan(operation: &Operation) -> Plan {
        Plan::new(operation, &data(3)).expect("the operation is valid")
    }

    /// The next unit.
    fn next(plan: &Plan, source: &mut Source) -> (String, Unit, Answer) {
        let mut out = Vec::new();
        let (unit, answer) = plan.begin(&mut out, source, &mut VecDeque::new()).expect("it can be written");
        (String::from_utf8(out).expect("it is text"), unit, answer)
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
        for operation in [Operation::Fill, Operation::FillWith("HSET h:%k a %v;SADD s %K".into())] {
            let (plan, mut source) = (plan(&operation), Source::new(1));
            for key in 0..3 {
                assert!(!plan.is_filled());
                assert!(next(&plan, &mut source).0.contains(&format!("key:{key:012}")));
            }
            assert!(plan.is_filled());
        }
    }

    #[test]
    fn mix_is_mostly_gets_and_knows_its_bytes() {
        let (plan, mut source, mut sets) = (plan(&Operation::Mix), Source::new(1), 0);
        for _ in 0..1000 {
            let (text, _, answer) = next(&plan, &mut source);
            let is_set = text.starts_with("*3");
            assert_eq!(answer, Answer { replies: 1, bytes: if is_set { 5 } else { 15 } });
            sets += u32::from(is_set);
        }
        assert!((50..200).contains(&sets), "{sets}");
    }

    #[test]
    fn parts_have_their_weights() {
        let texts = ["6:PING".to_owned(), "3:ECHO %k".to_owned(), "ECHO 5:a %k".to_owned()];
        let plan = plan(&Operation::templates(&texts).expect("they are valid"));
        let (mut source, mut counts) = (Source::new(1), [0; 3]);
        (0..10_000).for_each(|_| counts[next(&plan, &mut source).1.part] += 1);
        for (count, share) in counts.iter().zip([0.6, 0.3, 0.1]) {
            assert!((f64::from(*count) / 10_000.0 - share).abs() < 0.03, "{counts:?}");
        }
    }

    #[test]
    fn scan_reads_as_many_keys_as_it_asked_for() {
        let scan = Operation::named("ycsb-e").expect("it is known");
        let (plan, mut source) = (plan(&scan), Source::new(1));
        for _ in 0..200 {
            let (text, mut unit, answer) = next(&plan, &mut source);
            let (mut out, mut none) = (Vec::new(), VecDeque::new());
            let second = plan.go_on(&mut unit, &mut out, &mut source, &mut none);
            if text.contains("ZADD") {
                assert!(answer.replies == 2 && second.is_none());
                continue;
            }
            let length: u64 =
                text.trim_end().rsplit("\r\n").next().and_then(|word| word.parse().ok()).expect("it is last");
            assert_eq!(second.map(|answer| answer.replies), Some(length));
            assert_eq!(String::from_utf8_lossy(&out).matches("HGETALL").count() as u64, length);
            assert!(plan.go_on(&mut unit, &mut out, &mut source, &mut none).is_none());
        }
    }

    #[test]
    fn names_are_known() {
        for name in ["get", "set", "mix", "fill", "lpush", "get:9+set:1", "ycsb-f"] {
            assert_eq!(Operation::named(name).expect("it is known").to_string(), name);
        }
        for name in ["gte", "", "get:0+set", "get+", "ycsb-g", "get:x"] {
            assert!(Operation::named(name).is_err(), "{name}");
        }
        let fill =
            |name: &str| Operation::named(name).expect("it is known").fill().map(|fill| fill.to_string());
        assert_eq!(fill("append+get"), Some("fill".into()));
        assert_eq!(fill("lpush"), None);
        assert_eq!(fill("smembers+spop+ping"), Some("fill with SADD set:%k 1 2 3 4".into()));
        let ttl = Operation::Template("SET %k %v EX %t".into());
        assert!(Plan::new(&ttl, &data(1)).is_err_and(|error| error.0.contains("--ttl")));
    }
}
