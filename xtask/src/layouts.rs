//! docs/layouts.md, from what `arenaq layout` says.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::{Context, bail};
use duct::cmd;
use serde::Deserialize;

use crate::command::{build_harness, root};

const INTRODUCTION: &str = "# Layouts

Where every field of the shared memory lies, in bytes, for the payload `KeyValue` (`struct ds_kv` in C). Rust
([`src/layout.rs`](../src/layout.rs)), the public C header ([`bpf/include/arenaq.h`](../bpf/include/arenaq.h)) as the host's C
compiler sees it, and the BTF of the compiled BPF object agree on every number.

`cargo xtask layouts --write` makes this file from `arenaq layout --json`; `cargo xtask test` fails if it is old.
";

/// The row that has a structure's size.
const SIZE: &str = "(size)";

/// A row of `arenaq layout --json`.
#[derive(Deserialize)]
struct Row {
    structure: String,
    field: String,
    rust: usize,
    header: Option<usize>,
    btf: Option<usize>,
}

pub(crate) fn check() -> anyhow::Result<()> {
    let file = file();
    let is = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    if is != generate()? {
        bail!("docs/layouts.md is not what the code says: run `cargo xtask layouts --write`");
    }
    println!("docs/layouts.md is what the code says");
    Ok(())
}

pub(crate) fn write() -> anyhow::Result<()> {
    let file = file();
    std::fs::write(&file, generate()?).with_context(|| file.display().to_string())
}

fn file() -> PathBuf {
    root().join("docs/layouts.md")
}

fn generate() -> anyhow::Result<String> {
    let json = cmd!(build_harness(false)?, "layout", "--json").unchecked().read()?;
    let rows: Vec<Row> = serde_json::from_str(&json).context("what `arenaq layout --json` printed")?;
    document(&rows)
}

fn document(rows: &[Row]) -> anyhow::Result<String> {
    if let Some(row) = rows.iter().find(|row| row.header != Some(row.rust) || row.btf != Some(row.rust)) {
        bail!(
            "{}.{}: Rust, the header and BTF do not agree; `arenaq layout` shows it",
            row.structure,
            row.field
        );
    }
    let mut text = INTRODUCTION.to_owned();
    for structure in rows.chunk_by(|a, b| a.structure == b.structure) {
        let size = structure.iter().find(|row| row.field == SIZE).map(|row| row.rust);
        let size = size.with_context(|| format!("{} has no size", structure[0].structure))?;
        write!(text, "\n## `{}`, {size} bytes\n\n| offset | field |\n|---:|---|\n", structure[0].structure)?;
        for row in structure.iter().filter(|row| row.field != SIZE) {
            writeln!(text, "| {0} (0x{0:02x}) | `{1}` |", row.rust, row.field)?;
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::{Row, document};

    fn row(field: &str, rust: usize, btf: Option<usize>) -> Row {
        Row { structure: "ds_kv".to_owned(), field: field.to_owned(), rust, header: Some(rust), btf }
    }

    #[test]
    fn a_structure_becomes_a_table() {
        let text = document(&[row("value", 8, Some(8)), row("(size)", 16, Some(16))]).expect("they agree");
        assert!(
            text.ends_with(
                "## `ds_kv`, 16 bytes\n\n| offset | field |\n|---:|---|\n| 8 (0x08) | `value` |\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn sides_that_do_not_agree_are_no_table() {
        let rows = [row("value", 8, None), row("(size)", 16, Some(16))];
        let error = document(&rows).expect_err("BTF says nothing");
        assert!(error.to_string().contains("ds_kv.value"), "{error}");
    }
}
