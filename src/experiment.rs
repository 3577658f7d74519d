//! Trying another ordering, without touching the code.
//!
//! A model checker's platform asks here for the ordering of each access. It is the site's own, unless the
//! environment variable `ARENAQ_SITE` changes it: `mpsc.push.swap_head=Release`; for a compare-exchange
//! success and failure, `pool.alloc.claim_block=Relaxed/Relaxed`; `*=SeqCst` for all sites at once.
//!
//! `Native` and `Bpf` never ask: there an ordering is a constant.

extern crate std;

use std::format;
use std::io::Write as _;
use std::string::{String, ToString};
use std::sync::OnceLock;
use std::vec::Vec;

use crate::ordering::{Access, Ordering, SiteInfo, is_load_order, is_store_order};
use crate::structures::sites;

/// The environment variable that changes an ordering.
pub const VARIABLE: &str = "ARENAQ_SITE";

/// How many names are shown for one that is none.
const NEAR: usize = 3;

/// Another ordering for one site, or for all.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    /// A name, or `*`.
    site: String,
    order: Ordering,
    failure: Option<Ordering>,
}

impl Change {
    fn parse(text: &str) -> Result<Change, String> {
        let form = "write it as SITE=ORDERING, or SITE=SUCCESS/FAILURE for a compare-exchange";
        let (site, orders) = text.split_once('=').ok_or_else(|| format!("{text}: {form}"))?;
        let (order, failure) = match orders.split_once('/') {
            Some((success, failure)) => (parse_order(success)?, Some(parse_order(failure)?)),
            None => (parse_order(orders)?, None),
        };
        let change = Change { site: site.to_string(), order, failure };
        if site == "*" {
            return Ok(change);
        }
        let info = sites().find(|info| info.name == site).ok_or_else(|| unknown(site))?;
        change.check(info)?;
        Ok(change)
    }

    fn check(&self, site: &SiteInfo) -> Result<(), String> {
        let possible = match site.access {
            Access::Load => is_load_order(self.order),
            Access::Store => is_store_order(self.order),
            // A relaxed fence is none at all.
            Access::Swap | Access::Add | Access::FetchAdd | Access::Fence => true,
            Access::CompareExchange => self.failure.is_some_and(is_load_order),
            Access::Read | Access::Write => {
                return Err(format!("{} is a plain access: it has no ordering", site.name));
            }
        };
        let extra = self.failure.is_some() && site.access != Access::CompareExchange;
        if possible && !extra {
            return Ok(());
        }
        Err(format!(
            "{} is a {:?}, which cannot be {:?}/{:?}",
            site.name, site.access, self.order, self.failure
        ))
    }
}

/// That there is no such site, and the names that are nearest to it.
fn unknown(site: &str) -> String {
    let mut near: Vec<_> = sites().map(|info| (strsim::jaro_winkler(site, info.name), info.name)).collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    let near: Vec<_> = near.iter().take(NEAR).map(|(_, name)| *name).collect();
    format!("there is no site {site}; near it are {}", near.join(", "))
}

fn parse_order(text: &str) -> Result<Ordering, String> {
    match text {
        "Relaxed" => Ok(Ordering::Relaxed),
        "Acquire" => Ok(Ordering::Acquire),
        "Release" => Ok(Ordering::Release),
        "AcqRel" => Ok(Ordering::AcqRel),
        "SeqCst" => Ok(Ordering::SeqCst),
        _ => Err(format!("{text} is no ordering: it is one of Relaxed, Acquire, Release, AcqRel, SeqCst")),
    }
}

/// The change that this process tries. What cannot be tried ends the process: a model that ran without it
/// would say something about another question.
fn change() -> Option<&'static Change> {
    static CHANGE: OnceLock<Option<Change>> = OnceLock::new();
    CHANGE
        .get_or_init(|| {
            let text = std::env::var(VARIABLE).ok()?;
            match Change::parse(&text) {
                Ok(change) => Some(change),
                Err(error) => {
                    // Not `eprintln`: the test harness keeps what that prints, and would end with it here.
                    let _ = writeln!(std::io::stderr(), "{VARIABLE}: {error}");
                    std::process::exit(2);
                }
            }
        })
        .as_ref()
}

fn change_of(site: &SiteInfo) -> Option<&'static Change> {
    change().filter(|change| change.site == "*" || change.site == site.name)
}

/// Whether this process tries a changed ordering.
pub fn is_running() -> bool {
    change().is_some()
}

/// The ordering of a site; for a compare-exchange, the one on success.
pub fn order(site: &SiteInfo) -> Ordering {
    change_of(site).map_or(site.order, |change| change.order)
}

/// The ordering of a compare-exchange that fails.
pub fn failure(site: &SiteInfo) -> Ordering {
    let declared = site.failure.unwrap_or(Ordering::Relaxed);
    change_of(site).map_or(declared, |change| change.failure.unwrap_or(change.order))
}

#[cfg(test)]
mod tests {
    use super::{Change, Ordering};

    #[test]
    fn a_change_names_a_site_and_an_ordering_that_it_can_have() {
        let swap = Change::parse("mpsc.push.swap_head=Release").expect("a swap can be a release");
        assert_eq!((swap.order, swap.failure), (Ordering::Release, None));
        let claim = Change::parse("pool.alloc.claim_block=Relaxed/Relaxed").expect("both can be relaxed");
        assert_eq!((claim.order, claim.failure), (Ordering::Relaxed, Some(Ordering::Relaxed)));
        assert!(Change::parse("*=SeqCst").is_ok());
    }

    #[test]
    fn what_cannot_be_tried_is_refused_with_its_reason() {
        for (text, reason) in [
            ("mpsc.push.swap_head", "SITE=ORDERING"),
            ("mpsc.push.swop_head=Release", "no site mpsc.push.swop_head; near it are mpsc.push.swap_head, "),
            ("mpsc.push.swap_head=Weak", "no ordering"),
            ("mpsc.pop.load_next=Release", "cannot be"),
            ("mpsc.push.link_node=Acquire", "cannot be"),
            ("mpsc.push.swap_head=Release/Relaxed", "cannot be"),
            ("pool.alloc.claim_block=Relaxed", "cannot be"),
            ("pool.alloc.claim_block=Relaxed/Release", "cannot be"),
            ("mpsc.push.write_data=Release", "plain access"),
        ] {
            let error = Change::parse(text).expect_err(text);
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
