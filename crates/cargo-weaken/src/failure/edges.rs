//! Which reads synchronise with the write that they read from, and which would with the orderings of the
//! source.

use weaken::operation::{Operation, Order};
use weaken::record::{Execution, Step};

/// A read of what another thread wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Edge {
    /// The step that wrote.
    pub(crate) from: usize,
    /// The step that read.
    pub(crate) to: usize,
    pub(crate) kind: Kind,
}

/// What a read orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// All that the writer did before is done for the reader.
    Synchronises,
    /// It orders nothing, and would with the orderings of the source.
    Missing {
        /// The steps that have another ordering there.
        because: Vec<usize>,
    },
    /// It orders nothing.
    Nothing,
}

/// Whether the ordering of a step is another than in the source.
pub(crate) fn is_changed(step: &Step) -> bool {
    step.source.is_some()
}

/// The reads of an execution that cross from thread to thread, in its order.
pub(crate) fn edges(execution: &Execution) -> Vec<Edge> {
    let steps = &execution.steps;
    let crossing = steps.iter().enumerate().filter_map(|(to, step)| {
        let from = step.read.as_ref()?.from?;
        (steps.get(from)?.thread != step.thread).then_some((from, to))
    });
    crossing.map(|(from, to)| Edge { from, to, kind: kind(steps, from, to) }).collect()
}

fn kind(steps: &[Step], from: usize, to: usize) -> Kind {
    let in_run = |step: &Step| step.order;
    let in_source = |step: &Step| step.source.or(step.order);
    let both =
        |order: &dyn Fn(&Step) -> Option<Order>| (releasers(steps, from, order), acquirers(steps, to, order));
    let (releasing, acquiring) = both(&in_run);
    if !releasing.is_empty() && !acquiring.is_empty() {
        return Kind::Synchronises;
    }
    let (releasing, acquiring) = both(&in_source);
    if releasing.is_empty() || acquiring.is_empty() {
        return Kind::Nothing;
    }
    let all = releasing.into_iter().chain(acquiring);
    Kind::Missing { because: all.filter(|step| is_changed(&steps[*step])).collect() }
}

/// The steps that make a write a release: itself, a fence before it, and, as a read-modify-write continues
/// what it reads from, those of that write.
fn releasers(steps: &[Step], write: usize, order: &dyn Fn(&Step) -> Option<Order>) -> Vec<usize> {
    let releases = |index: &usize| order(&steps[*index]).is_some_and(Order::releases);
    let mut all = Vec::new();
    let mut next = Some(write);
    while let Some(write) = next {
        let step = &steps[write];
        // Plain accesses of an atomic, which have no ordering, order nothing.
        if step.order.is_some() {
            let fence = |index: &usize| is_fence_of(steps, *index, step.thread);
            all.extend(Some(write).into_iter().chain((0..write).rev().filter(fence)).filter(releases));
        }
        next = step.read.as_ref().and_then(|read| read.from).filter(|from| *from < write);
    }
    all
}

/// The steps that make a read an acquire: itself, or a fence after it.
fn acquirers(steps: &[Step], read: usize, order: &dyn Fn(&Step) -> Option<Order>) -> Vec<usize> {
    let step = &steps[read];
    if step.order.is_none() {
        return Vec::new();
    }
    let fences = (read + 1..steps.len()).filter(|index| is_fence_of(steps, *index, step.thread));
    let acquires = |index: &usize| order(&steps[*index]).is_some_and(Order::acquires);
    Some(read).into_iter().chain(fences).filter(acquires).collect()
}

fn is_fence_of(steps: &[Step], index: usize, thread: u32) -> bool {
    steps[index].operation == Operation::Fence && steps[index].thread == thread
}

#[cfg(test)]
mod tests {
    use super::{Edge, Kind, edges};
    use crate::failure::steps::{execution, fence, load, rmw, store};
    use weaken::operation::Order::{AcqRel, Acquire, Relaxed, Release};

    fn kinds(steps: Vec<weaken::record::Step>) -> Vec<Kind> {
        edges(&execution(steps)).into_iter().map(|edge| edge.kind).collect()
    }

    #[test]
    fn an_acquire_synchronises_with_the_release_that_it_reads_from() {
        let steps = vec![store(1, "flag", Release), load(0, "flag", Acquire, Some(0))];
        let edges = edges(&execution(steps));
        assert_eq!(edges, [Edge { from: 0, to: 1, kind: Kind::Synchronises }]);
        assert_eq!(
            kinds(vec![store(1, "flag", Relaxed), load(0, "flag", Acquire, Some(0))]),
            [Kind::Nothing]
        );
    }

    #[test]
    fn an_edge_is_missing_if_the_source_has_it_and_the_step_that_changed_is_named() {
        let mut weakened = store(1, "flag", Relaxed);
        weakened.source = Some(Release);
        assert_eq!(
            kinds(vec![weakened, load(0, "flag", Acquire, Some(0))]),
            [Kind::Missing { because: vec![0] }]
        );
        let mut no_fence = fence(0, Relaxed);
        no_fence.source = Some(Acquire);
        let steps = |after| {
            let (store, load) = (store(1, "flag", Relaxed), load(0, "flag", Relaxed, Some(1)));
            vec![fence(1, Release), store, load, after]
        };
        assert_eq!(kinds(steps(fence(0, Acquire))), [Kind::Synchronises]);
        assert_eq!(kinds(steps(no_fence)), [Kind::Missing { because: vec![3] }]);
        assert_eq!(kinds(steps(fence(1, Acquire))), [Kind::Nothing], "a fence of another thread is none");
    }

    #[test]
    fn a_read_modify_write_continues_the_release_that_it_reads_from() {
        let steps = |order| {
            vec![
                store(1, "count", order),
                rmw(2, "count", Relaxed, Some(0)),
                load(0, "count", Acquire, Some(1)),
            ]
        };
        assert_eq!(kinds(steps(Release)), [Kind::Nothing, Kind::Synchronises]);
        assert_eq!(kinds(steps(Relaxed)), [Kind::Nothing, Kind::Nothing]);
        let steps = vec![rmw(1, "count", AcqRel, None), rmw(2, "count", AcqRel, Some(0))];
        assert_eq!(kinds(steps), [Kind::Synchronises]);
    }

    #[test]
    fn what_a_thread_reads_from_itself_is_no_edge() {
        assert_eq!(kinds(vec![store(1, "flag", Release), load(1, "flag", Acquire, Some(0))]), []);
    }
}
