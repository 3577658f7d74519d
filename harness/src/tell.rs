//! What is told to whoever watches, beside the result.

use std::fmt::Display;
use std::io::{self, Write};

use crate::screen::Screen;

/// Writes `arenaq: ` and a message to standard error. If that cannot be written to, as with `2>/dev/full`, there is
/// nobody to tell; `eprintln!` would panic.
pub fn tell(message: impl Display) {
    let name = Screen::of(&io::stderr()).alarm("arenaq:");
    let _ = writeln!(io::stderr(), "{name} {message}");
}
