//! Sites that have a name: for a crate that knows all its accesses, and makes each through a site that says what it is.
//!
//! Such a crate declares its sites to [`check()`], and asks for the orderings of each access with [`orders()`]. A change then
//! names a site, `queue.push.swap_head=Release`, and one that is none is refused before anything runs.

use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use crate::change::{Change, Spot, Where};
use crate::operation::{Operation, Orders};
use crate::{out, running};

/// How many names are shown for one that is none.
const NEAR: usize = 3;

/// A site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site<'a> {
    /// Its name: that of no other one.
    pub name: &'a str,
    /// What it does.
    pub operation: Operation,
    /// The orderings in the source.
    pub orders: Orders,
}

/// Whether this process tries other orderings than those of the source.
pub fn is_changed() -> bool {
    !running::changes().is_empty()
}

/// Ends the process if it is told to change a site that is not among these, or that cannot have the ordering: a model that ran
/// without the change would say something about another question.
pub fn check<'a>(sites: &(impl Iterator<Item = Site<'a>> + Clone)) {
    for change in running::changes() {
        if let Err(reason) = fits(change, sites.clone()) {
            out::refuse(&reason);
        }
    }
}

/// The orderings of a site in this process.
pub fn orders(site: Site<'_>) -> Orders {
    let changed = running::changes().iter().find_map(|change| {
        let Site { name, operation, orders } = site;
        change.apply(Spot::Name(name), operation, orders).unwrap_or_else(|reason| out::refuse(&reason))
    });
    changed.unwrap_or(site.orders)
}

/// The site that a change means, and what becomes of it; of all sites the first that it changes.
///
/// # Errors
///
/// That there is none, with the names that are nearest to it; or why it cannot have the ordering.
pub fn fits<'a>(
    change: &Change,
    sites: impl Iterator<Item = Site<'a>> + Clone,
) -> Result<(Site<'a>, Orders), String> {
    for site in sites.clone() {
        let is_meant = change.place.as_ref().is_some_and(|place| place.is(Spot::Name(site.name)));
        if is_meant && site.operation.is_plain() {
            return Err(format!("{} is a plain {}: it has no ordering", site.name, site.operation));
        }
        if let Some(orders) = change.apply(Spot::Name(site.name), site.operation, site.orders)? {
            return Ok((site, orders));
        }
    }
    Err(match &change.place {
        Some(Where::Name(name)) => format!("there is no site {name}; near it are {}", near(name, sites)),
        Some(Where::Line { .. }) => {
            format!("{change}: the sites here have names, such as {}", near("", sites))
        }
        None => format!("{change}: no site can have that"),
    })
}

fn near<'a>(name: &str, sites: impl Iterator<Item = Site<'a>>) -> String {
    let mut near: Vec<_> = sites.map(|site| (strsim::jaro_winkler(name, site.name), site.name)).collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    let near: Vec<_> = near.iter().take(NEAR).map(|(_, name)| name.to_string()).collect();
    near.join(", ")
}

#[cfg(test)]
mod tests {
    use super::{Site, fits};
    use crate::operation::{Operation, Order, Orders};
    use std::string::{String, ToString};

    const SITES: [Site<'static>; 4] = [
        Site { name: "queue.push.write_data", operation: Operation::Write, orders: one(Order::Relaxed) },
        Site { name: "queue.push.swap_head", operation: Operation::Swap, orders: one(Order::AcqRel) },
        Site { name: "queue.pop.load_next", operation: Operation::Load, orders: one(Order::Acquire) },
        Site {
            name: "pool.claim",
            operation: Operation::CompareExchange,
            orders: Orders { success: Order::AcqRel, failure: Some(Order::Acquire) },
        },
    ];

    const fn one(order: Order) -> Orders {
        Orders { success: order, failure: None }
    }

    fn tried(text: &str) -> Result<(&'static str, String), String> {
        let change = text.parse().expect(text);
        fits(&change, SITES.into_iter()).map(|(site, orders)| (site.name, orders.to_string()))
    }

    #[test]
    fn a_change_names_a_site_and_an_ordering_that_it_can_have() {
        let is = |text, name, orders: &str| assert_eq!(tried(text), Ok((name, orders.to_string())), "{text}");
        is("queue.push.swap_head=Release", "queue.push.swap_head", "Release");
        is("pool.claim=Relaxed/Relaxed", "pool.claim", "Relaxed/Relaxed");
        is("pool.claim=Relaxed", "pool.claim", "Relaxed/Acquire");
        is("*#compare_exchange=SeqCst/SeqCst", "pool.claim", "SeqCst/SeqCst");
    }

    #[test]
    fn what_cannot_be_tried_is_refused_with_its_reason() {
        for (text, reason) in [
            (
                "queue.push.swop_head=Release",
                "no site queue.push.swop_head; near it are queue.push.swap_head, ",
            ),
            ("queue.pop.load_next=Release", "load cannot be Release, only SeqCst, Acquire, Relaxed"),
            ("queue.push.swap_head=Release/Relaxed", "cannot fail"),
            ("pool.claim=Relaxed/Release", "the failure of compare_exchange cannot be Release"),
            ("queue.push.write_data=Release", "plain write"),
            ("queue.rs:3=Release", "have names"),
            ("*#fence=Relaxed", "no site"),
        ] {
            let error = tried(text).expect_err(text);
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
