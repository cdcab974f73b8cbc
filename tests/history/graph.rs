//! A graph of what must have come before what, and its cycles.
//!
//! Design: nodes are transactions and, behind them, moments of time. Real time is a transitive order, so instead of an edge from
//! each completed transaction to all that began later there is a chain of moments: a completed transaction points to the
//! moment after it, each moment to the next, and the last moment before a transaction begins points to it. That is three
//! edges a transaction, however many clients there are, and loses nothing. Cycles are found as strongly connected components
//! (Tarjan 1972, without recursion); within a component the shortest is searched breadth first, moments costing nothing.
//!
//! Costs: linear in nodes and edges, 9 bytes an edge.

use std::collections::VecDeque;

/// Why one node comes before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Why {
    /// Both wrote a key, this one first.
    WriteWrite = 1,
    /// The second read what the first wrote.
    WriteRead = 2,
    /// The first did not see what the second wrote.
    ReadWrite = 4,
    /// One connection sent them in this order.
    Session = 8,
    /// The first was complete before the second was invoked.
    RealTime = 16,
}

/// A set of reasons.
#[derive(Clone, Copy)]
pub struct Whys(pub u8);

impl Whys {
    /// All of them.
    pub const ALL: Self = Self(31);

    /// These.
    pub fn of(whys: &[Why]) -> Self {
        Self(whys.iter().fold(0, |bits, why| bits | *why as u8))
    }

    fn has(self, why: Why) -> bool {
        self.0 & why as u8 != 0
    }
}

/// An edge of a cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Where it begins.
    pub source: u32,
    /// Where it ends.
    pub target: u32,
    /// Why the one is before the other.
    pub why: Why,
    /// The key concerned, for what is about one.
    pub key: u32,
}

/// Edges being collected.
pub struct Edges {
    transactions: u32,
    nodes: u32,
    list: Vec<Edge>,
}

impl Edges {
    /// For this many transactions.
    pub fn new(transactions: usize) -> Self {
        Self { transactions: transactions as u32, nodes: transactions as u32, list: Vec::new() }
    }

    /// Adds one; nothing is before itself.
    pub fn add(&mut self, source: u32, target: u32, why: Why, key: u32) {
        if source != target {
            self.list.push(Edge { source, target, why, key });
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Adds real time: transactions that were invoked at the first time and complete at the second, if they are.
    pub fn add_real_time(&mut self, spans: impl Iterator<Item = (u32, u64, Option<u64>)>) {
        // At equal times invocations come first: the order of the two is not known.
        let mut moments: Vec<(u64, bool, u32)> = Vec::new();
        for (transaction, invoked, completed) in spans {
            moments.push((invoked, false, transaction));
            moments.extend(completed.map(|at| (at, true, transaction)));
        }
        moments.sort_unstable();
        let (mut passed, mut open): (Option<u32>, Option<u32>) = (None, None);
        for (_, completes, transaction) in moments {
            if completes {
                // Completions with no invocation between them share a moment.
                let moment = *open.get_or_insert_with(|| {
                    self.nodes += 1;
                    self.nodes - 1
                });
                self.add(transaction, moment, Why::RealTime, 0);
            } else {
                if let Some(moment) = open.take() {
                    if let Some(before) = passed {
                        self.add(before, moment, Why::RealTime, 0);
                    }
                    passed = Some(moment);
                }
                if let Some(before) = passed {
                    self.add(before, transaction, Why::RealTime, 0);
                }
            }
        }
    }

    /// The graph of them all.
    pub fn into_graph(self) -> Graph {
        let mut starts = vec![0_u32; self.nodes as usize + 1];
        self.list.iter().for_each(|edge| starts[edge.source as usize + 1] += 1);
        for node in 0..self.nodes as usize {
            starts[node + 1] += starts[node];
        }
        let mut next = starts.clone();
        let mut edges = self.list.clone();
        for edge in self.list {
            let place = &mut next[edge.source as usize];
            edges[*place as usize] = edge;
            *place += 1;
        }
        Graph { transactions: self.transactions, starts, edges }
    }
}

/// The graph: each node's edges lie together.
pub struct Graph {
    transactions: u32,
    starts: Vec<u32>,
    edges: Vec<Edge>,
}

/// From how many nodes of a component the shortest cycle is searched.
const STARTS_MAX: usize = 500;
const UNSEEN: u32 = u32::MAX;

impl Graph {
    fn node_count(&self) -> usize {
        self.starts.len() - 1
    }

    fn edges_of(&self, node: u32) -> &[Edge] {
        &self.edges[self.starts[node as usize] as usize..self.starts[node as usize + 1] as usize]
    }

    /// Components of more than one node, by edges of these kinds.
    pub fn components(&self, whys: Whys) -> Vec<Vec<u32>> {
        let mut search = Tarjan::new(self.node_count());
        for root in 0..self.node_count() as u32 {
            if search.index[root as usize] == UNSEEN {
                search.run(self, root, whys);
            }
        }
        search.found
    }

    /// The shortest cycle in a component by edges of these kinds, real time shown as edges between transactions.
    pub fn shortest_cycle(&self, component: &[u32], whys: Whys) -> Vec<Edge> {
        let mut inside = vec![false; self.node_count()];
        component.iter().for_each(|node| inside[*node as usize] = true);
        let mut best: Vec<Edge> = Vec::new();
        let starts = component.iter().filter(|node| **node < self.transactions);
        for start in starts.take(STARTS_MAX) {
            if let Some(cycle) = self.cycle_from(*start, &inside, whys)
                && (best.is_empty() || cycle.len() < best.len())
            {
                best = cycle;
            }
        }
        best
    }

    /// The shortest cycle through a node: a search in which moments cost nothing.
    fn cycle_from(&self, start: u32, inside: &[bool], whys: Whys) -> Option<Vec<Edge>> {
        let mut distance = vec![UNSEEN; inside.len()];
        let mut came_by: Vec<Option<Edge>> = vec![None; inside.len()];
        let mut pending = VecDeque::from([(start, 0)]);
        distance[start as usize] = 0;
        while let Some((node, far)) = pending.pop_front() {
            if far > distance[node as usize] {
                continue;
            }
            for edge in self.edges_of(node) {
                if !inside[edge.target as usize] || !whys.has(edge.why) {
                    continue;
                }
                if edge.target == start {
                    return Some(self.path(*edge, start, &came_by));
                }
                let cost = u32::from(edge.target < self.transactions);
                if far + cost < distance[edge.target as usize] {
                    distance[edge.target as usize] = far + cost;
                    came_by[edge.target as usize] = Some(*edge);
                    if cost == 0 {
                        pending.push_front((edge.target, far));
                    } else {
                        pending.push_back((edge.target, far + cost));
                    }
                }
            }
        }
        None
    }

    /// The edges that led from `start` to `last`, with runs of moments drawn together.
    fn path(&self, last: Edge, start: u32, came_by: &[Option<Edge>]) -> Vec<Edge> {
        let mut path: Vec<Edge> = Vec::new();
        let mut edge = last;
        loop {
            match path.last_mut() {
                Some(after) if after.source >= self.transactions => after.source = edge.source,
                _ => path.push(edge),
            }
            if edge.source == start {
                break;
            }
            edge = came_by[edge.source as usize].expect("the search came this way");
        }
        path.reverse();
        path
    }
}

/// Tarjan's search with a stack of its own.
struct Tarjan {
    index: Vec<u32>,
    low: Vec<u32>,
    on_stack: Vec<bool>,
    stack: Vec<u32>,
    count: u32,
    found: Vec<Vec<u32>>,
}

impl Tarjan {
    fn new(nodes: usize) -> Self {
        Self {
            index: vec![UNSEEN; nodes],
            low: vec![0; nodes],
            on_stack: vec![false; nodes],
            stack: Vec::new(),
            count: 0,
            found: Vec::new(),
        }
    }

    fn enter(&mut self, node: u32, calls: &mut Vec<(u32, usize)>) {
        self.index[node as usize] = self.count;
        self.low[node as usize] = self.count;
        self.count += 1;
        self.stack.push(node);
        self.on_stack[node as usize] = true;
        calls.push((node, 0));
    }

    fn run(&mut self, graph: &Graph, root: u32, whys: Whys) {
        let mut calls = Vec::new();
        self.enter(root, &mut calls);
        while let Some((node, at)) = calls.last_mut() {
            let node = *node;
            let Some(edge) = graph.edges_of(node).get(*at) else {
                calls.pop();
                if let Some((parent, _)) = calls.last() {
                    self.low[*parent as usize] = self.low[*parent as usize].min(self.low[node as usize]);
                }
                if self.low[node as usize] == self.index[node as usize] {
                    self.close(node);
                }
                continue;
            };
            *at += 1;
            let target = edge.target as usize;
            if !whys.has(edge.why) {
                continue;
            }
            if self.index[target] == UNSEEN {
                self.enter(edge.target, &mut calls);
            } else if self.on_stack[target] {
                self.low[node as usize] = self.low[node as usize].min(self.index[target]);
            }
        }
    }

    /// Takes the component that `root` was entered first of from the stack.
    fn close(&mut self, root: u32) {
        let start = self.stack.iter().rposition(|node| *node == root).expect("it is on the stack");
        for node in &self.stack[start..] {
            self.on_stack[*node as usize] = false;
        }
        if self.stack.len() - start > 1 {
            self.found.push(self.stack[start..].to_vec());
        }
        self.stack.truncate(start);
    }
}

#[test]
fn a_shortest_cycle_is_found_among_longer_ones() {
    let mut edges = Edges::new(6);
    for (source, target) in [(0, 1), (1, 2), (2, 3), (3, 0), (2, 1), (4, 5)] {
        edges.add(source, target, Why::WriteWrite, 7);
    }
    let graph = edges.into_graph();
    let components = graph.components(Whys::ALL);
    assert_eq!(components.len(), 1);
    assert_eq!(components[0].len(), 4);
    let cycle = graph.shortest_cycle(&components[0], Whys::ALL);
    assert_eq!(cycle.len(), 2);
    assert!(cycle.iter().all(|edge| [1, 2].contains(&edge.source) && edge.key == 7));
    assert!(graph.components(Whys::of(&[Why::WriteRead])).is_empty());
}

#[test]
fn real_time_reaches_over_any_number_of_transactions() {
    let mut edges = Edges::new(10);
    edges.add_real_time((0..10).map(|n| (n, u64::from(n) * 10, Some(u64::from(n) * 10 + 5))));
    // The last came before the first, it says.
    edges.add(9, 0, Why::WriteRead, 1);
    let graph = edges.into_graph();
    let components = graph.components(Whys::ALL);
    assert_eq!(components.len(), 1);
    let cycle = graph.shortest_cycle(&components[0], Whys::ALL);
    assert_eq!(cycle.len(), 2, "{cycle:?}");
    assert!(cycle.iter().any(|edge| (edge.source, edge.target, edge.why) == (0, 9, Why::RealTime)));
}

#[test]
fn overlapping_transactions_have_no_order() {
    let mut edges = Edges::new(3);
    // The third touches the end of the first.
    edges.add_real_time([(0, 0, Some(10)), (1, 5, None), (2, 10, Some(20))].into_iter());
    edges.add(1, 0, Why::WriteRead, 1);
    edges.add(2, 0, Why::WriteRead, 1);
    assert!(edges.into_graph().components(Whys::ALL).is_empty());
}
