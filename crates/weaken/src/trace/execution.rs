//! An execution as it is shown: with the write that each read read from, and names for memory.

use std::collections::{BTreeMap, BTreeSet};
use std::string::{String, ToString};
use std::vec::Vec;

use super::names::Names;
use super::race::unordered;
use super::{Effect, Event, ReadFrom, Trace};
use crate::operation::{Operation, Order};
use crate::record::{Ending, Execution, Read, Step};

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
    /// The execution for [`picture`](crate::picture). Left out is what explains nothing: what the main thread did before there was
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
            events().filter(|(_, event)| event.writes()).map(|(_, event)| event.address).collect();
        let constant =
            |event: &Event| event.operation() == Operation::Read && !changed.contains(&event.address);
        events().filter(|(_, event)| !constant(event)).map(|(index, _)| index).collect()
    }

    fn step(&self, event: &Event, source: Source, names: &Names) -> Step {
        let site = event.site.named();
        let show = event.site.memory().show;
        let value = |word: u64| names.value(show, word);
        let unknown = || "?".to_string();
        let (read, wrote): (Option<String>, Option<String>) = match &event.effect {
            Effect::Got(words) => (Some(names.values(show, words.words())), None),
            Effect::Put(words) => (None, Some(names.values(show, words.words()))),
            Effect::Changed { from, to } => (Some(value(*from)), Some(value(*to))),
            Effect::Refused { found, .. } => (Some(value(*found)), None),
            Effect::Added(by) => (
                Some(source.found.map_or_else(unknown, value)),
                Some(source.found.map_or_else(unknown, |found| value(found.wrapping_add(*by)))),
            ),
            Effect::Fenced | Effect::Unfinished => (None, None),
        };
        let declared = match event.effect {
            Effect::Refused { .. } => site.orders.failure.unwrap_or(Order::Relaxed),
            _ => site.orders.success,
        };
        let is_atomic = !event.is_plain();
        let scope = event.scope.map(|scope| self.scopes[scope].name.to_string());
        let why = event.site.why();
        Step {
            thread: event.thread as u32,
            place: None,
            site: Some(site.name.to_string()),
            scope,
            why: (is_atomic && !why.is_empty()).then(|| why.to_string()),
            operation: site.operation,
            order: is_atomic.then_some(event.order),
            source: (is_atomic && event.order != declared).then_some(declared),
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

/// Which write each access read from, as it says itself, or else: a read-modify-write, and a compare-exchange that fails under loom, find the newest; a
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
        match event.read_from {
            ReadFrom::Unknown => {}
            ReadFrom::Nothing => {
                source.write = None;
                source.newest = newest.map(|newest| newest.index);
            }
            ReadFrom::Event(write) => {
                source.write = Some(write);
                source.newest = newest.map(|newest| newest.index).filter(|newest| *newest != write);
            }
        }
        if let Some(left) = left {
            writes.push(Write { index, left });
        }
        sources.push(source);
    }
    sources
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::super::{Effect, Event, Memory, Part, ReadFrom, Show, Site, Trace, Value};
    use crate::named;
    use crate::operation::{Operation, Order, Orders};

    const NODE: usize = 0x100;
    const HEAD: usize = 0x10;

    /// The sites of a list to which several push: what is at its back is swapped, and then linked.
    #[derive(Debug)]
    struct OfList {
        name: &'static str,
        operation: Operation,
        order: Order,
        memory: Memory,
    }

    impl Site for OfList {
        fn named(&self) -> named::Site<'static> {
            named::Site { name: self.name, operation: self.operation, orders: Orders::one(self.order) }
        }

        fn memory(&self) -> Memory {
            self.memory
        }
    }

    const AT_HEAD: Memory = Memory { name: "head", part: Part::None, show: Show::Pointer };
    const NEXT: Memory = Memory { name: "next", part: Part::First, show: Show::Pointer };
    const DATA: Memory = Memory { name: "data", part: Part::Inside, show: Show::Number };

    const fn site(name: &'static str, operation: Operation, order: Order, memory: Memory) -> OfList {
        OfList { name, operation, order, memory }
    }

    static INIT: OfList = site("init", Operation::Write, Order::Relaxed, AT_HEAD);
    static NULL: OfList = site("null", Operation::Write, Order::Relaxed, NEXT);
    static SWAP: OfList = site("swap", Operation::Swap, Order::AcqRel, AT_HEAD);
    static LINK: OfList = site("link", Operation::Store, Order::Release, NEXT);
    static COUNT: OfList = site("count", Operation::FetchAdd, Order::Relaxed, Memory::number("count"));
    static LOOK: OfList = site("look", Operation::Load, Order::Relaxed, Memory::number("count"));
    static FENCE: OfList = site("fence", Operation::Fence, Order::SeqCst, Memory::number("memory"));
    static PUT: OfList = site("put", Operation::Write, Order::Relaxed, DATA);
    static GET: OfList = site("get", Operation::Read, Order::Relaxed, DATA);

    fn event(thread: usize, site: &'static OfList, address: usize, effect: Effect) -> Event {
        Event { thread, scope: None, site, order: site.order, address, effect, read_from: ReadFrom::Unknown }
    }

    fn put(word: u64) -> Effect {
        Effect::Put(Value::of([word]))
    }

    /// Two producers: the second links the node of the first, and the order of the first's null with it is that of the swaps.
    fn trace(swap: Order) -> Trace {
        let mut events = vec![
            event(0, &INIT, HEAD, put(0x80)),
            event(1, &NULL, NODE, put(0)),
            event(1, &SWAP, HEAD, Effect::Changed { from: 0x80, to: NODE as u64 }),
            event(2, &SWAP, HEAD, Effect::Changed { from: NODE as u64, to: 0x200 }),
            event(2, &LINK, NODE, Effect::Unfinished),
        ];
        for event in &mut events[2..4] {
            event.order = swap;
        }
        Trace { events, ..Trace::default() }
    }

    #[test]
    fn the_access_that_nothing_orders_is_found_by_what_synchronises() {
        let execution = trace(Order::Release).execution();
        assert_eq!(execution.unordered, Some(0), "the null; how the list was made is left out");
        assert_eq!(trace(Order::AcqRel).execution().unordered, None);
    }

    #[test]
    fn what_synchronises_is_an_edge_between_two_sites() {
        let names = |order| -> Vec<_> {
            let edges = trace(order).edges();
            edges.iter().map(|(from, to)| (from.named().name, to.named().name)).collect()
        };
        assert_eq!(names(Order::AcqRel), [("swap", "swap")]);
        assert_eq!(names(Order::Release), [], "nobody acquires");
        assert_eq!(names(Order::Acquire), [], "nobody releases");
    }

    #[test]
    fn a_step_has_the_name_of_its_memory_its_value_and_the_write_it_read_from() {
        let execution = trace(Order::Release).execution();
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
        assert_eq!(execution.steps[2].source, Some(Order::AcqRel));
        assert_eq!(execution.steps[2].site.as_deref(), Some("swap"));
    }

    #[test]
    fn a_fence_on_each_side_synchronises_a_relaxed_message() {
        let trace = |order| {
            let fence = |thread| Event { order, ..event(thread, &FENCE, 0, Effect::Fenced) };
            let events = vec![
                // What the counter held, so that the addition is known.
                event(0, &COUNT, HEAD, put(0)),
                event(1, &PUT, NODE, put(7)),
                fence(1),
                event(1, &COUNT, HEAD, Effect::Added(1)),
                event(2, &LOOK, HEAD, Effect::Got(Value::of([1]))),
                fence(2),
                event(2, &GET, NODE, Effect::Unfinished),
            ];
            Trace { events, ..Trace::default() }.execution()
        };
        assert_eq!(trace(Order::SeqCst).unordered, None);
        assert_eq!(trace(Order::Release).unordered, Some(0));
        let steps = trace(Order::SeqCst).steps;
        assert_eq!(steps[2].wrote.as_deref(), Some("1"), "what the main thread left is known");
        let read = steps[3].read.clone().expect("a read");
        assert_eq!((read.value.as_str(), read.from), ("1", Some(2)));
    }
}
