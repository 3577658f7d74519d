//! A guest whose kernel crashed. What a second guest does not do again is the emulator's fault.

/// How an error of [`Machine::run`](crate::machine::Machine::run) begins if the guest's kernel gave up.
pub(crate) const CRASHED: &str = "the guest's kernel crashed";

/// Tries once more if the guest's kernel crashed. Returns what came of it, and what is to be told of the crash.
///
/// An emulator in several threads may run what a kernel is patching at that moment (a tracepoint that is switched on, in the path of
/// every system call), or lose a processor's clock: a crash that no second guest has is the emulator's.
pub(crate) fn twice<T>(run: impl Fn() -> anyhow::Result<T>) -> (anyhow::Result<T>, Option<String>) {
    let tried = run();
    let crash =
        tried.as_ref().err().map(|error| format!("{error:#}")).filter(|error| error.starts_with(CRASHED));
    match crash {
        Some(crash) => {
            let line = crash.lines().next().unwrap_or_default();
            (run(), Some(format!("{line}; this was tried once more")))
        }
        None => (tried, None),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use anyhow::anyhow;

    use super::{CRASHED, twice};

    #[test]
    fn a_crash_of_the_guests_kernel_is_told_and_tried_once_more_and_no_other_failure_is() {
        let tries = Cell::new(0);
        let run = |crashes, message: &'static str| {
            tries.set(0);
            let (tried, told) = twice(|| {
                tries.set(tries.get() + 1);
                if tries.get() <= crashes { Err(anyhow!(message)) } else { Ok(tries.get()) }
            });
            (tried.map_err(|error| error.to_string()), told)
        };
        let crash = "the guest's kernel crashed: Kernel panic\nthe last lines";
        let told = Some("the guest's kernel crashed: Kernel panic; this was tried once more".to_owned());
        assert!(crash.starts_with(CRASHED));
        assert_eq!(run(1, crash), (Ok(2), told.clone()));
        assert_eq!(run(2, crash), (Err(crash.to_owned()), told));
        assert_eq!(run(1, "the guest did not end"), (Err("the guest did not end".to_owned()), None));
    }
}
