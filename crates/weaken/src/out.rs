//! Appends lines to the record of this process, and ends it where it could not go on.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::string::String;
use std::{eprintln, format};

use crate::record::{self, Line};

/// Appends a line, if somebody asks for a record. A record that is not whole is worth nothing: if it cannot be
/// written, the process ends.
pub(crate) fn write(line: &Line) {
    let Some(file) = std::env::var_os(record::FILE) else { return };
    let written = serde_json::to_string(line).map_err(std::io::Error::from).and_then(|text| {
        // One call, so that the lines of several threads and processes stay whole.
        OpenOptions::new().create(true).append(true).open(&file)?.write_all(format!("{text}\n").as_bytes())
    });
    if let Err(error) = written {
        eprintln!("{}: cannot write to {}: {error}", record::FILE, Path::new(&file).display());
        std::process::exit(record::REFUSED);
    }
}

/// Ends the process: a model that ran without the change would say something about another question.
pub(crate) fn refuse(reason: &str) -> ! {
    let text: String = format!("{}: {reason}\n", record::CHANGES);
    // Not `eprintln`: the test harness keeps what that prints, and would end with it here.
    let _ = std::io::stderr().write_all(text.as_bytes());
    write(&Line::Refused { reason: reason.into() });
    std::process::exit(record::REFUSED);
}
