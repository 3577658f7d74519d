//! The command `arenaq` in a guest.

use std::path::Path;

use crate::arch::Arch;
use crate::initramfs::Root;

/// Where the guest has the command.
pub const ARENAQ: &str = "/bin/arenaq";

/// A guest's file system with the command in it.
///
/// # Errors
///
/// busybox or the architecture's libraries are missing, or the program cannot be read.
pub fn root(arenaq: &Path, arch: Arch) -> anyhow::Result<Root> {
    let mut root = Root::new(arch)?;
    root.program(arenaq, ARENAQ)?;
    Ok(root)
}

/// The command with its arguments, as the guest runs it.
pub fn command<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    std::iter::once(ARENAQ).chain(arguments).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::command;

    #[test]
    fn a_command_begins_with_its_program() {
        assert_eq!(command([]), ["/bin/arenaq"]);
        assert_eq!(command(["doctor", "--json"]), ["/bin/arenaq", "doctor", "--json"]);
    }
}
