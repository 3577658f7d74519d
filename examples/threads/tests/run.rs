//! The example's words.

use std::process::Command;

#[test]
fn every_word_is_counted_once() {
    let words: Vec<_> = (0..500).map(|number| "x".repeat(number % 9 + 1)).collect();
    let output = Command::new(env!("CARGO_BIN_EXE_threads")).args(&words).output().expect("it starts");
    let printed = String::from_utf8_lossy(&output.stdout);
    let letters: usize = words.iter().map(String::len).sum();
    assert!(output.status.success());
    assert_eq!(printed.lines().count(), words.len() + 1);
    assert!(printed.ends_with(&format!("{letters} in {} words\n", words.len())), "{printed}");
}
