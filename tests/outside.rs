//! A crate outside of this workspace, which forbids `unsafe` and uses the queues in plain Rust.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

const PROGRAM: &str = r#"
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::thread;

use arenaq::mpmc::Queue;
use arenaq::mpsc::queue::{self, Consumer, Producer};

/// Jobs for many, results for one.
struct Workers {
    jobs: Arc<Queue<Box<dyn FnOnce() -> String + Send>>>,
    results: Consumer<String>,
}

fn work(jobs: &Queue<Box<dyn FnOnce() -> String + Send>>, results: &Producer<String>) {
    for job in jobs.try_iter() {
        results.push(job()).expect("room for all results");
    }
}

fn main() {
    let (producer, results) = queue::queue(100);
    let mut workers = Workers { jobs: Arc::new(Queue::new(100)), results };
    let mut jobs: Vec<Box<dyn FnOnce() -> String + Send>> = Vec::new();
    for number in 0..100 {
        jobs.push(Box::new(move || format!("job {number}")));
    }
    assert_eq!(workers.jobs.push_from(&mut jobs), 100);
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let (jobs, results) = (workers.jobs.clone(), producer.clone());
            thread::spawn(move || work(&jobs, &results))
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let mut done: Vec<_> = workers.results.drain(usize::MAX).collect();
    done.sort();
    println!("{} jobs, {} to {}", done.len(), done[0], done[99]);
}
"#;

/// The crate with a program, which cargo runs as in a folder of its own, without network.
fn run(program: &str) -> (bool, String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder: TempDir = tempfile::tempdir().expect("the folder for temporary files is writable");
    let write =
        |file: &str, text: &str| fs::write(folder.path().join(file), text).expect("it can be written");
    fs::create_dir(folder.path().join("src")).expect("it can be made");
    write("src/main.rs", program);
    write(
        "Cargo.toml",
        &format!(
            "[package]\nname = \"outside\"\nedition = \"2024\"\n\n[workspace]\n\n[profile.dev]\ndebug = false\n\n\
             [dependencies]\narenaq = {{ path = {:?} }}\n",
            root.display().to_string()
        ),
    );
    // The versions that the workspace has, which are there without network.
    fs::copy(root.join("Cargo.lock"), folder.path().join("Cargo.lock")).expect("it can be copied");
    let mut cargo = Command::new(env!("CARGO"));
    // What the cargo of this test says is about this workspace.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO") && name != "CARGO_HOME" {
            cargo.env_remove(name.as_ref());
        }
    }
    cargo.args(["run", "--quiet", "--offline"]).current_dir(folder.path()).env_remove("RUSTFLAGS");
    cargo.env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("outside"));
    // What is built with -Cinstrument-coverage writes a profile where it runs.
    cargo.env("LLVM_PROFILE_FILE", folder.path().join("%p.profraw"));
    let output = cargo.output().expect("cargo runs");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

#[test]
fn a_crate_that_forbids_unsafe_code_uses_both_queues() {
    let (succeeded, said) = run(PROGRAM);
    assert!(succeeded && said == "100 jobs, job 0 to job 99\n", "{said}");

    // The lint is in force there.
    let (succeeded, said) = run(&PROGRAM.replace("fn main() {", "fn main() {\n    unsafe {}"));
    assert!(!succeeded && said.contains("usage of an `unsafe` block"), "{said}");
}
