//! An execution as [`weaken`] shows it: with the write that each read read from, and names for memory.

extern crate std;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use weaken::record::{Ending, Execution, Read, Step};

use super::names::Names;
use super::race::{is_plain, unordered, writes};
use super::{Effect, Event, Trace};
use crate::ordering::{Access, Ordering};
use crate::weakened;

/// A write, and the word that it left, where that is known.
#[derive(Clone, Copy, Debug)]
struct Write {
    index: usize,
    left: Option<u64>,
}

/// What an access read from.
#[derive(Clone, Copy, Debug, Default)]
struct Source {
    write: Option<usize>,
    /// The newest write, if it is another.
    newest: Option<usize>,
    /// What an addition found, which it does not say.
    found: Option<u64>,
}

impl Trace {
    /// The execution for `weaken::picture`. Left out is what explains nothing: what the main thread did before there was
    /// another, and where memory lies that nobody changes.
    pub fn execution(&self) -> Execution {
        let told = self.told();
        let place = |index: usize| told.binary_search(&index).ok();
        let all = sources(&self.events);
        let sources: Vec<_> = told
            .iter()
            .map(|index| {
                let Source { write, newest, found } = all[*index];
                Source { write: write.and_then(place), newest: newest.and_then(place), found }
            })
            .collect();
        let events: Vec<_> = told.iter().map(|index| &self.events[*index]).collect();
        let names = Names::of(&events);
        let from: Vec<_> = sources.iter().map(|source| source.write).collect();
        let steps = events.iter().zip(&sources).map(|(event, source)| self.step(event, *source, &names));
        Execution { steps: steps.collect(), unordered: unordered(&events, &from) }
    }

    /// The accesses that are worth a step: their indices.
    fn told(&self) -> Vec<usize> {
        let others = self.events.iter().position(|event| event.thread != 0).unwrap_or(0);
        let events = || self.events.iter().enumerate().skip(others);
        let changed: BTreeSet<usize> =
            events().filter(|(_, event)| writes(event)).map(|(_, event)| event.address).collect();
        let constant = |event: &Event| event.site.access == Access::Read && !changed.contains(&event.address);
        events().filter(|(_, event)| !constant(event)).map(|(index, _)| index).collect()
    }

    fn step(&self, event: &Event, source: Source, names: &Names) -> Step {
        let field = event.site.field;
        let value = |word: u64| names.value(field, word);
        let unknown = || "?".to_string();
        let (read, wrote): (Option<String>, Option<String>) = match &event.effect {
            Effect::Got(words) => (Some(names.values(field, words.words())), None),
            Effect::Put(words) => (None, Some(names.values(field, words.words()))),
            Effect::Changed { from, to } => (Some(value(*from)), Some(value(*to))),
            Effect::Refused { found, .. } => (Some(value(*found)), None),
            Effect::Added(by) => (
                Some(source.found.map_or_else(unknown, value)),
                Some(source.found.map_or_else(unknown, |found| value(found.wrapping_add(*by)))),
            ),
            Effect::Fenced | Effect::Unfinished => (None, None),
        };
        let declared = match event.effect {
            Effect::Refused { .. } => event.site.failure.unwrap_or(Ordering::Relaxed),
            _ => event.site.order,
        };
        let is_atomic = !is_plain(event);
        let scope = event.operation.map(|operation| self.operations[operation].name.to_string());
        Step {
            thread: event.thread as u32,
            place: None,
            site: Some(event.site.name.to_string()),
            scope,
            why: (is_atomic && !event.site.why.is_empty()).then(|| event.site.why.to_string()),
            operation: weakened::site(event.site).operation,
            order: is_atomic.then(|| event.order.into()),
            source: (is_atomic && event.order != declared).then(|| declared.into()),
            word: names.word(event),
            read: read.map(|value| Read { value, from: source.write, newest: source.newest }),
            wrote,
            ending: match event.effect {
                Effect::Unfinished => Ending::Refused,
                Effect::Refused { .. } => Ending::Failed,
                _ => Ending::Done,
            },
        }
    }
}

/// Which write each access read from. A read-modify-write, and a compare-exchange that fails under loom, find the newest; a
/// load found the newest of those that left its value.
fn sources(events: &[Event]) -> Vec<Source> {
    let mut history: BTreeMap<usize, Vec<Write>> = BTreeMap::new();
    let mut sources = Vec::new();
    for (index, event) in events.iter().enumerate() {
        let writes = history.entry(event.address).or_default();
        let newest = writes.last().copied();
        let mut source = Source::default();
        let left = match &event.effect {
            Effect::Got(value) => {
                let found = value.words().first().copied();
                let of = writes.iter().rev().find(|write| write.left.is_some() && write.left == found);
                source.write = of.map(|write| write.index);
                source.newest = newest.map(|write| write.index).filter(|write| Some(*write) != source.write);
                None
            }
            Effect::Put(value) => Some(value.words().first().copied()),
            Effect::Changed { to, .. } => {
                source.write = newest.map(|write| write.index);
                Some(Some(*to))
            }
            Effect::Added(by) => {
                source.write = newest.map(|write| write.index);
                source.found = newest.and_then(|write| write.left);
                Some(source.found.map(|found| found.wrapping_add(*by)))
            }
            Effect::Refused { .. } => {
                source.write = newest.map(|write| write.index);
                None
            }
            Effect::Fenced | Effect::Unfinished => None,
        };
        if let Some(left) = left {
            writes.push(Write { index, left });
        }
        sources.push(source);
    }
    sources
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::super::{Effect, Event, Trace, Value};
    use crate::mpsc::site as mpsc;
    use crate::ordering::{Ordering, SiteInfo};

    const NODE: usize = 0x100;
    const HEAD: usize = 0x10;

    fn event(thread: usize, site: &'static SiteInfo, address: usize, effect: Effect) -> Event {
        Event { thread, operation: None, site, order: site.order, address, effect }
    }

    fn put(word: u64) -> Effect {
        Effect::Put(Value::of([word]))
    }

    /// Two producers: the second links the node of the first, and the order of the first's null with it is that of the swaps.
    fn trace(swap: Ordering) -> Trace {
        let mut events = vec![
            event(0, mpsc::INIT.info(), HEAD, put(0x80)),
            event(1, mpsc::PUSH_INIT.info(), NODE, put(0)),
            event(1, mpsc::PUSH_SWAP.info(), HEAD, Effect::Changed { from: 0x80, to: NODE as u64 }),
            event(2, mpsc::PUSH_SWAP.info(), HEAD, Effect::Changed { from: NODE as u64, to: 0x200 }),
            event(2, mpsc::PUSH_LINK.info(), NODE, Effect::Unfinished),
        ];
        for event in &mut events[2..4] {
            event.order = swap;
        }
        Trace { events, ..Trace::default() }
    }

    #[test]
    fn the_access_that_nothing_orders_is_found_by_what_synchronises() {
        let execution = trace(Ordering::Release).execution();
        assert_eq!(execution.unordered, Some(0), "the null; how the list was made is left out");
        assert_eq!(trace(Ordering::AcqRel).execution().unordered, None);
    }

    #[test]
    fn a_step_has_the_name_of_its_memory_its_value_and_the_write_it_read_from() {
        let execution = trace(Ordering::Release).execution();
        let texts: Vec<_> = execution
            .steps
            .iter()
            .map(|step| {
                let read = step.read.as_ref().map(|read| (read.value.as_str(), read.from));
                (step.word.as_deref(), read, step.wrote.as_deref())
            })
            .collect();
        assert_eq!(texts[0], (Some("A.next"), None, Some("null")));
        assert_eq!(texts[1], (Some("head"), Some(("0x80", None)), Some("→A")));
        assert_eq!(texts[2], (Some("head"), Some(("→A", Some(1))), Some("0x200")));
        assert_eq!(execution.steps[2].source, Some(weaken::operation::Order::AcqRel));
        assert_eq!(execution.steps[2].site.as_deref(), Some("mpsc.push.swap_head"));
    }

    #[test]
    fn a_fence_on_each_side_synchronises_a_relaxed_message() {
        use crate::eventcount::site as fences;
        let trace = |order| {
            let fence =
                |thread| Event { order, ..event(thread, fences::PREPARE_FENCE.info(), 0, Effect::Fenced) };
            let relaxed = mpsc::PUSH_COUNT.info();
            let events = vec![
                event(1, mpsc::PUSH_DATA.info(), NODE, put(7)),
                fence(1),
                event(1, relaxed, HEAD, Effect::Added(1)),
                event(2, mpsc::INSPECT_COUNT.info(), HEAD, Effect::Got(Value::of([1]))),
                fence(2),
                event(2, mpsc::POP_DATA.info(), NODE, Effect::Unfinished),
            ];
            let mut events: Vec<Event> = events;
            // What the counter held, so that the addition is known.
            events.insert(0, event(0, mpsc::POP_COUNT.info(), HEAD, put(0)));
            Trace { events, ..Trace::default() }.execution()
        };
        assert_eq!(trace(Ordering::SeqCst).unordered, None);
        assert_eq!(trace(Ordering::Release).unordered, Some(0));
        let steps = trace(Ordering::SeqCst).steps;
        assert_eq!(steps[2].wrote.as_deref(), Some("1"), "what the main thread left is known");
        let read = steps[3].read.clone().expect("a read");
        assert_eq!((read.value.as_str(), read.from), ("1", Some(2)));
    }
}
