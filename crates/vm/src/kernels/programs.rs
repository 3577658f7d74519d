//! The command and the test programs, for a guest.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::arch::Arch;
use crate::guest;
use crate::initramfs::Root;
use crate::kernels::list::Skip;
use crate::kernels::load::OBJECT;

/// What a guest is given.
#[derive(Debug)]
pub struct Programs {
    pub(crate) root: Root,
    /// The names of the test programs.
    pub(crate) tests: Vec<String>,
    /// Whether there is an object to load.
    pub(crate) has_object: bool,
    /// The tests that are left out.
    pub(crate) skips: Vec<String>,
}

impl Programs {
    /// The command `arenaq` in a folder of cargo's target folder, test programs by name, and the object of the example `opensnoop`,
    /// if there is one for this architecture.
    ///
    /// # Errors
    ///
    /// busybox or the architecture's libraries are missing, or a program cannot be read.
    pub fn new(
        arenaq: &Path,
        tests: &[(String, PathBuf)],
        object: Option<&Path>,
        skips: &[Skip],
        arch: Arch,
    ) -> anyhow::Result<Programs> {
        let mut root = guest::root(arenaq, arch)?;
        // The tests know the command, and a folder for their files, by what cargo said at compile time.
        root.program(arenaq, text(arenaq)?)?;
        let target = arenaq.ancestors().nth(2).context("the command arenaq is in no target folder")?;
        root.folder(text(&target.join("tmp"))?);
        for (name, program) in tests {
            root.program(program, &place(name))?;
        }
        if let Some(object) = object {
            root.file(object.to_owned(), OBJECT.to_owned());
        }
        let tests = tests.iter().map(|(name, _)| name.clone()).collect();
        let skips = skips.iter().map(|skip| skip.test.clone()).collect();
        Ok(Programs { root, tests, has_object: object.is_some(), skips })
    }
}

/// Where the guest has a test program.
pub(crate) fn place(test: &str) -> String {
    format!("/tests/{test}")
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().with_context(|| format!("{} is no text", path.display()))
}
