//! Compiles the BPF objects that the harness carries.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs, process};

use arenaq_bpf_build::{Instructions, Pipeline, Toolchain, source_dir};

fn main() {
    if let Err(error) = build() {
        eprintln!("\narenaq-harness: cannot compile the BPF programs.\n\n{error}\n");
        process::exit(1);
    }
}

fn build() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set: run this through cargo")?);
    let bpf = source_dir()?;
    println!("cargo::rerun-if-changed=build.rs");

    let headers = out.join("include/bpf");
    fs::create_dir_all(&headers)?;
    for (name, text) in libbpf_sys::API_HEADERS {
        fs::write(headers.join(name), text)?;
    }

    let pipeline = Pipeline::new(Toolchain::find()?, out.join("bpf"))?.include(out.join("include"));
    // For `arenaq build`, which runs where no Rust is.
    let ir = out.join("arenaq.ll");
    fs::write(&ir, pipeline.ir())?;
    println!("cargo::rustc-env=ARENAQ_IR={}", ir.display());
    println!("cargo::rustc-env=ARENAQ_IR_LLVM={}", pipeline.ir_llvm());
    println!("cargo::rustc-env=ARENAQ_BPF={}", bpf.display());

    for (name, program) in [
        ("OBJECT", "programs/arenaq.bpf.c"),
        ("SEEDS", "tests/seeds.bpf.c"),
        ("UNCOUNTED", "tests/uncounted.bpf.c"),
        ("ELEMENTS", "tests/elements.bpf.c"),
        ("TYPED", "tests/typed.bpf.c"),
        ("RECORDS", "tests/records.bpf.c"),
        ("PREEMPTED", "tests/preempted.bpf.c"),
    ] {
        for (instructions, object) in pipeline.objects(bpf.join(program))? {
            println!("cargo::rustc-env=ARENAQ_{name}_{}={}", instructions.variable(), object.display());
        }
    }
    for instructions in Instructions::ALL {
        let functions = pipeline.functions(instructions)?;
        println!("cargo::rustc-env=ARENAQ_FUNCTIONS_{}={}", instructions.variable(), functions.display());
    }
    // These access no queue: what an acquire load becomes makes no difference to them.
    for (variable, program) in [
        ("ARENAQ_PROBE", "programs/probe.bpf.c"),
        ("ARENAQ_REFUSED", "tests/refused.bpf.c"),
        ("ARENAQ_MISSING_FUNCTION", "tests/missing_function.bpf.c"),
        ("ARENAQ_SMALL_ARENA", "tests/small_arena.bpf.c"),
    ] {
        let object = pipeline.object(bpf.join(program), Instructions::AcquireRelease)?;
        println!("cargo::rustc-env={variable}={}", object.display());
    }

    // For a test, whose program in C has a libbpf of its own.
    if let Some(include) = env::var_os("DEP_BPF_INCLUDE").map(PathBuf::from) {
        println!("cargo::rustc-env=ARENAQ_LIBBPF={}", include.parent().unwrap_or(&include).display());
    }

    println!("cargo::rerun-if-changed=src/layout.c");
    cc::Build::new()
        .file("src/layout.c")
        .include(bpf.join("include"))
        .warnings_into_errors(true)
        .compile("arenaq_layout");
    Ok(())
}
