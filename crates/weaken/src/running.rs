//! The changes that this process tries.

use std::env::{self, VarError};
use std::format;
use std::sync::OnceLock;
use std::vec::Vec;

use crate::change::Change;
use crate::out::refuse;
use crate::record;

/// Those of the environment. What cannot be read ends the process.
pub(crate) fn changes() -> &'static [Change] {
    static CHANGES: OnceLock<Vec<Change>> = OnceLock::new();
    CHANGES.get_or_init(|| match env::var(record::CHANGES) {
        Ok(text) => Change::parse_list(&text).unwrap_or_else(|reason| refuse(&reason)),
        Err(VarError::NotPresent) => Vec::new(),
        Err(error @ VarError::NotUnicode(_)) => refuse(&format!("{error}")),
    })
}
