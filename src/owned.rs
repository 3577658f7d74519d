//! What the queues in plain Rust have in common: memory of their own, and elements that come and go in batches.

use alloc::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use alloc::vec::{self, Vec};
use core::iter::FusedIterator;
use core::ptr::NonNull;

use crate::layout::CacheLine;

/// An array of shared memory on the heap, from the beginning of a cache line on: where elements fill lines, none lies in more of them
/// than it must.
///
/// It is not a `Box`: to move a box says that nobody else has a pointer to what is in it, and here the queue has some.
pub(crate) struct Array<S> {
    first: NonNull<S>,
    length: usize,
}

impl<S> Array<S> {
    /// So many values.
    ///
    /// # Panics
    ///
    /// If no memory can be so large, or `make` panics; what it has made is leaked then.
    pub(crate) fn new(length: u64, mut make: impl FnMut() -> S) -> Self {
        let length = usize::try_from(length).expect("so many values that they have no address");
        let layout = Self::layout(length);
        let first = if layout.size() == 0 {
            NonNull::dangling()
        } else {
            // SAFETY: it is not empty.
            let memory = unsafe { alloc(layout) };
            NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(layout)).cast::<S>()
        };
        for index in 0..length {
            // SAFETY: the memory is for so many values, aligned as they are, and nobody else has it.
            unsafe { first.add(index).write(make()) };
        }
        Array { first, length }
    }

    fn layout(length: usize) -> Layout {
        Layout::array::<S>(length)
            .and_then(|layout| layout.align_to(align_of::<CacheLine<()>>()))
            .expect("more bytes than have addresses")
    }

    /// Where the first value is. The others follow, and all may be changed as long as the array lives.
    #[inline(always)]
    pub(crate) fn first(&self) -> *mut S {
        self.first.as_ptr()
    }
}

impl<S> Drop for Array<S> {
    fn drop(&mut self) {
        let layout = Self::layout(self.length);
        // SAFETY: whoever has the array has given up all pointers into it. There are so many values, in memory of that layout, which
        // was allocated if it is not empty.
        unsafe {
            NonNull::slice_from_raw_parts(self.first, self.length).drop_in_place();
            if layout.size() > 0 {
                dealloc(self.first.as_ptr().cast(), layout);
            }
        }
    }
}

/// Takes elements out of a vector, from the first on: as many as `take` says that it has moved out of the array at the
/// pointer, which has as many elements as its second argument. Those stay in the vector that it has not. Returns how many it
/// has moved.
///
/// If `take` panics, all elements are leaked, and none is dropped twice.
///
/// # Safety
///
/// `take` moves exactly as many elements out, from the first on, as it returns.
#[inline(always)]
pub(crate) unsafe fn take_from<T>(values: &mut Vec<T>, take: impl FnOnce(*const T, usize) -> usize) -> usize {
    let length = values.len();
    // SAFETY: to forget elements is safe.
    unsafe { values.set_len(0) };
    let first = values.as_mut_ptr();
    let taken = take(first, length);
    // SAFETY: the first elements are somebody else's, and may be gone; they are not looked at. The others, which are as
    // many as the difference, are moved to the front, where there is room for them, and are all that the vector has.
    unsafe {
        first.copy_from(first.add(taken), length - taken);
        values.set_len(length - taken);
    }
    taken
}

/// Elements that have left a queue in one step; see [`mpmc::Queue::drain`](crate::mpmc::Queue::drain) and
/// [`mpsc::queue::Consumer::drain`](crate::mpsc::queue::Consumer::drain). Those that are not taken are dropped with it.
#[must_use = "the elements have left the queue, and are dropped if nobody takes them"]
#[derive(Debug)]
pub struct Drain<T>(vec::IntoIter<T>);

impl<T> Drain<T> {
    pub(crate) fn new(elements: Vec<T>) -> Self {
        Drain(elements.into_iter())
    }
}

impl<T> Iterator for Drain<T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        self.0.next()
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<T> ExactSizeIterator for Drain<T> {}
impl<T> FusedIterator for Drain<T> {}
