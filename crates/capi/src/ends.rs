//! The ends of a queue.

use std::ffi::{c_char, c_int, c_void};
use std::num::NonZero;
use std::ptr;
use std::slice;
use std::sync::Arc;

use queues::arena::{Arena, ArenaError, ByteConsumer, ByteProducer, Owner};
use queues::mpmc::TakenOver;
use queues::{PopError, PushError, Status};

use crate::alone::{Alone, MaySleep};
use crate::arena::{Attached, Shared};
use crate::error::{Failure, code};
use crate::memory::{exclusive, shared, text};
use crate::pinned::Right;

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
    end: Alone<End>,
    _arena: Arc<Shared>,
}

/// What pops.
#[derive(Debug)]
struct End {
    // Dropped in this order: the right to consume is given up last.
    consumer: ByteConsumer<'static>,
    /// Of a pinned queue.
    right: Option<Right>,
}

impl End {
    fn pop(&mut self, hand_over: impl FnMut(&[u8])) -> Result<(), PopError> {
        match &mut self.right {
            Some(right) => right.pop(&mut self.consumer, hand_over),
            None => self.consumer.pop_with(hand_over),
        }
    }
}

impl MaySleep for End {
    /// Also nothing is on its way, and nothing was left by somebody dead.
    fn may_sleep(&self) -> bool {
        self.consumer.is_drained() && !self.right.as_ref().is_some_and(|right| right.has_dead(&self.consumer))
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
    let take_over = |arena: &Arena<'static>, name: &str, owner| {
        // SAFETY: the caller's promise.
        unsafe { arena.byte_consumer_after_death(name, arena.mpsc_owner(name), owner) }
    };
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
    let consumer = match &arena.shared.pinned {
        Some(pinned) => {
            // SAFETY: the consumer keeps it, and drops it behind all that is made of it.
            let kept: &'static Arena<'static> = unsafe { &*ptr::from_ref(&arena.shared.arena) };
            // SAFETY: the arena is the one that is pinned there, and the consumer keeps both.
            let (consumer, right) = unsafe { pinned.acquire(kept, name) }?;
            End { consumer, right: Some(right) }
        }
        None => End { consumer: end(&arena.shared.arena, name, this_process())?, right: None },
    };
    check_size(consumer.consumer.element().size, size, name)?;
    let end = Alone::new(consumer, arena.shared.arena.event_count_of(name).ok());
    *place = Box::into_raw(Box::new(Consumer { end, _arena: arena.shared.clone() }));
    Ok(())
}

pub(crate) fn this_process() -> Owner {
    NonZero::new(std::process::id()).map_or(Owner::ANONYMOUS, Owner::process)
}

/// Says whether a process that consumed has ended.
type IsDead = unsafe extern "C" fn(process: u32, context: *mut c_void) -> c_int;

/// See the header.
///
/// # Safety
///
/// `arena` is open, `name` is a string, `element` leads to `size` bytes that nobody else uses, or they are null. Unless the arena
/// was attached by its folder, a process of which `is_dead` says so has ended, and what it did happened before; and nobody else
/// takes over from consumers of the queue meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_consumer_recover(
    arena: *const Attached,
    name: *const c_char,
    is_dead: Option<IsDead>,
    context: *mut c_void,
    element: *mut c_void,
    size: usize,
) -> c_int {
    code((|| {
        // SAFETY: the caller's promise.
        let arena = unsafe { shared("arena", arena) }?;
        // SAFETY: the caller's promise.
        let name = unsafe { text("the name of the queue", name) }?;
        if element.is_null() {
            return Err(Failure::null("element"));
        }
        let Shared { arena, pinned, .. } = &*arena.shared;
        let carried = arena.queues().find(|info| info.name.as_str() == name).map(|info| info.element.size);
        carried.map_or(Ok(()), |carried| check_size(carried, size, name))?;
        let hand_over = |bytes: &[u8]| {
            // SAFETY: the caller's promise; the element has at least `size` bytes.
            unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), element.cast::<u8>(), size) };
        };
        let recovered = match (pinned, is_dead) {
            // SAFETY: the arena is the one that is pinned there, and both are there until this returns.
            (Some(pinned), _) => unsafe { pinned.recover_one(arena, name, hand_over) }?,
            (None, None) => return Err(Failure::null("is_dead")),
            (None, Some(is_dead)) => {
                let is_dead = |owner: NonZero<u64>| {
                    // Who does not say which process it is may live.
                    let Ok(process) = u32::try_from(owner.get()) else { return false };
                    // SAFETY: the caller's function, and what it wants.
                    unsafe { is_dead(process, context) != 0 }
                };
                // SAFETY: the caller's promise.
                unsafe { recover(arena, name, is_dead, hand_over) }?
            }
        };
        if recovered { Ok(()) } else { Err(Failure::new(Status::NotFound, "nobody dead has left anything")) }
    })())
}

/// Takes over one element from dead consumers of an MPMC queue, and says whether there was one.
///
/// # Safety
///
/// Of whom `is_dead` says so has ended, and what it did happened before; nobody else takes over meanwhile.
unsafe fn recover(
    arena: &Arena<'_>,
    name: &str,
    is_dead: impl Fn(NonZero<u64>) -> bool,
    hand_over: impl FnMut(&[u8]),
) -> Result<bool, Failure> {
    let Some(slot) =
        arena.mpmc_owners(name)?.iter().position(|owner| owner.is_some_and(|owner| is_dead(owner.get())))
    else {
        return Ok(false);
    };
    // Without an owner it is about somebody who took over and died: nobody else does.
    let is_dead = |_, owner: Option<NonZero<u64>>| owner.is_none_or(&is_dead);
    // SAFETY: the caller's promise: nobody else takes over, so not in the name of this slot either.
    let taken = unsafe { arena.take_over_bytes(name, slot, 1, is_dead, hand_over) }?;
    match taken {
        Some(TakenOver { elements, undecided, .. }) if elements > 0 || undecided == 0 => Ok(elements > 0),
        _ => Err(Failure::new(
            Status::Busy,
            "a consumer that lives is in the middle of a pop, or somebody takes over: try again",
        )),
    }
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
    let popped: Option<Result<(), PopError>> = consumer.end.run(|end| {
        if (size as u64).checked_next_multiple_of(8) != Some(end.consumer.element().size) {
            return Err(PopError::Invalid);
        }
        end.pop(|bytes| {
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
    consumer.end.sleep().code()
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
        consumer.end.wake();
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
        consumer.end.wake();
    }
}
