//! Tests of tables whose keys were chosen so that their hashes collide.
//!
//! The story: keys whose hashes share their leading bits made the directory double, once for each bit, without ever telling them
//! apart: 900 of them took gigabytes, and at 28 bits an assertion ended the server. Whoever learnt the seed could do that.

use std::collections::{BTreeMap, BTreeSet};
use std::ptr::NonNull;

use super::tests::{Toy, Toys, free, random, toy};
use super::*;
use crate::store::scaled;

/// What somebody who knows the seed can make of hashes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Attack {
    /// All bits are equal.
    Equal,
    /// The leading 40 bits are.
    Leading,
    /// The leading 30 bits are one of four patterns.
    Groups,
    /// Of every four keys, three are chosen and one is not.
    Mixed,
}

use Attack::{Equal, Groups, Leading, Mixed};

/// Miri is given one: all of the code is safe but what tables do for any keys.
const ATTACKS: &[Attack] = if cfg!(miri) { &[Leading] } else { &[Equal, Leading, Groups, Mixed] };

fn hash_of(name: u64, attack: Attack) -> u64 {
    let even = random(&mut (name + 1));
    match attack {
        Equal => 0xdead_beef_dead_beef,
        Leading => 0xfeed_f00d_ab00_0000 | even >> 40,
        Groups => (name % 4) << 61 | (name % 2) << 40 | even >> 30,
        Mixed if name.is_multiple_of(4) => even,
        Mixed => hash_of(name, Leading),
    }
}

fn insert(table: &mut Table, name: u64, due: Tick, attack: Attack) {
    let hash = hash_of(name, attack);
    let boxed = Box::into_raw(Box::new(Toy { hash, due, name }));
    let item = NonNull::new(boxed).expect("a box").cast();
    let place = table.insert(hash, item, due, &Toys);
    assert_eq!(table.item(place), item);
}

fn find(table: &Table, name: u64, attack: Attack) -> Option<Place> {
    table.find(hash_of(name, attack), |item| toy(item).name == name).map(|(place, _)| place)
}

fn remove(table: &mut Table, name: u64, attack: Attack) {
    let place = find(table, name, attack).expect("present");
    free(table.remove(place, hash_of(name, attack)));
    table.shrink(hash_of(name, attack), &Toys);
}

fn filled(count: u64, attack: Attack) -> Table {
    let mut table = Table::new();
    (0..count).for_each(|name| insert(&mut table, name, NEVER, attack));
    table
}

#[test]
fn colliding_keys_leave_the_directory_small() {
    for &attack in ATTACKS {
        let count = if attack == Equal { 3000 } else { scaled(40_000) };
        let mut table = filled(count, attack);
        assert!(table.directory.len() as u64 <= (count / ITEMS_PER_ENTRY_MIN).max(1), "{attack:?}");
        assert!(table.bytes() < 150 * count, "{attack:?}: {} for {count}", table.bytes());
        table.check_invariants(&Toys);
        assert!((0..count).all(|name| find(&table, name, attack).is_some()));
        assert!(find(&table, count, attack).is_none());
        (0..count).for_each(|name| remove(&mut table, name, attack));
        table.check_invariants(&Toys);
        assert_eq!(table.bytes(), 0);
    }
}

#[test]
fn colliding_keys_come_and_go_as_in_a_map() {
    const PHASE: u64 = scaled(3000);
    for &attack in ATTACKS {
        let names = if attack == Equal { 1500 } else { 5000 };
        let (mut table, mut model, mut state) =
            (filled(names, attack), (0..names).collect::<BTreeSet<_>>(), 3);
        assert!(table.spilled_count() > 0);
        for round in 0..4 * PHASE {
            let name = random(&mut state) % names;
            let present = model.contains(&name);
            let place = find(&table, name, attack);
            assert_eq!(place.is_some(), present);
            let grow = [10, 1, 19, 0][(round / PHASE) as usize];
            match place {
                None if random(&mut state) % 20 < grow => {
                    insert(&mut table, name, NEVER, attack);
                    model.insert(name);
                }
                Some(_) if random(&mut state) % 20 >= grow => {
                    remove(&mut table, name, attack);
                    model.remove(&name);
                }
                Some(place) => {
                    let Toy { hash, due, name } = *toy(table.item(place));
                    let other = Box::into_raw(Box::new(Toy { hash, due, name }));
                    free(table.replace(place, NonNull::new(other).expect("a box").cast(), due));
                }
                None => {}
            }
            assert_eq!(table.len(), model.len() as u64);
            if round % (PHASE / 5) == 0 {
                table.check_invariants(&Toys);
            }
        }
        let mut seen = BTreeSet::new();
        table.for_each(|item| assert!(seen.insert(toy(item).name)));
        assert_eq!(seen, model);
        model.into_iter().for_each(|name| remove(&mut table, name, attack));
        assert_eq!(table.bytes(), 0);
    }
}

/// The segment that was full splits once there are enough others, and takes in again what it had no room for.
#[test]
fn spilled_keys_return_when_the_table_has_grown() {
    let chosen = |name: u64| random(&mut (name + 1)) >> 3 | 0xa000_0000_0000_0000;
    let mut table = Table::new();
    let add = |table: &mut Table, name, hash| {
        let boxed = Box::into_raw(Box::new(Toy { hash, due: NEVER, name }));
        table.insert(hash, NonNull::new(boxed).expect("a box").cast(), NEVER, &Toys);
    };
    (0..2000).for_each(|name| add(&mut table, name, chosen(name)));
    assert!(table.spilled_count() > 0);
    (2000..30_000).for_each(|name| add(&mut table, name, random(&mut (name + 1))));
    (30_000..32_000).for_each(|name| add(&mut table, name, chosen(name)));
    assert_eq!(table.spilled_count(), 0);
    table.check_invariants(&Toys);
    assert!(table.drain(usize::MAX, free));
}

/// What is there throughout is emitted exactly once, and no step emits very much unless all bits are equal.
#[test]
fn scans_of_colliding_keys_keep_their_promise() {
    for &attack in ATTACKS {
        for shrinking in [false, true] {
            let (stable, extra) = (3000, 3000);
            let mut table = filled(if shrinking { stable + extra } else { stable }, attack);
            let mut others: Vec<u64> = (stable..stable + extra).collect();
            let (mut emitted, mut position, mut longest) = (BTreeMap::new(), Some(0), 0);
            while let Some(at) = position {
                let mut step = 0;
                position = table.scan_step(at, &Toys, |item| {
                    *emitted.entry(toy(item).name).or_insert(0) += 1;
                    step += 1;
                });
                longest = longest.max(step);
                assert!(position.is_none_or(|next| next > at && next.is_multiple_of(1 << 12)));
                for _ in 0..40 {
                    let Some(name) = others.pop() else { break };
                    if shrinking {
                        remove(&mut table, name, attack);
                    } else {
                        insert(&mut table, name, NEVER, attack);
                    }
                }
            }
            assert!((0..stable).all(|name| emitted.contains_key(&name)), "{attack:?}");
            assert!(emitted.values().all(|count| *count == 1), "{attack:?}");
            assert!(attack == Equal || longest < 2500, "{attack:?}: {longest}");
            assert!(table.drain(usize::MAX, free));
        }
    }
}

#[test]
fn colliding_keys_that_are_due_are_found_in_slices() {
    for &attack in ATTACKS {
        let (mut table, mut model, mut state) = (Table::new(), BTreeMap::new(), 11);
        for name in 0..4000 {
            let due = if name % 3 == 0 { NEVER } else { random(&mut state) as Tick % 1000 };
            insert(&mut table, name, due, attack);
            model.insert(name, due);
        }
        // One becomes due earlier, wherever it lies.
        for name in (0..4000).step_by(300) {
            let (place, due) = (find(&table, name, attack).expect("present"), 5);
            let Toy { hash, .. } = *toy(table.item(place));
            let other = Box::into_raw(Box::new(Toy { hash, due, name }));
            free(table.replace(place, NonNull::new(other).expect("a box").cast(), due));
            model.insert(name, due);
        }
        for now in [0, 10, 11, 500, 999, NEVER - 1] {
            let (mut position, mut slices) = (0, 0);
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
                slices += 1;
                assert!(slices < 1000);
                position = progress.position;
                if progress.done {
                    break;
                }
            }
            table.check_invariants(&Toys);
            assert!(model.values().all(|due| *due > now));
            assert_eq!(table.len(), model.len() as u64);
            let again = table.visit_due(0, now, 1000, &Toys, |_| unreachable!("nothing is due"));
            assert!(again.done);
        }
        assert!(table.drain(usize::MAX, free));
    }
}

#[test]
fn draws_reach_every_colliding_key() {
    for &attack in ATTACKS {
        let count = 4000;
        let mut table = filled(count, attack);
        let mut drawn = BTreeSet::new();
        for seed in 0..scaled(count * 30) {
            drawn.insert(toy(table.random(seed * 7919).expect("not empty")).name);
        }
        let share = drawn.len() as u64 * 100 / count;
        assert!(share > if cfg!(miri) { 50 } else { 95 }, "{attack:?}: {share} %");
        for count in [1, 20, 4000, 5000] {
            let mut run = BTreeSet::new();
            table.sample(count, count as usize, |item| assert!(run.insert(toy(item).name)));
            assert_eq!(run.len() as u64, count.min(4000));
        }
        let mut drained = 0;
        while !table.drain(500, |item| {
            drained += 1;
            free(item);
        }) {}
        assert_eq!((drained, table.bytes()), (count, 0));
    }
}
