//! Objects for programs.

use std::fmt::Display;
use std::io::Write;

use serde::{Serialize, Serializer};

use crate::error::Error;

/// The number in every object. It grows when a field changes its meaning.
pub(crate) const VERSION: u32 = 1;

/// Writes what has a text as that.
pub(crate) fn as_text<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// Prints an object. Who reads no further has what it wants.
pub(crate) fn print(object: &impl Serialize) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(object)
        .map_err(|error| Error::system("cannot write JSON")(error.into()))?;
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::system("cannot write to the standard output")(error))
        }
        _ => Ok(()),
    }
}
