//! What is shown of a long execution.

use std::collections::BTreeSet;

use crate::record::Execution;

use super::edges::{Edge, Kind, is_changed};

/// How many steps a picture has at most.
const MOST: usize = 60;
/// How many steps of the end are shown in any case.
const END: usize = 8;

/// The steps that are shown, in their order: all if they are few; else those that the failure is about, the
/// latest first, and where they read from.
pub(crate) fn shown(execution: &Execution, edges: &[Edge]) -> Vec<usize> {
    let steps = &execution.steps;
    let all = 0..steps.len();
    if steps.len() <= MOST {
        return all.collect();
    }
    let mut chosen = Chosen(BTreeSet::new());
    let missing = edges.iter().rev().filter(|edge| matches!(edge.kind, Kind::Missing { .. }));
    // None of these may take the place of all others: each has its share of the picture.
    chosen.add(2, all.clone().rev().take(1).chain(execution.unordered));
    chosen.add(MOST / 3, missing.flat_map(|edge| [edge.to, edge.from]));
    chosen.add(MOST / 2, all.clone().rev().filter(|step| is_changed(&steps[*step])));
    let words: BTreeSet<&String> = chosen.0.iter().filter_map(|step| steps[*step].word.as_ref()).collect();
    let touches = |step: &usize| steps[*step].word.as_ref().is_some_and(|word| words.contains(word));
    chosen.add(MOST * 2 / 3, all.clone().rev().filter(touches));
    chosen.add(MOST - END, all.clone().rev().take(END));
    let from = |step: &usize| steps[*step].read.as_ref()?.from;
    let writes: Vec<usize> = chosen.0.iter().rev().filter_map(from).collect();
    chosen.add(MOST, writes);
    // To leave one out would take as much room.
    let alone = |step: &usize| *step > 0 && chosen.0.contains(&(step - 1)) && chosen.0.contains(&(step + 1));
    let alone: Vec<usize> = all.rev().filter(alone).collect();
    chosen.add(MOST, alone);
    chosen.0.into_iter().collect()
}

struct Chosen(BTreeSet<usize>);

impl Chosen {
    /// Adds steps as long as there are no more than `most`.
    fn add(&mut self, most: usize, steps: impl IntoIterator<Item = usize>) {
        for step in steps {
            if self.0.len() >= most {
                break;
            }
            self.0.insert(step);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{END, MOST, shown};
    use crate::operation::Operation;
    use crate::operation::Order::{AcqRel, Acquire, Relaxed, Release};
    use crate::picture::edges::edges;
    use crate::picture::steps::{execution, load, plain, rmw, store};

    #[test]
    fn a_long_execution_is_cut_to_what_the_failure_is_about() {
        let mut steps = vec![plain(1, Operation::Write, "data"), store(1, "ready", Relaxed)];
        steps[1].source = Some(Release);
        // A counter that has nothing to do with it, of which each step reads from the one before.
        for count in 0..200_usize {
            steps.push(rmw(count as u32 % 2 + 2, "count", AcqRel, count.checked_sub(1).map(|from| from + 2)));
        }
        steps.push(load(0, "ready", Acquire, Some(1)));
        steps.push(plain(0, Operation::Read, "data"));
        let mut execution = execution(steps);
        execution.unordered = Some(0);
        let all = shown(&execution, &edges(&execution));
        assert_eq!(all[..2], [0, 1]);
        // The end, and one more: the write that its first step reads from.
        let end: Vec<_> = (204 - END - 1..204).collect();
        assert_eq!(all[2..], end);
    }

    #[test]
    fn a_word_that_is_changed_everywhere_leaves_room_for_the_rest() {
        let mut steps = vec![plain(1, Operation::Write, "data")];
        for count in 0..500 {
            let mut step = rmw(count % 2, "count", Relaxed, (count > 0).then_some(count as usize));
            step.source = Some(AcqRel);
            steps.push(step);
        }
        steps.push(plain(0, Operation::Read, "data"));
        let mut execution = execution(steps);
        execution.unordered = Some(0);
        let all = shown(&execution, &edges(&execution));
        assert!(all.len() <= MOST && all.first() == Some(&0), "{all:?}");
        let end: Vec<_> = (502 - END..502).collect();
        assert!(all.ends_with(&end), "{all:?}");
    }

    #[test]
    fn a_short_execution_is_shown_whole() {
        let execution = execution((0..MOST).map(|_| store(1, "word", Relaxed)).collect());
        assert_eq!(shown(&execution, &[]).len(), MOST);
    }
}
