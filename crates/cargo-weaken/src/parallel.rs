//! Work on several threads.

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::error::Error;

/// Does all the work on so many threads; the results are in the order of the work. The first error ends it.
pub(crate) fn in_parallel<T: Send, R: Send>(
    jobs: Option<NonZeroUsize>,
    work: Vec<T>,
    what: &'static str,
    perform: impl Fn(T, &ProgressBar) -> Result<R, Error> + Sync,
) -> Result<Vec<R>, Error> {
    let jobs = jobs.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
    let bar = ProgressBar::new(work.len() as u64).with_style(style()).with_prefix(what);
    bar.enable_steady_tick(Duration::from_millis(200));
    let threads = jobs.min(work.len());
    let queue = Mutex::new(work.into_iter().enumerate());
    let results = Mutex::new(Vec::new());
    let failed = Mutex::new(None);
    let next = || {
        let has_failed = failed.lock().is_ok_and(|error| error.is_some());
        if has_failed { None } else { queue.lock().ok()?.next() }
    };
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((number, item)) = next() {
                    match perform(item, &bar) {
                        Ok(result) => {
                            if let Ok(mut results) = results.lock() {
                                results.push((number, result));
                            }
                        }
                        Err(error) => {
                            if let Ok(mut failed) = failed.lock() {
                                failed.get_or_insert(error);
                            }
                        }
                    }
                }
            });
        }
    });
    bar.finish_and_clear();
    if let Ok(Some(error)) = failed.into_inner() {
        return Err(error);
    }
    let mut results = results.into_inner().unwrap_or_default();
    results.sort_unstable_by_key(|(number, _)| *number);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len} {elapsed} {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}
