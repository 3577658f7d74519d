//! What this binary carries of arenaq's kernel side.

use std::fs;
use std::path::{Path, PathBuf};

use arenaq_bpf_build::{Prebuilt, Toolchain};

use crate::error::Error;

/// Which LLVM has made the IR.
const LLVM: u32 = match u32::from_str_radix(env!("ARENAQ_IR_LLVM"), 10) {
    Ok(llvm) => llvm,
    Err(_) => panic!("build.rs writes a number"),
};

pub(super) const PREBUILT: Prebuilt<'static> = Prebuilt {
    ir: include_str!(env!("ARENAQ_IR")),
    llvm: LLVM,
    shim: include_str!(concat!(env!("ARENAQ_BPF"), "/shim.bpf.c")),
    headers: &[
        ("arenaq.h", include_str!(concat!(env!("ARENAQ_BPF"), "/include/arenaq.h"))),
        ("kernel.h", include_str!(concat!(env!("ARENAQ_BPF"), "/include/kernel.h"))),
    ],
};

/// The tools of this machine that can compile programs.
pub(crate) fn tools() -> Result<Toolchain, Error> {
    Toolchain::at_least(LLVM).map_err(|error| Error::Build(error.into()))
}

/// Writes `<bpf/bpf_helpers.h>` and its like, and returns the folder in which clang finds them.
pub(super) fn unpack_libbpf_headers(folder: &Path) -> Result<PathBuf, Error> {
    let include = folder.join("libbpf");
    let headers = include.join("bpf");
    let written = fs::create_dir_all(&headers).and_then(|()| {
        libbpf_sys::API_HEADERS.iter().try_for_each(|(name, text)| fs::write(headers.join(name), text))
    });
    written.map_err(Error::system(format!("writing libbpf's headers to {}", headers.display())))?;
    Ok(include)
}
