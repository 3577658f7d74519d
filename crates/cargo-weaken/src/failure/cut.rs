//! What is shown of a long execution.

use std::collections::BTreeSet;

use weaken::record::Execution;

use super::edges::{Edge, Kind, is_changed};

/// How many steps a picture has at most.
const MOST: usize = 60;

/// The steps that are shown, in their order: all if they are few; else those that explain the failure, and
/// where they come from, the latest first.
pub(crate) fn shown(execution: &Execution, edges: &[Edge]) -> Vec<usize> {
    let steps = &execution.steps;
    let all = 0..steps.len();
    if steps.len() <= MOST {
        return all.collect();
    }
    let last = steps.len() - 1;
    let mut chosen = Chosen { execution, steps: BTreeSet::new() };
    chosen.add([last].into_iter().chain(execution.unordered));
    chosen
        .add(edges.iter().rev().filter(|edge| matches!(edge.kind, Kind::Missing { .. })).map(|edge| edge.to));
    chosen.add(all.clone().rev().filter(|step| is_changed(&steps[*step])));
    // What else was done to the memory that the failure is about.
    let words: BTreeSet<&String> =
        chosen.steps.iter().filter_map(|step| steps[*step].word.as_ref()).collect();
    let touches = |step: &usize| steps[*step].word.as_ref().is_some_and(|word| words.contains(word));
    chosen.add(all.clone().rev().filter(touches));
    chosen.add(all.rev());
    chosen.steps.into_iter().collect()
}

struct Chosen<'a> {
    execution: &'a Execution,
    steps: BTreeSet<usize>,
}

impl Chosen<'_> {
    /// Adds steps, each with the writes that led to it, as long as there is room.
    fn add(&mut self, steps: impl IntoIterator<Item = usize>) {
        for step in steps {
            let mut next = Some(step);
            while let Some(step) = next.filter(|step| self.steps.len() < MOST && self.steps.insert(*step)) {
                next = self.execution.steps[step].read.as_ref().and_then(|read| read.from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST, shown};
    use crate::failure::edges::edges;
    use crate::failure::steps::{execution, load, plain, store};
    use weaken::operation::Operation;
    use weaken::operation::Order::{Acquire, Relaxed, Release};

    #[test]
    fn a_long_execution_is_cut_to_what_explains_it() {
        let mut steps = vec![plain(1, Operation::Write, "data"), store(1, "ready", Relaxed)];
        steps[1].source = Some(Release);
        for _ in 0..200 {
            steps.push(store(2, "other", Relaxed));
        }
        steps.push(load(0, "ready", Acquire, Some(1)));
        steps.push(plain(0, Operation::Read, "data"));
        let mut execution = execution(steps);
        execution.unordered = Some(0);
        let all = shown(&execution, &edges(&execution));
        assert_eq!(all.len(), MOST);
        assert_eq!(all[..2], [0, 1]);
        let end: Vec<_> = (204 - (MOST - 2)..204).collect();
        assert_eq!(all[2..], end);
    }

    #[test]
    fn a_short_execution_is_shown_whole() {
        let execution = execution((0..MOST).map(|_| store(1, "word", Relaxed)).collect());
        assert_eq!(shown(&execution, &[]).len(), MOST);
    }
}
