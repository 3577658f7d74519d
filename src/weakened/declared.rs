//! Which sites there are: what a run is told to change has to be one of them.

extern crate std;

use std::sync::{Mutex, Once, PoisonError};
use std::vec::Vec;

use weaken::named;

use crate::ordering::{Site, SiteInfo};
use crate::structures::sites;

/// Sites of structures that are not this crate's: a run can change their orderings too, by their names. To be said before anything
/// makes an access: what a run is told to change is compared with all sites at the first.
pub fn declare(sites: &'static [&'static SiteInfo]) {
    OTHERS.lock().unwrap_or_else(PoisonError::into_inner).push(sites);
}

static OTHERS: Mutex<Vec<&'static [&'static SiteInfo]>> = Mutex::new(Vec::new());

/// The site, of which the run has been told to change nothing, or what it can have. Ends the process if it was told to change a
/// site that is none.
pub(crate) fn declared<K>(site: &'static Site<K>) -> &'static SiteInfo {
    static CHECK: Once = Once::new();
    CHECK.call_once(|| {
        let others = OTHERS.lock().unwrap_or_else(PoisonError::into_inner);
        let all = sites().chain(others.iter().copied().flatten().copied());
        named::check(&all.map(super::site));
    });
    site.info()
}
