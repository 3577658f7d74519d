//! Whether the relative links in the Markdown files lead to files.

use std::path::Path;

use anyhow::{Context, bail};
use duct::cmd;
use pulldown_cmark::{Event, Parser, Tag};

use crate::command::root;

pub(crate) fn check() -> anyhow::Result<()> {
    let root = root();
    let files = cmd!("git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md")
        .dir(&root)
        .read()
        .context("git does not list the Markdown files")?;

    let mut looked_at = 0;
    let mut broken = Vec::new();
    for file in files.lines().filter(|file| root.join(file).is_file()) {
        let text = std::fs::read_to_string(root.join(file)).with_context(|| file.to_owned())?;
        let folder = root.join(file);
        let folder = folder.parent().unwrap_or(&root);
        for target in relative_links(&text) {
            looked_at += 1;
            if !leads_to_something(folder, &target) {
                broken.push(format!("{file}: {target}"));
            }
        }
    }
    if !broken.is_empty() {
        bail!("links that lead to no file:\n  {}", broken.join("\n  "));
    }
    println!("{looked_at} relative links in {} files, all lead to files", files.lines().count());
    Ok(())
}

/// The targets of a text's links and images, without those on the web or in the text itself.
fn relative_links(markdown: &str) -> Vec<String> {
    Parser::new(markdown)
        .filter_map(|event| match event {
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                Some(dest_url.into_string())
            }
            _ => None,
        })
        .filter(|target| !target.starts_with('#') && !target.contains(':'))
        .collect()
}

fn leads_to_something(folder: &Path, target: &str) -> bool {
    let file = target.split('#').next().unwrap_or(target);
    folder.join(file).exists()
}

#[cfg(test)]
mod tests {
    use super::relative_links;

    #[test]
    fn only_links_to_files_are_looked_at() {
        let text =
            "[a](docs/a.md#part) [b](https://example.org/b) [c](#c) ![d](d.png) `[e](e.md)` [f]\n\n[f]: f.md";
        assert_eq!(relative_links(text), ["docs/a.md#part", "d.png", "f.md"]);
    }
}
