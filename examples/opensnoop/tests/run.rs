//! The example on real events.

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn every_file_that_a_command_opens_is_printed() {
    if let Err(error) = arenaq_libbpf::choose(None) {
        assert!(std::env::var_os("ARENAQ_REQUIRE_KERNEL").is_none(), "must not be skipped here: {error}");
        eprintln!("SKIPPED: every_file_that_a_command_opens_is_printed: {error}");
        return;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("opens");
    fs::create_dir_all(&folder).expect("a folder");
    let files: Vec<_> = (0..300).map(|number| folder.join(format!("file-{number}"))).collect();
    for file in &files {
        fs::write(file, "").expect("a file");
    }
    let outputs = [env!("CARGO_BIN_EXE_opensnoop"), env!("CARGO_BIN_EXE_opensnoop-records")]
        .map(|program| Command::new(program).arg("cat").args(&files).output());
    fs::remove_dir_all(&folder).expect("ours");
    for output in outputs {
        let output = output.expect("it starts");
        let (printed, said) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{said}");
        for file in &files {
            let file = file.display().to_string();
            let times = printed.lines().filter(|line| line.ends_with(&file)).count();
            assert_eq!(times, 1, "{file} in:\n{printed}");
        }
        assert!(said.contains("full: 0, contended: 0, invalid: 0, corrupt: 0"), "{said}");
    }
}
