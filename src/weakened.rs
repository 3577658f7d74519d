//! The sites as [`weaken`] knows them, which can change the ordering of one in a run:
//! `WEAKEN=mpsc.push.swap_head=Release`, and for a compare-exchange both, `pool.alloc.claim_block=Relaxed/Relaxed`.
//!
//! Under loom every access asks for its ordering. `Native` and `Bpf` never do: there an ordering is a constant.

extern crate std;

use weaken::operation::{Operation, Orders};
use weaken::{named, trace};

use crate::ordering::{Access, SiteInfo};

#[cfg(feature = "loom")]
mod declared;
mod memory;

#[cfg(feature = "loom")]
pub use declared::declare;
#[cfg(feature = "loom")]
pub(crate) use declared::declared;

/// A site, as `weaken` knows it.
pub fn site(info: &SiteInfo) -> named::Site<'static> {
    let operation = match info.access {
        Access::Read => Operation::Read,
        Access::Write => Operation::Write,
        Access::Load => Operation::Load,
        Access::Store => Operation::Store,
        Access::Swap => Operation::Swap,
        Access::CompareExchange => Operation::CompareExchange,
        Access::Add | Access::FetchAdd => Operation::FetchAdd,
        Access::Fence => Operation::Fence,
    };
    let orders = Orders { success: info.order.into(), failure: info.failure.map(Into::into) };
    named::Site { name: info.name, operation, orders }
}

impl trace::Site for SiteInfo {
    fn named(&self) -> named::Site<'static> {
        site(self)
    }

    fn why(&self) -> &'static str {
        self.why
    }

    fn memory(&self) -> trace::Memory {
        memory::of(self.field)
    }
}
