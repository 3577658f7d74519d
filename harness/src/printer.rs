//! Elements on their way out: as JSON lines for programs, as a table for people.

use std::fmt;
use std::io::{self, BufWriter, ErrorKind, Write};

use serde::Serialize;

use crate::element::{Columns, Element, Shape};
use crate::error::Error;
use crate::screen::Screen;

/// How elements look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `{"queue":NAME,"element":{...}}`, one a line.
    Json,
    /// A table, on a screen.
    Table(Screen),
}

/// The elements of one queue.
#[derive(Debug)]
pub(crate) struct Stream {
    name: String,
    columns: Columns,
}

impl Stream {
    pub(crate) fn new(name: String, shape: Shape) -> Stream {
        Stream { name, columns: Columns::new(shape) }
    }

    /// One of records.
    pub(crate) fn of_records(name: String, shape: Shape) -> Stream {
        Stream { name, columns: Columns::of_records(shape) }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

/// Prints elements, and notices when nobody reads any more.
pub struct Printer {
    format: Format,
    to: BufWriter<Box<dyn Write>>,
    /// Whose titles were printed last.
    titled: Option<String>,
    /// What happens if an element cannot be written, where each has to be before it leaves its queue.
    ends: Option<fn(&io::Error) -> !>,
    is_gone: bool,
}

impl fmt::Debug for Printer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Printer")
            .field("format", &self.format)
            .field("is_gone", &self.is_gone)
            .finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Line<'l> {
    queue: &'l str,
    element: Element<'l>,
}

impl Printer {
    /// One that prints to a stream.
    pub fn new(format: Format, to: impl Write + 'static) -> Printer {
        Printer {
            format,
            to: BufWriter::with_capacity(1 << 16, Box::new(to)),
            titled: None,
            ends: None,
            is_gone: false,
        }
    }

    /// One that has written each element when it returns, before the element leaves its queue. If it cannot be written,
    /// `end` ends this process: then it has not left, and the next consumer is handed it.
    #[must_use]
    pub fn or_end(self, end: fn(&io::Error) -> !) -> Printer {
        Printer { ends: Some(end), ..self }
    }

    /// Whether nobody reads any more, as behind `| head`.
    pub fn is_gone(&self) -> bool {
        self.is_gone
    }

    /// Prints an element.
    pub(crate) fn print(&mut self, stream: &mut Stream, bytes: &[u8]) -> Result<(), Error> {
        let printed = match self.format {
            Format::Json => {
                let line = Line { queue: &stream.name, element: stream.columns.element(bytes) };
                serde_json::to_writer(&mut self.to, &line)
                    .map_err(io::Error::from)
                    .and_then(|()| self.to.write_all(b"\n"))
            }
            Format::Table(screen) => self.row(screen, stream, bytes),
        };
        let Some(end) = self.ends else { return self.noticed(printed) };
        match printed.and_then(|()| self.to.flush()) {
            Ok(()) => Ok(()),
            Err(error) => end(&error),
        }
    }

    fn row(&mut self, screen: Screen, stream: &mut Stream, bytes: &[u8]) -> io::Result<()> {
        let row = stream.columns.row(bytes);
        if self.titled.as_ref() != Some(&stream.name) {
            let gap = if self.titled.is_some() { "\n" } else { "" };
            let titles = stream.columns.line(&stream.columns.titles());
            writeln!(self.to, "{gap}{}:\n{}", stream.name, screen.cut(&titles))?;
            self.titled = Some(stream.name.clone());
        }
        writeln!(self.to, "{}", screen.cut(&stream.columns.line(&row)))
    }

    /// Prints something else, behind the elements.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if it cannot be written.
    pub fn say(&mut self, text: &dyn fmt::Display) -> Result<(), Error> {
        let printed = writeln!(self.to, "{text}").and_then(|()| self.to.flush());
        self.noticed(printed)
    }

    /// Sees to it that what was printed is read.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if it cannot be written.
    pub fn flush(&mut self) -> Result<(), Error> {
        let flushed = self.to.flush();
        self.noticed(flushed)
    }

    fn noticed(&mut self, printed: io::Result<()>) -> Result<(), Error> {
        match printed {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.is_gone = true;
                Ok(())
            }
            other => other.map_err(Error::system("writing an element")),
        }
    }
}
