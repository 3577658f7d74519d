//! A copy of the crate in `tests/fixtures`, in a folder of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;
use tempfile::TempDir;

/// The crate.
pub(crate) struct Fixture(TempDir);

/// The folders of the repository.
fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder of the fixture") {
        let entry = entry.expect("a file of the fixture");
        let place = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &place);
        } else {
            fs::copy(entry.path(), place).expect("a copy");
        }
    }
}

impl Fixture {
    pub(crate) fn new() -> Fixture {
        let fixture = Fixture(tempfile::tempdir().expect("a folder"));
        copy(&here().join("tests/fixtures/structures"), fixture.path());
        let weaken = here().join("../weaken");
        let weaken = weaken.to_str().expect("a path that is text");
        fixture.edit("Cargo.toml", "../../../../weaken", weaken);
        // cargo takes two packages of one name, each in its own workspace, for the same one, and the copies
        // share what is compiled.
        static COPIES: AtomicU32 = AtomicU32::new(0);
        let name = format!("name = \"structures-{}\"\nversion", COPIES.fetch_add(1, Ordering::Relaxed));
        fixture.edit("Cargo.toml", "name = \"structures\"\nversion", &name);
        // The versions of this workspace, which are here already.
        fs::copy(here().join("../../Cargo.lock"), fixture.path().join("Cargo.lock")).expect("Cargo.lock");
        fixture
    }

    /// One with other models.
    pub(crate) fn with_models(models: &str) -> Fixture {
        let fixture = Fixture::new();
        fs::write(fixture.path().join("tests/loom.rs"), models).expect("the models");
        fixture
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn page(&self) -> PathBuf {
        self.path().join("page.html")
    }

    pub(crate) fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path().join(file)).expect(file)
    }

    /// Replaces every `from`, of which there is one at least.
    pub(crate) fn edit(&self, file: &str, from: &str, to: &str) {
        let text = self.read(file);
        assert!(text.contains(from), "{file} has no {from}");
        fs::write(self.path().join(file), text.replace(from, to)).expect(file);
    }

    /// `FILE:LINE` of the only line with this text.
    pub(crate) fn line(&self, file: &str, text: &str) -> String {
        let all = self.read(file);
        let mut lines = all.lines().enumerate().filter(|(_, line)| line.contains(text));
        let (number, _) = lines.next().expect(text);
        assert!(lines.next().is_none(), "{file} has {text} twice");
        format!("{file}:{}", number + 1)
    }

    /// `cargo weaken` in the crate's folder. What is compiled is shared by all copies.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-weaken"));
        command.arg("weaken").args(arguments).current_dir(self.path()).stdin(Stdio::null());
        command.env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("weaken"));
        for variable in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "WEAKEN", "WEAKEN_RECORD"] {
            command.env_remove(variable);
        }
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let page = self.page();
        let page = ["--html", page.to_str().expect("a path that is text")];
        let page = if arguments.contains(&"--list") { &[][..] } else { &page };
        self.command(&[page, arguments].concat()).output().expect("it starts")
    }

    /// Runs, and expects an object.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[&["--json"], arguments].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", told(&output)))
    }
}

/// What a run said to its user.
pub(crate) fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The changes of a report: place, operation, orderings, verdict.
pub(crate) fn changes(report: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let all = report["mutations"].as_array().expect("changes");
    all.iter()
        .map(|change| {
            let [file, operation, from, to, verdict] =
                ["file", "operation", "from", "to", "verdict"].map(|field| text(&change[field]));
            format!("{file}:{} {operation} {from} -> {to}: {verdict}", change["line"])
        })
        .collect()
}
