//! Whoever reads the output may stop reading, as `head` does.

use std::io::ErrorKind;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

/// What a shell shows of a program that the signal SIGPIPE has ended.
const CODE: u8 = 141;

/// Runs a command, which ends without a word when nobody reads its output any more. `println!` panics then, so what the
/// command has started is ended on the way; a signal would leave it behind.
pub(crate) fn run(command: impl FnOnce() -> anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !is_broken_pipe(info.payload_as_str()) {
            hook(info);
        }
    }));
    match panic::catch_unwind(AssertUnwindSafe(command)) {
        Ok(Err(error)) if is_io(&error) => Ok(ExitCode::from(CODE)),
        Ok(result) => result,
        Err(payload) => {
            let text = payload.downcast_ref::<String>().map(String::as_str);
            if is_broken_pipe(text) {
                return Ok(ExitCode::from(CODE));
            }
            panic::resume_unwind(payload)
        }
    }
}

/// As the standard library words it.
fn is_broken_pipe(panic: Option<&str>) -> bool {
    panic.is_some_and(|text| text.starts_with("failed printing to std") && text.contains("Broken pipe"))
}

fn is_io(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == ErrorKind::BrokenPipe)
}
