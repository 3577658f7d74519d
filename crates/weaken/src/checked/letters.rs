//! Names for memory that has none.

use std::collections::BTreeMap;
use std::format;
use std::string::String;

/// `A` to `Z`, `A1`, …, in the order in which they are asked for.
#[derive(Debug, Default)]
pub(super) struct Letters(BTreeMap<usize, String>);

impl Letters {
    pub(super) fn of(&mut self, address: usize) -> &str {
        let number = self.0.len();
        self.0.entry(address).or_insert_with(|| {
            let letter = char::from(b'A' + (number % 26) as u8);
            match number / 26 {
                0 => letter.into(),
                round => format!("{letter}{round}"),
            }
        })
    }
}
