//! Looking at a queue: how full it is, what is in it, whether it can be right.

use super::{PUBLISHED, Ring, distance, site};
use crate::count::CountPolicy;
use crate::payload::Payload;
use crate::platform::{Plain, Platform, Word};
use crate::status::Corruption;

impl<P: Platform, T, C: CountPolicy> Ring<'_, P, T, C> {
    /// The number of cells.
    #[inline]
    pub fn capacity(&self) -> u64 {
        self.mask + 1
    }

    /// How many positions are claimed by producers and not by consumers: the number of elements if nobody is
    /// in the middle of an operation. Between 0 and the capacity, however the positions move while they are
    /// read.
    #[inline]
    pub fn len(&self) -> u64 {
        let dequeue = self.head.dequeue_pos.0.load(&site::INSPECT_POSITION);
        let enqueue = self.head.enqueue_pos.0.load(&site::INSPECT_POSITION);
        u64::try_from(distance(enqueue, dequeue)).unwrap_or(0).min(self.capacity())
    }

    /// Whether a consumer holds the cell of the position that is the next to be popped: it has claimed it a lap ago, and not
    /// freed it. Nobody can push there until it has, so the queue seems empty, and full.
    #[inline]
    pub fn is_held_up(&self) -> bool {
        let position = self.head.dequeue_pos.0.load(&site::INSPECT_POSITION);
        let sequence = self.cell(position).sequence.load(&site::INSPECT_SEQUENCE);
        sequence == position.wrapping_sub(self.capacity()).wrapping_add(PUBLISHED)
    }

    /// Whether [`len`](Self::len) is 0.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The seeds' counter, approximate while operations run. Always 0 under
    /// [`Uncounted`](crate::count::Uncounted).
    #[inline]
    pub fn count(&self) -> u64 {
        crate::count::clamp(self.head.count.load(&site::INSPECT_COUNT))
    }

    /// Checks what holds at every moment, also while pushes and pops run: the enqueue position is ahead of the dequeue position by no more than that, and each cell's
    /// sequence is one of the two that some lap gives it.
    ///
    /// # Errors
    ///
    /// What is wrong.
    #[inline]
    pub fn verify(&self) -> Result<(), Corruption> {
        let capacity = self.capacity();
        self.check_positions(capacity)?;
        let mut done = 0;
        for cell in P::steps(capacity) {
            let sequence = self.cell(cell).sequence.load(&site::INSPECT_SEQUENCE);
            let state = sequence.wrapping_sub(cell) & self.mask;
            if state > 1 {
                return Err(Corruption::Sequence { cell, sequence });
            }
            done = cell + 1;
        }
        if done == capacity { Ok(()) } else { Err(Corruption::Unfinished) }
    }

    /// Whether the positions can be those of a ring of so many cells, while they move.
    #[inline]
    fn check_positions(&self, capacity: u64) -> Result<(), Corruption> {
        let dequeue = self.head.dequeue_pos.0.load(&site::INSPECT_POSITION);
        let enqueue = self.head.enqueue_pos.0.load(&site::INSPECT_POSITION);
        if enqueue.wrapping_sub(dequeue) <= capacity {
            return Ok(());
        }
        // Either they cannot be, or they have moved between the two loads, or a load has found an old value.
        let mut wrong = Corruption::Unfinished;
        for _ in P::steps(P::retry_budget()) {
            let [first, enqueue, last] =
                [&self.head.dequeue_pos, &self.head.enqueue_pos, &self.head.dequeue_pos]
                    .map(|position| position.0.fetch_add(0, &site::CONFIRM_POSITION));
            // When the enqueue position was read, the dequeue position was between the first and the last.
            if distance(enqueue, first) >= 0 && distance(enqueue, last) <= capacity as i64 {
                return Ok(());
            }
            wrong = Corruption::Positions { enqueue, dequeue: last };
            P::relax();
        }
        Err(wrong)
    }

    /// Checks a queue on which no operation runs: every cell is exactly as the positions say, and so is the
    /// counter. An operation that runs, or died, in the middle is reported as corruption.
    ///
    /// # Errors
    ///
    /// What is wrong.
    #[inline]
    pub fn verify_quiesced(&self) -> Result<(), Corruption> {
        let capacity = self.capacity();
        let dequeue = self.head.dequeue_pos.0.load(&site::INSPECT_POSITION);
        let enqueue = self.head.enqueue_pos.0.load(&site::INSPECT_POSITION);
        let length = enqueue.wrapping_sub(dequeue);
        if length > capacity {
            return Err(Corruption::Positions { enqueue, dequeue });
        }
        let mut done = 0;
        for step in P::steps(capacity) {
            let position = dequeue.wrapping_add(step);
            let cell = position & self.mask;
            let sequence = self.cell(position).sequence.load(&site::INSPECT_SEQUENCE);
            let published = step < length;
            if sequence != position.wrapping_add(u64::from(published)) {
                return Err(Corruption::Sequence { cell, sequence });
            }
            done = step + 1;
        }
        if done < capacity {
            return Err(Corruption::Unfinished);
        }
        let count = self.head.count.load(&site::INSPECT_COUNT) as i64;
        if C::COUNTED && count != length as i64 {
            return Err(Corruption::Count { count, length });
        }
        Ok(())
    }
}

impl<P: Platform, T: Payload, C: CountPolicy> Ring<'_, P, T, C> {
    /// The first published element, in queue order, for which `found` is true. It stays in the queue.
    /// An element whose push has not ended is passed over, so while pushes run a later one may be seen first.
    ///
    /// # Errors
    ///
    /// [`Corruption`] if its positions cannot be; [`Corruption::Unfinished`] if the platform
    /// ended the loop and nothing was found until there.
    ///
    /// # Safety
    ///
    /// No pop runs at the same time: an element that is popped while it is looked at may be overwritten by
    /// the next lap. Pushes may run.
    #[inline]
    pub unsafe fn search(&self, mut found: impl FnMut(&T) -> bool) -> Result<Option<T>, Corruption> {
        let dequeue = self.head.dequeue_pos.0.load(&site::INSPECT_POSITION);
        let enqueue = self.head.enqueue_pos.0.load(&site::INSPECT_POSITION);
        let length = enqueue.wrapping_sub(dequeue);
        // The dequeue position rests, and the enqueue position is never behind it nor further ahead.
        if length > self.capacity() {
            return Err(Corruption::Positions { enqueue, dequeue });
        }
        let mut done = 0;
        for step in P::steps(length) {
            let position = dequeue.wrapping_add(step);
            let cell = self.cell(position);
            if cell.sequence.load(&site::SEARCH_SEQUENCE) == position.wrapping_add(1) {
                // SAFETY: the cell is published, which happened before the load above, and stays so: only a
                // pop ends it, and none runs.
                let value = unsafe { cell.data.read(&site::SEARCH_DATA) };
                if found(&value) {
                    return Ok(Some(value));
                }
            }
            done = step + 1;
        }
        if done == length { Ok(None) } else { Err(Corruption::Unfinished) }
    }
}
