//! What text is written to: how wide it is, and whether it shows colours.

use std::os::fd::AsFd;

use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use terminal_size::{Width, terminal_size_of};
use textwrap::core::display_width;
use textwrap::{Options, WordSplitter};

pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const LIMITED: Style = AnsiColor::Yellow.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();

/// A terminal, or something else that text goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    /// `None` where lines may have any length.
    columns: Option<usize>,
    is_coloured: bool,
}

impl Screen {
    /// A file or a pipe: whoever reads it wants each thing on one line, and no colours.
    pub const NONE: Screen = Screen { columns: None, is_coloured: false };

    /// What a stream goes to. The variables `NO_COLOR`, `CLICOLOR`, `CLICOLOR_FORCE` and `TERM` decide on colours as
    /// they do for the help.
    pub fn of<S: RawStream + AsFd>(stream: &S) -> Screen {
        Screen {
            columns: terminal_size_of(stream).map(|(Width(columns), _)| columns.into()),
            is_coloured: AutoStream::choice(stream) != ColorChoice::Never,
        }
    }

    /// The same with another number of columns.
    #[must_use]
    pub fn with_columns(self, columns: usize) -> Screen {
        Screen { columns: Some(columns), ..self }
    }

    /// How many columns there are, or so many where lines may have any length.
    pub(crate) fn columns_or(self, columns: usize) -> usize {
        self.columns.unwrap_or(columns)
    }

    /// Whether so many columns do not fit.
    pub(crate) fn is_narrower_than(self, columns: usize) -> bool {
        self.columns.is_some_and(|own| own < columns)
    }

    /// Text in a colour, where there are colours.
    pub(crate) fn paint(self, style: Style, text: &str) -> String {
        if self.is_coloured { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    /// Text that says that something is wrong.
    pub(crate) fn alarm(self, text: &str) -> String {
        self.paint(BAD, text)
    }

    /// One line, of which so much is left as fits.
    pub(crate) fn cut(self, line: &str) -> String {
        let Some(columns) = self.columns.filter(|columns| display_width(line) > *columns) else {
            return line.to_owned();
        };
        let mut cut = String::new();
        let mut width = 0;
        for c in line.chars() {
            width += display_width(c.encode_utf8(&mut [0; 4]));
            if width >= columns {
                break;
            }
            cut.push(c);
        }
        cut + "…"
    }

    /// Text behind a margin of so many columns, which its further lines keep free.
    pub(crate) fn behind(self, margin: usize, text: &str) -> String {
        /// A terminal that is narrower still breaks the lines itself.
        const LEAST: usize = 16;
        let lines = match self.columns {
            Some(columns) => {
                let width = columns.saturating_sub(margin).max(LEAST);
                let options = Options::new(width).word_splitter(WordSplitter::NoHyphenation);
                textwrap::wrap(text, options)
            }
            None => text.lines().map(Into::into).collect(),
        };
        lines.join(&format!("\n{:margin$}", ""))
    }
}

#[cfg(test)]
impl Screen {
    /// A terminal of so many columns.
    pub(crate) fn terminal(columns: usize, is_coloured: bool) -> Screen {
        Screen { columns: Some(columns), is_coloured }
    }
}

/// The longest line, in columns.
#[cfg(test)]
pub(crate) fn longest_line(text: &str) -> usize {
    text.lines().map(textwrap::core::display_width).max().unwrap_or_default()
}
