//! `thingbuf`: Vyukov's ring, whose slots are reused in place.

use thingbuf::ThingBuf;

use crate::user::queue::{Element, Ends, Pop, Push, Queue, copies};

/// An element with a default value, which `thingbuf` leaves in a slot.
#[derive(Clone, Copy)]
pub(crate) struct Slot<T>(T);

impl<T: Element> Default for Slot<T> {
    fn default() -> Self {
        Slot(T::zeroed())
    }
}

/// The ring.
pub(crate) struct Thingbuf;

impl<T: Element> Queue<T> for Thingbuf {
    type Producer<'q> = &'q ThingBuf<Slot<T>>;
    type Consumer<'q> = &'q ThingBuf<Slot<T>>;

    fn with<R>(
        ends: Ends,
        body: impl for<'q> FnOnce(Vec<&'q ThingBuf<Slot<T>>>, Vec<&'q ThingBuf<Slot<T>>>) -> R,
    ) -> anyhow::Result<R> {
        let queue = ThingBuf::new(ends.capacity);
        Ok(body(copies(&&queue, ends.producers), copies(&&queue, ends.consumers)))
    }
}

impl<T: Element> Push<T> for &ThingBuf<Slot<T>> {
    #[inline]
    fn push(&mut self, value: T) -> bool {
        self.push_with(|slot| slot.0 = value).is_ok()
    }
}

impl<T: Element> Pop<T> for &ThingBuf<Slot<T>> {
    #[inline]
    fn pop(&mut self) -> Option<T> {
        self.pop_with(|slot| slot.0)
    }
}
