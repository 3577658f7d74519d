//! Other orderings for a site.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, bail, ensure};
use arenaq::ordering::{Access, Ordering, SiteInfo};
use arenaq::structures::sites;

/// The names of all orderings, strongest first.
const ORDERINGS: [Ordering; 5] =
    [Ordering::SeqCst, Ordering::AcqRel, Ordering::Acquire, Ordering::Release, Ordering::Relaxed];

/// One site with orderings that are not its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    pub(crate) site: &'static SiteInfo,
    order: Ordering,
    failure: Option<Ordering>,
}

impl PartialEq for Change {
    fn eq(&self, other: &Self) -> bool {
        (self.site.name, self.order, self.failure) == (other.site.name, other.order, other.failure)
    }
}

/// As the platform reads it from the environment: `mpsc.push.swap_head=Release`.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.site.name, self.orderings())
    }
}

impl FromStr for Change {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Change> {
        let (name, orderings) = text
            .split_once('=')
            .with_context(|| format!("{text} is not of the form SITE=ORDERING or SITE=SUCCESS/FAILURE"))?;
        let site = find(name)?;
        if !is_atomic(site) {
            bail!("{name} is a plain {:?}, which has no ordering", site.access);
        }
        let (order, failure) = match (orderings.split_once('/'), site.access) {
            (Some((success, failure)), Access::CompareExchange) => (parse(success)?, Some(parse(failure)?)),
            (None, Access::CompareExchange) => {
                bail!("{name} is a compare-exchange and has two orderings: {name}=SUCCESS/FAILURE")
            }
            (Some(_), _) => bail!("{name} is no compare-exchange and has one ordering: {name}=ORDERING"),
            (None, _) => (parse(orderings)?, None),
        };
        ensure!(
            possible(site.access).contains(&order),
            "{name} is a {:?}, which can be {:?}, not {order:?}",
            site.access,
            possible(site.access)
        );
        if let Some(failure) = failure {
            let loads = possible(Access::Load);
            ensure!(
                loads.contains(&failure),
                "{name} only loads when it fails, and can then be {loads:?}, not {failure:?}"
            );
        }
        Ok(Change { site, order, failure })
    }
}

impl Change {
    /// Without the site: `Release` or `Relaxed/Acquire`.
    pub(crate) fn orderings(&self) -> String {
        show(self.order, self.failure)
    }

    /// The first part of the site's name.
    pub(crate) fn structure(&self) -> &'static str {
        self.site.name.split('.').next().unwrap_or_default()
    }

    /// Every strictly weaker ordering of a site; for a compare-exchange one side at a time, so that a verdict
    /// is about one of them.
    pub(crate) fn weaker(site: &'static SiteInfo) -> Vec<Change> {
        if !is_atomic(site) {
            return Vec::new();
        }
        let on_success = weaker(site.access, site.order).into_iter().map(|order| Change {
            site,
            order,
            failure: site.failure,
        });
        let on_failure = site
            .failure
            .into_iter()
            .flat_map(|failure| weaker(Access::Load, failure))
            .map(|failure| Change { site, order: site.order, failure: Some(failure) });
        on_success.chain(on_failure).collect()
    }
}

/// The site with this name.
fn find(name: &str) -> anyhow::Result<&'static SiteInfo> {
    if let Some(site) = sites().find(|site| site.name == name) {
        return Ok(site);
    }
    let close = sites()
        .map(|site| (strsim::jaro_winkler(name, site.name), site.name))
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .filter(|(likeness, _)| *likeness > 0.8);
    match close {
        Some((_, close)) => bail!("there is no site {name}; did you mean {close}?"),
        None => bail!("there is no site {name}; `cargo xtask orderings --list` lists them"),
    }
}

fn parse(text: &str) -> anyhow::Result<Ordering> {
    ORDERINGS
        .into_iter()
        .find(|order| format!("{order:?}") == text)
        .with_context(|| format!("{text} is no ordering; they are {ORDERINGS:?}"))
}

/// As in [`Change`]'s text.
pub(crate) fn show(order: Ordering, failure: Option<Ordering>) -> String {
    match failure {
        Some(failure) => format!("{order:?}/{failure:?}"),
        None => format!("{order:?}"),
    }
}

pub(crate) fn is_atomic(site: &SiteInfo) -> bool {
    !matches!(site.access, Access::Read | Access::Write)
}

/// The orderings that an access can have, strongest first.
fn possible(access: Access) -> &'static [Ordering] {
    match access {
        Access::Read | Access::Write => &[],
        Access::Load => &[Ordering::SeqCst, Ordering::Acquire, Ordering::Relaxed],
        Access::Store => &[Ordering::SeqCst, Ordering::Release, Ordering::Relaxed],
        // A relaxed fence is none at all.
        Access::Swap | Access::CompareExchange | Access::Add | Access::FetchAdd | Access::Fence => &ORDERINGS,
    }
}

fn weaker(access: Access, order: Ordering) -> Vec<Ordering> {
    possible(access).iter().copied().filter(|candidate| is_weaker(*candidate, order)).collect()
}

/// Whether `a` promises strictly less than `b`. Acquire and Release are not comparable.
fn is_weaker(a: Ordering, b: Ordering) -> bool {
    let promises = |order| match order {
        Ordering::Acquire => (true, false, false),
        Ordering::Release => (false, true, false),
        Ordering::AcqRel => (true, true, false),
        Ordering::SeqCst => (true, true, true),
        _ => (false, false, false),
    };
    let (a, b) = (promises(a), promises(b));
    a != b && a.0 <= b.0 && a.1 <= b.1 && a.2 <= b.2
}

#[cfg(test)]
mod tests {
    use super::{Access, Change, Ordering, is_weaker, sites, weaker};

    #[test]
    fn the_weaker_orderings_of_an_access_are_those_that_it_can_have_and_that_promise_less() {
        use Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
        assert_eq!(weaker(Access::Load, SeqCst), [Acquire, Relaxed]);
        assert_eq!(weaker(Access::Store, SeqCst), [Release, Relaxed]);
        assert_eq!(weaker(Access::Swap, AcqRel), [Acquire, Release, Relaxed]);
        assert_eq!(weaker(Access::Add, SeqCst), [AcqRel, Acquire, Release, Relaxed]);
        assert_eq!(weaker(Access::CompareExchange, Release), [Relaxed]);
        assert!(weaker(Access::Load, Relaxed).is_empty());
        assert!(!is_weaker(Acquire, Release) && !is_weaker(Release, Acquire));
    }

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
            ("mpsc.push.swap_head", "not of the form"),
            ("mpsc.push.swop_head=Release", "did you mean mpsc.push.swap_head?"),
            ("zzz=Release", "--list"),
            ("mpsc.push.swap_head=release", "no ordering"),
            ("mpsc.push.swap_head=Release/Relaxed", "no compare-exchange"),
            ("mpsc.push.write_data=Release", "plain Write"),
            ("mpsc.pop.load_next=Release", "which can be [SeqCst, Acquire, Relaxed], not Release"),
            ("pool.alloc.claim_block=Relaxed", "SUCCESS/FAILURE"),
            ("pool.alloc.claim_block=Relaxed/Release", "only loads when it fails"),
        ] {
            let error = text.parse::<Change>().expect_err(text).to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
