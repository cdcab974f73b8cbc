//! Groups of several workers in the order of their tickets.
//!
//! Design: tickets are dense, so the next one is known; groups that come before their turn wait in a map. Between drawing and
//! publishing there is no more than a group's time, so few do.
//!
//! Not here: where groups come from and go to (`thread`).

use std::collections::BTreeMap;

use super::writer::{HEADER_BYTES, LENGTH_BITS};
use super::{FILE, REPLICAS};
use crate::persist::aof::reader::timestamp;
use crate::resp::inline::encode_words;

/// What has come so far.
#[derive(Default)]
pub(super) struct Merge {
    /// The last ticket that was taken.
    taken: u64,
    waiting: BTreeMap<u64, Vec<u8>>,
    file: Selected,
    stream: Selected,
    /// The time that stands last in the file, Unix time in seconds.
    stamp_s: u64,
}

/// The database of what was appended last to the file or the stream; none where none was named yet.
#[derive(Default)]
struct Selected(Option<u32>);

impl Selected {
    fn select(&mut self, db: u32, out: &mut Vec<u8>) {
        if self.0 != Some(db) {
            self.0 = Some(db);
            let number = db.to_string();
            encode_words(out, [&b"SELECT"[..], number.as_bytes()].into_iter());
        }
    }
}

impl Merge {
    /// The effects of a group.
    pub(super) fn add(&mut self, ticket: u64, effects: Vec<u8>) {
        assert!(ticket > self.taken, "each ticket is published once");
        self.waiting.insert(ticket, effects);
    }

    /// The last ticket that was taken.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Appends the group whose turn it is, if it has come, as commands to the file and to the stream, if there is one; how many
    /// bytes of effects it had. In the file the time stands before, if there is one and it is later than what the file says.
    pub(super) fn append_next(
        &mut self,
        file: &mut Vec<u8>,
        mut stream: Option<&mut Vec<u8>>,
        now_s: Option<u64>,
    ) -> Option<u64> {
        let next = self.waiting.first_entry().filter(|first| *first.key() == self.taken + 1)?;
        let (ticket, effects) = next.remove_entry();
        self.taken = ticket;
        if let Some(now_s) = now_s.filter(|now_s| *now_s > self.stamp_s && !effects.is_empty()) {
            self.stamp_s = now_s;
            file.extend_from_slice(&timestamp(now_s));
        }
        let mut rest = &effects[..];
        while let Some((header, behind)) = rest.split_at_checked(HEADER_BYTES) {
            let (db, length) = header.split_at(4);
            let db = u32::from_le_bytes(db.try_into().expect("4 bytes"));
            let length = u64::from_le_bytes(length.try_into().expect("8 bytes"));
            let (audience, length) = ((length >> LENGTH_BITS) as u8, length & ((1 << LENGTH_BITS) - 1));
            let (effect, behind) = behind.split_at(length as usize);
            if audience & FILE != 0 {
                self.file.select(db, file);
                file.extend_from_slice(effect);
            }
            if audience & REPLICAS != 0
                && let Some(stream) = &mut stream
            {
                self.stream.select(db, stream);
                stream.extend_from_slice(effect);
            }
            rest = behind;
        }
        Some(effects.len() as u64)
    }

    /// What is appended next stands in another file, which knows of no database and no time yet.
    pub(super) fn begin_file(&mut self) {
        self.file = Selected::default();
        self.stamp_s = 0;
    }

    /// What is appended to the stream next is read by somebody who knows of no database yet.
    pub(super) fn begin_stream(&mut self) {
        self.stream = Selected::default();
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Journal, Message, SyncPolicy, Writer};
    use super::*;
    use crate::store::{Changes, DbIndex};

    fn unit(commands: &[(u32, &str)]) -> Changes {
        let mut changes = Changes::default();
        changes.listen(true);
        for (db, command) in commands {
            changes.count(1);
            changes.end_command(DbIndex(*db), |words| {
                words.add_all(command.split(' '));
            });
        }
        changes
    }

    /// What the thread was sent; once.
    fn published(journal: &Journal) -> Vec<(u64, Vec<u8>)> {
        let receiver = journal.take_receiver().expect("no thread has it");
        let group = |message| match message {
            Message::Group { ticket, effects } => Some((ticket, effects)),
            Message::Order(_) => None,
        };
        receiver.try_iter().filter_map(group).collect()
    }

    fn commands(merged: &[u8]) -> String {
        String::from_utf8_lossy(merged).replace("\r\n", " ")
    }

    #[test]
    fn groups_out_of_order_are_merged_by_ticket() {
        let journal = Journal::default();
        journal.record_for_file(true);
        let (mut first, mut second) = (Writer::default(), Writer::default());
        first.record(&journal, &unit(&[(0, "SET a 1")]), true);
        second.record(&journal, &unit(&[(3, "SET b 1"), (3, "DEL b")]), true);
        first.record(&journal, &unit(&[(0, "SET a 2")]), true);
        second.publish(&journal);
        first.publish(&journal);
        assert!(first.is_empty() && journal.drawn() == 2 && journal.policy() == SyncPolicy::EverySecond);
        let (mut merge, mut out) = (Merge::default(), Vec::new());
        for (ticket, effects) in published(&journal) {
            merge.add(ticket, effects);
            while merge.append_next(&mut out, None, None).is_some() {}
        }
        assert_eq!(merge.taken(), 2);
        let expected = "*2 $6 SELECT $1 0 *3 $3 SET $1 a $1 1 *3 $3 SET $1 a $1 2 *2 $6 SELECT $1 3 *1 $5 MULTI \
                        *3 $3 SET $1 b $1 1 *2 $3 DEL $1 b *1 $4 EXEC ";
        assert_eq!(commands(&out), expected);
    }

    #[test]
    fn file_that_begins_names_its_database() {
        let journal = Journal::default();
        journal.record_for_file(true);
        let mut writer = Writer::default();
        for _ in 0..2 {
            writer.record(&journal, &unit(&[(0, "INCR n")]), true);
            writer.publish(&journal);
        }
        let (mut merge, mut out) = (Merge::default(), Vec::new());
        for (ticket, effects) in published(&journal) {
            merge.add(ticket, effects);
            assert!(merge.append_next(&mut out, None, None).is_some());
            merge.begin_file();
        }
        assert_eq!(commands(&out), "*2 $6 SELECT $1 0 *2 $4 INCR $1 n ".repeat(2));
    }

    #[test]
    fn each_second_is_noted_once_in_each_file() {
        let journal = Journal::default();
        journal.record_for_file(true);
        let (mut writer, mut merge, mut out) = (Writer::default(), Merge::default(), Vec::new());
        for _ in 0..6 {
            writer.record(&journal, &unit(&[(0, "MULTI"), (0, "EXEC")]), false);
            writer.publish(&journal);
        }
        let times = [Some(7), Some(7), Some(6), None, Some(8), Some(8)];
        for (number, (ticket, effects)) in published(&journal).into_iter().enumerate() {
            if number == 5 {
                merge.begin_file();
            }
            merge.add(ticket, effects);
            assert!(merge.append_next(&mut out, None, times[number]).is_some());
        }
        let text = commands(&out).replace("*1 $5 MULTI *1 $4 EXEC ", "unit ");
        let select = "*2 $6 SELECT $1 0 ";
        assert_eq!(text, format!("#TS:7 {select}unit unit unit unit #TS:8 unit #TS:8 {select}unit "));
    }

    #[test]
    fn stream_has_what_the_file_has_not_and_its_own_databases() {
        let journal = Journal::default();
        journal.record_for_file(true);
        journal.record_for_replicas(true);
        let mut writer = Writer::default();
        let mut changes = Changes::default();
        changes.listen(true);
        changes.repeat_for_replicas(|words| {
            words.add_all(["PUBLISH", "c", "m"]);
        });
        changes.end_command(DbIndex(1), |_| unreachable!("it has changed nothing"));
        changes.count(1);
        changes.end_command(DbIndex(1), |words| {
            words.add_all(["INCR", "n"]);
        });
        writer.record(&journal, &changes, true);
        writer.publish(&journal);
        writer.record(&journal, &unit(&[(1, "INCR n")]), true);
        writer.publish(&journal);
        let (mut merge, mut file, mut stream) = (Merge::default(), Vec::new(), Vec::new());
        for (ticket, effects) in published(&journal) {
            merge.add(ticket, effects);
            assert!(merge.append_next(&mut file, Some(&mut stream), None).is_some());
            merge.begin_stream();
        }
        assert_eq!(commands(&file), "*2 $6 SELECT $1 1 *2 $4 INCR $1 n *2 $4 INCR $1 n ");
        let expected = "*2 $6 SELECT $1 1 *1 $5 MULTI *3 $7 PUBLISH $1 c $1 m *2 $4 INCR $1 n *1 $4 EXEC \
                        *2 $6 SELECT $1 1 *2 $4 INCR $1 n ";
        assert_eq!(commands(&stream), expected);
    }

    #[test]
    fn unit_without_effects_draws_no_ticket() {
        let journal = Journal::default();
        journal.record_for_file(true);
        let mut writer = Writer::default();
        writer.record(&journal, &unit(&[]), true);
        writer.publish(&journal);
        assert_eq!((journal.drawn(), journal.queued_bytes()), (0, 0));
    }
}
