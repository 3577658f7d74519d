//! Which reads synchronise with the write that they read from, and which would with the orderings of the
//! source.

use std::collections::BTreeMap;

use crate::operation::{Operation, Order};
use crate::record::{Execution, Step};

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
    /// What the writer did before is done for the reader: before the write, or before a fence in front of it.
    Synchronises,
    /// It orders nothing, or less than with the orderings of the source.
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
    let in_run = Sides::of_run(steps, from, to);
    let in_source = Sides::new(steps, from, to, &|step| step.source.or(step.order));
    let lost = match in_source.synchronise() {
        true => in_run.less_than(&in_source),
        false => Vec::new(),
    };
    match (lost.is_empty(), in_run.synchronise()) {
        (false, _) => Kind::Missing { because: lost },
        (true, true) => Kind::Synchronises,
        (true, false) => Kind::Nothing,
    }
}

/// The two sides of a read that may synchronise.
pub(super) struct Sides {
    /// The latest step of each other thread that makes the write a release: itself, a fence before it, and, as
    /// a read-modify-write continues what it reads from, those of that write.
    releasers: BTreeMap<u32, usize>,
    /// The first step that makes the read an acquire: itself, or a fence after it.
    acquirer: Option<usize>,
}

impl Sides {
    fn new(steps: &[Step], from: usize, to: usize, order: &dyn Fn(&Step) -> Option<Order>) -> Sides {
        let fence_of = |index: usize, thread: u32| {
            steps[index].operation == Operation::Fence && steps[index].thread == thread
        };
        let mut releasers = BTreeMap::new();
        let mut next = Some(from);
        // Plain accesses of an atomic have no ordering, order nothing and continue nothing.
        while let Some(write) = next.filter(|write| steps[*write].order.is_some()) {
            let step = &steps[write];
            let releases = |index: &usize| order(&steps[*index]).is_some_and(Order::releases);
            let fences = (0..write).rev().filter(|index| fence_of(*index, step.thread));
            let latest = [write].into_iter().chain(fences).find(releases);
            if let Some(latest) = latest.filter(|_| step.thread != steps[to].thread) {
                let known = releasers.entry(step.thread).or_insert(latest);
                *known = latest.max(*known);
            }
            next = step.read.as_ref().and_then(|read| read.from).filter(|from| *from < write);
        }
        let reader = &steps[to];
        let fences = (to + 1..steps.len()).filter(|index| fence_of(*index, reader.thread));
        let acquires = |index: &usize| order(&steps[*index]).is_some_and(Order::acquires);
        let acquirer = [to].into_iter().chain(fences).find(acquires).filter(|_| reader.order.is_some());
        Sides { releasers, acquirer }
    }

    /// With the orderings that the run had.
    pub(super) fn of_run(steps: &[Step], from: usize, to: usize) -> Sides {
        Sides::new(steps, from, to, &|step| step.order)
    }

    pub(super) fn releases(&self) -> bool {
        !self.releasers.is_empty()
    }

    pub(super) fn acquires(&self) -> bool {
        self.acquirer.is_some()
    }

    fn synchronise(&self) -> bool {
        self.releases() && self.acquires()
    }

    /// The steps of `other` that order more than these do.
    fn less_than(&self, other: &Sides) -> Vec<usize> {
        let later = other.releasers.iter().filter(|(thread, step)| self.releasers.get(thread) < Some(step));
        let earlier = other.acquirer.filter(|step| self.acquirer.is_none_or(|mine| mine > *step));
        later.map(|(_, step)| *step).chain(earlier).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Edge, Kind, edges};
    use crate::operation::Operation;
    use crate::operation::Order::{AcqRel, Acquire, Relaxed, Release};
    use crate::picture::steps::{execution, fence, load, plain, rmw, store};

    fn kinds(steps: Vec<crate::record::Step>) -> Vec<Kind> {
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
    fn a_fence_in_front_of_the_write_does_not_stand_in_for_its_release() {
        let mut weakened = store(1, "flag", Relaxed);
        weakened.source = Some(Release);
        let write = plain(1, Operation::Write, "data");
        let steps = vec![fence(1, AcqRel), write, weakened, load(0, "flag", Acquire, Some(2))];
        assert_eq!(kinds(steps), [Kind::Missing { because: vec![2] }]);

        let mut weakened = load(0, "flag", Relaxed, Some(0));
        weakened.source = Some(Acquire);
        let read = plain(0, Operation::Read, "data");
        let steps = vec![store(1, "flag", Release), weakened, read, fence(0, AcqRel)];
        assert_eq!(kinds(steps), [Kind::Missing { because: vec![1] }]);
    }

    #[test]
    fn what_the_reader_has_released_itself_is_no_reason() {
        let weakened = |thread, from| {
            let mut step = rmw(thread, "top", Relaxed, from);
            step.source = Some(Release);
            step
        };
        let steps = vec![weakened(0, None), weakened(1, Some(0)), load(0, "top", Acquire, Some(1))];
        assert_eq!(kinds(steps), [Kind::Nothing, Kind::Missing { because: vec![1] }]);
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
