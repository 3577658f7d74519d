//! The queues of an arena by their names.

use alloc::string::String;
use core::fmt;
use core::str;

use super::error::ArenaError;
use crate::platform::{Native, Plain, Platform, Word};

/// What the directory says of one queue, in shared memory.
///
/// Layout: `name` 0x00, 48 bytes with a zero behind the name; ten 64-bit words from 0x30 on, in the order of the fields;
/// 128 bytes, two lines.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Entry<P: Platform> {
    /// Words, each of which is read once; see [`Name::from_words`].
    pub(crate) name: [P::Plain<u64>; WORDS],
    /// The number of a [`Kind`](crate::structures::Kind).
    pub(crate) kind: P::Plain<u64>,
    /// The size of an element in bytes, and the hash of its type.
    pub(crate) element_size: P::Plain<u64>,
    pub(crate) element_hash: P::Plain<u64>,
    /// Whether the queue maintains its counter: 1 if it does, 0 if not.
    pub(crate) counted: P::Plain<u64>,
    /// The address of the head.
    pub(crate) head: P::Plain<u64>,
    /// The address of the pool; 0 if the queue has none.
    pub(crate) pool: P::Plain<u64>,
    /// The address of the counters of what was dropped; 0 if nobody counts.
    pub(crate) drops: P::Plain<u64>,
    /// Who is the consumer of a queue that can have only one; 0 for nobody.
    pub(crate) consumer: P::Word,
    /// The address of the slots for the consumers of an MPMC queue; 0 if the queue has none.
    pub(crate) slots: P::Plain<u64>,
    /// The address of the event count on which its consumers sleep; 0 if they sleep on the arena's.
    pub(crate) events: P::Plain<u64>,
}

// SAFETY: the consumer is an atomic word. The rest is written only through the `Arena` that formats, exclusively
// borrowed, before the header's magic releases it to those who attach, and from then on only read.
unsafe impl<P: Platform> Sync for Entry<P> {}

impl<P: Platform> Entry<P> {
    /// An entry of no queue.
    pub fn empty() -> Self {
        Entry {
            name: core::array::from_fn(|_| P::Plain::new(0)),
            kind: P::Plain::new(0),
            element_size: P::Plain::new(0),
            element_hash: P::Plain::new(0),
            counted: P::Plain::new(0),
            head: P::Plain::new(0),
            pool: P::Plain::new(0),
            drops: P::Plain::new(0),
            consumer: P::Word::new(0),
            slots: P::Plain::new(0),
            events: P::Plain::new(0),
        }
    }
}

/// How many words a name has in shared memory.
const WORDS: usize = 6;
/// How many bytes that is. The last one is zero.
const BYTES: usize = WORDS * 8;

/// The name of a queue: 1 to 47 bytes of UTF-8, as C has it with a zero at its end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    bytes: [u8; BYTES],
    length: usize,
}

impl Name {
    /// Checks a name.
    ///
    /// # Errors
    ///
    /// [`ArenaError::Name`] if it is empty, too long, or has a zero in it.
    pub fn new(name: &str) -> Result<Name, ArenaError> {
        let refused = || ArenaError::Name(String::from(name));
        let length = name.len();
        if length == 0 || length >= BYTES || name.bytes().any(|byte| byte == 0) {
            return Err(refused());
        }
        let mut bytes = [0; BYTES];
        bytes[..length].copy_from_slice(name.as_bytes());
        Ok(Name { bytes, length })
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
        Name::new(text).ok()
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

pub(super) type NativeEntry = Entry<Native>;

#[cfg(test)]
mod tests {
    use super::Name;
    use crate::arena::ArenaError;

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
            assert_eq!(Name::new(text), Err(ArenaError::Name(text.into())));
        }
        assert_eq!(Name::from_words([0; 6]), None, "empty");
        assert_eq!(Name::from_words([u64::from_ne_bytes(*b"xxxxxxxx"); 6]), None, "no end");
        assert_eq!(Name::from_words([0xff, 0, 0, 0, 0, 0]), None, "not UTF-8");
    }
}
