//! Makes the objects of the programs: one file each, with a variant for each way to order memory.

use std::{env, error::Error, fs, path::PathBuf};

use arenaq_bpf_build::{Pipeline, Toolchain};

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // <bpf/bpf_helpers.h> and its like, from the libbpf that libbpf-sys carries.
    fs::create_dir_all(out.join("include/bpf"))?;
    for (name, text) in libbpf_sys::API_HEADERS {
        fs::write(out.join("include/bpf").join(name), text)?;
    }
    let pipeline = Pipeline::new(Toolchain::find()?, out.join("bpf"))?.include(out.join("include"));
    println!("cargo::rustc-env=OBJECT={}", pipeline.bundle("src/opensnoop.bpf.c")?.display());
    println!("cargo::rustc-env=OBJECT_RECORDS={}", pipeline.bundle("src/records.bpf.c")?.display());
    println!("cargo::rerun-if-changed=build.rs");
    Ok(())
}
