//! arenaq's kernel side as a machine without Rust needs it.

use std::path::{Path, PathBuf};

use crate::Error;
use crate::run::{make_folder, write};

/// arenaq's kernel side, with its Rust compiled: what is made on a machine with Rust, and carried to those without.
///
/// [`Pipeline::ir`](crate::Pipeline::ir) is the IR; the other files lie in [`source_dir`](crate::source_dir).
#[derive(Clone, Copy, Debug)]
pub struct Prebuilt<'a> {
    /// The LLVM IR of arenaq's functions.
    pub ir: &'a str,
    /// The major version of the LLVM that has made it: the tools must not be older
    /// ([`Toolchain::at_least`](crate::Toolchain::at_least)).
    pub llvm: u32,
    /// The text of `shim.bpf.c`.
    pub shim: &'a str,
    /// The headers in `include`: their names and texts.
    pub headers: &'a [(&'a str, &'a str)],
}

/// The files that clang reads beside a program.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    /// The folder with `arenaq.h` and `kernel.h`.
    pub(crate) include: PathBuf,
    pub(crate) shim: PathBuf,
}

impl Prebuilt<'_> {
    /// Writes the files into a folder.
    pub(crate) fn unpack(&self, folder: &Path) -> Result<Files, Error> {
        let files = Files { include: folder.join("include"), shim: folder.join("shim.bpf.c") };
        make_folder(&files.include)?;
        write(&files.shim, self.shim)?;
        for (name, text) in self.headers {
            write(&files.include.join(name), text)?;
        }
        Ok(files)
    }
}
