//! What an arena has to know of MPMC queues: a ring of cells, and slots for the consumers.

use core::mem::offset_of;
use core::num::NonZero;
use core::ptr;

use super::structure::{Consume, Elements, Ground, Place, Produce, Seat, Structure, stride};
use crate::arena::error::{ArenaError, CreateError};
use crate::arena::look::{Front, Look};
use crate::arena::owner::Owner;
use crate::arena::places::Occupied;
use crate::arena::region::{CACHE_LINE, Span};
use crate::arena::said::{Said, block_at};
use crate::arena::spec::{Placed, Spec};
use crate::count::{CountPolicy, Uncounted};
use crate::mpmc::{self, Capacity, Control, Ring, Slots, Slotted, TakenOver, site};
use crate::ordering::{Read, Site, Write};
use crate::payload::Payload;
use crate::platform::{Native, Opaque, Platform, Stride, Untyped, Word};
use crate::status::{Corruption, PopError, PushError};
use crate::structures::{Consumers, Kind};

type Cell = mpmc::Cell<Untyped, Opaque>;
type Head = mpmc::Head<Untyped, Opaque>;

/// The parts of an MPMC queue.
#[derive(Clone, Copy, Debug)]
pub(in crate::arena) struct Mpmcs<'m> {
    ring: Ring<'m, Untyped, Opaque>,
    slots: &'m Slots<Native>,
}

impl<'m> Mpmcs<'m> {
    /// A ring of so many cells at an address.
    fn at(
        region: &Span<'m>,
        (head, slots): (&'m Head, &'m Slots<Native>),
        (cells, capacity): (usize, Capacity),
        size: u64,
        occupied: &mut Occupied,
    ) -> Result<Self, ArenaError> {
        const WHAT: &str = "the ring of cells";
        let bytes = (capacity.get() as usize).saturating_mul(stride(size).bytes::<Cell>());
        let place = region.place_bytes::<Cell>(WHAT, cells, bytes)?;
        occupied.add(WHAT, cells, bytes);
        // SAFETY: the cells lie in the region, which is mapped for 'm. Whoever hands the ring out has checked that
        // nothing else of the arena lies there.
        let ring = unsafe { Ring::new(head, place.as_ptr(), capacity, stride(size)) };
        Ok(Mpmcs { ring, slots })
    }

    /// The ring with the slots of its consumers.
    ///
    /// # Safety
    ///
    /// As [`Elements::producer`].
    pub(in crate::arena) unsafe fn slotted<P: Platform, T, C: CountPolicy>(
        self,
        stride: P::Stride,
    ) -> Slotted<'m, P, T, C> {
        // SAFETY: `P` has the words of `Native`, as `Untyped` has, and heads do not depend on the policy.
        let (ring, slots): (Ring<'m, P, T, C>, &'m Slots<P>) =
            unsafe { (self.ring.cast(stride), &*ptr::from_ref(self.slots).cast()) };
        ring.with_slots(slots)
    }
}

impl<'m> Structure<'m> for Mpmcs<'m> {
    const KIND: Kind = Kind::Mpmc;
    type Control = Control<Untyped, Opaque, Uncounted>;
    const CONTROL: &'static str = "arenaq_mpmc";
    const CONSUMERS: Consumers = Consumers::WithSlots;

    fn placed(start: usize) -> Placed {
        Placed {
            head: start + offset_of!(Self::Control, head),
            pool: 0,
            drops: Some(start + offset_of!(Self::Control, drops)),
            events: Some(start + offset_of!(Self::Control, events)),
        }
    }

    fn room(spec: &Spec<'_>) -> Result<u64, CreateError> {
        let cells = Capacity::new(spec.capacity)?.get() * stride(spec.element.size).bytes::<Cell>() as u64;
        Ok(cells + (size_of::<Slots<Native>>() + 2 * CACHE_LINE) as u64)
    }

    fn make(
        ground: &mut Ground<'_, 'm>,
        spec: &Spec<'_>,
        control: Placed,
    ) -> Result<(Self, usize), CreateError> {
        let Ground { region, space, occupied } = ground;
        let capacity = Capacity::new(spec.capacity)?;
        let stride = stride(spec.element.size);
        let cells = capacity.get() as usize;
        let buffer = space.take_bytes("the ring of cells", stride.bytes::<Cell>(), cells)?;
        let address = space.take::<Slots<Native>>("the slots for consumers", 1)?;
        let slots = slots_at(region, address, occupied)?;
        let head = head_at(region, control.head, occupied)?;
        let parts = Mpmcs::at(region, (head, slots), (buffer, capacity), spec.element.size, occupied)?;
        occupied.check()?;
        let ring = parts.ring;
        // Whole cells, not only what `init_with` writes of each: in an arena a page that nobody has touched swallows what
        // programs in the kernel write, and between the beginnings of two large cells there can be one.
        //
        // SAFETY: cells and slots were taken from the free space, so they are this queue's alone, and nobody knows of the
        // queue before it is in the directory. The region is mapped.
        unsafe {
            slots.reset();
            ring.cells().cast::<u8>().write_bytes(0, cells * stride.bytes::<Cell>());
            head.init_with(ring.cells(), capacity, spec.start, stride).map_err(ArenaError::from)?;
        }
        Ok((parts, address))
    }

    fn attach(region: &Span<'m>, said: &Said, occupied: &mut Occupied) -> Result<Self, ArenaError> {
        let slots = slots_at(region, said.slots, occupied)?;
        let head = head_at(region, said.head, occupied)?;
        let (cells, mask) = head.geometry();
        if cells.is_null() {
            return Err(Corruption::NotInitialised.into());
        }
        let capacity = Capacity::new(mask.wrapping_add(1)).map_err(|_| Corruption::Mask(mask))?;
        Mpmcs::at(region, (head, slots), (cells.addr(), capacity), said.element.size, occupied)
    }

    fn capacity(&self) -> u64 {
        self.ring.capacity()
    }

    fn look(&self) -> Look {
        let ring = &self.ring;
        let next = ring.head.dequeue_pos.0.load(&site::INSPECT_POSITION);
        let sequence = ring.cell(next).sequence.load(&site::INSPECT_SEQUENCE);
        let (capacity, len) = (ring.capacity(), ring.len());
        let front = if sequence == next && len > 0 {
            Front::Pushing(next)
        } else if ring.is_held_up() {
            Front::Popping(next)
        } else if len == 0 {
            Front::Empty
        } else {
            Front::Ready
        };
        Look { capacity, len: Some(len), front }
    }

    fn pushed(&self) -> Option<u64> {
        Some(self.ring.head.enqueue_pos.0.load(&site::INSPECT_POSITION))
    }
}

fn head_at<'m>(region: &Span<'m>, address: usize, occupied: &mut Occupied) -> Result<&'m Head, ArenaError> {
    // SAFETY: a head is words and plain numbers and a pointer, valid whatever the bytes.
    unsafe { block_at(region, "the MPMC head", address, occupied) }
}

fn slots_at<'m>(
    region: &Span<'m>,
    address: usize,
    occupied: &mut Occupied,
) -> Result<&'m Slots<Native>, ArenaError> {
    // SAFETY: slots are words, valid whatever the bytes.
    unsafe { block_at(region, "the slots for consumers", address, occupied) }
}

impl<'m> Elements<'m> for Mpmcs<'m> {
    type Producer<P: Platform + 'm, T: 'm, C: CountPolicy + 'm> = Ring<'m, P, T, C>;
    type Consumer<P: Platform + 'm, T: 'm, C: CountPolicy + 'm> = mpmc::Consumer<'m, P, T, C>;

    unsafe fn producer<P: Platform, T, C: CountPolicy>(
        &self,
        stride: P::Stride,
    ) -> Result<Ring<'m, P, T, C>, ArenaError> {
        // SAFETY: passed on to the caller; heads do not depend on the policy.
        Ok(unsafe { self.ring.cast(stride) })
    }

    unsafe fn consumer<P: Platform, T, C: CountPolicy>(
        &self,
        place: Place<'m>,
        stride: P::Stride,
        seat: Seat,
    ) -> Result<mpmc::Consumer<'m, P, T, C>, ArenaError> {
        // SAFETY: passed on to the caller.
        let slotted = unsafe { self.slotted(stride) };
        let consumer = match seat {
            Seat::Slot(slot, Owner(owner)) => slotted.consumer_at(slot, owner),
            Seat::Free(Owner(owner)) | Seat::OfTheDead { owner: Owner(owner), .. } => slotted.consumer(owner),
        };
        consumer.map_err(|reason| ArenaError::NoSlot { queue: place.name, reason })
    }

    unsafe fn take_over_in_place<P: Platform, T: 'm, C: CountPolicy>(
        &self,
        _: Place<'m>,
        stride: P::Stride,
        (slot, limit): (usize, u64),
        is_dead: impl FnMut(usize, Option<NonZero<u64>>) -> bool,
        read: impl FnMut(&P::Plain<T>, &'static Site<Read>),
    ) -> Result<Option<TakenOver>, ArenaError> {
        // SAFETY: passed on to the caller.
        unsafe {
            let slotted: Slotted<'m, P, T, C> = self.slotted(stride);
            Ok(slotted.take_over_in_place(slot, limit, is_dead, read))
        }
    }
}

impl<P: Platform, T, C: CountPolicy> Produce<P, T> for Ring<'_, P, T, C> {
    #[inline(always)]
    unsafe fn push_in_place(
        &self,
        write: impl FnOnce(&P::Plain<T>, &'static Site<Write>),
    ) -> Result<(), PushError> {
        // SAFETY: passed on to the caller.
        unsafe { Ring::push_in_place(self, write) }
    }

    #[inline(always)]
    fn push(&self, value: T) -> Result<(), PushError>
    where
        T: Payload,
    {
        Ring::push(self, value)
    }

    #[inline(always)]
    fn push_many(&self, values: &[T]) -> Result<usize, PushError>
    where
        T: Payload,
    {
        Ring::push_many(self, values)
    }
}

impl<P: Platform, T, C: CountPolicy> Consume<P, T> for mpmc::Consumer<'_, P, T, C> {
    #[inline(always)]
    unsafe fn pop_in_place<R>(
        &mut self,
        read: impl FnOnce(&P::Plain<T>, &'static Site<Read>) -> R,
    ) -> Result<R, PopError> {
        // SAFETY: passed on to the caller.
        unsafe { mpmc::Consumer::pop_in_place(self, read) }
    }

    #[inline(always)]
    fn drain(&mut self, limit: u64, hand_over: impl FnMut(T)) -> Result<u64, PopError>
    where
        T: Payload,
    {
        mpmc::Consumer::drain(self, limit, hand_over)
    }

    fn is_drained(&self) -> bool {
        self.queue().is_empty()
    }

    unsafe fn inspect(&mut self, mut see: impl FnMut(&T)) -> Result<(), Corruption>
    where
        T: Payload,
    {
        let queue = self.queue();
        let verify = queue.verify_quiesced();
        let see_all = |element: &T| {
            see(element);
            false
        };
        // SAFETY: nobody pops, as the caller has promised.
        let searched = unsafe { queue.search(see_all) };
        verify.and(searched.map(|_| ()))
    }

    fn slot(&self) -> Option<usize> {
        Some(self.number())
    }

    fn has_dead(&self, mut is_dead: impl FnMut(usize, NonZero<u64>) -> bool) -> bool {
        let mut others = self.slotted().owners().enumerate();
        others.any(|(slot, owner)| slot != self.number() && owner.is_some_and(|owner| is_dead(slot, owner)))
    }

    fn is_held_up(&self) -> bool {
        self.queue().is_held_up()
    }

    unsafe fn take_over_in_place(
        &mut self,
        limit: u64,
        is_dead: impl FnMut(usize, Option<NonZero<u64>>) -> bool,
        read: impl FnMut(&P::Plain<T>, &'static Site<Read>),
    ) -> Option<TakenOver> {
        // SAFETY: passed on to the caller.
        unsafe { mpmc::Consumer::take_over_in_place(self, limit, is_dead, read) }
    }
}
