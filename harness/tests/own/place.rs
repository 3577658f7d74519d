//! A folder in which somebody works, with no Rust in it or in PATH.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use arenaq_bpf_build::Toolchain;
use tempfile::TempDir;

use crate::support::Outcome;

/// Every file that a process opens.
pub(crate) const OPENSNOOP: &str = include_str!("../../../examples/opensnoop/src/opensnoop.bpf.c");

pub(crate) struct Place {
    folder: TempDir,
}

impl Place {
    pub(crate) fn new() -> Place {
        let folder =
            tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the target folder is writable");
        let place = Place { folder };
        let tools = Toolchain::find().expect("it compiled the harness");
        for folder in ["bin", "tmp", "work"] {
            fs::create_dir(place.root().join(folder)).expect("it can be made");
        }
        let all = [&tools.clang, &tools.llvm_link, &tools.opt, &tools.llc, &tools.llvm_nm, &tools.llvm_strip];
        for tool in all.into_iter().chain([&tools.llvm_objcopy, &tools.llvm_objdump]) {
            let name = tool.file_name().expect("a tool has a name");
            symlink(tool, place.root().join("bin").join(name)).expect("it can be made");
        }
        place
    }

    /// As [`new`](Self::new), with a program.
    pub(crate) fn with(name: &str, program: &str) -> Place {
        let place = Place::new();
        place.write(name, program);
        place
    }

    fn root(&self) -> &Path {
        self.folder.path()
    }

    /// A file in the folder.
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.root().join("work").join(file)
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        let path = self.path(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("it can be made");
        fs::write(path, text).expect("it can be written");
    }

    pub(crate) fn has(&self, file: &str) -> bool {
        self.path(file).exists()
    }

    /// A program that runs in the folder, and finds LLVM's tools and nothing else.
    pub(crate) fn program(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.root().join("work")).env_clear();
        command.env("PATH", self.root().join("bin")).env("TMPDIR", self.root().join("tmp"));
        command.env("RUSTC", "/nowhere/rustc").env("CARGO", "/nowhere/cargo");
        command
    }

    pub(crate) fn arenaq(&self, arguments: &[&str]) -> Command {
        let mut command = self.program(env!("CARGO_BIN_EXE_arenaq"));
        command.args(arguments);
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome {
        Outcome::of(&mut self.arenaq(arguments))
    }

    /// What was left in the folder for temporary files.
    pub(crate) fn left(&self) -> usize {
        fs::read_dir(self.root().join("tmp")).expect("it is there").count()
    }
}
