//! The orderings of this run: those of the sites, unless the run changes one.
//!
//! The model checkers' platforms ask here for the ordering of each access, and [`weaken`] knows what the run changes:
//! `WEAKEN=mpsc.push.swap_head=Release`, and for a compare-exchange both, `pool.alloc.claim_block=Relaxed/Relaxed`. `Native` and
//! `Bpf` never ask: there an ordering is a constant.

extern crate std;

use std::sync::Once;

use weaken::named;
use weaken::operation::{Operation, Orders};

use crate::ordering::{Access, Ordering, SiteInfo};
use crate::structures::sites;

/// A site, as [`weaken`] knows it.
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

/// The ordering of a site; for a compare-exchange, the one on success.
pub(crate) fn order(info: &SiteInfo) -> Ordering {
    changed(info).map_or(info.order, |orders| orders.success.into())
}

/// The ordering of a compare-exchange that fails.
pub(crate) fn failure(info: &SiteInfo) -> Ordering {
    let changed = changed(info).and_then(|orders| orders.failure).map(Into::into);
    changed.or(info.failure).unwrap_or(Ordering::Relaxed)
}

fn changed(info: &SiteInfo) -> Option<Orders> {
    static CHECK: Once = Once::new();
    CHECK.call_once(|| named::check(&sites().map(site)));
    named::is_changed().then(|| named::orders(site(info)))
}
