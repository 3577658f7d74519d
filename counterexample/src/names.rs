//! Names for memory: a reader sees `B.next`, not an address.

use std::collections::{BTreeMap, BTreeSet};

use arenaq::ordering::{Access, Field, Ordering};
use arenaq::trace::Effect;

use crate::analysis::{Analysis, Race, Source, Step};

/// The names of the nodes or cells, by their addresses, and of everything else by its site.
#[derive(Debug)]
pub(crate) struct Names {
    objects: BTreeMap<usize, char>,
    /// The shown steps, in order: they are numbered from 1.
    shown: Vec<usize>,
}

/// What a reader calls the memory that a site accesses. A field of a node or a cell comes behind its owner.
pub(crate) fn name(field: Field) -> &'static str {
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

impl Names {
    /// Names every node and cell of an execution, the shown ones first.
    pub(crate) fn of(analysis: &Analysis, shown: &[usize]) -> Names {
        // A node begins with its next, and a cell with its sequence.
        let is_first = |step: &Step| matches!(step.event.site.field, Field::Next | Field::Sequence);
        let mut objects = BTreeMap::new();
        let mut letters = ('A'..='Z').chain('a'..='z');
        let first_shown = shown.iter().map(|step| &analysis.steps[*step]);
        for step in first_shown.chain(&analysis.steps).filter(|step| is_first(step)) {
            objects.entry(step.event.address).or_insert_with(|| letters.next().unwrap_or('?'));
        }
        Names { objects, shown: shown.to_vec() }
    }

    /// The number of a step, if it is shown.
    pub(crate) fn number(&self, step: usize) -> Option<usize> {
        self.shown.iter().position(|shown| *shown == step).map(|position| position + 1)
    }

    /// The memory that a step accesses.
    pub(crate) fn place(&self, step: &Step) -> String {
        let field = step.event.site.field;
        match field {
            Field::Next | Field::Sequence | Field::Data => {
                let owner = self.objects.range(..=step.event.address).next_back();
                owner
                    .map_or_else(|| name(field).to_owned(), |(_, letter)| format!("{letter}.{}", name(field)))
            }
            _ => name(field).to_owned(),
        }
    }

    fn word(&self, step: &Step, word: u64) -> String {
        match step.event.site.field {
            Field::Next | Field::Head | Field::Tail => {
                let node = usize::try_from(word).ok().and_then(|address| self.objects.get(&address));
                match node {
                    Some(letter) => format!("→{letter}"),
                    None if word == 0 => "null".to_owned(),
                    None => format!("{word:#x}"),
                }
            }
            Field::Top => match word & 0xffff_ffff {
                0 => format!("none, tag {}", word >> 32),
                first => format!("node {first}, tag {}", word >> 32),
            },
            // Positions close below the wrap-around are easier to read as negative numbers.
            _ if word > u64::MAX - 1000 => format!("{}", word.cast_signed()),
            _ => word.to_string(),
        }
    }

    /// What a step does, in a few words.
    pub(crate) fn action(&self, step: &Step) -> String {
        let place = self.place(step);
        let word = |word: u64| self.word(step, word);
        let all = |words: &[u64]| words.iter().map(|w| word(*w)).collect::<Vec<_>>().join(", ");
        match &step.event.effect {
            Effect::Got(value) => format!("{place} is {}", all(value.words())),
            Effect::Put(value) => format!("{place} := {}", all(value.words())),
            Effect::Changed { from, to } => format!("{place}: {} ⇒ {}", word(*from), word(*to)),
            Effect::Refused { expected, found } => {
                format!("{place} is {}, not {}", word(*found), word(*expected))
            }
            Effect::Added(by) => format!("{place} += {}", by.cast_signed()),
            Effect::Fenced => "fence".to_owned(),
            Effect::Unfinished => match step.event.site.access {
                Access::Fence => "fence".to_owned(),
                Access::Read | Access::Load => format!("reads {place}"),
                _ => format!("writes {place}"),
            },
        }
    }

    /// The ordering of a step, as the table shows it.
    pub(crate) fn order(step: &Step) -> &'static str {
        match (step.event.site.access, step.event.order) {
            (Access::Read | Access::Write, _) => "plain",
            (_, Ordering::Relaxed) => "Relaxed",
            (_, Ordering::Acquire) => "Acquire",
            (_, Ordering::Release) => "Release",
            (_, Ordering::AcqRel) => "AcqRel",
            _ => "SeqCst",
        }
    }

    /// The race in words.
    pub(crate) fn explain(&self, analysis: &Analysis, race: &Race) -> String {
        let step = |index: usize| &analysis.steps[index];
        let say = |index: usize| {
            let number =
                self.number(index).map_or_else(|| "a step before".to_owned(), |n| format!("step {n}"));
            format!("{number} ({}, thread {})", step(index).event.site.name, step(index).event.thread)
        };
        let mut text = format!(
            "{} and {} both touch {}, and nothing orders the one before the other: either may take effect last.",
            say(race.first),
            say(race.second),
            self.place(step(race.second)),
        );
        let missing = race.missing.and_then(|read| match step(read).source {
            Source::Step(write) => Some((read, write)),
            Source::None | Source::Initial => None,
        });
        if let Some((read, write)) = missing {
            let (reader, writer) = (step(read), step(write));
            let changed: Vec<&str> =
                unique([reader, writer].into_iter().filter(|s| is_changed(s)).map(|s| s.event.site.name));
            text += &format!(
                "\n{} reads what {} wrote, but does not synchronise with it: the write is {}, the read {}.",
                say(read),
                say(write),
                Names::order(writer),
                Names::order(reader),
            );
            for name in changed {
                let site =
                    [reader, writer].into_iter().find(|s| s.event.site.name == name).map(|s| s.event.site);
                if let Some(site) = site {
                    text += &format!("\n{name} is {:?} in the code, because: {}.", site.order, site.why);
                }
            }
        }
        text
    }
}

/// Whether a step had another ordering than its site declares.
fn is_changed(step: &Step) -> bool {
    let site = step.event.site;
    let declared = match step.event.effect {
        Effect::Refused { .. } => site.failure.unwrap_or(site.order),
        _ => site.order,
    };
    step.event.order != declared
}

fn unique<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    names.collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::name;
    use arenaq::ordering::Access;
    use arenaq::structures::sites;

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
                    ("init" | "attach", _) => "memory",
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
