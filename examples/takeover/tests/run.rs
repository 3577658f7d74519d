//! The example on a real kernel.

use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn what_a_killed_consumer_had_claimed_comes_out_of_the_one_that_lives() {
    if let Err(error) = arenaq_libbpf::choose(None) {
        assert!(std::env::var_os("ARENAQ_REQUIRE_KERNEL").is_none(), "must not be skipped here: {error}");
        eprintln!("SKIPPED: what_a_killed_consumer_had_claimed_comes_out_of_the_one_that_lives: {error}");
        return;
    }
    let mounted = Mounted::new();
    let folder = mounted.0.join("takeover");
    let output = Command::new(env!("CARGO_BIN_EXE_takeover")).arg(&folder).output().expect("it starts");
    let (printed, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{printed}{said}");
    assert!(printed.contains("20000 numbers, 20000 seen"), "{printed}");
    assert!(!folder.exists(), "it is unpinned");
}

/// A BPF file system of our own, which goes with the value.
struct Mounted(PathBuf);

impl Mounted {
    fn new() -> Mounted {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("takeover-bpf");
        std::fs::create_dir_all(&folder).expect("a folder");
        let mounted = Command::new("mount").args(["-t", "bpf", "bpf"]).arg(&folder).status();
        assert!(mounted.expect("mount").success());
        Mounted(folder)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // What fails here leaves an empty mount in the target folder.
        let _ = Command::new("umount").arg(&self.0).status();
    }
}
