//! What clang must be told to compile BPF programs, and what it tells about them.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{output, read};
use crate::{Error, Toolchain};

/// The machine on which the programs will run: that for which cargo compiles, in a build script.
pub(crate) struct Machine {
    /// As in [`env::consts::ARCH`].
    architecture: String,
    /// Its target triple; `None` is the machine that compiles.
    triple: Option<String>,
}

impl Machine {
    pub(crate) fn find() -> Machine {
        match (env::var("CARGO_CFG_TARGET_ARCH"), env::var("TARGET")) {
            (Ok(architecture), Ok(triple)) => Machine { architecture, triple: Some(triple) },
            _ => Machine { architecture: env::consts::ARCH.to_owned(), triple: None },
        }
    }

    /// The macro by which `<bpf/bpf_tracing.h>` knows where the arguments of a traced function are.
    pub(crate) fn define(&self) -> Option<String> {
        let name = match self.architecture.as_str() {
            "x86" | "x86_64" => "x86",
            "aarch64" => "arm64",
            "arm" => "arm",
            "riscv32" | "riscv64" => "riscv",
            "s390x" => "s390",
            "powerpc" | "powerpc64" => "powerpc",
            "mips" | "mips64" => "mips",
            "sparc64" => "sparc",
            "loongarch64" => "loongarch",
            _ => return None,
        };
        Some(format!("{TARGET_ARCH}{name}"))
    }

    /// The folders in which clang looks for headers when it does not compile BPF. Some systems, Debian among them, have
    /// the architecture's part of the kernel's headers, `<asm/types.h>`, in a folder that clang for BPF does not know.
    pub(crate) fn header_folders(&self, tools: &Toolchain) -> Result<Vec<PathBuf>, Error> {
        let mut clang = Command::new(&tools.clang);
        if let Some(triple) = &self.triple {
            clang.arg(format!("--target={triple}"));
        }
        // What clang says is translated otherwise.
        let said = output(clang.args(["-v", "-E", "-x", "c", "/dev/null"]).env("LC_ALL", "C"))?;
        Ok(search_list(&String::from_utf8_lossy(&said.stderr)))
    }
}

/// How the macros of [`Machine::define`] begin.
pub(crate) const TARGET_ARCH: &str = "__TARGET_ARCH_";

/// The folders that `clang -v` lists.
fn search_list(said: &str) -> Vec<PathBuf> {
    said.lines()
        .skip_while(|line| !line.starts_with("#include <...>"))
        .skip(1)
        .take_while(|line| line.starts_with(' '))
        .map(|line| PathBuf::from(line.trim()))
        .collect()
}

/// The files of which a file is made, from the rule that `clang -MD` has written for make.
pub(crate) fn dependencies(rule: &Path) -> Result<Vec<PathBuf>, Error> {
    read(rule).map(|text| parse_rule(&text))
}

/// `target: a b\ c \` and so on: make ends a word at a space, continues a line behind a backslash, and doubles dollars.
fn parse_rule(rule: &str) -> Vec<PathBuf> {
    let Some((_, words)) = rule.split_once(": ") else {
        return Vec::new();
    };
    let mut files = Vec::new();
    let mut word = String::new();
    let mut characters = words.chars().peekable();
    while let Some(c) = characters.next() {
        match (c, characters.peek()) {
            ('$', Some('$')) => {
                word.push('$');
                characters.next();
            }
            ('\\', Some(&next @ (' ' | '#' | ':'))) => {
                word.push(next);
                characters.next();
            }
            ('\\', Some('\n')) => {}
            (' ' | '\n', _) => {
                if !word.is_empty() {
                    files.push(PathBuf::from(std::mem::take(&mut word)));
                }
            }
            (c, _) => word.push(c),
        }
    }
    files.extend((!word.is_empty()).then(|| PathBuf::from(word)));
    files
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{Machine, parse_rule, search_list};

    #[test]
    fn the_folders_are_those_between_the_two_lines() {
        let said = "clang version 22\n ignored\n#include \"...\" search starts here:\n#include <...> search starts here:\n \
                    /usr/lib/llvm-22/lib/clang/22/include\n /usr/include/x86_64-linux-gnu\n /usr/include\nEnd of search list.\n x\n";
        let expected =
            ["/usr/lib/llvm-22/lib/clang/22/include", "/usr/include/x86_64-linux-gnu", "/usr/include"];
        assert_eq!(search_list(said), expected.map(PathBuf::from));
        assert!(search_list("clang: error").is_empty());
    }

    #[test]
    fn the_files_of_a_rule_are_found_with_their_spaces_and_dollars() {
        let rule = "out/my.ll: my.bpf.c /usr/include/a.h \\\n  with\\ space/b.h \\\n  c$$d.h e\\#f.h\n";
        let expected = ["my.bpf.c", "/usr/include/a.h", "with space/b.h", "c$d.h", "e#f.h"];
        assert_eq!(parse_rule(rule), expected.map(PathBuf::from));
        assert!(parse_rule("").is_empty());
    }

    #[test]
    fn tracing_headers_know_the_architecture_by_the_kernels_name() {
        let define =
            |architecture: &str| Machine { architecture: architecture.to_owned(), triple: None }.define();
        assert_eq!(define("x86_64").as_deref(), Some("__TARGET_ARCH_x86"));
        assert_eq!(define("aarch64").as_deref(), Some("__TARGET_ARCH_arm64"));
        assert_eq!(define("wasm32"), None);
    }
}
