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

/// How many tests passed, of what test programs have written.
pub(crate) fn passed(lines: &[String]) -> u64 {
    let passed = |line: &String| {
        let (_, rest) = line.split_once("test result: ok. ")?;
        rest.split(' ').next()?.parse::<u64>().ok()
    };
    lines.iter().filter_map(passed).sum()
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_passed_is_counted_over_all_programs() {
        let lines =
            ["test result: ok. 3 passed; 0 failed", "test one ... ok", "test result: ok. 4 passed; 0 failed"];
        assert_eq!(super::passed(&lines.map(str::to_owned)), 7);
        assert_eq!(super::passed(&["test result: FAILED. 3 passed; 1 failed".to_owned()]), 0);
    }
}
