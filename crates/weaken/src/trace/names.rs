//! Names for memory and values: a reader sees `B.next` and `→A`, not addresses.

use std::collections::BTreeMap;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use super::{Event, Part, Show};

/// What objects are called, by their addresses.
#[derive(Debug)]
pub(super) struct Names {
    objects: BTreeMap<usize, String>,
    /// The names of all other memory: several words of one name are told apart.
    words: BTreeMap<usize, String>,
}

/// A, B, ..., Z, A1, ...
fn letter(number: usize) -> String {
    let letter = char::from(b'A' + (number % 26) as u8);
    match number / 26 {
        0 => letter.to_string(),
        round => format!("{letter}{round}"),
    }
}

impl Names {
    pub(super) fn of(events: &[&Event]) -> Names {
        let mut objects = BTreeMap::new();
        for event in events.iter().filter(|event| event.site.memory().part == Part::First) {
            let number = objects.len();
            objects.entry(event.address).or_insert_with(|| letter(number));
        }
        let mut names = Names { objects, words: BTreeMap::new() };
        let mut taken: BTreeMap<String, usize> = BTreeMap::new();
        for event in events.iter().filter(|event| event.address != 0) {
            if !names.words.contains_key(&event.address) {
                let name = names.new_word(event);
                let count = taken.entry(name.clone()).or_default();
                *count += 1;
                let name = if *count == 1 { name } else { format!("{name} #{count}") };
                names.words.insert(event.address, name);
            }
        }
        names
    }

    fn new_word(&self, event: &Event) -> String {
        let memory = event.site.memory();
        let object = self.objects.range(..=event.address).next_back().filter(|_| memory.part != Part::None);
        object.map_or_else(|| memory.name.to_string(), |(_, letter)| format!("{letter}.{}", memory.name))
    }

    /// The memory that an access touches; none for a fence.
    pub(super) fn word(&self, event: &Event) -> Option<String> {
        self.words.get(&event.address).cloned()
    }

    pub(super) fn value(&self, show: Show, word: u64) -> String {
        match show {
            Show::Text(text) => text(word),
            Show::Pointer => match self.objects.get(&(word as usize)) {
                Some(letter) => format!("→{letter}"),
                None if word == 0 => "null".to_string(),
                None => format!("{word:#x}"),
            },
            Show::Number if word > u64::MAX - 1000 => (word as i64).to_string(),
            Show::Number => word.to_string(),
        }
    }

    pub(super) fn values(&self, show: Show, words: &[u64]) -> String {
        words.iter().map(|word| self.value(show, *word)).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::letter;

    #[test]
    fn letters_go_on_behind_the_last() {
        assert_eq!([0, 25, 26, 53].map(letter), ["A", "Z", "A1", "B2"]);
    }
}
