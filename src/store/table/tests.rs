//! Tests of the table against a naive model.

use std::collections::{BTreeMap, BTreeSet};
use std::ptr::NonNull;

use super::*;
use crate::store::scaled;

/// An item is a leaked-and-freed box of its hash, due tick and name.
pub(super) struct Toy {
    pub hash: u64,
    pub due: Tick,
    pub name: u64,
}

pub(super) struct Toys;

pub(super) fn toy<'a>(item: Item) -> &'a Toy {
    // SAFETY: the tests only insert boxes of `Toy`, and free them after taking them out.
    unsafe { item.cast::<Toy>().as_ref() }
}

pub(super) fn free(item: Item) {
    // SAFETY: made by `Box::into_raw`, and out of the table now.
    drop(unsafe { Box::from_raw(item.cast::<Toy>().as_ptr()) });
}

impl Items for Toys {
    fn hash(&self, item: Item) -> u64 {
        toy(item).hash
    }

    fn due(&self, item: Item) -> Tick {
        toy(item).due
    }
}

pub(super) fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// Hashes of names; `coarse` makes many of them equal or share buckets and tags.
fn hash_of(name: u64, coarse: bool) -> u64 {
    let hash = random(&mut (name + 1));
    if coarse { hash & 0xffe0_0000_0000_f000 } else { hash }
}

fn insert(table: &mut Table, name: u64, due: Tick, coarse: bool) {
    let hash = hash_of(name, coarse);
    let boxed = Box::into_raw(Box::new(Toy { hash, due, name }));
    let item = NonNull::new(boxed).expect("a box").cast();
    let place = table.insert(hash, item, due, &Toys);
    assert_eq!(table.item(place), item);
}

fn find(table: &Table, name: u64, coarse: bool) -> Option<Place> {
    table.find(hash_of(name, coarse), |item| toy(item).name == name).map(|(place, _)| place)
}

fn remove(table: &mut Table, name: u64, coarse: bool) {
    let place = find(table, name, coarse).expect("present");
    free(table.remove(place, hash_of(name, coarse)));
    table.shrink(hash_of(name, coarse), &Toys);
}

#[test]
fn agrees_with_a_map_through_growth_and_shrinking() {
    const PHASE: u64 = scaled(40_000);
    for coarse in [false, true] {
        let names = if coarse { 1500 } else { scaled(20_000) };
        let mut table = Table::new();
        let mut model = BTreeSet::new();
        let mut state = 3;
        for round in 0..3 * PHASE {
            let name = random(&mut state) % names;
            let present = model.contains(&name);
            assert_eq!(find(&table, name, coarse).is_some(), present);
            // A long growth, then a long shrinking, then both.
            let grow = [19, 1, 10][(round / PHASE) as usize];
            if random(&mut state) % 20 < grow {
                if !present {
                    insert(&mut table, name, NEVER, coarse);
                    model.insert(name);
                }
            } else if present {
                remove(&mut table, name, coarse);
                model.remove(&name);
            }
            assert_eq!(table.len(), model.len() as u64);
            if round % (PHASE / 10) == 0 {
                table.check_invariants(&Toys);
            }
        }
        for name in model {
            remove(&mut table, name, coarse);
        }
        table.check_invariants(&Toys);
        assert_eq!(table.bytes(), 0);
    }
}

#[test]
#[cfg_attr(miri, ignore = "long, and its paths are those of the others")]
fn shrinking_gives_memory_back() {
    let mut table = Table::new();
    for name in 0..50_000 {
        insert(&mut table, name, NEVER, false);
    }
    let full = table.bytes();
    assert!(full < 50_000 * 12);
    for name in 0..49_000 {
        remove(&mut table, name, false);
    }
    table.check_invariants(&Toys);
    assert!(table.bytes() < full / 20, "{} of {full}", table.bytes());
    assert!(table.drain(usize::MAX, free));
}

/// What is there throughout is emitted exactly once, whatever is inserted and removed between the steps.
#[test]
fn scans_keep_their_promise_through_growth_and_shrinking() {
    for (stable, extra, coarse) in
        [(scaled(2000), scaled(30_000), false), (5, scaled(3000), false), (300, 800, true)]
    {
        for shrinking in [false, true] {
            let mut table = Table::new();
            for name in 0..stable {
                insert(&mut table, name, NEVER, coarse);
            }
            let mut others: Vec<u64> = (stable..stable + extra).collect();
            if shrinking {
                others.iter().for_each(|name| insert(&mut table, *name, NEVER, coarse));
            }
            let mut emitted = BTreeMap::new();
            let mut position = Some(0);
            while let Some(at) = position {
                position =
                    table.scan_step(at, &Toys, |item| *emitted.entry(toy(item).name).or_insert(0) += 1);
                assert!(position.is_none_or(|next| next > at && next.is_multiple_of(1 << 12)));
                for _ in 0..40 {
                    let Some(name) = others.pop() else { break };
                    if shrinking {
                        remove(&mut table, name, coarse);
                    } else {
                        insert(&mut table, name, NEVER, coarse);
                    }
                }
            }
            assert!((0..stable).all(|name| emitted.contains_key(&name)));
            assert!(emitted.values().all(|count| *count == 1));
            assert!(table.drain(usize::MAX, free));
        }
    }
}

#[test]
fn due_items_are_found_in_slices() {
    let mut table = Table::new();
    let mut state = 11;
    let mut model = BTreeMap::new();
    for name in 0..scaled(20_000) {
        let due = if name % 3 == 0 { NEVER } else { random(&mut state) as Tick % 1000 };
        insert(&mut table, name, due, false);
        model.insert(name, due);
    }
    for now in [0, 10, 11, 500, 999, NEVER - 1] {
        let mut position = 0;
        let mut slices = 0;
        loop {
            let progress = table.visit_due(position, now, 100, &Toys, |item| {
                let Toy { hash, due, name } = *toy(item);
                if due > now {
                    return Verdict::Keep(due);
                }
                assert_eq!(model.remove(&name), Some(due));
                free(item);
                Verdict::Remove(hash)
            });
            assert!(progress.visited <= 110);
            if !cfg!(miri) || slices % 10 == 0 {
                table.check_invariants(&Toys);
            }
            slices += 1;
            assert!(slices < 1000);
            position = progress.position;
            if progress.done {
                break;
            }
        }
        assert!(model.values().all(|due| *due > now));
        assert_eq!(table.len(), model.len() as u64);
        // A second pass finds nothing to do.
        let again = table.visit_due(0, now, 1000, &Toys, |_| unreachable!("nothing is due"));
        assert!(again.done);
    }
    assert!(table.drain(usize::MAX, free));
}

#[test]
fn draws_reach_every_item_and_nothing_else() {
    for count in [1, 2, 7, 100, scaled(20_000)] {
        let mut table = Table::new();
        (0..count).for_each(|name| insert(&mut table, name, NEVER, false));
        let mut drawn = BTreeMap::new();
        for seed in 0..count * 40 {
            let name = toy(table.random(seed * 7919).expect("not empty")).name;
            assert!(name < count);
            *drawn.entry(name).or_insert(0u64) += 1;
        }
        assert!(drawn.len() as u64 == count);
        assert!(drawn.values().all(|times| *times < 40 * 4));
        let mut run = Vec::new();
        table.sample(5, 20, |item| run.push(toy(item).name));
        assert_eq!(run.len() as u64, count.min(20));
        assert_eq!(run.iter().collect::<BTreeSet<_>>().len(), run.len());
        assert!(table.drain(usize::MAX, free));
    }
    assert!(Table::new().random(1).is_none());
}

/// The story: runs began at a bucket's first slot, so that items in the last slots of full buckets were never candidates for
/// eviction, however long nobody had used them.
#[test]
fn samples_reach_every_item() {
    let mut table = Table::new();
    let count = scaled(20_000);
    (0..count).for_each(|name| insert(&mut table, name, NEVER, false));
    let mut times = vec![0u32; count as usize];
    (0..count * 20).for_each(|seed| table.sample(seed * 7919, 5, |item| times[toy(item).name as usize] += 1));
    // A hundred times each; those behind gaps more often than others.
    let (least, most) = (times.iter().min(), times.iter().max());
    assert!(least > Some(&20) && most < Some(&500), "{least:?} to {most:?}");
    assert!(table.drain(usize::MAX, free));
}

#[test]
fn draining_in_slices_visits_each_item_once() {
    let mut table = Table::new();
    (0..scaled(30_000)).for_each(|name| insert(&mut table, name, NEVER, false));
    let mut drained = BTreeSet::new();
    let mut slices = 0;
    while !table.drain(scaled(1000) as usize, |item| {
        assert!(drained.insert(toy(item).name));
        free(item);
    }) {
        slices += 1;
    }
    assert_eq!(drained.len() as u64, scaled(30_000));
    assert!(slices >= scaled(20));
    assert_eq!(table.bytes(), 0);
}

#[test]
fn segments_move_out_of_a_range_of_addresses() {
    const NAMES: u64 = scaled(40_000);
    let mut table = Table::new();
    (0..NAMES).for_each(|name| insert(&mut table, name, NEVER, false));
    let place = find(&table, 7, false).expect("present");
    let start = table.directory[place.segment as usize].bucket_address(0).addr();
    let (mut position, mut slices) = (Some(0), 0);
    while let Some(at) = position {
        position = table.evacuate(at, &(start..start + 1), 2);
        slices += 1;
    }
    assert!(slices > 1);
    assert_ne!(table.directory[place.segment as usize].bucket_address(0).addr(), start);
    table.check_invariants(&Toys);
    assert!((0..NAMES).all(|name| find(&table, name, false).is_some()));
    assert!(table.drain(usize::MAX, free));
}
