//! The functions behind `arenaq_push` and `arenaq_pop`: elements of a type that only the C program knows.
//!
//! Size and alignment are constants where the functions are called, and the functions are inlined there, so what is left
//! of the copy is what the compiler would make of an assignment: loads and stores, or a loop with a constant bound.
//! Nothing that the kernel may end stands between the claim of a cell and its publication.
//!
//! A queue is known by the address of its variable: [`mpmc::Control`] or [`mpsc::Control`].

use arenaq::count::Uncounted;
use arenaq::platform::{Bytes, Opaque};
use arenaq::{PopError, PushError, mpmc, mpsc};

use crate::exports::{at, code};
use crate::platform::Bpf;
use crate::shim;

type Mpmc = mpmc::Control<Bpf, Opaque, Uncounted>;
type Mpsc = mpsc::Control<Bpf, Opaque, Uncounted>;

/// How far apart cells or nodes lie: each has a word more than the element, which is padded to whole words.
#[inline(always)]
fn stride(size: u64) -> Bytes {
    Bytes::new(8 + size.next_multiple_of(8))
}

/// `arenaq_push` of an MPMC queue.
///
/// # Safety
///
/// `element` leads to `size` bytes that the program may read, aligned to `align`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_mpmc_push_element(
    queue: u64,
    element: *const u8,
    size: u64,
    align: u64,
) -> i32 {
    let Some(queue) = at::<Mpmc>(queue) else {
        return code(PushError::Invalid);
    };
    let pushed = queue.head.ring_with(stride(size)).ok_or(PushError::Invalid).and_then(|ring| {
        // SAFETY: the cell has room for the element, which is copied whole, and the copy ends.
        unsafe { ring.push_in_place(|data, _| shim::arenaq_copy_in(data.address(), element, size, align)) }
    });
    if let Err(error) = pushed {
        queue.drops.count(error, 1);
    }
    code(pushed)
}

/// `arenaq_pop` of an MPMC queue.
///
/// # Safety
///
/// `element` leads to `size` bytes that the program may write, aligned to `align`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_mpmc_pop_element(queue: u64, element: *mut u8, size: u64, align: u64) -> i32 {
    let ring = at::<Mpmc>(queue).and_then(|queue| queue.head.ring_with(stride(size)));
    let popped = ring.ok_or(PopError::Invalid).and_then(|ring| {
        // SAFETY: the cell holds an element of that size, which is copied out once.
        unsafe { ring.pop_in_place(|data, _| shim::arenaq_copy_out(element, data.address(), size, align)) }
    });
    code(popped)
}

/// `arenaq_push` of an MPSC queue.
///
/// # Safety
///
/// As [`arenaq_mpmc_push_element`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_mpsc_push_element(
    queue: u64,
    element: *const u8,
    size: u64,
    align: u64,
) -> i32 {
    let Some(queue) = at::<Mpsc>(queue) else {
        return code(PushError::Invalid);
    };
    let nodes = queue.pool.nodes_with(stride(size));
    let list = nodes.and_then(|nodes| queue.head.0.list(nodes));
    let pushed = list.ok_or(PushError::Invalid).and_then(|list| {
        // SAFETY: the node has room for the element, which is copied whole.
        unsafe { list.push_in_place(|data, _| shim::arenaq_copy_in(data.address(), element, size, align)) }
    });
    if let Err(error) = pushed {
        queue.drops.count(error, 1);
    }
    code(pushed)
}
