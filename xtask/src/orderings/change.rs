//! Other orderings for a site.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, bail};
use arenaq::ordering::SiteInfo;
use arenaq::structures::sites;
use arenaq::weakened;
use weaken::named;
use weaken::operation::Orders;

/// All sites at once with the strongest ordering.
pub(crate) const STRONGEST: &str = "*=SeqCst";

/// One site with orderings that are not its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    pub(crate) site: &'static SiteInfo,
    to: Orders,
}

impl PartialEq for Change {
    fn eq(&self, other: &Self) -> bool {
        (self.site.name, self.to) == (other.site.name, other.to)
    }
}

/// As the platform reads it from the environment: `mpsc.push.swap_head=Release`.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.site.name, self.to)
    }
}

impl FromStr for Change {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Change> {
        let change: weaken::change::Change = text.parse().map_err(anyhow::Error::msg)?;
        if change.place.is_none() {
            bail!("{text}: name one site, or all with {STRONGEST}");
        }
        let (named, to) = named::fits(&change, sites().map(weakened::site))
            .map_err(anyhow::Error::msg)
            .with_context(|| format!("{text}: `cargo xtask orderings --list` lists the sites"))?;
        let site = sites().find(|site| site.name == named.name).context("a site of the list")?;
        Ok(Change { site, to })
    }
}

impl Change {
    /// Without the site: `Release` or `Relaxed/Acquire`.
    pub(crate) fn orderings(&self) -> String {
        self.to.to_string()
    }

    /// The first part of the site's name.
    pub(crate) fn structure(&self) -> &'static str {
        self.site.name.split('.').next().unwrap_or_default()
    }

    /// Every strictly weaker ordering of a site; for a compare-exchange one side at a time, so that a verdict
    /// is about one of them.
    pub(crate) fn weaker(site: &'static SiteInfo) -> Vec<Change> {
        let named::Site { operation, orders, .. } = weakened::site(site);
        operation.weaker(orders).into_iter().map(|to| Change { site, to }).collect()
    }
}

/// The orderings that a site has in the source, as in [`Change`]'s text.
pub(crate) fn source(site: &SiteInfo) -> String {
    weakened::site(site).orders.to_string()
}

pub(crate) fn is_atomic(site: &SiteInfo) -> bool {
    !weakened::site(site).operation.is_plain()
}

#[cfg(test)]
mod tests {
    use super::{Change, sites};

    #[test]
    fn a_compare_exchange_is_weakened_one_side_at_a_time() {
        let claim = sites().find(|site| site.name == "pool.alloc.claim_block").expect("the site");
        let tried: Vec<_> = Change::weaker(claim).iter().map(ToString::to_string).collect();
        assert_eq!(tried, ["pool.alloc.claim_block=Relaxed/Relaxed"]);
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        for change in sites().flat_map(Change::weaker) {
            assert_eq!(change.to_string().parse::<Change>().expect("a change"), change);
        }
    }

    #[test]
    fn what_is_wrong_is_refused_with_its_reason() {
        for (text, reason) in [
            ("mpsc.push.swap_head", "NAME=ORDERING"),
            ("mpsc.push.swop_head=Release", "near it are mpsc.push.swap_head"),
            ("zzz=Release", "--list"),
            ("mpsc.push.swap_head=release", "no ordering"),
            ("mpsc.push.swap_head=Release/Relaxed", "cannot fail"),
            ("mpsc.push.write_data=Release", "plain write"),
            ("mpsc.pop.load_next=Release", "cannot be Release, only SeqCst, Acquire, Relaxed"),
            ("pool.alloc.claim_block=Relaxed/Release", "the failure of compare_exchange cannot be Release"),
            ("*=Relaxed", "name one site"),
        ] {
            let error = format!("{:#}", text.parse::<Change>().expect_err(text));
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
