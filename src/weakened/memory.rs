//! What a reader of an execution calls the memory that a site accesses, and how its words are read.

use alloc::format;
use alloc::string::String;

use weaken::trace::{Memory, Part, Show};

use crate::ordering::Field;

/// A node begins with its next, and a cell with its sequence.
pub(super) fn of(field: Field) -> Memory {
    let part = match field {
        Field::Next | Field::Sequence => Part::First,
        Field::Data => Part::Inside,
        _ => Part::None,
    };
    let show = match field {
        Field::Next | Field::Head | Field::Tail | Field::NamedPointer(_) => Show::Pointer,
        Field::Top => Show::Text(top),
        Field::Sleepers => Show::Text(sleepers),
        _ => Show::Number,
    };
    Memory { name: name(field), part, show }
}

fn top(word: u64) -> String {
    let tag = (word >> 32) as i32;
    match word & u64::from(u32::MAX) {
        0 => format!("none, tag {tag}"),
        block => format!("block {block}, tag {tag}"),
    }
}

fn sleepers(word: u64) -> String {
    format!("{} asleep, epoch {}", word & u64::from(u32::MAX), word >> 32)
}

/// A field of a node or a cell comes behind its owner.
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
        Field::Named(name) | Field::NamedPointer(name) => name,
        Field::Unknown | Field::Several | Field::Nothing => "memory",
    }
}

#[cfg(test)]
mod tests {
    use super::name;
    use crate::ordering::Access;
    use crate::structures::sites;
    use alloc::vec::Vec;

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
