//! Rules for make.

use std::fmt::Write;
use std::path::{Path, PathBuf};

/// `my.bpf.o: my.bpf.c event.h`, and a rule without a recipe for each header, so that one that was removed since is no error.
pub(super) fn rule(object: &Path, files: &[PathBuf]) -> String {
    let mut rule = format!("{}:", escaped(object));
    for file in files {
        let _ = write!(rule, " \\\n  {}", escaped(file));
    }
    rule.push('\n');
    for header in files.iter().skip(1) {
        let _ = write!(rule, "\n{}:\n", escaped(header));
    }
    rule
}

/// A name as make reads it.
fn escaped(path: &Path) -> String {
    let mut escaped = String::new();
    for c in path.to_string_lossy().chars() {
        match c {
            ' ' | '#' | ':' => escaped.extend(['\\', c]),
            '$' => escaped.push_str("$$"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::rule;

    #[test]
    fn names_are_written_as_make_reads_them() {
        let files = ["my.bpf.c", "a b/c#d.h", "e$f.h"].map(PathBuf::from);
        assert_eq!(
            rule(Path::new("my.bpf.o"), &files),
            "my.bpf.o: \\\n  my.bpf.c \\\n  a\\ b/c\\#d.h \\\n  e$$f.h\n\na\\ b/c\\#d.h:\n\ne$$f.h:\n"
        );
    }
}
