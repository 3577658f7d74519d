//! Takes away what was pinned, and nothing else.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use super::record::{RECORD, Record};
use crate::error::Error;
use crate::folder::{Folder, Pin, lock_number};

/// What was taken away.
#[derive(Clone, Debug)]
pub struct Unpinned {
    /// The folder, which is gone.
    pub folder: PathBuf,
    /// What was in it, in the order in which it was removed.
    pub removed: Vec<String>,
}

impl fmt::Display for Unpinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: removed {}", self.folder.display(), self.removed.join(", "))
    }
}

/// Takes away what [`Loaded::pin`](crate::Loaded::pin) has pinned, also if it was killed before it had pinned
/// everything. Programs are detached, and the memory is freed when the last process that has mapped it has ended.
///
/// What is removed is what the folder's record says that `pin` has pinned there, by the kernel's ids of the
/// objects. A symbolic link is not followed, neither to the folder nor in it.
///
/// # Errors
///
/// [`Error::Pinned`] if `folder` is none that `pin` has made, or holds anything else, and nothing is removed then;
/// [`Error::System`] if something cannot be removed: what is left can be removed by another call.
pub fn unpin(folder: &Path) -> Result<Unpinned, Error> {
    let folder = Folder::open(folder)?;
    let names = folder.names()?;
    if names.is_empty() {
        return Err(folder.refusal(format!(
            "nothing is pinned there. If `arenaq pin` was killed when it had made it, `rmdir {}` removes it",
            folder.path().display()
        )));
    }
    if names.iter().all(|name| name.to_str().is_some_and(|name| lock_number(name).is_some())) {
        return Err(folder.refusal(format!(
            "nothing is pinned there: `arenaq pin` was killed when it had made it. `rm -r {}` removes it",
            folder.path().display()
        )));
    }
    crate::require::privileges()?;
    let record = Record::read(&folder)?;
    let foreign: Vec<_> = names.iter().filter_map(|name| foreign(&folder, &record, name)).collect();
    if !foreign.is_empty() {
        return Err(
            folder.refusal(format!("not known to be ours: {}. Nothing was removed", foreign.join(", ")))
        );
    }
    // Links first: nothing pushes into what is not there any more. The record last: without it nobody can say
    // whose the rest is.
    let mut names: Vec<_> = names.into_iter().filter_map(|name| name.into_string().ok()).collect();
    names.sort_by_key(|name| match name.as_str() {
        RECORD => 2,
        name if record.is_map(name) || lock_number(name).is_some() => 1,
        _ => 0,
    });
    for name in &names {
        folder.remove(name)?;
    }
    folder.remove_itself()?;
    Ok(Unpinned { folder: folder.path().to_owned(), removed: names })
}

/// What is wrong with a file that `pin` has not pinned.
fn foreign(folder: &Folder, record: &Record, name: &OsString) -> Option<String> {
    let shown = name.to_string_lossy();
    match folder.identify(name) {
        Err(why) => Some(format!("{shown} ({why})")),
        Ok(found) if record.has(&shown, found) => None,
        Ok(Pin::Folder) => Some(format!("{shown} (a folder)")),
        Ok(_) => Some(format!("{shown} (another object than the one that was pinned)")),
    }
}
