//! docs/weaken-peers.md, from the recipes and the records.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use anyhow::Context;

use super::recipe::{Recipe, names};
use super::record::Record;
use crate::command::root;

const HEAD: &str = "\
# Other people's crates under `cargo weaken`

<!-- Written by `cargo xtask peers --write NAME`; the recipes are in crates/cargo-weaken/peers. -->

Each row is a clean download of a package and a recipe of at most ten lines; `cargo xtask peers NAME` repeats it and
compares every verdict with those recorded, and `--all` repeats all. The seconds are of the whole run on a busy machine of two
processors, with whatever had to be compiled; they are not compared.

A survivor is a statement about a *model*: no execution of it that loom explores needs the ordering. It is no
statement that the code is wrong, or that the ordering could go. What was found out about each stands below.

| crate | tests | executions | accesses | weaker orderings | killed | survived | unreached | timeout | seconds |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|
";

pub(crate) fn write() -> anyhow::Result<()> {
    fs::write(file(), text()?).context("docs/weaken-peers.md")
}

fn file() -> PathBuf {
    root().join("docs/weaken-peers.md")
}

fn text() -> anyhow::Result<String> {
    let mut text = HEAD.to_owned();
    let mut below = String::new();
    for name in names()? {
        let (recipe, record) = (Recipe::read(&name)?, Record::read(&name)?);
        writeln!(
            text,
            "| [{name}](#{name}) {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            recipe.version,
            record.tests,
            record.executions,
            record.accesses,
            record.verdicts.len(),
            record.count("killed"),
            record.count("survived"),
            record.count("unreached"),
            record.count("timeout"),
            record.seconds,
        )?;
        section(&mut below, &recipe, &record)?;
    }
    Ok(text + &below)
}

fn section(text: &mut String, recipe: &Recipe, record: &Record) -> anyhow::Result<()> {
    let Recipe { name, version, about, arguments, .. } = recipe;
    writeln!(
        text,
        "\n## {name}\n\n{}\n\n{name} {version}, {} lines changed \
         ([recipe](../crates/cargo-weaken/peers/{name}.toml)); `cargo weaken {}`.",
        about.trim(),
        recipe.lines(),
        arguments.join(" "),
    )?;
    let survivors: Vec<_> = record.with("survived").collect();
    for survivor in &recipe.survivor {
        let is_of =
            |change: &&&str| recipe.meaning(change).is_some_and(|meaning| std::ptr::eq(meaning, survivor));
        let changes: Vec<_> = survivors.iter().filter(is_of).map(|change| format!("`{change}`")).collect();
        writeln!(text, "\n- {}  \n  {}", changes.join(", "), survivor.meaning.trim().replace('\n', "\n  "))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{file, names, text};
    use crate::peers::recipe::Recipe;
    use crate::peers::record::Record;

    #[test]
    fn the_document_is_what_the_recipes_and_records_say() -> anyhow::Result<()> {
        let written = std::fs::read_to_string(file())?;
        assert!(written == text()?, "`cargo xtask peers --render` writes docs/weaken-peers.md");
        Ok(())
    }

    #[test]
    fn somebody_has_looked_at_every_survivor_and_no_meaning_is_left_over() -> anyhow::Result<()> {
        for name in names()? {
            let (recipe, record) = (Recipe::read(&name)?, Record::read(&name)?);
            for change in record.with("survived") {
                assert!(recipe.meaning(change).is_some(), "{name}: {change}");
            }
            for survivor in &recipe.survivor {
                for of in &survivor.of {
                    assert!(record.with("survived").any(|change| change.starts_with(of)), "{name}: {of}");
                }
            }
        }
        Ok(())
    }
}
