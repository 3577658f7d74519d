//! Text in boxes of a picture. Its width is that of a wide monospaced font, so that it fits with any.

use unicode_width::UnicodeWidthStr;

/// The height of a line.
pub(crate) const LINE: u32 = 16;
/// How many letters a line has at most.
const LETTERS: usize = 44;

/// The width of so many letters of 12 pixels: fonts have 0.6 of that, or less.
pub(crate) fn width(letters: usize) -> u32 {
    u32::try_from(letters).unwrap_or(u32::MAX / 100) * 78 / 10 + 1
}

pub(crate) fn letters(text: &str) -> usize {
    text.width()
}

/// Text that looks the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// The class in the style sheet.
    pub(crate) class: &'static str,
    pub(crate) text: String,
}

/// A line of them, with a space between each two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line(pub(crate) Vec<Span>);

impl Line {
    pub(crate) fn letters(&self) -> usize {
        let spaces = self.0.len().saturating_sub(1);
        self.0.iter().map(|span| letters(&span.text)).sum::<usize>() + spaces
    }
}

/// Lines under one another; what does not fit into one goes on in the next.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines(pub(crate) Vec<Line>);

impl Lines {
    pub(crate) fn begin_line(&mut self) {
        self.0.push(Line::default());
    }

    /// Adds to the last line, or to a new one.
    pub(crate) fn add(&mut self, class: &'static str, text: &str) {
        for piece in pieces(text) {
            let fits = |line: &Line| line.0.is_empty() || line.letters() + 1 + letters(&piece) <= LETTERS;
            if !self.0.last().is_some_and(fits) {
                self.begin_line();
            }
            if let Some(Line(spans)) = self.0.last_mut() {
                match spans.last_mut() {
                    Some(last) if last.class == class => {
                        last.text.push(' ');
                        last.text.push_str(&piece);
                    }
                    _ => spans.push(Span { class, text: piece }),
                }
            }
        }
    }
}

/// The words, and parts of those that are longer than a line.
fn pieces(text: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    for word in text.split_whitespace() {
        let mut piece = String::new();
        for letter in word.chars() {
            if letters(&piece) + letters(letter.encode_utf8(&mut [0; 4])) > LETTERS {
                pieces.push(std::mem::take(&mut piece));
            }
            piece.push(letter);
        }
        pieces.push(piece);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::{LETTERS, Lines};

    #[test]
    fn no_line_is_longer_than_a_line_and_no_letter_is_lost() {
        let long = "x".repeat(3 * LETTERS / 2);
        let wide = "数".repeat(LETTERS);
        let mut lines = Lines::default();
        for text in ["some words", &long, &wide, "and a few more words that need a second line at last"] {
            lines.add("", text);
        }
        assert!(lines.0.len() > 4, "{lines:?}");
        assert!(lines.0.iter().all(|line| line.letters() <= LETTERS), "{lines:?}");
        let all: String = lines.0.iter().flat_map(|line| &line.0).map(|span| span.text.as_str()).collect();
        assert_eq!(all.matches('x').count(), long.len());
        assert_eq!(all.matches('数').count(), LETTERS);
    }
}
