//! Why the execution fails, in sentences that name the changed ordering.

use std::path::Path;

use crate::operation::{Operation, Order};
use crate::record::{Execution, Step};

use super::edges::{Edge, Kind, is_changed};

/// A sentence for each thing that a reader should know, in the order in which it is read.
pub(crate) fn explain(execution: &Execution, edges: &[Edge]) -> Vec<String> {
    let steps = &execution.steps;
    let name = |index: usize| name(index, &steps[index]);
    let mut sentences = Vec::new();

    let missing = missing(execution, edges);
    if let Some((edge, because)) = missing {
        let is = because.iter().map(|index| {
            let step = &steps[*index];
            let who = match *index {
                index if index == edge.to => "it".into(),
                index if index == edge.from => format!("step {}", index + 1),
                index => name(index),
            };
            changed(&who, step)
        });
        let is: Vec<_> = is.collect();
        sentences.push(format!(
            "{} reads what {} wrote, and no longer synchronises with it: {}.",
            capital(&name(edge.to)),
            name(edge.from),
            is.join(", and ")
        ));
    } else if let Some((index, step)) = steps.iter().enumerate().rfind(|(_, step)| is_changed(step)) {
        sentences.push(format!("{}: {}.", capital(&changed(&name(index), step)), lost(step)));
    } else {
        sentences.push(
            "No step here has the changed ordering: the execution ended before, or loom had not tried this \
             order of the threads."
                .into(),
        );
    }
    // Where an edge is missing, an old value is no reason of the race.
    if execution.unordered.is_none() || missing.is_none() {
        sentences.extend(old_value(execution));
    }
    sentences.extend(race(execution));
    sentences.extend(reasons(steps));
    sentences
}

/// The last read of an old value, and the write that it does not see.
pub(super) fn old_read(steps: &[Step]) -> Option<(usize, usize)> {
    let old = steps.iter().enumerate().rev();
    old.filter_map(|(index, step)| Some((index, step.read.as_ref()?.newest?)))
        .find(|(read, newest)| newest < read)
}

/// That a step reads an old value.
pub(super) fn old_value(execution: &Execution) -> Option<String> {
    let steps = &execution.steps;
    let (read, newest) = old_read(steps)?;
    let (reader, writer) = (capital(&name(read, &steps[read])), name(newest, &steps[newest]));
    // loom may put two writes in another order than it executed them.
    Some(if steps[read].thread == steps[newest].thread {
        format!(
            "{reader} does not read what {writer} wrote: nothing orders that write and the one that is read, and \
             either may be the later."
        )
    } else {
        format!(
            "{reader} reads an old value: {writer} had written after it, and nothing makes the read see that."
        )
    })
}

/// That two steps race.
pub(super) fn race(execution: &Execution) -> Option<String> {
    let steps = &execution.steps;
    let (first, last) = (execution.unordered?, steps.len().checked_sub(1)?);
    Some(format!(
        "Nothing orders {} before {}: they touch the same memory, and one of them writes.",
        name(first, &steps[first]),
        name(last, &steps[last])
    ))
}

/// The missing edge that says most: where there is a race, one that would order it; else the last.
fn missing<'a>(execution: &Execution, edges: &'a [Edge]) -> Option<(&'a Edge, &'a [usize])> {
    let steps = &execution.steps;
    let all = || {
        edges.iter().rev().filter_map(|edge| match &edge.kind {
            Kind::Missing { because } => Some((edge, because.as_slice())),
            Kind::Synchronises | Kind::Nothing => None,
        })
    };
    let race = execution.unordered.zip(steps.last());
    let orders = |edge: &Edge| {
        race.is_some_and(|(first, last)| {
            let writer = steps[edge.from].thread == steps[first].thread && edge.from >= first;
            writer && steps[edge.to].thread == last.thread
        })
    };
    all().find(|(edge, _)| orders(edge)).or_else(|| all().next())
}

/// `step 4 (store tail, thread 1)`
pub(super) fn name(index: usize, step: &Step) -> String {
    let what = match (&step.site, &step.word) {
        (Some(site), _) => site.clone(),
        (None, Some(word)) => format!("{} {word}", step.operation),
        (None, None) => step.operation.to_string(),
    };
    format!("step {} ({what}, thread {})", index + 1, step.thread)
}

/// `step 4 (store tail, thread 1) is Relaxed instead of Release at ring.rs:12`
fn changed(name: &str, step: &Step) -> String {
    let (now, source) = orders(step);
    format!("{name} is {now} instead of {source} at {}", place(step))
}

fn orders(step: &Step) -> (Order, Order) {
    let now = step.order.unwrap_or(Order::Relaxed);
    (now, step.source.unwrap_or(now))
}

/// What the weaker ordering of a step no longer promises.
fn lost(step: &Step) -> &'static str {
    let (now, source) = orders(step);
    let is_fence = step.operation == Operation::Fence;
    match (source.acquires() && !now.acquires(), source.releases() && !now.releases()) {
        // What the others have as well: in loom, a fence alone has it.
        _ if source == Order::SeqCst && is_fence => "it has no place in the one order of all SeqCst fences",
        (true, true) => "it hands on nothing, and takes nothing over",
        (true, false) if is_fence => "what the thread has read before takes nothing over",
        (true, false) => "it takes nothing over from the write that it reads from",
        (false, true) if is_fence => "what the thread writes after it hands nothing on",
        (false, true) => "it hands nothing on to who reads from it",
        (false, false) if source == Order::SeqCst => "it has no place in the one order of what is SeqCst",
        (false, false) => "it promises no less, so something else is wrong",
    }
}

/// The name of the site; else the file without its folders, and the line.
pub(crate) fn place(step: &Step) -> String {
    match (&step.site, &step.place) {
        (Some(site), _) => site.clone(),
        (None, Some(place)) => {
            let file = Path::new(&place.file).file_name().map(|name| name.to_string_lossy());
            format!("{}:{}", file.unwrap_or_default(), place.line)
        }
        (None, None) => String::new(),
    }
}

/// The same with the whole path.
pub(super) fn whole_place(step: &Step) -> String {
    match (&step.site, &step.place) {
        (None, Some(place)) => format!("{}:{}", place.file, place.line),
        _ => place(step),
    }
}

/// Why the changed steps have the ordering that they have in the source.
fn reasons(steps: &[Step]) -> Vec<String> {
    let mut reasons = Vec::new();
    for step in steps.iter().filter(|step| is_changed(step)) {
        if let Some(why) = &step.why {
            let reason = format!("{} is {} in the source: {why}.", place(step), orders(step).1);
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
    }
    reasons
}

pub(super) fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(characters).collect()
}

#[cfg(test)]
mod tests {
    use super::explain;
    use crate::operation::Operation;
    use crate::operation::Order::{AcqRel, Acquire, Relaxed, Release, SeqCst};
    use crate::picture::edges::edges;
    use crate::picture::steps::{execution, fence, load, plain, store};
    use crate::record::{Execution, Step};

    fn sentences(execution: &Execution) -> Vec<String> {
        explain(execution, &edges(execution))
    }

    fn weakened(step: Step, source: crate::operation::Order) -> Step {
        Step { source: Some(source), ..step }
    }

    #[test]
    fn a_race_is_explained_by_the_edge_that_is_missing_and_the_step_that_was_weakened() {
        for (release, acquire, named) in
            [(Relaxed, Acquire, "step 2 (fence, thread 1)"), (Release, Relaxed, "it")]
        {
            let source = |now, step| if now == Relaxed { weakened(step, AcqRel) } else { step };
            let mut execution = execution(vec![
                plain(1, Operation::Write, "data"),
                source(release, fence(1, release)),
                store(1, "ready", Relaxed),
                source(acquire, load(0, "ready", acquire, Some(2))),
                plain(0, Operation::Read, "data"),
            ]);
            execution.unordered = Some(0);
            let all = sentences(&execution);
            assert_eq!(all.len(), 2, "{all:?}");
            let says = |text: &str| assert!(all.join(" ").contains(text), "{text}: {all:?}");
            says("Step 4 (load ready, thread 0) reads what step 3 (store ready, thread 1) wrote,");
            says(&format!(
                "no longer synchronises with it: {named} is Relaxed instead of AcqRel at queue.rs:"
            ));
            says("Nothing orders step 1 (write data, thread 1) before step 5 (read data, thread 0)");
        }
    }

    #[test]
    fn the_weakened_step_is_named_also_where_no_edge_is_missing() {
        let mut read = load(0, "flag", SeqCst, None);
        read.read.as_mut().expect("it reads").newest = Some(1);
        let steps = vec![weakened(fence(1, AcqRel), SeqCst), store(1, "flag", Relaxed), read];
        let all = sentences(&execution(steps));
        assert!(all[0].starts_with("Step 1 (fence, thread 1) is AcqRel instead of SeqCst at queue.rs:11"));
        assert!(all[0].contains("no place in the one order"), "{all:?}");
        assert!(all[1].contains("Step 3 (load flag, thread 0) reads an old value: step 2"), "{all:?}");

        let mut read = load(0, "turn", Relaxed, Some(0));
        read.read.as_mut().expect("it reads").newest = Some(1);
        let all = sentences(&execution(vec![store(1, "turn", Relaxed), store(0, "turn", Relaxed), read]));
        assert!(all[1].contains("either may be the later"), "it wrote itself before: {all:?}");

        let unchanged = sentences(&execution(vec![store(1, "flag", Release)]));
        assert!(unchanged[0].contains("No step here has the changed ordering"), "{unchanged:?}");
    }
}
