//! The ends of a queue.

use std::cell::UnsafeCell;
use std::ffi::{c_char, c_int, c_void};
use std::num::NonZero;
use std::ptr;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use queues::arena::{Arena, ArenaError, ByteConsumer, ByteProducer, Owner};
use queues::eventcount::{EventCount, Ticket};
use queues::platform::Native;
use queues::{PopError, PushError, Status};

use crate::arena::{Attached, Shared};
use crate::error::{Failure, code};
use crate::memory::{exclusive, shared, text};

/// `struct arenaq_producer`.
#[derive(Debug)]
pub struct Producer {
    end: ByteProducer<'static>,
    _arena: Arc<Shared>,
}

/// `struct arenaq_consumer`.
#[derive(Debug)]
pub struct Consumer {
    // Dropped in this order: the right to consume is given up while the memory is there.
    end: UnsafeCell<ByteConsumer<'static>>,
    /// Whether somebody pops: of two threads at once one is refused.
    is_used: AtomicBool,
    /// What it sleeps on, and that it has said so.
    events: Option<&'static EventCount<Native>>,
    ticket: UnsafeCell<Option<Ticket>>,
    _arena: Arc<Shared>,
}

impl Consumer {
    /// Runs an operation that one thread at a time may run.
    fn alone<R>(
        &self,
        operation: impl FnOnce(&mut ByteConsumer<'static>, &mut Option<Ticket>) -> R,
    ) -> Option<R> {
        if self.is_used.swap(true, Ordering::Acquire) {
            return None;
        }
        // SAFETY: the flag is ours.
        let result = unsafe { operation(&mut *self.end.get(), &mut *self.ticket.get()) };
        self.is_used.store(false, Ordering::Release);
        Some(result)
    }

    fn withdraw(&self, ticket: &mut Option<Ticket>) {
        if let (Some(ticket), Some(events)) = (ticket.take(), self.events) {
            events.cancel(ticket);
        }
    }
}

fn check_size(element: u64, size: usize, name: &str) -> Result<(), Failure> {
    if (size as u64).checked_next_multiple_of(8) == Some(element) {
        return Ok(());
    }
    Err(Failure::invalid(format_args!(
        "the queue `{name}` carries elements of {element} bytes, not of {size}"
    )))
}

/// See the header.
///
/// # Safety
///
/// `arena` is open, `name` is a string and `producer` leads to a pointer, or they are null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_producer_open(
    arena: *const Attached,
    name: *const c_char,
    size: usize,
    producer: *mut *mut Producer,
) -> c_int {
    code((|| {
        // SAFETY: the caller's promise.
        let (arena, place) = unsafe { (shared("arena", arena)?, exclusive("producer", producer)?) };
        // SAFETY: the caller's promise.
        let name = unsafe { text("the name of the queue", name) }?;
        let end = arena.shared.arena.byte_producer(name)?;
        check_size(end.element().size, size, name)?;
        *place = Box::into_raw(Box::new(Producer { end, _arena: arena.shared.clone() }));
        Ok(())
    })())
}

/// See the header.
///
/// # Safety
///
/// `producer` is open or null, `element` leads to `size` bytes or is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_producer_push(
    producer: *const Producer,
    element: *const c_void,
    size: usize,
) -> c_int {
    // SAFETY: the caller's promise.
    let Some(producer) = (unsafe { producer.as_ref() }).filter(|_| !element.is_null()) else {
        return Status::Invalid.code();
    };
    // SAFETY: the caller's promise.
    let bytes = unsafe { slice::from_raw_parts(element.cast::<u8>(), size) };
    let pushed: Result<(), PushError> = producer.end.push(bytes);
    Status::from(pushed).code()
}

/// See the header.
///
/// # Safety
///
/// `producer` is open or null, and is not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_producer_close(producer: *mut Producer) {
    if !producer.is_null() {
        // SAFETY: the caller's promise.
        drop(unsafe { Box::from_raw(producer) });
    }
}

/// See the header.
///
/// # Safety
///
/// As [`arenaq_producer_open`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_consumer_open(
    arena: *const Attached,
    name: *const c_char,
    size: usize,
    consumer: *mut *mut Consumer,
) -> c_int {
    // SAFETY: the caller's promise.
    code(unsafe { open(arena, name, size, consumer, Arena::byte_consumer) })
}

/// See the header.
///
/// # Safety
///
/// As [`arenaq_producer_open`]; whoever consumed from the queue, if it is an MPSC queue, has died, and what it did happened
/// before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_consumer_take_over(
    arena: *const Attached,
    name: *const c_char,
    size: usize,
    consumer: *mut *mut Consumer,
) -> c_int {
    // SAFETY: the caller's promise.
    let take_over =
        |arena: &Arena<'static>, name: &str, owner| unsafe { arena.byte_consumer_after_death(name, owner) };
    // SAFETY: the caller's promise.
    code(unsafe { open(arena, name, size, consumer, take_over) })
}

/// Opens a consumer.
///
/// # Safety
///
/// As [`arenaq_producer_open`].
unsafe fn open(
    arena: *const Attached,
    name: *const c_char,
    size: usize,
    consumer: *mut *mut Consumer,
    end: impl FnOnce(&Arena<'static>, &str, Owner) -> Result<ByteConsumer<'static>, ArenaError>,
) -> Result<(), Failure> {
    // SAFETY: the caller's promise.
    let (arena, place) = unsafe { (shared("arena", arena)?, exclusive("consumer", consumer)?) };
    // SAFETY: the caller's promise.
    let name = unsafe { text("the name of the queue", name) }?;
    let owner = NonZero::new(std::process::id()).map_or(Owner::ANONYMOUS, Owner::process);
    let end = end(&arena.shared.arena, name, owner)?;
    check_size(end.element().size, size, name)?;
    let consumer = Consumer {
        end: UnsafeCell::new(end),
        is_used: AtomicBool::new(false),
        events: arena.shared.arena.event_count_of(name).ok(),
        ticket: UnsafeCell::new(None),
        _arena: arena.shared.clone(),
    };
    *place = Box::into_raw(Box::new(consumer));
    Ok(())
}

/// See the header.
///
/// # Safety
///
/// `consumer` is open or null, `element` leads to `size` bytes that nobody else uses, or is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_consumer_pop(
    consumer: *const Consumer,
    element: *mut c_void,
    size: usize,
) -> c_int {
    // SAFETY: the caller's promise.
    let Some(consumer) = (unsafe { consumer.as_ref() }).filter(|_| !element.is_null()) else {
        return Status::Invalid.code();
    };
    let popped: Option<Result<(), PopError>> = consumer.alone(|end, _| {
        if (size as u64).checked_next_multiple_of(8) != Some(end.element().size) {
            return Err(PopError::Invalid);
        }
        end.pop_with(|bytes| {
            // SAFETY: the caller's promise; the element has at least `size` bytes.
            unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), element.cast::<u8>(), size) };
        })
    });
    popped.map_or(Status::Invalid, Status::from).code()
}

/// See the header.
///
/// # Safety
///
/// `consumer` is open or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_consumer_sleep(consumer: *const Consumer) -> c_int {
    // SAFETY: the caller's promise.
    let Some(consumer) = (unsafe { consumer.as_ref() }) else { return Status::Invalid.code() };
    let slept = consumer.alone(|end, ticket| {
        if let Some(events) = consumer.events {
            *ticket = ticket.take().filter(|ticket| !events.is_notified(ticket));
            if ticket.is_none() {
                *ticket = events.prepare();
            }
        }
        // Announced, then looked at: a push that this does not see sees the announcement.
        if end.is_drained() {
            return Status::Success;
        }
        consumer.withdraw(ticket);
        Status::Busy
    });
    slept.unwrap_or(Status::Invalid).code()
}

/// See the header.
///
/// # Safety
///
/// `consumer` is open or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_consumer_wake(consumer: *const Consumer) {
    // SAFETY: the caller's promise.
    if let Some(consumer) = unsafe { consumer.as_ref() } {
        consumer.alone(|_, ticket| consumer.withdraw(ticket));
    }
}

/// See the header.
///
/// # Safety
///
/// `consumer` is open or null, and is not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_consumer_close(consumer: *mut Consumer) {
    if !consumer.is_null() {
        // SAFETY: the caller's promise.
        let consumer = unsafe { Box::from_raw(consumer) };
        consumer.alone(|_, ticket| consumer.withdraw(ticket));
    }
}
