//! The public header in userspace, in C and in C++.

use std::fs;
use std::process::Command;

use arenaq_bpf_build::{Toolchain, source_dir};

/// Valid in both languages.
const PROGRAM: &str = r#"
#include "arenaq.h"
#include "arenaq.h"
#include <stdio.h>
int main(void)
{
	struct ds_vyukhov_head queue;
	struct ds_kv element;

	element.key = 40;
	element.value = 2;
	queue.count = element.key + element.value;
	queue.buffer = NULL;
	printf("%llu %d\n", ds_vyukhov_count(&queue), DS_ERROR_BUSY);
	return 0;
}
"#;

const FLAGS: [&str; 4] = ["-Wall", "-Wextra", "-Werror", "-pedantic-errors"];

#[test]
fn every_compiler_takes_the_header_without_a_warning() {
    let clang = Toolchain::find().expect("it compiled the harness").clang;
    let clang = clang.to_str().expect("UTF-8");
    let folder = tempfile::tempdir().expect("the folder for temporary files is writable");
    let include = source_dir().expect("this is a checkout").join("include");
    for (file, compilers, standards) in [
        ("program.c", [vec!["gcc"], vec![clang]], ["c11", "gnu17"].as_slice()),
        ("program.cpp", [vec!["g++"], vec![clang, "--driver-mode=g++"]], &["c++11", "c++17", "c++20"]),
    ] {
        let source = folder.path().join(file);
        fs::write(&source, PROGRAM).expect("it can be written");
        for (compiler, standard) in
            compilers.iter().flat_map(|compiler| standards.iter().map(move |standard| (compiler, standard)))
        {
            let program = folder.path().join("program");
            let mut command = Command::new(compiler[0]);
            command.args(&compiler[1..]).arg(format!("-std={standard}")).args(FLAGS);
            command.arg("-I").arg(&include).arg(&source).arg("-o").arg(&program);
            let output = command.output().unwrap_or_else(|error| {
                panic!("{compiler:?}: {error}; `cargo xtask setup` installs what is missing")
            });
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{compiler:?}, {standard}:\n{said}");
            let output = Command::new(&program).output().expect("it was compiled");
            assert_eq!(String::from_utf8_lossy(&output.stdout), "42 -6\n", "{compiler:?}, {standard}");
        }
    }
}
