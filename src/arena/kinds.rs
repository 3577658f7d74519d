//! The kinds of queues: what an arena has to know of each. A kind has a file here, and a line in each list below.

mod mpmc;
mod mpsc;
mod records;

use core::num::NonZero;

pub use self::mpmc::{Mpmc, MpmcConsumer};
pub use self::mpsc::{MpscConsumer, MpscProducer};
pub use self::records::ArenaRecords;

use self::mpmc::Mpmcs;
use self::mpsc::Mpscs;
use self::records::Recordings;
use super::error::{ArenaError, CreateError};
use super::look::Look;
use super::owner::Owner;
use super::places::Occupied;
use super::queues::{Found, Said};
use super::region::{CACHE_LINE, Space, Span};
use super::spec::{Placed, Spec};
use crate::count::{CountPolicy, Counted, Uncounted};
use crate::mpmc::TakenOver;
use crate::ordering::{Read, Site, Write};
use crate::payload::Payload;
use crate::platform::{Bytes, Platform};
use crate::status::{Corruption, PopError, PushError};
use crate::structures::{Consumers, Kind};

/// How far apart cells or nodes lie that carry elements of `size` bytes: each has one word more.
pub(super) fn stride(size: u64) -> Bytes {
    Bytes::new(size + 8)
}

/// The parts of a queue of one kind, found in an arena and checked.
pub(super) trait Structure<'m>: Copy {
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

    /// What it is at the moment; see [`Arena::look`](super::Arena::look).
    fn look(&self) -> Look;

    /// How many elements were pushed since it was made, if it counts them.
    fn pushed(&self) -> Option<u64> {
        None
    }
}

/// Where a queue is made.
pub(super) struct Ground<'g, 'm> {
    pub(super) region: &'g Span<'m>,
    /// What is free.
    pub(super) space: &'g mut Space,
    pub(super) occupied: &'g mut Occupied,
}

/// A structure whose elements have one size.
///
/// Its ends are those of the structure, for any platform whose words are those of `Native`, and any element. Who knows
/// the type has `Native` and the type; who moves bytes has `Untyped` and `Opaque`.
pub(super) trait Elements<'m>: Structure<'m> {
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
        found: &Found<'m>,
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
        found: &Found<'m>,
        stride: P::Stride,
        (slot, limit): (usize, u64),
        is_dead: impl FnMut(usize, Option<NonZero<u64>>) -> bool,
        read: impl FnMut(&P::Plain<T>, &'static Site<Read>),
    ) -> Result<Option<TakenOver>, ArenaError> {
        let _ = (stride, slot, limit, is_dead, read);
        Err(found.is_not(Kind::Mpmc))
    }
}

/// The place at a queue that a consumer takes, and what it calls itself.
#[derive(Clone, Copy, Debug)]
pub(super) enum Seat {
    /// One that is free.
    Free(Owner),
    /// That of a number.
    Slot(usize, Owner),
    /// That of an only consumer, who has died: who had it never uses it again, and all that he did happens before.
    OfTheDead(Owner),
}

/// What a producing end does.
pub(super) trait Produce<P: Platform, T> {
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
pub(super) trait Consume<P: Platform, T> {
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

/// The parts of a queue, by its kind.
#[derive(Clone, Copy, Debug)]
pub(super) enum Parts<'m> {
    Mpmc(Mpmcs<'m>),
    Mpsc(Mpscs<'m>),
    Records(Recordings<'m>),
}

/// What a structure says of itself, by the kind.
macro_rules! of_kind {
    ($kind:expr, $structure:ident => $result:expr) => {
        match $kind {
            Kind::Mpmc => {
                type $structure<'m> = Mpmcs<'m>;
                $result
            }
            Kind::Mpsc => {
                type $structure<'m> = Mpscs<'m>;
                $result
            }
            Kind::Records => {
                type $structure<'m> = Recordings<'m>;
                $result
            }
        }
    };
}

/// What the parts of a queue say.
macro_rules! of_parts {
    ($parts:expr, $structure:ident => $result:expr) => {
        match $parts {
            Parts::Mpmc($structure) => $result,
            Parts::Mpsc($structure) => $result,
            Parts::Records($structure) => $result,
        }
    };
}

impl<'m> From<Mpmcs<'m>> for Parts<'m> {
    fn from(parts: Mpmcs<'m>) -> Self {
        Parts::Mpmc(parts)
    }
}

impl<'m> From<Mpscs<'m>> for Parts<'m> {
    fn from(parts: Mpscs<'m>) -> Self {
        Parts::Mpsc(parts)
    }
}

impl<'m> From<Recordings<'m>> for Parts<'m> {
    fn from(parts: Recordings<'m>) -> Self {
        Parts::Records(parts)
    }
}

impl<'m> Parts<'m> {
    /// Makes an empty queue of the kind that is wanted, and returns the address of its consumers' slots as well, or 0.
    pub(super) fn make(
        ground: &mut Ground<'_, 'm>,
        spec: &Spec<'_>,
        control: Placed,
    ) -> Result<(Self, usize), CreateError> {
        of_kind!(spec.kind, S => {
            let (parts, slots) = S::make(ground, spec, control)?;
            Ok((parts.into(), slots))
        })
    }

    /// The queue of that kind that somebody else has made.
    pub(super) fn attach(
        kind: Kind,
        region: &Span<'m>,
        said: &Said,
        occupied: &mut Occupied,
    ) -> Result<Self, ArenaError> {
        of_kind!(kind, S => Ok(S::attach(region, said, occupied)?.into()))
    }

    pub(super) fn kind(&self) -> Kind {
        fn kind_of<'m, S: Structure<'m>>(_: &S) -> Kind {
            S::KIND
        }
        of_parts!(self, parts => kind_of(parts))
    }

    pub(super) fn capacity(&self) -> u64 {
        of_parts!(self, parts => parts.capacity())
    }

    pub(super) fn look(&self) -> Look {
        of_parts!(self, parts => parts.look())
    }

    pub(super) fn pushed(&self) -> Option<u64> {
        of_parts!(self, parts => parts.pushed())
    }
}

/// The control block of a new queue in what is free.
pub(super) fn take_control(kind: Kind, space: &mut Space) -> Result<Placed, ArenaError> {
    fn take<'m, S: Structure<'m>>(space: &mut Space) -> Result<Placed, ArenaError> {
        Ok(S::placed_by_arena(space.take::<S::Control>(S::CONTROL, 1)?))
    }
    of_kind!(kind, S => take::<S<'_>>(space))
}

/// How many bytes a queue takes at most.
pub(super) fn room(spec: &Spec<'_>) -> Result<u64, CreateError> {
    fn room_of<'m, S: Structure<'m>>(spec: &Spec<'_>) -> Result<u64, CreateError> {
        let control = spec.control.map_or(size_of::<S::Control>() + CACHE_LINE, |_| 0);
        Ok(control as u64 + S::room(spec)?)
    }
    of_kind!(spec.kind, S => room_of::<S<'_>>(spec))
}

impl Kind {
    /// What C calls that which a BPF program makes a variable of for a queue of this kind, without `struct`.
    pub const fn control(self) -> &'static str {
        of_kind!(self, S => S::CONTROL)
    }

    /// On what each of them begins.
    pub const CONTROL_ALIGN: usize = {
        let mut i = 0;
        while i < Kind::ALL.len() {
            of_kind!(Kind::ALL[i], S => assert!(align_of::<<S<'_> as Structure<'_>>::Control>() == CACHE_LINE));
            i += 1;
        }
        CACHE_LINE
    };

    /// Who may consume from such a queue.
    pub const fn consumers(self) -> Consumers {
        of_kind!(self, S => S::CONSUMERS)
    }

    /// How many bytes its [`control`](Self::control) block has.
    pub const fn control_size(self) -> usize {
        of_kind!(self, S => size_of::<<S<'_> as Structure<'_>>::Control>())
    }
}

impl Placed {
    /// The parts of a variable for a queue of that kind, [`Kind::control`], which begins at `start`.
    pub fn of(kind: Kind, start: usize) -> Placed {
        of_kind!(kind, S => S::placed(start))
    }
}

/// An end by whether the queue maintains the seeds' counter.
#[derive(Clone, Copy, Debug)]
pub(super) enum ByPolicy<U, C> {
    Uncounted(U),
    Counted(C),
}

type ProducerOf<'m, S, P, T> =
    ByPolicy<<S as Elements<'m>>::Producer<P, T, Uncounted>, <S as Elements<'m>>::Producer<P, T, Counted>>;
type ConsumerOf<'m, S, P, T> =
    ByPolicy<<S as Elements<'m>>::Consumer<P, T, Uncounted>, <S as Elements<'m>>::Consumer<P, T, Counted>>;

/// The producing end of a queue of elements.
pub(super) enum Producing<'m, P: Platform + 'm, T: 'm> {
    Mpmc(ProducerOf<'m, Mpmcs<'m>, P, T>),
    Mpsc(ProducerOf<'m, Mpscs<'m>, P, T>),
}

/// The consuming end of a queue of elements.
pub(super) enum Consuming<'m, P: Platform + 'm, T: 'm> {
    Mpmc(ConsumerOf<'m, Mpmcs<'m>, P, T>),
    Mpsc(ConsumerOf<'m, Mpscs<'m>, P, T>),
}

/// What an end of a queue does.
macro_rules! of_end {
    ($ends:ident, $value:expr, $end:ident => $result:expr) => {
        match $value {
            $ends::Mpmc(ByPolicy::Uncounted($end)) => $result,
            $ends::Mpmc(ByPolicy::Counted($end)) => $result,
            $ends::Mpsc(ByPolicy::Uncounted($end)) => $result,
            $ends::Mpsc(ByPolicy::Counted($end)) => $result,
        }
    };
}

impl<P: Platform, T> Clone for Producing<'_, P, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: Platform, T> Copy for Producing<'_, P, T> {}

impl<'m, P: Platform, T> Producing<'m, P, T> {
    /// # Safety
    ///
    /// As [`Elements::producer`].
    pub(super) unsafe fn of(found: &Found<'m>, stride: P::Stride) -> Result<Self, ArenaError> {
        // SAFETY: passed on to the caller.
        unsafe {
            Ok(match &found.parts {
                Parts::Mpmc(parts) => Producing::Mpmc(producer(parts, found.counted, stride)?),
                Parts::Mpsc(parts) => Producing::Mpsc(producer(parts, found.counted, stride)?),
                Parts::Records(_) => return Err(found.is_records()),
            })
        }
    }
}

impl<P: Platform, T> Produce<P, T> for Producing<'_, P, T> {
    #[inline(always)]
    unsafe fn push_in_place(
        &self,
        write: impl FnOnce(&P::Plain<T>, &'static Site<Write>),
    ) -> Result<(), PushError> {
        // SAFETY: passed on to the caller.
        of_end!(Producing, self, end => unsafe { Produce::<P, T>::push_in_place(end, write) })
    }

    #[inline(always)]
    fn push(&self, value: T) -> Result<(), PushError>
    where
        T: Payload,
    {
        of_end!(Producing, self, end => Produce::<P, T>::push(end, value))
    }

    #[inline(always)]
    fn push_many(&self, values: &[T]) -> Result<usize, PushError>
    where
        T: Payload,
    {
        of_end!(Producing, self, end => Produce::<P, T>::push_many(end, values))
    }
}

impl<'m, P: Platform, T> Consuming<'m, P, T> {
    /// # Safety
    ///
    /// As [`Elements::consumer`].
    pub(super) unsafe fn of(found: &Found<'m>, stride: P::Stride, seat: Seat) -> Result<Self, ArenaError> {
        // SAFETY: passed on to the caller.
        unsafe {
            Ok(match &found.parts {
                Parts::Mpmc(parts) => Consuming::Mpmc(consumer(parts, found, stride, seat)?),
                Parts::Mpsc(parts) => Consuming::Mpsc(consumer(parts, found, stride, seat)?),
                Parts::Records(_) => return Err(found.is_records()),
            })
        }
    }
}

impl<P: Platform, T> Consume<P, T> for Consuming<'_, P, T> {
    #[inline(always)]
    unsafe fn pop_in_place<R>(
        &mut self,
        read: impl FnOnce(&P::Plain<T>, &'static Site<Read>) -> R,
    ) -> Result<R, PopError> {
        // SAFETY: passed on to the caller.
        of_end!(Consuming, self, end => unsafe { Consume::<P, T>::pop_in_place(end, read) })
    }

    #[inline(always)]
    fn drain(&mut self, limit: u64, hand_over: impl FnMut(T)) -> Result<u64, PopError>
    where
        T: Payload,
    {
        of_end!(Consuming, self, end => Consume::<P, T>::drain(end, limit, hand_over))
    }

    fn is_drained(&self) -> bool {
        of_end!(Consuming, self, end => Consume::<P, T>::is_drained(end))
    }

    unsafe fn inspect(&mut self, see: impl FnMut(&T)) -> Result<(), Corruption>
    where
        T: Payload,
    {
        // SAFETY: passed on to the caller.
        of_end!(Consuming, self, end => unsafe { Consume::<P, T>::inspect(end, see) })
    }

    fn slot(&self) -> Option<usize> {
        of_end!(Consuming, self, end => Consume::<P, T>::slot(end))
    }

    fn has_dead(&self, is_dead: impl FnMut(usize, NonZero<u64>) -> bool) -> bool {
        of_end!(Consuming, self, end => Consume::<P, T>::has_dead(end, is_dead))
    }

    fn is_held_up(&self) -> bool {
        of_end!(Consuming, self, end => Consume::<P, T>::is_held_up(end))
    }

    unsafe fn take_over_in_place(
        &mut self,
        limit: u64,
        is_dead: impl FnMut(usize, Option<NonZero<u64>>) -> bool,
        read: impl FnMut(&P::Plain<T>, &'static Site<Read>),
    ) -> Option<TakenOver> {
        // SAFETY: passed on to the caller.
        of_end!(Consuming, self, end => unsafe { Consume::<P, T>::take_over_in_place(end, limit, is_dead, read) })
    }
}

/// # Safety
///
/// As [`Elements::producer`].
unsafe fn producer<'m, S: Elements<'m>, P: Platform, T>(
    parts: &S,
    counted: bool,
    stride: P::Stride,
) -> Result<ProducerOf<'m, S, P, T>, ArenaError> {
    // SAFETY: passed on to the caller.
    unsafe {
        Ok(if counted {
            ByPolicy::Counted(parts.producer::<P, T, Counted>(stride)?)
        } else {
            ByPolicy::Uncounted(parts.producer::<P, T, Uncounted>(stride)?)
        })
    }
}

/// # Safety
///
/// As [`Elements::consumer`].
unsafe fn consumer<'m, S: Elements<'m>, P: Platform, T>(
    parts: &S,
    found: &Found<'m>,
    stride: P::Stride,
    seat: Seat,
) -> Result<ConsumerOf<'m, S, P, T>, ArenaError> {
    // SAFETY: passed on to the caller.
    unsafe {
        Ok(if found.counted {
            ByPolicy::Counted(parts.consumer::<P, T, Counted>(found, stride, seat)?)
        } else {
            ByPolicy::Uncounted(parts.consumer::<P, T, Uncounted>(found, stride, seat)?)
        })
    }
}

/// Takes over from the consumers of a queue of elements that died, in the name of a slot.
///
/// # Safety
///
/// As [`Elements::take_over_in_place`].
pub(super) unsafe fn take_over_in_place<'m, P: Platform, T: 'm>(
    found: &Found<'m>,
    stride: P::Stride,
    slot: (usize, u64),
    is_dead: impl FnMut(usize, Option<NonZero<u64>>) -> bool,
    read: impl FnMut(&P::Plain<T>, &'static Site<Read>),
) -> Result<Option<TakenOver>, ArenaError> {
    macro_rules! by_policy {
        ($parts:expr) => {
            if found.counted {
                $parts.take_over_in_place::<P, T, Counted>(found, stride, slot, is_dead, read)
            } else {
                $parts.take_over_in_place::<P, T, Uncounted>(found, stride, slot, is_dead, read)
            }
        };
    }
    // SAFETY: passed on to the caller.
    unsafe {
        match &found.parts {
            Parts::Mpmc(parts) => by_policy!(parts),
            Parts::Mpsc(parts) => by_policy!(parts),
            Parts::Records(_) => Err(found.is_records()),
        }
    }
}
