//! The functions behind `arenaq_begin` and its neighbours: records of a size that the program may know only when it runs.
//!
//! Between two calls a program keeps its lane by a number, or its reservation by the address of the record's bytes. A loop
//! here may be ended by the kernel: nothing of a record is published before all of it is there, so it is dropped then.

use arenaq::PushError;
use arenaq::records::{Control, PROGRAM, Records};

use crate::exports::{at, code};
use crate::platform::{Bpf, BpfPlain};
use crate::shim;

/// The control block at an arena address, and its records if they were initialised.
#[inline(always)]
fn records_at<'a>(address: u64) -> Option<(&'a Control<Bpf>, Records<'a, Bpf>)> {
    let control = at::<Control<Bpf>>(address)?;
    Some((control, control.records(PROGRAM)?))
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

/// `arenaq_begin`: takes a lane and returns its number, or a status below zero.
#[unsafe(no_mangle)]
pub extern "C" fn arenaq_records_claim(queue: u64) -> i64 {
    let lane = records_at(queue).ok_or(PushError::Invalid).and_then(|(_, records)| records.lane());
    match lane {
        Ok(lane) => lane.into_number() as i64,
        Err(error) => dropped(queue, error).into(),
    }
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
    // SAFETY: the caller's promise: it leads to a header.
    let Scratch { queue, lane } = unsafe { scratch.read() };
    // SAFETY: what is read begins behind the header.
    let from = unsafe { scratch.add(1) }.cast::<u8>();
    let Some((_, records)) = records_at(queue) else {
        return dropped(queue, PushError::Invalid);
    };
    // SAFETY: the lane is the caller's, and is asked for once.
    let lane = unsafe { records.lane_of_number(lane as usize) };
    let reserved = lane.ok_or(PushError::Invalid).and_then(|lane| lane.reserve(size));
    let reservation = match reserved {
        Ok(reservation) => reservation,
        Err(error) => return dropped(queue, error),
    };
    let to = reservation.place().expose_provenance() as u64;
    // SAFETY: the reservation has room for so many bytes, and there are as many to read if they are no more than `most`, which
    // the shim sees to.
    if !unsafe { shim::arenaq_copy_record(to, from, size, most) } {
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
pub unsafe extern "C" fn arenaq_records_give_up(queue: u64, number: u64) {
    if let Some((_, records)) = records_at(queue) {
        // SAFETY: the lane is the caller's, and is asked for once.
        drop(unsafe { records.lane_of_number(number as usize) });
    }
}

/// `arenaq_reserve`: the address of room for `size` bytes, or 0.
#[unsafe(no_mangle)]
pub extern "C" fn arenaq_records_reserve(queue: u64, size: u64) -> u64 {
    let reserved = records_at(queue).ok_or(PushError::Invalid).and_then(|(_, records)| records.reserve(size));
    match reserved {
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
    let Some((_, records)) = records_at(queue) else {
        return dropped(queue, PushError::Invalid);
    };
    // SAFETY: passed on to the caller.
    if !unsafe { records.commit_at(place(address), stamp) } {
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
pub unsafe extern "C" fn arenaq_records_discard(queue: u64, address: u64) {
    if let Some((_, records)) = records_at(queue) {
        // SAFETY: passed on to the caller.
        unsafe { records.discard_at(place(address)) };
    }
}
