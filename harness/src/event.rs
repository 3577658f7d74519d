//! Events as records of many sizes: the twin of `struct arenaq_event`.

use arenaq::KeyValue;
use arenaq::platform::Native;
use arenaq::records::Record;
use bytemuck::{Pod, Zeroable, bytes_of, cast_slice};

/// The name of the records in an arena: that of their variable.
pub(crate) const RECORDS: &str = "records";
/// How many bytes of the pattern a record has at most: `ARENAQ_EVENT_REST` in C.
const REST: usize = 512;
/// The size of the largest record.
pub(crate) const LARGEST: u64 = (size_of::<Event>() + REST) as u64;

/// What records are filled from: the contents of `.data.pattern`.
pub(crate) type Pattern = [u64; 2 * REST / size_of::<u64>()];

/// No two parts of it are alike.
pub(crate) const PATTERN: Pattern = {
    let mut pattern = [0; 2 * REST / size_of::<u64>()];
    let mut i = 0;
    while i < pattern.len() {
        pattern[i] = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        i += 1;
    }
    pattern
};

/// What stands in front of the pattern's bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub(crate) struct Event {
    /// The lane, among all of them.
    pub(crate) lane: u64,
    /// When the lane was taken.
    pub(crate) time: u64,
    /// Whose event it is.
    pub(crate) task: u64,
    /// Which of its processor's, or its thread's, events it is.
    pub(crate) number: u64,
}

impl Event {
    /// The bytes behind it.
    fn rest(&self) -> &'static [u8] {
        static BYTES: Pattern = PATTERN;
        let spread = self.number.wrapping_mul(2_654_435_761);
        let size = (spread >> 16) as usize % REST + 1;
        let from = (self.task ^ spread).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 55;
        &cast_slice(&BYTES)[from as usize..][..size]
    }

    /// The whole record.
    pub(crate) fn write_to(&self, bytes: &mut Vec<u8>) {
        bytes.clear();
        bytes.extend_from_slice(bytes_of(self));
        bytes.extend_from_slice(self.rest());
    }

    /// What is counted of it: the events of a lane come in the order of their times.
    pub(crate) fn pair(&self) -> KeyValue {
        KeyValue { key: self.lane, value: self.time }
    }
}

/// Reads records, and looks at each of their bytes.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    found: Vec<u8>,
    expected: Vec<u8>,
    /// How many were not as they were pushed.
    pub(crate) damaged: u64,
}

impl Reader {
    /// The event of a record.
    pub(crate) fn read(&mut self, record: &Record<'_, Native>) -> KeyValue {
        self.found.clear();
        record.copy_to(&mut self.found);
        let Some(event) = record.read::<Event>() else {
            self.damaged += 1;
            return KeyValue { key: 0, value: 0 };
        };
        event.write_to(&mut self.expected);
        self.damaged += u64::from(self.found != self.expected || record.stamp() != event.time);
        event.pair()
    }
}

#[cfg(test)]
mod tests {
    use arenaq::records::{Geometry, Log};

    use super::{Event, LARGEST, Reader};

    #[test]
    fn a_record_that_is_not_as_it_was_pushed_is_counted_whichever_byte_it_is() {
        let log = Log::new(Geometry::new(1, 1 << 17, LARGEST).expect("it can be"));
        let records = log.records();
        let mut consumer = records.consumer(0).expect("nobody else consumes");
        let mut damaged_so_far = 0;
        for number in 0..100 {
            let event = Event { lane: 0, time: 7, task: 5 << 32 | 6, number };
            let mut bytes = Vec::new();
            event.write_to(&mut bytes);
            assert!(bytes.len() as u64 <= LARGEST);
            let mut read = |bytes: &[u8], stamp: u64| {
                let mut reader = Reader::default();
                records.push(bytes, stamp).expect("room");
                let popped = consumer.pop_in_place(|record| reader.read(&record));
                assert!(matches!(popped, Ok(Some(_))), "{popped:?}");
                reader.damaged
            };
            assert_eq!(read(&bytes, 7), 0, "{event:?}");
            assert_eq!(read(&bytes, 8), 1, "another stamp");
            assert_eq!(read(&bytes[..bytes.len() - 1], 7), 1, "a byte less");
            // The lane is in the sum of the account.
            let place = 8 + fastrand::usize(..bytes.len() - 8);
            bytes[place] ^= 1;
            damaged_so_far += read(&bytes, 7);
        }
        // A task or a number may lead to the same bytes by chance.
        assert!(damaged_so_far > 90, "{damaged_so_far}");
    }
}
