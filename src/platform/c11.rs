//! What C11 has, and no structure of this crate uses.

use super::{Native, Platform};
use crate::ordering::{CompareExchange, Fence, Site};

/// A platform on which structures can be written that need more than those of this crate: every fence, and a compare-exchange of
/// links. The kernel's has none of it: there is no BPF instruction for a fence alone.
///
/// A structure over a platform is checked as those of this crate are: [`sites!`](crate::sites) declares its sites, `Loom` runs it in
/// every order and with every old value, and `arenaq::weakened::declare` lets one run change an ordering by the site's name.
pub trait C11: Platform {
    /// A fence, which orders all accesses before it with all behind it as its ordering says.
    fn fence(site: &'static Site<Fence>);

    /// Replaces `current` by `new`, or returns what the link holds instead. It does not fail spuriously. Pointers are compared by
    /// address.
    ///
    /// # Errors
    ///
    /// The target found, if it is not `current`.
    fn compare_exchange<T>(
        link: &Self::Link<T>,
        current: *mut T,
        new: *mut T,
        site: &'static Site<CompareExchange>,
    ) -> Result<*mut T, *mut T>;
}

impl C11 for Native {
    #[inline(always)]
    fn fence(site: &'static Site<Fence>) {
        core::sync::atomic::fence(site.order());
    }

    #[inline(always)]
    fn compare_exchange<T>(
        link: &Self::Link<T>,
        current: *mut T,
        new: *mut T,
        site: &'static Site<CompareExchange>,
    ) -> Result<*mut T, *mut T> {
        link.atomic().compare_exchange(current, new, site.order(), site.failure())
    }
}
