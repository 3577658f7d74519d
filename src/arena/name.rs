//! What a queue is called.

use core::fmt;
use core::str;

/// How many words a name has in shared memory.
pub(super) const WORDS: usize = 6;
/// How many bytes that is. The last one is zero.
const BYTES: usize = WORDS * 8;

/// The name of a queue: 1 to 47 bytes of UTF-8, as C has it with a zero at its end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    bytes: [u8; BYTES],
    length: usize,
}

impl Name {
    /// The text as a name; `None` if it is empty, too long, or has a zero in it.
    pub fn new(name: &str) -> Option<Name> {
        let length = name.len();
        if length == 0 || length >= BYTES || name.bytes().any(|byte| byte == 0) {
            return None;
        }
        let mut bytes = [0; BYTES];
        bytes[..length].copy_from_slice(name.as_bytes());
        Some(Name { bytes, length })
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        // It was text when the name was made.
        str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }

    /// What stands in shared memory, which may be anything.
    pub(super) fn from_words(words: [u64; WORDS]) -> Option<Name> {
        let mut bytes = [0; BYTES];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        let length = bytes.iter().position(|&byte| byte == 0)?;
        let text = str::from_utf8(&bytes[..length]).ok()?;
        Name::new(text)
    }

    pub(super) fn words(&self) -> [u64; WORDS] {
        let mut words = [0; WORDS];
        for (word, bytes) in words.iter_mut().zip(self.bytes.chunks_exact(8)) {
            *word = bytemuck::pod_read_unaligned(bytes);
        }
        words
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::Name;

    #[test]
    fn a_name_comes_back_from_the_words_that_hold_it() {
        for text in ["a", "events", "events[12]", "\u{e9}v\u{e9}nements", &"x".repeat(47)] {
            let name = Name::new(text).expect("a name");
            assert_eq!(name.as_str(), text);
            assert_eq!(Name::from_words(name.words()), Some(name));
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in ["", "a\0b", &"x".repeat(48)] {
            assert_eq!(Name::new(text), None);
        }
        assert_eq!(Name::from_words([0; 6]), None, "empty");
        assert_eq!(Name::from_words([u64::from_ne_bytes(*b"xxxxxxxx"); 6]), None, "no end");
        assert_eq!(Name::from_words([0xff, 0, 0, 0, 0, 0]), None, "not UTF-8");
    }
}
