//! What threads did to a queue, in one global order.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arenaq::{KeyValue, PopError, PushError};

/// An element, named after who pushes it: `b2` is the third of thread 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Item {
    pub(crate) producer: u64,
    pub(crate) serial: u64,
}

impl From<Item> for KeyValue {
    fn from(item: Item) -> KeyValue {
        KeyValue { key: item.producer, value: item.serial }
    }
}

impl From<KeyValue> for Item {
    fn from(element: KeyValue) -> Item {
        Item { producer: element.key, serial: element.value }
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = u32::try_from(self.producer).ok().and_then(|n| char::from_digit(n + 10, 36));
        write!(f, "{}{}", letter.unwrap_or('?'), self.serial)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Call {
    Push(Item),
    Pop,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Call::Push(item) => write!(f, "push {item} .."),
            Call::Pop => f.write_str("pop .."),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    Pushed,
    Full,
    Exhausted,
    Popped(Item),
    Empty,
    Busy,
}

impl Outcome {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Outcome::Pushed => "pushed",
            Outcome::Full => "full",
            Outcome::Exhausted => "exhausted",
            Outcome::Popped(_) => "popped",
            Outcome::Empty => "empty",
            Outcome::Busy => "busy",
        }
    }
}

impl From<Result<(), PushError>> for Outcome {
    fn from(result: Result<(), PushError>) -> Outcome {
        match result {
            Ok(()) => Outcome::Pushed,
            Err(PushError::Full) => Outcome::Full,
            Err(PushError::Exhausted) => Outcome::Exhausted,
            Err(error) => panic!("{error}"),
        }
    }
}

impl From<Result<KeyValue, PopError>> for Outcome {
    fn from(result: Result<KeyValue, PopError>) -> Outcome {
        match result {
            Ok(element) => Outcome::Popped(element.into()),
            Err(PopError::Empty) => Outcome::Empty,
            Err(PopError::Busy) => Outcome::Busy,
            Err(error) => panic!("{error}"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Popped(item) => write!(f, "-> {item}"),
            outcome => write!(f, "-> {}", outcome.name()),
        }
    }
}

/// A call that has returned. Of the 2n times of n operations each is used once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Operation {
    pub(crate) thread: usize,
    pub(crate) call: Call,
    pub(crate) outcome: Outcome,
    pub(crate) invoked: usize,
    pub(crate) returned: usize,
}

/// All operations on one queue, in the order in which they returned.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct History {
    pub(crate) capacity: u64,
    pub(crate) operations: Vec<Operation>,
}

impl History {
    /// The same without the operations that ended in `outcome`.
    pub(crate) fn without(&self, outcome: Outcome) -> History {
        let mut history = self.clone();
        history.operations.retain(|operation| operation.outcome != outcome);
        history
    }
}

/// One column per thread, one line per event.
impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut events = BTreeMap::new();
        for operation in &self.operations {
            events.insert(operation.invoked, (operation.thread, operation.call.to_string()));
            events.insert(operation.returned, (operation.thread, operation.outcome.to_string()));
        }
        let threads = self.operations.iter().map(|operation| operation.thread + 1).max().unwrap_or(0);
        let mut header = format!("capacity {:<4}", self.capacity);
        for thread in 0..threads {
            header += &format!("{:<14}", format!("thread {thread}"));
        }
        write!(f, "{}", header.trim_end())?;
        for (time, (thread, event)) in events {
            write!(f, "\n{time:>11}  {:width$}{event}", "", width = 14 * thread)?;
        }
        Ok(())
    }
}

/// Writes down operations. It lives outside of shuttle, so writing to it changes no schedule.
#[derive(Clone, Default)]
pub(crate) struct Recorder(Arc<Mutex<(usize, Vec<Operation>)>>);

impl Recorder {
    /// Runs an operation of `thread`.
    pub(crate) fn record(&self, thread: usize, call: Call, operation: impl FnOnce() -> Outcome) -> Outcome {
        let invoked = self.tick();
        let outcome = operation();
        let returned = self.tick();
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.1.push(Operation { thread, call, outcome, invoked, returned });
        outcome
    }

    fn tick(&self) -> usize {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.0 += 1;
        log.0
    }

    pub(crate) fn history(&self, capacity: u64) -> History {
        let log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        History { capacity, operations: log.1.clone() }
    }
}
