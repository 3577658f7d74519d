//! Userspace that does not know the type of the elements: a process that passes on what it finds, or makes
//! queues for others.

use core::ops::Range;

use super::native::{NativeLink, NativePlain, NativeWord};
use super::{Bytes, Native, Platform};
use crate::ordering::{Fence, Site};

/// [`Native`], with elements that are so many bytes. The queues of both have the same layout.
#[derive(Clone, Copy, Debug)]
pub enum Untyped {}

impl Platform for Untyped {
    type Word = NativeWord;
    type Link<T> = NativeLink<T>;
    type Plain<T> = NativePlain<T>;
    type Stride = Bytes;
    type Steps = Range<u64>;

    #[inline(always)]
    fn retry_budget() -> u64 {
        Native::retry_budget()
    }

    #[inline(always)]
    fn steps(limit: u64) -> Range<u64> {
        Native::steps(limit)
    }

    #[inline(always)]
    fn processor() -> usize {
        Native::processor()
    }

    #[inline(always)]
    fn relax() {
        Native::relax();
    }

    #[inline(always)]
    fn back_off(attempt: u64) {
        Native::back_off(attempt);
    }

    #[inline(always)]
    fn fence_after_rmw(site: &'static Site<Fence>) {
        Native::fence_after_rmw(site);
    }
}

/// The place of an element of which only the size is known: the first byte of it.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub struct Opaque;
