//! How a position of the ring is claimed, as a compile-time policy: with a compare-exchange if others may claim
//! it too, with a store if nobody else does.

use crate::ordering::{CompareExchange, Site};
use crate::platform::Word;

/// The sites of those who are alone on their side.
pub mod site {
    use crate::ordering::Ordering::Relaxed;
    use crate::ordering::{Field, Site, sites};

    sites! {
        /// The only producer claims the position, or the positions of a run.
        ENQUEUE_ADVANCE: Store = Site::store(Relaxed, "claim.single_producer.advance_position")
            .of(Field::EnqueuePosition)
            .why("nobody else claims enqueue positions, and the position carries no data");
        /// The only consumer claims the position, or the positions of a run.
        DEQUEUE_ADVANCE: Store = Site::store(Relaxed, "claim.single_consumer.advance_position")
            .of(Field::DequeuePosition)
            .why("nobody else claims dequeue positions, and the position carries no data");
    }
}

/// Who claims positions on one side of the ring.
pub(crate) trait Claim {
    /// Moves `position` from `first` to `end`, unless somebody else has moved it. Whether it did.
    fn claim(
        &self,
        position: &impl Word,
        first: u64,
        end: u64,
        exchange: &'static Site<CompareExchange>,
    ) -> bool;
}

/// Any number of threads.
#[derive(Default)]
pub(crate) struct Many;

/// One producer, which has loaded `first` from the position itself.
#[derive(Default)]
pub(crate) struct OneProducer;

/// One consumer, likewise.
#[derive(Default)]
pub(crate) struct OneConsumer;

impl Claim for Many {
    #[inline(always)]
    fn claim(
        &self,
        position: &impl Word,
        first: u64,
        end: u64,
        exchange: &'static Site<CompareExchange>,
    ) -> bool {
        position.compare_exchange(first, end, exchange).is_ok()
    }
}

impl Claim for OneProducer {
    #[inline(always)]
    fn claim(&self, position: &impl Word, _: u64, end: u64, _: &'static Site<CompareExchange>) -> bool {
        position.store(end, &site::ENQUEUE_ADVANCE);
        true
    }
}

impl Claim for OneConsumer {
    #[inline(always)]
    fn claim(&self, position: &impl Word, _: u64, end: u64, _: &'static Site<CompareExchange>) -> bool {
        position.store(end, &site::DEQUEUE_ADVANCE);
        true
    }
}
