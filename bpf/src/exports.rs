//! The functions that BPF programs call, for the seeds' `(key, value)` payload.
//!
//! Arena addresses are numbers, as userspace sees them; `out` is on the caller's stack. Each returns one of
//! the seeds' status codes. The public header wraps them in the seeds' names and types.

use core::ptr;

use arenaq::count::{CountPolicy, Counted, Uncounted};
use arenaq::eventcount::EventCount;
use arenaq::mpmc::{self, Capacity, Ring};
use arenaq::mpsc::{self, List, Node};
use arenaq::pool::{Chain, GrowError, Nodes, Pool, Reservation};
use arenaq::{Corruption, KeyValue, PopError, PushError, Status};

use crate::platform::{Bpf, BpfWord};

type MpmcHead<C = Counted> = mpmc::Head<Bpf, KeyValue, C>;
type MpscHead<C = Counted> = mpsc::Head<Bpf, KeyValue, C>;
type MpscNode = Node<Bpf, KeyValue>;
type NodePool = Pool<Bpf, MpscNode>;
type PoolNodes<'a> = Nodes<'a, Bpf, MpscNode>;

/// The structure at an arena address, or `None` for null.
#[inline(always)]
pub(crate) fn at<'a, S>(address: u64) -> Option<&'a S> {
    // SAFETY: the reference is never loaded through (see `platform`), so nothing has to be there: an address
    // outside of the arena's pages reads as zero in the kernel and swallows what is written.
    unsafe { ptr::with_exposed_provenance::<S>(address as usize).as_ref() }
}

/// The MPMC queue at an arena address, if it was initialised.
#[inline(always)]
fn ring_at<'a, C: CountPolicy>(head: u64) -> Option<Ring<'a, Bpf, KeyValue, C>> {
    at::<MpmcHead<C>>(head)?.ring()
}

/// The nodes of the pool at an arena address, if it was initialised.
#[inline(always)]
fn nodes_at<'a>(pool: u64) -> Option<PoolNodes<'a>> {
    at::<NodePool>(pool)?.nodes()
}

/// The queue at an arena address, with the nodes of its pool, if it was initialised.
#[inline(always)]
fn list_at<'a, C: CountPolicy>(head: u64, pool: u64) -> Option<List<'a, Bpf, KeyValue, C>> {
    at::<MpscHead<C>>(head)?.list(nodes_at(pool)?)
}

#[inline(always)]
pub(crate) fn code(status: impl Into<Status>) -> i32 {
    status.into().code()
}

/// What a search says.
#[inline(always)]
fn found<T>(result: Result<Option<T>, Corruption>) -> i32 {
    code(result.map_or_else(Status::from, |found| found.map_or(Status::NotFound, |_| Status::Success)))
}

/// `ds_vyukhov_init` after the allocation of the cells: makes an empty queue over `capacity` cells at
/// `buffer`.
#[unsafe(no_mangle)]
pub extern "C" fn arenaq_mpmc_init(head: u64, buffer: u64, capacity: u64) -> i32 {
    let (Some(head), Ok(capacity)) = (at::<MpmcHead>(head), Capacity::new(capacity)) else {
        return code(Status::Invalid);
    };
    // SAFETY: the caller has just allocated the cells, and initialises the queue before it hands it out.
    code(unsafe { head.init(ptr::with_exposed_provenance_mut(buffer as usize), capacity) })
}

/// Whether a queue can have so many cells: 0, or the status that says why not.
#[unsafe(no_mangle)]
pub extern "C" fn arenaq_mpmc_check_capacity(capacity: u64) -> i32 {
    code(Capacity::new(capacity).map_or(Status::Invalid, |_| Status::Success))
}

/// `ds_vyukhov_insert`.
#[unsafe(no_mangle)]
pub extern "C" fn arenaq_mpmc_push(head: u64, key: u64, value: u64) -> i32 {
    mpmc_push::<Counted>(head, KeyValue { key, value })
}

/// `ds_vyukhov_insert` of a program that defines `ARENAQ_UNCOUNTED`.
#[unsafe(no_mangle)]
pub extern "C" fn arenaq_mpmc_push_uncounted(head: u64, key: u64, value: u64) -> i32 {
    mpmc_push::<Uncounted>(head, KeyValue { key, value })
}

#[inline(always)]
fn mpmc_push<C: CountPolicy>(head: u64, element: KeyValue) -> i32 {
    ring_at::<C>(head).map_or(code(PushError::Invalid), |ring| code(ring.push(element)))
}

/// `ds_vyukhov_pop`.
///
/// # Safety
///
/// `out` is null, or leads to room for one pair on the caller's stack.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_mpmc_pop(head: u64, out: *mut KeyValue) -> i32 {
    // SAFETY: the caller's promise is the same.
    unsafe { mpmc_pop::<Counted>(head, out) }
}

/// `ds_vyukhov_pop` of a program that defines `ARENAQ_UNCOUNTED`.
///
/// # Safety
///
/// As [`arenaq_mpmc_pop`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_mpmc_pop_uncounted(head: u64, out: *mut KeyValue) -> i32 {
    // SAFETY: the caller's promise is the same.
    unsafe { mpmc_pop::<Uncounted>(head, out) }
}

/// # Safety
///
/// As [`arenaq_mpmc_pop`].
#[inline(always)]
unsafe fn mpmc_pop<C: CountPolicy>(head: u64, out: *mut KeyValue) -> i32 {
    let (Some(ring), false) = (ring_at::<C>(head), out.is_null()) else {
        return code(PopError::Invalid);
    };
    match ring.pop() {
        Ok(element) => {
            // SAFETY: not null, and so room for a pair by the caller's promise.
            unsafe { out.write(element) };
            code(Status::Success)
        }
        Err(error) => code(error),
    }
}

/// `ds_vyukhov_search`: no pop may run at the same time.
#[unsafe(no_mangle)]
pub extern "C" fn arenaq_mpmc_search(head: u64, key: u64) -> i32 {
    let Some(ring) = ring_at::<Counted>(head) else {
        return code(Status::Invalid);
    };
    // SAFETY: that no pop runs is the C caller's promise; in the kernel a broken one gives a wrong answer,
    // and nothing worse.
    found(unsafe { ring.search(|element| element.key == key) })
}

/// `ds_vyukhov_verify`: what holds at every moment.
#[unsafe(no_mangle)]
pub extern "C" fn arenaq_mpmc_verify(head: u64) -> i32 {
    let Some(ring) = ring_at::<Counted>(head) else {
        return code(Status::Invalid);
    };
    // In the kernel the mask is not checked before the ring is used: no address leads out of the arena.
    match Capacity::new(ring.capacity()) {
        Ok(_) => code(ring.verify()),
        Err(_) => code(Status::Corrupt),
    }
}

/// Makes a pool with room for `limit` nodes and links, and no node.
#[unsafe(no_mangle)]
pub extern "C" fn arenaq_pool_init(pool: u64, nodes: u64, links: u64, limit: u64) -> i32 {
    let (Some(pool), true) = (at::<NodePool>(pool), nodes != 0 && links != 0 && limit != 0) else {
        return code(Status::Invalid);
    };
    let nodes = ptr::with_exposed_provenance_mut::<MpscNode>(nodes as usize);
    let links = ptr::with_exposed_provenance_mut::<BpfWord>(links as usize);
    // SAFETY: the caller has just allocated nodes and links, and initialises the pool before it hands it out.
    unsafe { pool.init(nodes, links, limit) };
    code(Status::Success)
}

/// Makes `count` more nodes, whose pages are allocated, and puts them on the free list.
#[unsafe(no_mangle)]
pub extern "C" fn arenaq_pool_grow(pool: u64, count: u64) -> i32 {
    let Some(nodes) = nodes_at(pool) else {
        return code(Status::Invalid);
    };
    // SAFETY: that the pages are there is the C caller's promise; if one is not, its nodes read as zero.
    match unsafe { nodes.grow(count) } {
        Ok(chain) => free(nodes, chain),
        Err(error) => code(error),
    }
}

/// Puts new nodes on the free list. They are on no list yet, so giving up would lose them: the kernel's own
/// bound of a loop is the only one here.
#[inline(always)]
fn free(nodes: PoolNodes<'_>, mut chain: Chain) -> i32 {
    // SAFETY: the caller has made the chain of nodes of this pool.
    while let Err(again) = unsafe { nodes.free_chain(chain) } {
        if !crate::shim::arenaq_can_loop() {
            return code(Status::Busy);
        }
        chain = again;
    }
    code(Status::Success)
}

/// Numbers of new nodes, and where their memory has to be: `struct arenaq_reservation` in C.
#[repr(C)]
#[derive(Debug)]
pub struct Reserved {
    reservation: Reservation,
    nodes: u64,
    nodes_end: u64,
    links: u64,
    links_end: u64,
}

/// Claims the numbers of `count` new nodes, or of all that there is room for. [`arenaq_pool_link`] makes them
/// when their pages are there, [`arenaq_pool_cancel`] gives them back.
///
/// # Safety
///
/// `out` is null, or leads to room for the result on the caller's stack.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_pool_reserve(pool: u64, count: u64, out: *mut Reserved) -> i32 {
    let (Some(nodes), false) = (nodes_at(pool), out.is_null()) else {
        return code(GrowError::Invalid);
    };
    match nodes.reserve(1, count) {
        Ok(reservation) => {
            let (places, links) = (nodes.node_addresses(&reservation), nodes.link_addresses(&reservation));
            let reserved = Reserved {
                reservation,
                nodes: places.start as u64,
                nodes_end: places.end as u64,
                links: links.start as u64,
                links_end: links.end as u64,
            };
            // SAFETY: not null, and so room for the result by the caller's promise.
            unsafe { out.write(reserved) };
            code(Status::Success)
        }
        Err(error) => code(error),
    }
}

/// Makes the nodes of a reservation, whose pages are there, and puts them on the free list.
///
/// # Safety
///
/// `reserved` leads to what [`arenaq_pool_reserve`] has written for this pool, and is given up.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_pool_link(pool: u64, reserved: *const Reserved) -> i32 {
    let Some(nodes) = nodes_at(pool) else {
        return code(Status::Invalid);
    };
    // SAFETY: the caller's promise: it leads to a reservation of this pool, which nobody else will use.
    let reservation = unsafe { reserved.read() }.reservation;
    // SAFETY: that the pages are there is the C caller's promise; if one is not, its nodes read as zero.
    free(nodes, unsafe { nodes.link_up(reservation) })
}

/// Gives the numbers of a reservation back, if nobody has claimed others after them; else they are lost, which
/// costs room, not safety.
///
/// # Safety
///
/// As [`arenaq_pool_link`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_pool_cancel(pool: u64, reserved: *const Reserved) -> i32 {
    let Some(nodes) = nodes_at(pool) else {
        return code(Status::Invalid);
    };
    // SAFETY: as in `arenaq_pool_link`.
    let reservation = unsafe { reserved.read() }.reservation;
    // SAFETY: as above.
    code(unsafe { nodes.cancel(reservation) }.map_or(Status::Busy, |()| Status::Success))
}

/// Whether the pool has been initialised: 1 or 0.
#[unsafe(no_mangle)]
pub extern "C" fn arenaq_pool_is_initialised(pool: u64) -> i32 {
    at::<NodePool>(pool).map_or(0, |pool| i32::from(pool.is_initialised()))
}

/// `ds_mpsc_init` after the allocation of the pool.
#[unsafe(no_mangle)]
pub extern "C" fn arenaq_mpsc_init(head: u64, pool: u64) -> i32 {
    let (Some(head), Some(nodes)) = (at::<MpscHead>(head), nodes_at(pool)) else {
        return code(Status::Invalid);
    };
    // SAFETY: the caller initialises the queue before it hands it out.
    code(unsafe { head.init(nodes) })
}

/// `ds_mpsc_insert`, with nodes of `pool`.
#[unsafe(no_mangle)]
pub extern "C" fn arenaq_mpsc_push(head: u64, pool: u64, key: u64, value: u64) -> i32 {
    mpsc_push::<Counted>(head, pool, KeyValue { key, value })
}

/// `ds_mpsc_insert` of a program that defines `ARENAQ_UNCOUNTED`.
#[unsafe(no_mangle)]
pub extern "C" fn arenaq_mpsc_push_uncounted(head: u64, pool: u64, key: u64, value: u64) -> i32 {
    mpsc_push::<Uncounted>(head, pool, KeyValue { key, value })
}

#[inline(always)]
fn mpsc_push<C: CountPolicy>(head: u64, pool: u64, element: KeyValue) -> i32 {
    list_at::<C>(head, pool).map_or(code(PushError::Invalid), |list| code(list.push(element)))
}

/// `ds_mpsc_delete`: the kernel never consumes.
#[unsafe(no_mangle)]
pub extern "C" fn arenaq_mpsc_pop(_head: u64, _out: *mut KeyValue) -> i32 {
    code(PopError::Invalid)
}

/// `ds_mpsc_search`: the consumer must rest.
#[unsafe(no_mangle)]
pub extern "C" fn arenaq_mpsc_search(head: u64, pool: u64, key: u64) -> i32 {
    let Some(list) = list_at::<Counted>(head, pool) else {
        return code(Status::Invalid);
    };
    // SAFETY: that the consumer rests is the C caller's promise; in the kernel a broken one gives a wrong
    // answer, and nothing worse.
    found(unsafe { list.search(|element| element.key == key) })
}

/// `ds_mpsc_verify`: the consumer must rest.
#[unsafe(no_mangle)]
pub extern "C" fn arenaq_mpsc_verify(head: u64, pool: u64) -> i32 {
    let Some(list) = list_at::<Counted>(head, pool) else {
        return code(Status::Invalid);
    };
    // SAFETY: as for the search.
    code(unsafe { list.verify() })
}

/// Whether the caller, whose insert has succeeded, must ring the doorbell of those who sleep on this event
/// count: 1 or 0.
#[unsafe(no_mangle)]
pub extern "C" fn arenaq_event_count_must_notify(events: u64) -> i32 {
    at::<EventCount<Bpf>>(events).map_or(0, |events| i32::from(events.must_notify()))
}
