//! Why an execution fails with the orderings of the source, and which of them would forbid it.

use crate::operation::{Operation, Order};
use crate::record::{Execution, Step};

use super::edges::{Edge, Kind, Sides};
use super::explain::{capital, name, old_read, old_value, place, race};

/// A sentence for each thing that a reader should know.
pub(crate) fn explain(execution: &Execution, edges: &[Edge]) -> Vec<String> {
    let mut sentences: Vec<_> = race(execution).into_iter().collect();
    let unordered: Vec<_> = edges.iter().filter(|edge| orders(execution, edge)).collect();
    sentences.extend(unordered.iter().map(|edge| needed(&execution.steps, edge)));
    if let Some(old) = old_value(execution).filter(|_| unordered.is_empty()) {
        sentences.push(old);
        sentences.extend(fences(&execution.steps));
    }
    if sentences.is_empty() {
        sentences.push(
            "Nothing races here, and every read finds the newest value: look at the order of the steps, not at \
             the orderings."
                .into(),
        );
    }
    sentences
}

/// Whether the read would order the two steps that race, if it synchronised.
fn orders(execution: &Execution, edge: &Edge) -> bool {
    let steps = &execution.steps;
    if edge.kind != Kind::Nothing || steps[edge.to].order.is_none() {
        return false;
    }
    let Some((first, last)) = execution.unordered.zip(steps.last()) else { return false };
    let writer = steps[edge.from].thread == steps[first].thread && edge.from >= first;
    writer && steps[edge.to].thread == last.thread
}

/// What the two sides of a read lack to synchronise.
fn needed(steps: &[Step], edge: &Edge) -> String {
    let sides = Sides::of_run(steps, edge.from, edge.to);
    let order = |index: usize| steps[index].order.unwrap_or(Order::Relaxed);
    let mut lacks = Vec::new();
    if !sides.releases() {
        let (is, at) = (order(edge.from), place(&steps[edge.from]));
        lacks.push(format!(
            "step {} is {is} at {at} and hands nothing on, which {} would, or a Release fence before it",
            edge.from + 1,
            if is.acquires() { Order::AcqRel } else { Order::Release }
        ));
    }
    if !sides.acquires() {
        let (is, at) = (order(edge.to), place(&steps[edge.to]));
        lacks.push(format!(
            "step {} is {is} at {at} and takes nothing over, which {} would, or an Acquire fence after it",
            edge.to + 1,
            if is.releases() { Order::AcqRel } else { Order::Acquire }
        ));
    }
    format!(
        "{} reads what {} wrote, and would order the two if it synchronised with it: {}.",
        capital(&name(edge.to, &steps[edge.to])),
        name(edge.from, &steps[edge.from]),
        lacks.join("; and ")
    )
}

/// What makes a read see the newest value where each of two threads writes, and reads what the other writes.
fn fences(steps: &[Step]) -> Option<String> {
    let (read, newest) =
        old_read(steps).filter(|(read, newest)| steps[*read].thread != steps[*newest].thread)?;
    let (reader, writer) = (steps[read].thread, steps[newest].thread);
    let is_fence = |index: &usize, thread: u32| {
        steps[*index].operation == Operation::Fence && steps[*index].thread == thread
    };
    let sides = [
        (reader, format!("before step {}", read + 1), (0..read).rfind(|index| is_fence(index, reader))),
        (
            writer,
            format!("after step {}", newest + 1),
            (newest..steps.len()).find(|index| is_fence(index, writer)),
        ),
    ];
    let lacks = sides.into_iter().filter_map(|(thread, side, fence)| match fence {
        None => Some(format!("thread {thread} has none {side}")),
        Some(fence) if steps[fence].order != Some(Order::SeqCst) => Some(format!(
            "that of thread {thread} {side} is {} at {}",
            steps[fence].order.unwrap_or(Order::Relaxed),
            place(&steps[fence])
        )),
        Some(_) => None,
    });
    let lacks: Vec<_> = lacks.collect();
    (!lacks.is_empty()).then(|| {
        format!(
            "If that read must see that write, or the other thread must see what this one wrote before, both \
             need a fence(SeqCst) between the write and the read: {}.",
            lacks.join(", and ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::explain;
    use crate::operation::Operation;
    use crate::operation::Order::{AcqRel, Acquire, Relaxed, Release, SeqCst};
    use crate::picture::edges::edges;
    use crate::picture::steps::{execution, fence, load, plain, store};

    #[test]
    fn a_race_names_the_side_that_lacks_an_ordering_and_no_change() {
        for (write, read, lacks, has) in [
            (Relaxed, Acquire, "hands nothing on", "takes"),
            (Release, Relaxed, "takes nothing over", "hands"),
        ] {
            let mut execution = execution(vec![
                plain(1, Operation::Write, "data"),
                store(1, "ready", write),
                load(0, "ready", read, Some(1)),
                plain(0, Operation::Read, "data"),
            ]);
            execution.unordered = Some(0);
            let all = explain(&execution, &edges(&execution)).join(" ");
            assert!(all.contains("Nothing orders step 1") && all.contains(lacks), "{all}");
            assert!(!all.contains(has) && !all.contains("changed"), "{all}");
        }
    }

    #[test]
    fn an_old_value_names_the_fence_that_is_too_weak() {
        let mut read = load(0, "work", Relaxed, None);
        read.read.as_mut().expect("it reads").newest = Some(2);
        let steps = vec![
            store(0, "asleep", Relaxed),
            fence(0, SeqCst),
            store(1, "work", Relaxed),
            fence(1, AcqRel),
            read,
        ];
        let execution = execution(steps);
        let all = explain(&execution, &edges(&execution)).join(" ");
        assert!(all.contains("reads an old value"), "{all}");
        assert!(
            all.contains("that of thread 1 after step 3 is AcqRel") && !all.contains("thread 0 has"),
            "{all}"
        );
    }
}
