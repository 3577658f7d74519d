//! The functions behind `arenaq_begin` and its neighbours: records of a size that the program may know only when it runs.
//!
//! Between two calls a program keeps its lane by its address, or its reservation by the address of the record's bytes. A loop
//! here may be ended by the kernel: nothing of a record is published before all of it is there, so it is dropped then.

use arenaq::PushError;
use arenaq::records::{self, Control, Lane, OwnedLane, PROGRAM};

use crate::exports::{at, code};
use crate::platform::{Bpf, BpfPlain};
use crate::shim;

/// Takes a lane of the records whose control block is at an arena address, if they were initialised.
#[inline(always)]
fn take_lane<'a>(address: u64) -> Result<OwnedLane<'a, Bpf>, PushError> {
    let records = at::<Control<Bpf>>(address).and_then(|control| control.records(PROGRAM));
    records.ok_or(PushError::Invalid)?.lane()
}

/// The lane at an arena address.
///
/// # Safety
///
/// It is the caller's, from [`arenaq_records_claim`], and is asked for once.
#[inline(always)]
unsafe fn lane_at<'a>(address: u64) -> OwnedLane<'a, Bpf> {
    let lane = core::ptr::with_exposed_provenance::<Lane<Bpf>>(address as usize);
    // SAFETY: passed on to the caller.
    unsafe { OwnedLane::from_raw(lane) }
}

/// Counts a record that was not pushed, if there is somewhere to count it.
#[inline(always)]
fn dropped(address: u64, error: PushError) -> i32 {
    if let Some(control) = at::<Control<Bpf>>(address) {
        control.drops.count(error, 1);
    }
    code(error)
}

/// The place of a record's bytes.
#[inline(always)]
fn place(address: u64) -> *mut BpfPlain<u64> {
    core::ptr::with_exposed_provenance_mut(address as usize)
}

/// `arenaq_begin`: takes a lane and returns its address, or 0.
#[unsafe(no_mangle)]
pub extern "C" fn arenaq_records_claim(queue: u64) -> u64 {
    match take_lane(queue) {
        Ok(lane) => lane.into_raw().expose_provenance() as u64,
        Err(error) => {
            dropped(queue, error);
            0
        }
    }
}

/// Which of all lanes the one at that address is, by which its scratch memory is found.
///
/// # Safety
///
/// The lane is the caller's, from [`arenaq_records_claim`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_records_lane(lane: u64) -> u64 {
    // SAFETY: passed on to the caller, who has the lane still when this returns.
    let lane = unsafe { lane_at(lane) };
    let number = lane.number();
    let _ = lane.into_raw();
    number
}

/// What stands before a record in scratch memory: `struct arenaq_scratch` in C.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Scratch {
    queue: u64,
    lane: u64,
}

/// `arenaq_submit`: copies `size` bytes from behind the scratch memory's header into its lane, publishes them with the stamp, and
/// gives the lane up, whatever happens.
///
/// # Safety
///
/// The lane that the header names is the caller's, from [`arenaq_records_claim`]. Behind the header the program may read `most`
/// bytes, and those that fill the last word.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_records_submit(
    scratch: *const Scratch,
    size: u64,
    most: u64,
    stamp: u64,
) -> i32 {
    // SAFETY: what is read is within the record if it is no more than `most`, which the shim sees to.
    let copy = |to, from| unsafe { shim::arenaq_copy_record(to, from, size, most) };
    // SAFETY: passed on to the caller.
    unsafe { submit(scratch, size, stamp, copy) }
}

/// `arenaq_submit` of a size that the compiler knows where this is inlined, so that no loop is left of the copy.
///
/// # Safety
///
/// As [`arenaq_records_submit`], with `size` for `most`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_records_submit_known(scratch: *const Scratch, size: u64, stamp: u64) -> i32 {
    let copy = |to, from| {
        // SAFETY: the scratch memory has whole words, by the caller's promise.
        unsafe { shim::arenaq_copy_in(to, from, size.next_multiple_of(8), 8) };
        true
    };
    // SAFETY: passed on to the caller.
    unsafe { submit(scratch, size, stamp, copy) }
}

/// Reserves room for the record behind the header, lets `copy` copy it there, and publishes it if that did.
///
/// # Safety
///
/// The lane that the header names is the caller's, from [`arenaq_records_claim`].
#[inline(always)]
unsafe fn submit(
    scratch: *const Scratch,
    size: u64,
    stamp: u64,
    copy: impl FnOnce(u64, *const u8) -> bool,
) -> i32 {
    // SAFETY: the caller's promise: it leads to a header.
    let Scratch { queue, lane } = unsafe { scratch.read() };
    // SAFETY: what is read begins behind the header.
    let from = unsafe { scratch.add(1) }.cast::<u8>();
    // SAFETY: the lane is the caller's, and is asked for once.
    let reservation = match unsafe { lane_at(lane) }.reserve(size) {
        Ok(reservation) => reservation,
        Err(error) => return dropped(queue, error),
    };
    if !copy(reservation.place().expose_provenance() as u64, from) {
        drop(reservation);
        return dropped(queue, PushError::Invalid);
    }
    reservation.commit(stamp);
    code(Ok::<(), PushError>(()))
}

/// `arenaq_discard` of a record that was begun: gives the lane up.
///
/// # Safety
///
/// The lane is the caller's, from [`arenaq_records_claim`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_records_give_up(lane: u64) {
    // SAFETY: passed on to the caller.
    drop(unsafe { lane_at(lane) });
}

/// `arenaq_reserve`: the address of room for `size` bytes, or 0.
#[unsafe(no_mangle)]
pub extern "C" fn arenaq_records_reserve(queue: u64, size: u64) -> u64 {
    match take_lane(queue).and_then(|lane| lane.reserve(size)) {
        Ok(reservation) => reservation.into_place().expose_provenance() as u64,
        Err(error) => {
            dropped(queue, error);
            0
        }
    }
}

/// `arenaq_commit`: publishes what was reserved there.
///
/// # Safety
///
/// The address is one of [`arenaq_records_reserve`], which was neither committed nor discarded yet.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_records_commit(queue: u64, address: u64, stamp: u64) -> i32 {
    // SAFETY: passed on to the caller.
    if !unsafe { records::commit_at::<Bpf>(place(address), stamp, PROGRAM) } {
        return dropped(queue, PushError::Corrupt);
    }
    code(Ok::<(), PushError>(()))
}

/// `arenaq_discard` of what was reserved there.
///
/// # Safety
///
/// As [`arenaq_records_commit`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_records_discard(address: u64) {
    // SAFETY: passed on to the caller.
    unsafe { records::discard_at::<Bpf>(place(address), PROGRAM) };
}
