//! Decides whether a history of list appends is strictly serialisable, after Elle (Kingsbury and Alvaro, 2020).
//!
//! Design: transactions append elements, each of which is appended once in a run, and read whole lists. A read shows the order in
//! which its elements were written, and the reply of an append shows its place; so the order of each key's versions is known
//! rather than guessed, and with it who wrote before whom (ww), who read whose write (wr), and who did not see whose write
//! (rw). With the orders of sessions and of real time these make a graph; a cycle in it is an anomaly, named after Adya by the
//! kinds of its edges. What needs no graph is found on the way: reads of what was rolled back, or never written, or halfway
//! through a transaction; lists that no order explains; appends that are acknowledged and lost or there twice.
//!
//! Costs: linear in the elements read, but for sorting by time.
//!
//! Not here: graph search (`graph`), who makes such histories (`load::append`).

use std::fmt::Write;

use ahash::HashMap;

use super::graph::{Edge, Edges, Graph, Why, Whys};
use super::record::{Anomaly, Span};

/// An append or a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Micro {
    /// An element at the end of a key's list; the list's length after it, if a reply came.
    Append { key: u32, element: u32, length: Option<u32> },
    /// A whole list, if a reply came.
    Read { key: u32, seen: Option<Vec<u32>> },
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server said that it happened.
    Committed,
    /// The server said that it did not happen, or it never had all of it.
    Aborted,
    /// Nobody knows.
    Unknown,
}

/// A transaction; a single command is one of one.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// Which connection of the run.
    pub connection: u32,
    /// When it was under way.
    pub span: Span,
    /// How it ended.
    pub outcome: Outcome,
    /// What it did, in order.
    pub micros: Vec<Micro>,
}

/// What a check came to.
pub struct Report {
    /// What it found.
    pub anomalies: Vec<Anomaly>,
    /// Edges of the graph.
    pub edges: usize,
}

/// Checks a history. Transactions of one connection are in the order it sent them.
pub fn check(history: &[Transaction]) -> Report {
    let mut checker =
        Checker { history, writers: HashMap::default(), orders: HashMap::default(), anomalies: Vec::new() };
    checker.note_writers();
    checker.order_by_reads();
    checker.order_by_lengths();
    history.iter().enumerate().for_each(|(index, t)| checker.check_within(index as u32, t));
    let edges = checker.edges();
    let count = edges.len();
    checker.find_cycles(&edges.into_graph());
    Report { anomalies: checker.anomalies, edges: count }
}

/// Who appended an element.
#[derive(Clone, Copy)]
struct Writer {
    transaction: u32,
    key: u32,
    /// Whether the same transaction appends to the key again later.
    followed: bool,
    /// Where in the key's list it is, once known.
    place: Option<u32>,
}

/// The elements of a key by their places, and how long the longest read was.
#[derive(Default)]
struct Order {
    at: Vec<Option<u32>>,
    read_length: usize,
}

struct Checker<'h> {
    history: &'h [Transaction],
    writers: HashMap<u32, Writer>,
    orders: HashMap<u32, Order>,
    anomalies: Vec<Anomaly>,
}

/// Elements at the end of a list that are shown.
const SHOWN_ELEMENTS_MAX: usize = 6;

impl Checker<'_> {
    fn report(&mut self, kind: &'static str, why: &str, transactions: &[u32]) {
        let mut text = format!("  {why}\n");
        for index in transactions {
            writeln!(text, "  {}", self.show(*index)).expect("a string takes everything");
        }
        self.anomalies.push(Anomaly { kind, text });
    }

    fn show(&self, index: u32) -> String {
        let transaction = &self.history[index as usize];
        let micros: Vec<String> = transaction.micros.iter().map(show_micro).collect();
        let Transaction { connection, span, outcome, .. } = transaction;
        format!("T{index}, connection {connection}, {span}, {outcome:?}: {}", micros.join("; "))
    }

    fn note_writers(&mut self) {
        for (index, transaction) in self.history.iter().enumerate() {
            for (at, micro) in transaction.micros.iter().enumerate() {
                let Micro::Append { key, element, .. } = *micro else { continue };
                let again =
                    |later: &Micro| matches!(later, Micro::Append { key: other, .. } if *other == key);
                let followed = transaction.micros[at + 1..].iter().any(again);
                let writer = Writer { transaction: index as u32, key, followed, place: None };
                let before = self.writers.insert(element, writer);
                assert!(before.is_none(), "a workload appends an element once: {element:08x}");
            }
        }
    }

    /// Each element of each read has its place, and it is the same in all reads.
    fn order_by_reads(&mut self) {
        for index in 0..self.history.len() as u32 {
            let history = self.history;
            for micro in &history[index as usize].micros {
                let Micro::Read { key, seen: Some(seen) } = micro else { continue };
                let order = self.orders.entry(*key).or_default();
                order.read_length = order.read_length.max(seen.len());
                if order.at.len() < seen.len() {
                    order.at.resize(seen.len(), None);
                }
                let same = |(place, element): (usize, &u32)| order.at[place] == Some(*element);
                if seen.iter().enumerate().all(same) {
                    continue;
                }
                for (place, element) in seen.iter().enumerate() {
                    self.place_read(index, *key, place, *element);
                }
            }
        }
    }

    fn place_read(&mut self, reader: u32, key: u32, place: usize, element: u32) {
        let slot = self.orders.get(&key).expect("made before").at[place];
        if slot == Some(element) {
            return;
        }
        let Some(writer) = self.writers.get_mut(&element).filter(|writer| writer.key == key) else {
            let why = format!("{element:08x} was read from {key} and nobody appended it there");
            return self.report("phantom", &why, &[reader]);
        };
        let by = writer.transaction;
        if let Some(other) = writer.place.filter(|other| *other as usize != place) {
            let why = format!("{element:08x} is at place {place} of {key} and was read at {other}");
            return self.report("duplicate or incompatible order", &why, &[reader, by]);
        }
        if let Some(other) = slot {
            let why = format!("place {place} of {key} was read as {other:08x} and as {element:08x}");
            return self.report("incompatible order", &why, &[reader, by]);
        }
        writer.place = Some(place as u32);
        self.orders.get_mut(&key).expect("made before").at[place] = Some(element);
        if self.history[by as usize].outcome == Outcome::Aborted {
            let why = format!("{element:08x} was read from {key}, but its append was aborted");
            self.report("G1a, aborted read", &why, &[reader, by]);
        }
    }

    /// What appends were told about their places must agree with what was read, and goes further.
    fn order_by_lengths(&mut self) {
        for index in 0..self.history.len() as u32 {
            let history = self.history;
            let transaction = &history[index as usize];
            if transaction.outcome != Outcome::Committed {
                continue;
            }
            for micro in &transaction.micros {
                let Micro::Append { key, element, length: Some(length) } = *micro else { continue };
                self.place_append(index, key, element, length);
            }
        }
    }

    fn place_append(&mut self, index: u32, key: u32, element: u32, length: u32) {
        let Some(place) = length.checked_sub(1) else {
            return self.report("lost append", "a list is empty after an append", &[index]);
        };
        let order = self.orders.entry(key).or_default();
        if order.at.len() <= place as usize {
            order.at.resize(place as usize + 1, None);
        }
        let there = order.at[place as usize];
        if there == Some(element) {
            return;
        }
        let writer = self.writers.get_mut(&element).expect("noted before");
        if let Some(read) = writer.place {
            let why = format!("{element:08x} of {key} was read at place {read}; its append said {place}");
            return self.report("wrong length", &why, &[index]);
        }
        if let Some(other) = there {
            let by = self.writers.get(&other).map_or(index, |writer| writer.transaction);
            let why = format!("{element:08x} was appended to {key} at place {place}, where {other:08x} is");
            return self.report("lost append", &why, &[index, by]);
        }
        if (place as usize) < order.read_length {
            let why = format!("{element:08x} was appended to {key} at place {place} and never read there");
            return self.report("lost append", &why, &[index]);
        }
        order.at[place as usize] = Some(element);
        writer.place = Some(place);
    }

    /// A transaction sees its own writes, nothing changes under it, and it reads no halves of others.
    fn check_within(&mut self, index: u32, transaction: &Transaction) {
        let mut lists: Vec<(u32, Option<Vec<u32>>, Option<u32>)> = Vec::new();
        let alone = transaction.micros.len() == 1;
        for micro in &transaction.micros {
            let key = match micro {
                Micro::Append { key, .. } | Micro::Read { key, .. } => *key,
            };
            if let Micro::Read { seen: Some(seen), .. } = micro {
                self.check_intermediate(index, key, seen);
            }
            if alone {
                return;
            }
            let at = lists.iter().position(|(known, ..)| *known == key).unwrap_or_else(|| {
                lists.push((key, None, None));
                lists.len() - 1
            });
            let (_, list, count) = &mut lists[at];
            let agrees = match micro {
                Micro::Append { element, length, .. } => {
                    list.iter_mut().for_each(|list| list.push(*element));
                    let agrees = count.is_none_or(|count| length.is_none_or(|length| length == count + 1));
                    *count = length.or(count.map(|count| count + 1));
                    agrees
                }
                Micro::Read { seen: Some(seen), .. } => {
                    let agrees = list.as_ref().is_none_or(|list| list == seen)
                        && count.is_none_or(|count| count as usize == seen.len());
                    *list = Some(seen.clone());
                    *count = Some(seen.len() as u32);
                    agrees
                }
                Micro::Read { seen: None, .. } => true,
            };
            if !agrees {
                let why = format!("{key} changed within a transaction: {}", show_micro(micro));
                self.report("internal", &why, &[index]);
            }
        }
    }

    fn check_intermediate(&mut self, reader: u32, key: u32, seen: &[u32]) {
        let Some(last) = seen.last() else { return };
        if let Some(writer) = self.writers.get(last)
            && writer.followed
            && writer.transaction != reader
        {
            let by = writer.transaction;
            let why = format!("{key} was read up to {last:08x}, in the middle of a transaction");
            self.report("G1b, intermediate read", &why, &[reader, by]);
        }
    }

    fn edges(&self) -> Edges {
        let mut edges = Edges::new(self.history.len());
        let writer_of = |element: u32| self.writers.get(&element).map(|writer| writer.transaction);
        // For each place, the first known element from there on.
        let mut following: HashMap<u32, Vec<Option<u32>>> = HashMap::default();
        for (key, order) in &self.orders {
            let mut next = None;
            let mut by_place = vec![None; order.at.len()];
            for (place, element) in order.at.iter().enumerate().rev() {
                if let Some(writer) = element.and_then(writer_of) {
                    if let Some(after) = next {
                        edges.add(writer, after, Why::WriteWrite, *key);
                    }
                    next = Some(writer);
                }
                by_place[place] = next;
            }
            following.insert(*key, by_place);
        }
        let mut latest: HashMap<u32, u32> = HashMap::default();
        for (index, transaction) in self.history.iter().enumerate() {
            let index = index as u32;
            if transaction.outcome == Outcome::Aborted {
                continue;
            }
            if let Some(before) = latest.insert(transaction.connection, index) {
                edges.add(before, index, Why::Session, 0);
            }
            for micro in &transaction.micros {
                let Micro::Read { key, seen: Some(seen) } = micro else { continue };
                if let Some(writer) = seen.last().copied().and_then(writer_of) {
                    edges.add(writer, index, Why::WriteRead, *key);
                }
                if let Some(Some(writer)) = following[key].get(seen.len()) {
                    edges.add(index, *writer, Why::ReadWrite, *key);
                }
            }
        }
        let happened = self.history.iter().enumerate().filter(|(_, t)| t.outcome != Outcome::Aborted);
        edges
            .add_real_time(happened.map(|(index, t)| (index as u32, t.span.invoked_ns, t.span.completed_ns)));
        edges
    }

    /// The worst first: cycles of few kinds of edges are worse than those that need all.
    fn find_cycles(&mut self, graph: &Graph) {
        use Why::{ReadWrite, WriteRead, WriteWrite};
        if graph.components(Whys::ALL).is_empty() {
            return;
        }
        let kinds = [
            Whys::of(&[WriteWrite]),
            Whys::of(&[WriteWrite, WriteRead]),
            Whys::of(&[WriteWrite, WriteRead, ReadWrite]),
            Whys::ALL,
        ];
        for whys in kinds {
            let components = graph.components(whys);
            for component in &components {
                let cycle = graph.shortest_cycle(component, whys);
                let text = self.show_cycle(&cycle);
                self.anomalies.push(Anomaly { kind: name_cycle(&cycle), text });
            }
            if !components.is_empty() {
                return;
            }
        }
    }

    fn show_cycle(&self, cycle: &[Edge]) -> String {
        let mut text = String::new();
        for edge in cycle {
            writeln!(text, "  {}", self.show(edge.source)).expect("a string takes everything");
        }
        for Edge { source, target, why, key } in cycle {
            let reason = match why {
                Why::WriteWrite => format!("appended to {key} before it (ww)"),
                Why::WriteRead => format!("appended to {key} what it read (wr)"),
                Why::ReadWrite => format!("read {key} without what it appended (rw)"),
                Why::Session => "was sent before it on the same connection".to_owned(),
                Why::RealTime => "was complete before it was invoked".to_owned(),
            };
            writeln!(text, "  T{source} < T{target}: {reason}").expect("a string takes everything");
        }
        text
    }
}

/// What a cycle of such edges is called.
fn name_cycle(cycle: &[Edge]) -> &'static str {
    let count = |why: Why| cycle.iter().filter(|edge| edge.why == why).count();
    let timed = count(Why::RealTime) + count(Why::Session) > 0;
    match (count(Why::ReadWrite), count(Why::WriteRead), timed) {
        (0, 0, false) => "G0, write cycle",
        (0, 0, true) => "G0, write cycle with real time",
        (0, _, false) => "G1c, circular information flow",
        (0, _, true) => "G1c, circular information flow with real time",
        (1, _, false) => "G-single, read skew",
        (1, _, true) => "G-single, stale read in real time",
        (_, _, false) => "G2, anti-dependency cycle",
        (_, _, true) => "G2, anti-dependency cycle with real time",
    }
}

fn show_micro(micro: &Micro) -> String {
    match micro {
        Micro::Append { key, element, length: Some(length) } => {
            format!("append {key} {element:08x} -> {length}")
        }
        Micro::Append { key, element, length: None } => format!("append {key} {element:08x}"),
        Micro::Read { key, seen: None } => format!("read {key}"),
        Micro::Read { key, seen: Some(seen) } => {
            let hidden = seen.len().saturating_sub(SHOWN_ELEMENTS_MAX);
            let dots = if hidden > 0 { format!("({hidden} more) ") } else { String::new() };
            let shown: Vec<String> = seen[hidden..].iter().map(|element| format!("{element:08x}")).collect();
            format!("read {key} -> [{dots}{}]", shown.join(" "))
        }
    }
}

#[cfg(test)]
#[path = "append_tests.rs"]
mod tests;
