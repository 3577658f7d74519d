//! Where everything of a picture stands: a column for each thread, a row for each step, and arrows that run
//! beside the boxes.
//!
//! A row has one box, so an arrow may leave it sideways and pass the other columns there. It runs down in the
//! gap beside the column of its end, where no text is.

use std::collections::{BTreeMap, BTreeSet};

use crate::record::{Ending, Execution, Step};

use super::edges::{Edge, Kind, is_changed};
use super::explain::{place, whole_place};
use super::text::{self, LINE, Lines};

/// Around everything.
const MARGIN: u32 = 12;
/// Around the text in a box.
const PAD: u32 = 8;
/// Between two rows.
const GAP: u32 = 10;
/// The headers of the columns.
const HEADER: u32 = 28;
/// Between two arrows that run down side by side.
const TRACK: u32 = 11;
/// Between a box and the first of them; the head of an arrow fits in.
const ROOM: u32 = 16;
/// With fewer rows than this the columns have their headers once.
const FEW: usize = 12;

/// What an arrow says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Meaning {
    Synchronises,
    Missing,
    Nothing,
    Race,
}

/// A picture.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) labels: Vec<Label>,
    pub(crate) boxes: Vec<StepBox>,
    pub(crate) arrows: Vec<Arrow>,
    /// The middle of each column.
    pub(crate) threads: Vec<u32>,
    /// From the headers to the last row.
    pub(crate) rows: (u32, u32),
}

/// Text in the middle of a column.
#[derive(Clone, Debug)]
pub(crate) struct Label {
    pub(crate) class: &'static str,
    pub(crate) x: u32,
    /// Of the text's base line.
    pub(crate) y: u32,
    pub(crate) text: String,
}

/// A step.
#[derive(Clone, Debug)]
pub(crate) struct StepBox {
    pub(crate) classes: String,
    pub(crate) x: u32,
    pub(crate) y: u32,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) lines: Lines,
    /// Shown when one points at it.
    pub(crate) title: String,
}

impl StepBox {
    /// The base line of a line of text.
    pub(crate) fn text(&self, line: usize) -> (u32, u32) {
        (self.x + PAD, self.y + PAD - 3 + LINE * (line as u32 + 1) - 4)
    }

    /// Where an arrow meets its side.
    fn side(&self, is_right: bool) -> u32 {
        if is_right { self.x + self.width } else { self.x }
    }
}

/// An arrow along these points.
#[derive(Clone, Debug)]
pub(crate) struct Arrow {
    pub(crate) meaning: Meaning,
    pub(crate) points: [(u32, u32); 4],
}

/// A step, or the number of steps of each thread that are left out.
enum Row {
    Step(usize),
    Cut(BTreeMap<u32, usize>),
}

/// An arrow before it has a place: between rows.
struct Link {
    meaning: Meaning,
    from: usize,
    to: usize,
    /// The gap in which it runs down: that on the left of the column with this number.
    gap: usize,
    track: u32,
}

pub(crate) fn layout(execution: &Execution, edges: &[Edge], shown: &[usize]) -> Layout {
    let steps = &execution.steps;
    let threads: BTreeSet<u32> = shown.iter().map(|step| steps[*step].thread).collect();
    let threads: Vec<u32> = threads.into_iter().collect();
    let column = |step: usize| threads.iter().position(|thread| *thread == steps[step].thread).unwrap_or(0);
    let rows = rows(execution, shown);

    let links = links(execution, edges, shown, column);
    let tracks = |gap: usize| links.iter().filter(|link| link.gap == gap).map(|link| link.track + 1).max();

    // From left to right.
    let texts: BTreeMap<usize, Lines> = shown.iter().map(|step| (*step, lines(steps, *step))).collect();
    let mut x = MARGIN;
    let mut columns = Vec::new();
    let mut gaps = Vec::new();
    for (number, thread) in threads.iter().enumerate() {
        gaps.push(x + ROOM);
        if number > 0 {
            x += 2 * ROOM + tracks(number).unwrap_or(0) * TRACK;
        }
        let boxes = texts.iter().filter(|(step, _)| column(**step) == number);
        let letters = boxes.flat_map(|(_, lines)| &lines.0).map(text::Line::letters);
        let cuts = rows.iter().filter_map(|row| if let Row::Cut(cut) = row { cut.get(thread) } else { None });
        let labels = cuts.map(|count| left_out(*count)).chain([header(*thread)]);
        let letters = letters.chain(labels.map(|label| text::letters(&label))).max().unwrap_or(0);
        let width = text::width(letters) + 2 * PAD;
        columns.push((x, width));
        x += width;
    }
    let middle = |column: usize| columns[column].0 + columns[column].1 / 2;

    // From top to bottom.
    let mut layout = Layout {
        width: x + MARGIN,
        height: 0,
        labels: Vec::new(),
        boxes: Vec::new(),
        arrows: Vec::new(),
        threads: (0..columns.len()).map(middle).collect(),
        rows: (MARGIN + HEADER, 0),
    };
    let headers = |layout: &mut Layout, y: u32| {
        for (number, thread) in threads.iter().enumerate() {
            let text = header(*thread);
            layout.labels.push(Label { class: "thread", x: middle(number), y: y + LINE, text });
        }
    };
    let mut y = MARGIN;
    headers(&mut layout, y);
    y += HEADER;
    let mut boxes: BTreeMap<usize, usize> = BTreeMap::new();
    for row in &rows {
        match row {
            Row::Step(step) => {
                let (x, width) = columns[column(*step)];
                let lines = texts[step].clone();
                let height = lines.0.len() as u32 * LINE + 2 * PAD - 2;
                boxes.insert(*step, layout.boxes.len());
                let (classes, title) = (classes(execution, *step), whole_place(&steps[*step]));
                layout.boxes.push(StepBox { classes, x, y, width, height, lines, title });
                y += height + GAP;
            }
            Row::Cut(cut) => {
                for (number, thread) in threads.iter().enumerate() {
                    if let Some(count) = cut.get(thread) {
                        let text = left_out(*count);
                        layout.labels.push(Label { class: "cut", x: middle(number), y: y + LINE - 4, text });
                    }
                }
                y += LINE + GAP;
            }
        }
    }
    layout.rows.1 = y - GAP;
    if rows.len() > FEW {
        headers(&mut layout, y);
        y += HEADER;
    }
    layout.height = y + MARGIN;

    for link in &links {
        let (from, to) = (&layout.boxes[boxes[&link.from]], &layout.boxes[boxes[&link.to]]);
        let goes_right = column(link.from) < column(link.to);
        let (start, end) = (from.side(goes_right), to.side(!goes_right));
        let (out, into) = ports(link.meaning);
        let (out, into) = (from.y + from.height - out, to.y + into);
        let down = gaps[link.gap] + link.track * TRACK + TRACK / 2;
        let points = [(start, out), (down, out), (down, into), (end, into)];
        layout.arrows.push(Arrow { meaning: link.meaning, points });
    }
    layout
}

/// How far from the lower edge of a box an arrow leaves it, and how far from the upper edge it enters one.
fn ports(meaning: Meaning) -> (u32, u32) {
    match meaning {
        Meaning::Synchronises => (6, 11),
        Meaning::Missing => (11, 11),
        Meaning::Nothing => (16, 11),
        Meaning::Race => (21, 19),
    }
}

fn rows(execution: &Execution, shown: &[usize]) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut cut: BTreeMap<u32, usize> = BTreeMap::new();
    let mut next = shown.iter().peekable();
    for (index, step) in execution.steps.iter().enumerate() {
        if next.next_if_eq(&&index).is_none() {
            *cut.entry(step.thread).or_default() += 1;
            continue;
        }
        if !cut.is_empty() {
            rows.push(Row::Cut(std::mem::take(&mut cut)));
        }
        rows.push(Row::Step(index));
    }
    rows
}

fn links(
    execution: &Execution,
    edges: &[Edge],
    shown: &[usize],
    column: impl Fn(usize) -> usize,
) -> Vec<Link> {
    let of = |edge: &Edge| match edge.kind {
        Kind::Synchronises => (Meaning::Synchronises, edge.from, edge.to),
        Kind::Missing { .. } => (Meaning::Missing, edge.from, edge.to),
        Kind::Nothing => (Meaning::Nothing, edge.from, edge.to),
    };
    let last = execution.steps.len().saturating_sub(1);
    let race = execution.unordered.map(|first| (Meaning::Race, first, last));
    let is_shown = |step: &usize| shown.binary_search(step).is_ok();
    let crosses = |from: &usize, to: &usize| column(*from) != column(*to);
    let all = edges.iter().map(of).chain(race).filter(|(_, from, to)| is_shown(from) && is_shown(to));
    let all = all.filter(|(_, from, to)| crosses(from, to));
    let mut links: Vec<Link> = all
        .map(|(meaning, from, to)| {
            let (a, b) = (column(from), column(to));
            Link { meaning, from, to, gap: if a < b { b } else { b + 1 }, track: 0 }
        })
        .collect();

    // What leaves one step in one gap with one meaning is one line with several ends.
    let mut trunks: BTreeMap<(usize, usize, Meaning), usize> = BTreeMap::new();
    for link in &links {
        let end = trunks.entry((link.gap, link.from, link.meaning)).or_default();
        *end = link.to.max(*end);
    }
    let mut taken: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut tracks = BTreeMap::new();
    for ((gap, from, meaning), to) in trunks {
        // The row in which each track is free again.
        let ends = taken.entry(gap).or_default();
        let free = ends.iter().position(|end| *end < from).unwrap_or(ends.len());
        if free == ends.len() {
            ends.push(to);
        } else {
            ends[free] = to;
        }
        tracks.insert((gap, from, meaning), free as u32);
    }
    for link in &mut links {
        link.track = tracks[&(link.gap, link.from, link.meaning)];
    }
    links
}

fn header(thread: u32) -> String {
    if thread == 0 { "thread 0, the model".into() } else { format!("thread {thread}") }
}

fn left_out(count: usize) -> String {
    if count == 1 { "⋯ 1 step left out".into() } else { format!("⋯ {count} steps left out") }
}

fn classes(execution: &Execution, index: usize) -> String {
    let step = &execution.steps[index];
    let is_last = index + 1 == execution.steps.len();
    let races = execution.unordered.is_some_and(|first| is_last || first == index);
    let mut classes = String::from("step");
    for (is, class) in [
        (step.order.is_none(), " plain"),
        (is_changed(step), " changed"),
        (races || step.ending == Ending::Refused, " race"),
    ] {
        if is {
            classes.push_str(class);
        }
    }
    classes
}

/// What a box says.
fn lines(steps: &[Step], index: usize) -> Lines {
    let step = &steps[index];
    let mut lines = Lines::default();
    lines.begin_line();
    lines.add("dim", &(index + 1).to_string());
    lines.add("what", step.operation.name());
    if let Some(word) = &step.word {
        lines.add("what", word);
    }
    if let Some(order) = step.order {
        lines.add(if is_changed(step) { "order changed" } else { "order" }, &order.to_string());
    }
    if let Some(source) = step.source {
        lines.add("order changed", &format!("instead of {source}"));
    }
    lines.begin_line();
    for part in effects(step) {
        lines.add("effect", &part);
    }
    lines.add("dim", &place(step));
    lines
}

/// What a step did.
fn effects(step: &Step) -> Vec<String> {
    let mut parts = Vec::new();
    if let Some(read) = &step.read {
        let from = match read.from {
            Some(from) => format!("from {}", from + 1),
            None => "as it was made".into(),
        };
        let old = read.newest.map(|newest| format!(", not from {}", newest + 1)).unwrap_or_default();
        let failed = if step.ending == Ending::Failed { ", not expected" } else { "" };
        let end = if step.wrote.is_some() { ";" } else { "" };
        parts.push(format!("reads {} {from}{old}{failed}{end}", read.value));
    }
    if let Some(wrote) = &step.wrote {
        parts.push(format!("writes {wrote}"));
    }
    if step.ending == Ending::Refused {
        parts.push("ends the execution".into());
    }
    parts
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Layout, Meaning, layout};
    use crate::operation::Operation;
    use crate::operation::Order::{AcqRel, Acquire, Relaxed, Release, SeqCst};
    use crate::picture::cut::shown;
    use crate::picture::edges::edges;
    use crate::picture::steps::{execution, fence, load, plain, rmw, store};
    use crate::picture::text;
    use crate::record::{Execution, Step};

    fn draw(execution: &Execution) -> Layout {
        let edges = edges(execution);
        layout(execution, &edges, &shown(execution, &edges))
    }

    /// Left, top, right, bottom.
    type Area = (u32, u32, u32, u32);

    /// Every piece of text.
    fn texts(layout: &Layout) -> Vec<Area> {
        let area = |x: u32, y: u32, letters: usize| (x, y - 11, x + text::width(letters), y + 4);
        let labels = layout.labels.iter().map(|label| {
            let letters = text::letters(&label.text);
            area(label.x - text::width(letters) / 2, label.y, letters)
        });
        let lines = layout.boxes.iter().flat_map(|step| {
            step.lines.0.iter().enumerate().map(move |(number, line)| {
                let (x, y) = step.text(number);
                area(x, y, line.letters())
            })
        });
        labels.chain(lines).collect()
    }

    fn meet(a: Area, b: Area) -> bool {
        a.0 < b.2 && b.0 < a.2 && a.1 < b.3 && b.1 < a.3
    }

    /// What must hold in every picture.
    fn check(layout: &Layout) {
        for step in &layout.boxes {
            for (number, line) in step.lines.0.iter().enumerate() {
                let (x, y) = step.text(number);
                let fits = x + text::width(line.letters()) <= step.x + step.width
                    && y - 11 >= step.y
                    && y + 4 <= step.y + step.height;
                assert!(fits, "{line:?} in {step:?}");
            }
        }
        let boxes: Vec<Area> =
            layout.boxes.iter().map(|b| (b.x, b.y, b.x + b.width, b.y + b.height)).collect();
        let texts = texts(layout);
        for (number, area) in texts.iter().enumerate() {
            assert!(area.2 <= layout.width && area.3 <= layout.height, "{area:?} is outside");
            assert!(texts[number + 1..].iter().all(|other| !meet(*area, *other)), "{area:?}: two texts");
        }
        // What is left out is written over the line of its thread, on a ground of its own.
        let (top, bottom) = layout.rows;
        let headers = layout.labels.iter().filter(|label| label.class == "thread");
        assert!(headers.into_iter().all(|label| label.y + 4 <= top || label.y - 11 >= bottom), "{layout:?}");
        for arrow in &layout.arrows {
            for ends in arrow.points.windows(2) {
                let ((x, y), (to_x, to_y)) = (ends[0], ends[1]);
                let line = (x.min(to_x), y.min(to_y), x.max(to_x) + 1, y.max(to_y) + 1);
                assert!(texts.iter().all(|text| !meet(line, *text)), "{arrow:?} crosses text");
                // A line that touches its own boxes at their sides is inside none.
                let inside = |b: &Area| meet(line, (b.0 + 1, b.1, b.2 - 1, b.3));
                assert!(!boxes.iter().any(inside), "{arrow:?} crosses a box");
            }
            let [.., (x, y)] = arrow.points;
            let at = |b: &Area| (b.0 == x || b.2 == x) && b.1 < y && y < b.3;
            assert!(boxes.iter().any(at), "{arrow:?} ends nowhere");
        }
        for (number, a) in layout.arrows.iter().enumerate() {
            for b in &layout.arrows[number + 1..] {
                let trunk = |arrow: &super::Arrow| {
                    let [start, down, up, _] = arrow.points;
                    (down.0, down.1.min(up.1), down.1.max(up.1), start, arrow.meaning)
                };
                let (a, b) = (trunk(a), trunk(b));
                let is_one = a.3 == b.3 && a.4 == b.4;
                assert!(
                    is_one || a.0 != b.0 || a.2 < b.1 || b.2 < a.1,
                    "two arrows in one place: {a:?}, {b:?}"
                );
            }
        }
    }

    #[test]
    fn a_race_has_the_missing_edge_and_an_arrow_between_what_races() {
        let mut steps = vec![
            plain(1, Operation::Write, "data"),
            store(1, "ready", Relaxed),
            load(0, "ready", Acquire, Some(1)),
            plain(0, Operation::Read, "data"),
        ];
        steps[1].source = Some(Release);
        let mut execution = execution(steps);
        execution.unordered = Some(0);
        let layout = draw(&execution);
        check(&layout);
        let meanings: Vec<_> = layout.arrows.iter().map(|arrow| arrow.meaning).collect();
        assert_eq!(meanings, [Meaning::Missing, Meaning::Race]);
        let classes: Vec<_> = layout.boxes.iter().map(|step| step.classes.as_str()).collect();
        assert_eq!(classes, ["step plain race", "step changed", "step", "step plain race"]);
    }

    /// A picture with everything: many threads that read from each other, fences, long names, other scripts.
    fn many(count: usize) -> Execution {
        let names = ["head", "the position of the next place that is going to be written", "尾部", "x"];
        let mut steps: Vec<Step> = Vec::new();
        for index in 0..count {
            let thread = (index * 7 % 11 % 4) as u32;
            let word = names[index * 5 % 4];
            let writes = (0..index).rev().filter(|write| steps[*write].wrote.is_some());
            let from = writes.clone().nth(index * index % 7).or_else(|| writes.clone().next());
            let order = [Relaxed, Acquire][index % 2];
            steps.push(match index * 3 % 5 {
                0 => load(thread, word, order, from),
                1 => rmw(thread, word, Relaxed, from),
                2 => store(thread, word, [Release, Relaxed][index / 2 % 2]),
                3 if index < count / 2 => fence(thread, AcqRel),
                3 => load(thread, word, Relaxed, from),
                _ => plain(thread, Operation::Write, word),
            });
            if index % 13 < 2 && steps[index].order.is_some() {
                steps[index].source = Some(SeqCst);
            }
        }
        let mut execution = execution(steps);
        let last = execution.steps.last().map(|step| step.thread);
        let others = (0..count).filter(|step| Some(execution.steps[*step].thread) != last);
        execution.unordered = others.rev().take(20).last();
        execution
    }

    #[test]
    fn text_stays_in_its_box_and_no_arrow_crosses_text_whatever_is_drawn() {
        for count in 1..=70 {
            check(&draw(&many(count)));
        }
        let whole = draw(&many(60));
        assert_eq!(whole.boxes.len(), 60);
        let meanings: BTreeSet<_> = whole.arrows.iter().map(|arrow| arrow.meaning).collect();
        assert_eq!(meanings.len(), 4, "{meanings:?}");
        assert!(whole.arrows.len() > 15, "{}", whole.arrows.len());

        let layout = draw(&many(300));
        check(&layout);
        assert!(layout.boxes.len() <= 60);
        assert!(layout.labels.iter().any(|label| label.text.contains("left out")));
    }
}
