//! What an arena has to know of a kind of queue, and what its ends do.

use core::num::NonZero;

use crate::arena::directory::NativeEntry;
use crate::arena::error::{ArenaError, CreateError};
use crate::arena::look::Look;
use crate::arena::name::Name;
use crate::arena::owner::Owner;
use crate::arena::places::Occupied;
use crate::arena::region::{Space, Span};
use crate::arena::said::Said;
use crate::arena::spec::{Placed, Spec};
use crate::count::CountPolicy;
use crate::mpmc::TakenOver;
use crate::ordering::{Read, Site, Write};
use crate::payload::Payload;
use crate::platform::{Bytes, Platform};
use crate::status::{Corruption, PopError, PushError};
use crate::structures::{Consumers, Kind};

/// How far apart cells or nodes lie that carry elements of `size` bytes: each has one word more.
pub(in crate::arena) fn stride(size: u64) -> Bytes {
    Bytes::new(size + 8)
}

/// The parts of a queue of one kind, found in an arena and checked.
pub(in crate::arena) trait Structure<'m>: Copy {
    const KIND: Kind;
    /// All that is shared of a queue but for what it carries: what a BPF program makes a variable of.
    type Control;
    /// What C calls it, without `struct`.
    const CONTROL: &'static str;
    const CONSUMERS: Consumers;

    /// The parts of a control block that begins there.
    fn placed(start: usize) -> Placed;

    /// The same for one that the arena makes: its consumers sleep on the arena's event count.
    fn placed_by_arena(start: usize) -> Placed {
        Placed { events: None, ..Self::placed(start) }
    }

    /// How many bytes a queue takes at most besides its control block.
    fn room(spec: &Spec<'_>) -> Result<u64, CreateError>;

    /// Makes an empty queue, and returns the address of its consumers' slots as well, or 0.
    fn make(
        ground: &mut Ground<'_, 'm>,
        spec: &Spec<'_>,
        control: Placed,
    ) -> Result<(Self, usize), CreateError>;

    /// The queue that somebody else has made.
    fn attach(region: &Span<'m>, said: &Said, occupied: &mut Occupied) -> Result<Self, ArenaError>;

    fn capacity(&self) -> u64;

    /// What it is at the moment; see [`Arena::look`](crate::arena::Arena::look).
    fn look(&self) -> Look;

    /// How many elements were pushed since it was made, if it counts them.
    fn pushed(&self) -> Option<u64> {
        None
    }
}

/// Where a queue is made.
pub(in crate::arena) struct Ground<'g, 'm> {
    pub(in crate::arena) region: &'g Span<'m>,
    /// What is free.
    pub(in crate::arena) space: &'g mut Space,
    pub(in crate::arena) occupied: &'g mut Occupied,
}

/// A structure whose elements have one size.
///
/// Its ends are those of the structure, for any platform whose words are those of `Native`, and any element. Who knows
/// the type has `Native` and the type; who moves bytes has `Untyped` and `Opaque`.
pub(in crate::arena) trait Elements<'m>: Structure<'m> {
    type Producer<P: Platform + 'm, T: 'm, C: CountPolicy + 'm>: Produce<P, T>;
    type Consumer<P: Platform + 'm, T: 'm, C: CountPolicy + 'm>: Consume<P, T>;

    /// # Safety
    ///
    /// `P` has the words of `Native`, and a cell or node that lies `stride` from the next has room for a `T`, of which any
    /// bits are one.
    unsafe fn producer<P: Platform, T, C: CountPolicy>(
        &self,
        stride: P::Stride,
    ) -> Result<Self::Producer<P, T, C>, ArenaError>;

    /// # Safety
    ///
    /// As [`producer`](Self::producer), and as the [`Seat`] says.
    unsafe fn consumer<P: Platform, T, C: CountPolicy>(
        &self,
        place: Place<'m>,
        stride: P::Stride,
        seat: Seat,
    ) -> Result<Self::Consumer<P, T, C>, ArenaError>;

    /// Takes over from the consumers that died, in the name of a slot, if consumers have slots.
    ///
    /// # Safety
    ///
    /// As [`producer`](Self::producer), and [`Slotted::take_over_in_place`](crate::mpmc::Slotted::take_over_in_place).
    unsafe fn take_over_in_place<P: Platform, T: 'm, C: CountPolicy>(
        &self,
        place: Place<'m>,
        stride: P::Stride,
        (slot, limit): (usize, u64),
        is_dead: impl FnMut(usize, Option<NonZero<u64>>) -> bool,
        read: impl FnMut(&P::Plain<T>, &'static Site<Read>),
    ) -> Result<Option<TakenOver>, ArenaError> {
        let _ = (stride, slot, limit, is_dead, read);
        Err(has_no_slots::<Self>(place.name))
    }
}

/// A queue in the directory.
#[derive(Clone, Copy)]
pub(in crate::arena) struct Place<'m> {
    pub(in crate::arena) name: Name,
    pub(in crate::arena) entry: &'m NativeEntry,
}

/// Its consumers have no slots.
pub(super) fn has_no_slots<'m, S: Structure<'m>>(queue: Name) -> ArenaError {
    ArenaError::Kind { queue, found: S::KIND, expected: Kind::Mpmc }
}

/// The place at a queue that a consumer takes, and what it calls itself.
#[derive(Clone, Copy, Debug)]
pub(in crate::arena) enum Seat {
    /// One that is free.
    Free(Owner),
    /// That of a number.
    Slot(usize, Owner),
    /// That of an only consumer, who has died, if it has it still: see [`MpscConsumer::take_over`](crate::arena::MpscConsumer::take_over).
    OfTheDead { dead: Option<Owner>, owner: Owner },
}

/// What a producing end does.
pub(in crate::arena) trait Produce<P: Platform, T> {
    /// # Safety
    ///
    /// `write` writes the element whole.
    unsafe fn push_in_place(
        &self,
        write: impl FnOnce(&P::Plain<T>, &'static Site<Write>),
    ) -> Result<(), PushError>;

    fn push(&self, value: T) -> Result<(), PushError>
    where
        T: Payload;

    fn push_many(&self, values: &[T]) -> Result<usize, PushError>
    where
        T: Payload;
}

/// What a consuming end does. Without slots there is nobody to take over from.
pub(in crate::arena) trait Consume<P: Platform, T> {
    /// # Safety
    ///
    /// Any bits are a `T`.
    unsafe fn pop_in_place<R>(
        &mut self,
        read: impl FnOnce(&P::Plain<T>, &'static Site<Read>) -> R,
    ) -> Result<R, PopError>;

    fn drain(&mut self, limit: u64, hand_over: impl FnMut(T)) -> Result<u64, PopError>
    where
        T: Payload;

    /// Whether nothing is there, and nothing on its way.
    fn is_drained(&self) -> bool;

    /// # Safety
    ///
    /// Nobody pops meanwhile.
    unsafe fn inspect(&mut self, see: impl FnMut(&T)) -> Result<(), Corruption>
    where
        T: Payload;

    fn slot(&self) -> Option<usize> {
        None
    }

    fn has_dead(&self, is_dead: impl FnMut(usize, NonZero<u64>) -> bool) -> bool {
        let _ = is_dead;
        false
    }

    fn is_held_up(&self) -> bool {
        false
    }

    /// # Safety
    ///
    /// As [`Slotted::take_over_in_place`](crate::mpmc::Slotted::take_over_in_place).
    unsafe fn take_over_in_place(
        &mut self,
        limit: u64,
        is_dead: impl FnMut(usize, Option<NonZero<u64>>) -> bool,
        read: impl FnMut(&P::Plain<T>, &'static Site<Read>),
    ) -> Option<TakenOver> {
        let _ = (limit, is_dead, read);
        Some(TakenOver::default())
    }
}
