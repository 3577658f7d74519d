//! The example on real events.

use std::process::Command;

#[test]
fn the_system_calls_of_a_command_are_counted_on_each_cpu_and_none_is_dropped() {
    if let Err(error) = arenaq_libbpf::choose(None) {
        assert!(std::env::var_os("ARENAQ_REQUIRE_KERNEL").is_none(), "must not be skipped here: {error}");
        eprintln!(
            "SKIPPED: the_system_calls_of_a_command_are_counted_on_each_cpu_and_none_is_dropped: {error}"
        );
        return;
    }
    // dd reads and writes 2,000 times.
    let command = ["dd", "if=/dev/zero", "of=/dev/null", "bs=1", "count=2000"];
    let output = Command::new(env!("CARGO_BIN_EXE_percpu")).args(command).output().expect("it starts");
    let (printed, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    let number = |line: &str| line.split(' ').find_map(|word| word.parse::<u64>().ok());
    let calls = |is: &dyn Fn(&&str) -> bool| -> u64 {
        printed.lines().filter(|line| line.ends_with("system calls")).filter(is).filter_map(number).sum()
    };
    let all = calls(&|line| !line.starts_with("CPU"));
    assert!(all > 4000, "{printed}");
    assert_eq!(calls(&|line| line.starts_with("CPU")), all, "{printed}");
    assert!(printed.lines().any(|line| line.starts_with("process ")), "{printed}");
    assert!(!printed.contains("Dropped"), "{printed}");
}
