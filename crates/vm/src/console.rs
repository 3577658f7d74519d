//! What a guest's kernel wrote on its console.

/// So many lines show how a guest came to its end.
const TAIL: usize = 30;

/// What a kernel writes when it is not well, and goes on.
const COMPLAINTS: [&str; 6] =
    ["BUG:", "WARNING:", "Oops:", "detected stall", "blocked for more than", "general protection fault"];

/// The line with which the kernel gave up.
pub fn panic(console: &str) -> Option<&str> {
    console.lines().find(|line| line.contains("Kernel panic - not syncing")).map(str::trim)
}

/// The lines in which the kernel complains.
pub fn complaints(console: &str) -> Vec<String> {
    let complains = |line: &&str| COMPLAINTS.iter().any(|words| line.contains(words));
    console.lines().filter(complains).map(|line| line.trim().to_owned()).collect()
}

/// The last lines of what a guest wrote, for a message.
pub fn tail(name: &str, text: &str) -> String {
    let lines: Vec<_> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        return format!("nothing on the {name}");
    }
    let last = &lines[lines.len().saturating_sub(TAIL)..];
    format!("the last lines of the {name}:\n  {}", last.join("\n  "))
}

#[cfg(test)]
mod tests {
    use super::{complaints, panic, tail};

    const CONSOLE: &str = "[    1.0] Linux\r\n[    2.0] WARNING: CPU: 1 PID: 7 at kernel/bpf/arena.c:1\r\n\
                           [    3.0] Kernel panic - not syncing: Attempted to kill init!\r\n[    3.1] CPU: 0\r\n";

    #[test]
    fn a_panic_and_a_warning_are_told_apart() {
        assert_eq!(panic(CONSOLE), Some("[    3.0] Kernel panic - not syncing: Attempted to kill init!"));
        assert_eq!(complaints(CONSOLE), ["[    2.0] WARNING: CPU: 1 PID: 7 at kernel/bpf/arena.c:1"]);
        assert_eq!(panic("[    1.0] reboot: Power down"), None);
        assert!(complaints("[    1.0] reboot: Power down").is_empty());
    }

    #[test]
    fn the_tail_is_the_end() {
        let long: String = (0..100).map(|number| format!("line {number}\r\n")).collect();
        let tail_of_long = tail("console", &long);
        assert!(tail_of_long.ends_with("line 99") && tail_of_long.contains("line 70"), "{tail_of_long}");
        assert!(!tail_of_long.contains("line 69"));
        assert_eq!(tail("console", "\r\n"), "nothing on the console");
    }
}
