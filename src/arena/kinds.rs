//! The kinds of queues: what an arena has to know of each. A kind has a file here, and a line in each list below.

pub(super) mod mpmc;
pub(super) mod mpsc;
pub(super) mod records;
pub(super) mod structure;

use core::num::NonZero;

use self::mpmc::Mpmcs;
use self::mpsc::Mpscs;
use self::records::Recordings;
use self::structure::{Consume, Elements, Ground, Place, Produce, Seat, Structure};
use super::error::{ArenaError, CreateError};
use super::look::Look;
use super::places::Occupied;
use super::region::{CACHE_LINE, Space, Span};
use super::said::{Said, check_size};
use super::spec::{Placed, Spec};
use crate::count::{Counted, Uncounted};
use crate::mpmc::TakenOver;
use crate::ordering::{Read, Site, Write};
use crate::payload::Payload;
use crate::platform::Platform;
use crate::status::{Corruption, PopError, PushError};
use crate::structures::{Consumers, Kind};

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

impl Spec<'_> {
    /// How many bytes of what is free the queue takes at most, wherever that begins: for who makes the memory. What the
    /// arena takes for itself is [`Places::room`](super::Places::room).
    ///
    /// # Errors
    ///
    /// [`CreateError`] if such a queue cannot be.
    pub fn room(&self) -> Result<u64, CreateError> {
        fn of<'m, S: Structure<'m>>(spec: &Spec<'_>) -> Result<u64, CreateError> {
            let control = spec.control.map_or(size_of::<S::Control>() + CACHE_LINE, |_| 0);
            Ok(control as u64 + S::room(spec)?)
        }
        check_size(self.element.size)?;
        of_kind!(self.kind, S => of::<S<'_>>(self))
    }
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
    pub(super) unsafe fn of(
        parts: &Parts<'m>,
        place: Place<'m>,
        counted: bool,
        stride: P::Stride,
    ) -> Result<Self, ArenaError> {
        // SAFETY: passed on to the caller.
        unsafe {
            Ok(match parts {
                Parts::Mpmc(parts) => Producing::Mpmc(producer(parts, counted, stride)?),
                Parts::Mpsc(parts) => Producing::Mpsc(producer(parts, counted, stride)?),
                Parts::Records(_) => return Err(ArenaError::IsRecords { name: place.name }),
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
    pub(super) unsafe fn of(
        parts: &Parts<'m>,
        place: Place<'m>,
        counted: bool,
        stride: P::Stride,
        seat: Seat,
    ) -> Result<Self, ArenaError> {
        // SAFETY: passed on to the caller.
        unsafe {
            Ok(match parts {
                Parts::Mpmc(parts) => Consuming::Mpmc(consumer(parts, place, counted, stride, seat)?),
                Parts::Mpsc(parts) => Consuming::Mpsc(consumer(parts, place, counted, stride, seat)?),
                Parts::Records(_) => return Err(ArenaError::IsRecords { name: place.name }),
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
    place: Place<'m>,
    counted: bool,
    stride: P::Stride,
    seat: Seat,
) -> Result<ConsumerOf<'m, S, P, T>, ArenaError> {
    // SAFETY: passed on to the caller.
    unsafe {
        Ok(if counted {
            ByPolicy::Counted(parts.consumer::<P, T, Counted>(place, stride, seat)?)
        } else {
            ByPolicy::Uncounted(parts.consumer::<P, T, Uncounted>(place, stride, seat)?)
        })
    }
}

/// Takes over from the consumers of a queue of elements that died, in the name of a slot.
///
/// # Safety
///
/// As [`Elements::take_over_in_place`].
pub(super) unsafe fn take_over_in_place<'m, P: Platform, T: 'm>(
    parts: &Parts<'m>,
    place: Place<'m>,
    counted: bool,
    stride: P::Stride,
    slot: (usize, u64),
    is_dead: impl FnMut(usize, Option<NonZero<u64>>) -> bool,
    read: impl FnMut(&P::Plain<T>, &'static Site<Read>),
) -> Result<Option<TakenOver>, ArenaError> {
    macro_rules! by_policy {
        ($parts:expr) => {
            if counted {
                $parts.take_over_in_place::<P, T, Counted>(place, stride, slot, is_dead, read)
            } else {
                $parts.take_over_in_place::<P, T, Uncounted>(place, stride, slot, is_dead, read)
            }
        };
    }
    // SAFETY: passed on to the caller.
    unsafe {
        match parts {
            Parts::Mpmc(parts) => by_policy!(parts),
            Parts::Mpsc(parts) => by_policy!(parts),
            Parts::Records(_) => Err(ArenaError::IsRecords { name: place.name }),
        }
    }
}
