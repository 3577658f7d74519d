//! What only a nightly toolchain has.

use anyhow::bail;
use duct::{Expression, cmd};

use crate::command::root;

/// Fails, and says what to install, unless the nightly toolchain has a component.
pub(crate) fn require(component: &str) -> anyhow::Result<()> {
    let list = cmd!("rustup", "component", "list", "--toolchain", "nightly", "--installed");
    let installed = list.stderr_null().unchecked().read().unwrap_or_default();
    if !installed.lines().any(|line| line.starts_with(component)) {
        bail!(
            "no nightly toolchain with {component} is there. Install it: rustup toolchain install nightly \
             --component miri --component rust-src"
        );
    }
    Ok(())
}

/// Cargo of the nightly toolchain, in the folder of the workspace.
pub(crate) fn cargo<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Expression {
    cmd("rustup", ["run", "nightly", "cargo"].into_iter().chain(arguments)).dir(root())
}

/// How many tests passed, of what test programs have written. Those that run at once write into each other's lines, but each its numbers
/// in one piece.
pub(crate) fn passed(lines: &[String]) -> u64 {
    let passed = |line: &String| -> u64 {
        let before = line.split(" passed; 0 failed; ").collect::<Vec<_>>();
        let ends = before[..before.len() - 1].iter();
        ends.filter_map(|end| end.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    };
    lines.iter().map(passed).sum()
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_passed_is_counted_over_all_programs() {
        let lines = [
            "test result: ok. 3 passed; 0 failed; 0 ignored",
            "test one ... ok",
            "test result: ok. 4 passed; 0 failed; 1 ignored",
        ];
        assert_eq!(super::passed(&lines.map(str::to_owned)), 7);
        assert_eq!(super::passed(&["test result: FAILED. 3 passed; 1 failed; 0 ignored".to_owned()]), 0);
    }

    #[test]
    fn what_passed_in_programs_that_write_at_once_is_counted() {
        let lines = [
            "test result: ok",
            "test result: . 6 passed; 0 failed; 0 ignoredok. 5 passed; 0 failed; 0 ignored",
        ];
        assert_eq!(super::passed(&lines.map(str::to_owned)), 11);
    }
}
