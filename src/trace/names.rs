//! Names for memory and values: a reader sees `B.next` and `→A`, not addresses.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::Event;
use crate::ordering::Field;

/// What nodes and cells are called, by their addresses.
#[derive(Debug)]
pub(super) struct Names {
    objects: BTreeMap<usize, String>,
    /// The names of all other memory: several words of one name are told apart.
    words: BTreeMap<usize, String>,
}

/// What a reader calls the memory that a site accesses. A field of a node or a cell comes behind its owner.
fn name(field: Field) -> &'static str {
    match field {
        Field::EnqueuePosition => "enqueue position",
        Field::Seen => "seen",
        Field::Reserved => "reserved",
        Field::DequeuePosition => "dequeue position",
        Field::Position => "position",
        Field::Ring => "ring",
        Field::Sequence => "sequence",
        Field::Data => "data",
        Field::Count => "count",
        Field::Head => "head",
        Field::Tail => "tail",
        Field::Next => "next",
        Field::Top => "top",
        Field::Link => "link",
        Field::Magazine => "magazine",
        Field::Created => "nodes made",
        Field::Room => "room",
        Field::Sleepers => "sleepers",
        Field::Drops => "drops",
        Field::Header => "header",
        Field::Owner => "owner",
        Field::Announcement => "announcement",
        Field::Turn => "turn",
        Field::Unknown | Field::Several | Field::Nothing => "memory",
    }
}

/// A, B, ..., Z, A1, ...
fn letter(number: usize) -> String {
    let letter = char::from(b'A' + (number % 26) as u8);
    match number / 26 {
        0 => letter.to_string(),
        round => format!("{letter}{round}"),
    }
}

impl Names {
    pub(super) fn of(events: &[&Event]) -> Names {
        // A node begins with its next, and a cell with its sequence.
        let mut objects = BTreeMap::new();
        for event in events.iter().filter(|event| matches!(event.site.field, Field::Next | Field::Sequence)) {
            let number = objects.len();
            objects.entry(event.address).or_insert_with(|| letter(number));
        }
        let mut names = Names { objects, words: BTreeMap::new() };
        let mut taken: BTreeMap<String, usize> = BTreeMap::new();
        for event in events.iter().filter(|event| event.site.field != Field::Nothing) {
            if !names.words.contains_key(&event.address) {
                let name = names.new_word(event);
                let count = taken.entry(name.clone()).or_default();
                *count += 1;
                let name = if *count == 1 { name } else { format!("{name} #{count}") };
                names.words.insert(event.address, name);
            }
        }
        names
    }

    fn new_word(&self, event: &Event) -> String {
        let field = name(event.site.field);
        let is_inside = matches!(event.site.field, Field::Next | Field::Sequence | Field::Data);
        let owner = self.objects.range(..=event.address).next_back().filter(|_| is_inside);
        owner.map_or_else(|| field.to_string(), |(_, letter)| format!("{letter}.{field}"))
    }

    /// The memory that an access touches; none for a fence.
    pub(super) fn word(&self, event: &Event) -> Option<String> {
        self.words.get(&event.address).filter(|_| event.site.field != Field::Nothing).cloned()
    }

    /// A word as its field is read.
    pub(super) fn value(&self, field: Field, word: u64) -> String {
        let (high, low) = (word >> 32, word & u64::from(u32::MAX));
        match field {
            Field::Next | Field::Head | Field::Tail => match self.objects.get(&(word as usize)) {
                Some(letter) => format!("→{letter}"),
                None if word == 0 => "null".to_string(),
                None => format!("{word:#x}"),
            },
            Field::Top if low == 0 => format!("none, tag {}", high as i32),
            Field::Top => format!("block {low}, tag {}", high as i32),
            Field::Sleepers => format!("{low} asleep, epoch {high}"),
            // Positions close below the wrap-around are easier to read as negative numbers.
            _ if word > u64::MAX - 1000 => (word as i64).to_string(),
            _ => word.to_string(),
        }
    }

    pub(super) fn values(&self, field: Field, words: &[u64]) -> String {
        words.iter().map(|word| self.value(field, *word)).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::{letter, name};
    use crate::ordering::Access;
    use crate::structures::sites;
    use alloc::vec::Vec;

    #[test]
    fn letters_go_on_behind_the_last() {
        assert_eq!([0, 25, 26, 53].map(letter), ["A", "Z", "A1", "B2"]);
    }

    /// What stands in the name of a site is what the table and the picture call the memory.
    #[test]
    fn every_site_is_shown_with_the_memory_that_its_name_says() {
        // What a name says that does not end with the field: the operation on it.
        const VERBS: [(&str, &str); 26] = [
            ("publish_cell", "sequence"),
            ("free_cell", "sequence"),
            ("link_node", "next"),
            ("claim_block", "top"),
            ("push_chain", "top"),
            ("take_node", "magazine"),
            ("reset_spent", "link"),
            ("spend_rest", "link"),
            ("spend_nodes", "link"),
            ("store_mark", "link"),
            ("claim_numbers", "nodes made"),
            ("return_numbers", "nodes made"),
            ("load_created", "nodes made"),
            ("announce_sleeper", "sleepers"),
            ("withdraw_sleeper", "sleepers"),
            ("advance_epoch", "sleepers"),
            ("load_state", "sleepers"),
            ("write_node", "memory"),
            ("increment", "drops"),
            ("load", "drops"),
            ("store_first", "announcement"),
            ("store_length", "announcement"),
            ("clear_length", "announcement"),
            ("reset_length", "announcement"),
            ("load_first", "announcement"),
            ("load_length", "announcement"),
        ];
        for site in sites() {
            let [structure, operation, access] =
                site.name.split('.').collect::<Vec<_>>().try_into().expect("three parts");
            let shown = name(site.field);
            if structure == "records" {
                // Two positions of a lane, and its words, by what is done to them.
                let expected = match (operation, access) {
                    ("init" | "attach", _) | ("reserve", "read_ring") => "memory",
                    ("inspect", "load_position") => "position",
                    ("reserve", "load_position") | (_, "publish" | "load_published") => "enqueue position",
                    (_, "load_consumed" | "free_words") => "dequeue position",
                    (_, "read_seen" | "write_seen") => "seen",
                    (_, "read_reserved" | "write_reserved") => "reserved",
                    (_, access) if access.starts_with("write_") || access.starts_with("read_") => "data",
                    _ => "owner",
                };
                assert_eq!(shown, expected, "{}", site.name);
                continue;
            }
            if site.access == Access::Fence || operation == "init" {
                assert_eq!(shown, "memory", "{}", site.name);
            } else if structure == "arena" {
                let expected = if operation == "consumer" { "owner" } else { "header" };
                assert_eq!(shown, expected, "{}", site.name);
            } else if operation == "any" {
                assert_eq!(shown, if structure == "mpmc" { "ring" } else { "room" }, "{}", site.name);
            } else {
                let said = VERBS.iter().find(|(verb, _)| *verb == access);
                let said = said.map_or_else(|| access.rsplit('_').next().unwrap_or(access), |(_, said)| said);
                assert!(shown.ends_with(said), "{} is shown as {shown}", site.name);
            }
            if shown.ends_with("position") {
                let side = match operation {
                    "push" | "push_many" | "single_producer" => "enqueue position",
                    "pop" | "drain" | "take" | "take_over" | "single_consumer" => "dequeue position",
                    _ => "position",
                };
                assert_eq!(shown, side, "{}", site.name);
            }
        }
    }
}
