//! What a consumer that dies leaves behind, and how the next one puts it right.
//!
//! A process can be killed between any two instructions. What it leaves depends on where it was:
//!
//! | it died | MPSC | MPMC |
//! |---|---|---|
//! | before it claimed the element | nothing has happened: the next consumer pops the element | the same |
//! | before the element was handed over, or in the middle of that | the same: nothing says that it was taken | the cell stays claimed, and a producer that arrives there a lap later finds the queue full. Whoever lives hands the element over and frees the cell: [`mpmc::Consumer::take_over`] |
//! | after it was handed over, before the tail moved or the cell was free | the element is handed over a second time | the same |
//! | after that | the old stub may be lost to the pool, and the counter one too high: [`mpsc::Consumer::repair`] | the counter may be one too high: [`mpmc::Ring::recount`] |
//!
//! So no element is lost, and one for each death may be seen twice, if it is handed over inside of
//! [`mpsc::Consumer::pop_with`] or [`mpmc::Consumer::pop_with`].
//!
//! Consumers of an MPMC queue tell each other what they claim in [slots](crate::mpmc::slots), so that others can go on
//! while one takes over. One without a slot announces nothing: after [`mpmc::Ring::pop_with`] the cell of a dead one can
//! be told from that of a living one only when no consumer is left, and [`mpmc::Ring::reclaim`] is for that moment.
//!
//! A batch is popped in one step at its end: if the consumer dies in [`mpsc::Consumer::drain`], all elements that
//! the batch has handed over are handed over a second time, and if it dies after the tail moved, all nodes of
//! the batch may be lost to the pool, and the counter be too high by as many. In [`mpmc::Consumer::drain`] each cell is
//! freed by itself, so one element at most is seen twice; whoever takes over hands over the rest of the batch.
//!
//! Who dies while the pool grows ([`Nodes::reserve`]) leaves numbers of nodes that nobody has made. Their memory
//! may not be there yet, so [`mpsc::Consumer::repair`] writes every node that it gives back; if there may be no
//! memory for it, [`mpsc::Consumer::repair_with`] asks first.
//!
//! What `pop` has returned is gone from the queue: if
//! the consumer dies before it has done something with it, that element is lost.
//!
//! A *producer* that dies between swap and link, or between claim and publish, cannot be helped: its element
//! may be half written, and nobody knows whether it will go on. BPF programs do not die there.
//!
//! [`Nodes::reserve`]: crate::pool::Nodes::reserve
//! [`mpsc::Consumer::drain`]: crate::mpsc::Consumer::drain
//! [`mpsc::Consumer::pop_with`]: crate::mpsc::Consumer::pop_with
//! [`mpsc::Consumer::repair`]: crate::mpsc::Consumer::repair
//! [`mpsc::Consumer::repair_with`]: crate::mpsc::Consumer::repair_with

use crate::count::CountPolicy;
use crate::mpmc;
use crate::payload::Payload;
use crate::platform::{Plain, Platform, Word};

pub use crate::pool::Repaired;

/// The sites of the recovery.
pub mod site {
    use crate::ordering::Ordering::{Relaxed, Release};
    use crate::ordering::{Field, Site, sites};

    sites! {
        /// Whether a cell behind the dequeue position was never freed.
        RECLAIM_SEQUENCE: Load = Site::load(Relaxed, "mpmc.reclaim.load_sequence")
            .of(Field::Sequence)
            .why("the consumer that claimed the cell has acquired its data, and its death happens before the reclaim");
        /// The element of a consumer that died.
        RECLAIM_DATA: Read = Site::read("mpmc.reclaim.read_data")
            .of(Field::Data)
            .why("no consumer is alive, and no producer writes the cell before it is freed");
        /// The cell becomes the next lap's producer's.
        RECLAIM_FREE: Store = Site::store(Release, "mpmc.reclaim.free_cell")
            .of(Field::Sequence)
            .pairs_with(&["mpmc.push.load_sequence", "mpmc.push_many.load_sequence"])
            .why("the data is read before the producer that sees this sequence overwrites it");
        /// The counter of a resting queue becomes its length.
        RECOUNT: Add = Site::add(Relaxed, "recovery.recount.correct_count")
            .of(Field::Count)
            .why("the queue rests");
    }
}

impl<P: Platform, T: Payload, C: CountPolicy> mpmc::Ring<'_, P, T, C> {
    /// Hands over the elements that consumers have claimed and never freed, the oldest first, and frees their
    /// cells. Returns how many there were: at most one, or one batch, for each consumer that died.
    ///
    /// # Safety
    ///
    /// No consumer uses the queue from before this call to its end, and everything that the dead ones did
    /// happens before it. Producers may go on.
    pub unsafe fn reclaim(&self, mut hand_over: impl FnMut(T)) -> u64 {
        let capacity = self.capacity();
        let dequeue = self.head.dequeue_pos.0.load(&mpmc::site::INSPECT_POSITION);
        let mut reclaimed = 0;
        for step in P::steps(capacity) {
            let position = dequeue.wrapping_sub(capacity).wrapping_add(step);
            let cell = self.cell(position);
            let published = position.wrapping_add(1);
            if cell.sequence.load(&site::RECLAIM_SEQUENCE) == published {
                // SAFETY: the cell is published and its position was claimed by a consumer. That consumer
                // never freed it and no other is alive, so the cell is ours; its data was acquired by the dead
                // consumer, whose end happens before this.
                hand_over(unsafe { cell.data.read(&site::RECLAIM_DATA) });
                cell.sequence.store(position.wrapping_add(capacity), &site::RECLAIM_FREE);
                C::decrement(&self.head.count, 1, &site::RECOUNT);
                reclaimed += 1;
            }
        }
        reclaimed
    }

    /// Sets the counter to the length.
    ///
    /// # Safety
    ///
    /// No operation runs.
    pub unsafe fn recount(&self) {
        correct::<C>(&self.head.count, self.len());
    }
}

/// Lets a counter be `length`.
pub(crate) fn correct<C: CountPolicy>(count: &impl Word, length: u64) {
    if C::COUNTED {
        let found = count.load(&mpmc::site::INSPECT_COUNT);
        count.add(length.wrapping_sub(found), &site::RECOUNT);
    }
}
