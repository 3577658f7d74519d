//! The consuming end of a pinned queue.

use std::ops::{Deref, DerefMut};

use arenaq::structures::Consumers;
use arenaq::{Corruption, KeyValue};

use crate::checksum::checksum;
use crate::error::Error;
use crate::folder::Folder;
use crate::receiver::{Borrowed, Receiver};

/// The consuming end of a pinned queue. Others can have it when this is dropped, or its process has ended.
#[derive(Debug)]
pub struct Consumer<'a> {
    receiver: Receiver<KeyValue, Borrowed<'a>>,
    folder: &'a Folder,
    consumers: Consumers,
}

/// What one consumer of a pinned queue has been handed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Events that it was handed first.
    pub consumed: u64,
    /// Events that a dead consumer had been handed already, and had counted.
    pub again: u64,
    /// How many consumers of the queue have died.
    pub deaths: u64,
}

/// What lies in a queue from which nobody pops.
#[derive(Clone, Debug)]
pub struct Contents {
    /// How many elements.
    pub length: u64,
    /// The sum of their [`checksum`]s.
    pub checksum: u64,
    /// Whether the queue is as a queue should be that rests.
    pub verify: Result<(), Corruption>,
}

impl<'a> Consumer<'a> {
    pub(super) fn new(
        receiver: Receiver<KeyValue, Borrowed<'a>>,
        folder: &'a Folder,
        consumers: Consumers,
    ) -> Consumer<'a> {
        Consumer { receiver, folder, consumers }
    }

    /// This consumer's part of what was handed over.
    pub fn share(&mut self) -> Share {
        let (_, teller, _) = self.receiver.parts();
        teller.map_or(Share::default(), |teller| Share {
            consumed: teller.consumed(),
            again: teller.again(),
            deaths: teller.deaths(),
        })
    }

    /// Takes over from consumers of an MPMC queue that have died: what they had claimed goes to `recovered`, and leaves the
    /// queue when that has returned. Returns how many elements that were.
    ///
    /// To be called now and then, and when the queue seems empty: an element that a dead consumer has claimed keeps
    /// producers from the cells behind it a lap later. While nobody is dead it costs a system call for each other consumer.
    pub fn take_over(&mut self, mut recovered: impl FnMut(KeyValue)) -> u64 {
        self.receiver.take_over(u64::MAX, &mut recovered)
    }

    /// This consumer, if no other lives, and none that died has left anything. For one who has ended to pop: if it is
    /// not alone, the right to consume is gone.
    ///
    /// What dead consumers of an MPMC queue have claimed goes to `recovered`, if there is somebody to take it.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if the kernel does not say who holds the lock, [`Error::Arena`] if the queue is damaged.
    pub fn alone(&mut self, recovered: Option<impl FnMut(KeyValue)>) -> Result<Option<Alone<'_, 'a>>, Error> {
        let (source, teller, right) = self.receiver.parts();
        let (Some(teller), Some(right)) = (teller, right) else { return Ok(None) };
        if !right.is_alone(self.folder)? {
            // Without the lock it would be taken for dead.
            teller.retire();
            return Ok(None);
        }
        if self.consumers == Consumers::WithSlots {
            if right.has_dead::<KeyValue>(source) {
                let Some(mut recovered) = recovered else { return Ok(None) };
                right.take_over::<KeyValue>(source, u64::MAX, teller, &mut recovered);
            }
            // Those also that died when nothing was left of theirs but this.
            teller.find_dead(false);
            teller.bury();
        }
        Ok(Some(Alone(self)))
    }
}

/// A consumer beside which no other lives.
#[derive(Debug)]
pub struct Alone<'c, 'a>(&'c mut Consumer<'a>);

impl Alone<'_, '_> {
    /// What lies in the queue.
    pub fn contents(&mut self) -> Contents {
        let (mut length, mut sum) = (0, 0u64);
        let (source, ..) = self.0.receiver.parts();
        let count = |event: &KeyValue| {
            sum = sum.wrapping_add(checksum(event.key, event.value));
            length += 1;
        };
        // SAFETY: the lock on the folder is held alone, so nobody pops.
        let verify = unsafe { source.inspect(count) };
        Contents { length, checksum: sum, verify }
    }
}

impl<'a> Deref for Consumer<'a> {
    type Target = Receiver<KeyValue, Borrowed<'a>>;

    fn deref(&self) -> &Receiver<KeyValue, Borrowed<'a>> {
        &self.receiver
    }
}

impl<'a> DerefMut for Consumer<'a> {
    fn deref_mut(&mut self) -> &mut Receiver<KeyValue, Borrowed<'a>> {
        &mut self.receiver
    }
}
