//! Steps for tests.

use crate::operation::{Operation, Order};
use crate::record::{Ending, Execution, Place, Read, Step};

pub(crate) fn execution(steps: Vec<Step>) -> Execution {
    Execution { steps, unordered: None }
}

fn step(thread: u32, operation: Operation, word: Option<&str>, order: Option<Order>) -> Step {
    Step {
        thread,
        place: Some(Place { file: "src/queue.rs".into(), line: 10 + thread, column: 9 }),
        site: None,
        scope: None,
        why: None,
        operation,
        order,
        source: None,
        word: word.map(Into::into),
        read: None,
        wrote: None,
        ending: Ending::Done,
    }
}

fn read(from: Option<usize>) -> Option<Read> {
    Some(Read { value: "1".into(), from, newest: None })
}

pub(crate) fn fence(thread: u32, order: Order) -> Step {
    step(thread, Operation::Fence, None, Some(order))
}

pub(crate) fn plain(thread: u32, operation: Operation, word: &str) -> Step {
    step(thread, operation, Some(word), None)
}

pub(crate) fn store(thread: u32, word: &str, order: Order) -> Step {
    Step { wrote: Some("1".into()), ..step(thread, Operation::Store, Some(word), Some(order)) }
}

pub(crate) fn load(thread: u32, word: &str, order: Order, from: Option<usize>) -> Step {
    Step { read: read(from), ..step(thread, Operation::Load, Some(word), Some(order)) }
}

pub(crate) fn rmw(thread: u32, word: &str, order: Order, from: Option<usize>) -> Step {
    let step = step(thread, Operation::FetchAdd, Some(word), Some(order));
    Step { read: read(from), wrote: Some("2".into()), ..step }
}
