//! What a build script tells cargo.

use std::env;
use std::path::Path;

/// Whether this process is a build script: to programs and tests cargo gives some of these variables, and not all.
fn is_build_script() -> bool {
    ["OUT_DIR", "HOST", "TARGET"].iter().all(|name| env::var_os(name).is_some())
}

/// Lets cargo run the build script again when one of the files, or a file in one of the folders, changes.
pub(crate) fn rerun_if_changed<P: AsRef<Path>>(inputs: impl IntoIterator<Item = P>) {
    if !is_build_script() {
        return;
    }
    let out = env::var_os("OUT_DIR").unwrap_or_default();
    for input in inputs {
        // What the build script makes itself is always newer than its start.
        if !input.as_ref().starts_with(&out) {
            println!("cargo::rerun-if-changed={}", input.as_ref().display());
        }
    }
}
