//! What a picture shows, and why. What holds on one processor and not on another is computed.

use crate::plot::figure;
use crate::results::Results;

/// The text under a picture.
pub(super) fn why(results: &Results, file: &str) -> Option<String> {
    let fixed = |text: &str| Some(text.to_owned());
    let shares = results.machine.cpus == 2;
    match file {
        "bench-push.svg" => fixed(
            "A push to the MPMC queue is one locked instruction, to the MPSC queue two, one on the processor's magazine \
             and one on the head, and the counter of each is one more. A record takes one, on its lane. What one takes is \
             the processor's, and the row of *locked-rmw* says it. The ring buffer's is a spin lock, taken and released \
             with interrupts off, and two calls of helper functions. Not shown are those that interrupt a CPU for each \
             event, the perf buffer and the ring buffer with a wakeup each time: the others' bars would be too short \
             beside theirs.",
        ),
        "bench-lossless.svg" => fixed(
            "Where the consumer keeps up, the producers set the pace: what a push takes more than alone is fetching the \
             lines that the consumer has read or written. A consumer that leaves the queue alone until a batch is there \
             takes them less often, which helps the ring buffer too. The seeds put the counter beside the address of \
             the ring, so the side that counts takes that line from the side that looks it up.",
        ),
        "bench-lossless-2.svg" if shares => fixed(
            "The second producer has no CPU of its own here: it shares that of the consumer, which gives it away when it \
             backs off.",
        ),
        "bench-producers.svg" => Some(format!(
            "Elements are taken one by one here, and the one consumer sets the pace; threads beyond the {} CPUs run in \
             turns and meet no more often. The height is the number of lines that both sides write with each element: \
             of mpmc-uncounted none but the cells, of mpmc the counter's, of mpsc that of head and tail, which the seeds \
             put on one line. Batches are what helps.{}",
            results.machine.cpus,
            ends(results, "growth.producers.", "", "producers")
        )),
        "bench-capacity.svg" => Some(format!(
            "A ring is filled and emptied in the order of its cells, and the nodes of a block lie side by side, so the \
             processor fetches the next ones before they are needed, and cost grows only where a cache ends. A million \
             elements are 24 MB in the MPMC queue, and with their links 32 MB in the MPSC queue. Small queues pay for the \
             turn from filling to emptying.{}",
            ends(results, "growth.capacity.", "", "elements")
        )),
        "bench-bpf-producers.svg" => Some(format!(
            "{}Threads beyond the CPUs run in turns. A dip that all take at the same number of producers is no queue's \
             own.{}",
            if shares { "From the second producer on the consumer shares its CPU. " } else { "" },
            ends(results, "growth.bpf-producers.", ".rate", "producers")
        )),
        _ => None,
    }
}

/// What the ends of a curve are.
fn ends(results: &Results, prefix: &str, suffix: &str, of: &str) -> String {
    const ONE: &str = "mpmc-uncounted";
    let points: Vec<_> = results
        .groups
        .iter()
        .filter_map(|group| {
            let at: u64 = group.name.strip_prefix(prefix)?.strip_suffix(suffix)?.parse().ok()?;
            Some((at, group.entry(ONE)?.summary()?.median, group.unit))
        })
        .collect();
    let first = points.iter().min_by_key(|(at, ..)| *at);
    let last = points.iter().max_by_key(|(at, ..)| *at);
    match (first, last) {
        (Some((from, low, unit)), Some((to, high, _))) if from < to => format!(
            " From {from} to {to} {of}, *{ONE}* goes from {} to {} {}.",
            figure(*low),
            figure(*high),
            unit.symbol()
        ),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::why;
    use crate::results::tests::{entry, group};
    use crate::results::{Group, Results, Role, Unit};

    #[test]
    fn a_curve_says_where_it_begins_and_ends_on_this_processor() {
        let at = |name: &str, ns: f64| Group {
            name: name.to_owned(),
            entries: vec![entry("mpmc-uncounted", Role::Ours, &[ns])],
            ..group(Unit::Nanoseconds)
        };
        let groups = vec![at("growth.producers.16", 70.0), at("growth.producers.2", 50.0)];
        let mut results = Results { machine: Default::default(), quick: true, groups, skipped: Vec::new() };
        let text = why(&results, "bench-producers.svg").expect("it has a text");
        assert!(text.ends_with(" From 2 to 16 producers, *mpmc-uncounted* goes from 50 to 70 ns."), "{text}");

        results.machine.cpus = 2;
        assert!(why(&results, "bench-lossless-2.svg").is_some());
        results.machine.cpus = 8;
        assert!(why(&results, "bench-lossless-2.svg").is_none(), "nobody shares a CPU there");
    }
}
