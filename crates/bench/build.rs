//! Compiles the BPF programs that are measured.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs, process};

use arenaq_bpf_build::{Pipeline, Toolchain};

fn main() {
    if let Err(error) = build() {
        eprintln!("\narenaq-bench: cannot compile the BPF programs.\n\n{error}\n");
        process::exit(1);
    }
}

fn build() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set: run this through cargo")?);
    println!("cargo::rerun-if-changed=build.rs");

    let headers = out.join("include/bpf");
    fs::create_dir_all(&headers)?;
    for (name, text) in libbpf_sys::API_HEADERS {
        fs::write(headers.join(name), text)?;
    }
    let pipeline =
        Pipeline::new(Toolchain::find()?, out.join("bpf"))?.include(out.join("include")).include("bpf");
    for (name, program) in
        [("QUEUES", "bpf/queues.bpf.c"), ("TYPED", "bpf/typed.bpf.c"), ("OPENS", "bpf/opens.bpf.c")]
    {
        for (instructions, object) in pipeline.objects(program)? {
            println!("cargo::rustc-env=ARENAQ_{name}_{}={}", instructions.variable(), object.display());
        }
    }

    let rustc =
        process::Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("-V").output()?;
    println!("cargo::rustc-env=ARENAQ_BENCH_RUSTC={}", String::from_utf8_lossy(&rustc.stdout).trim());
    Ok(())
}
