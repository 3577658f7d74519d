//! No file names a package server: packages come from where the machine's own configuration says.

use anyhow::{Context, bail};
use duct::cmd;

use crate::command::root;

/// How the names of such servers begin: of distributions, of LLVM, of language registries.
const NAMES: &[&str] = &[
    "apt",
    "archive",
    "cdn-fastly",
    "crates",
    "deb",
    "ftp",
    "index",
    "mirror",
    "mirrors",
    "packages",
    "pool",
    "ports",
    "ppa",
    "repo",
    "repos",
    "registry",
    "security",
    "snapshot",
    "static",
    "yum",
];

/// How the names of servers end.
const DOMAINS: &[&str] = &["com", "io", "net", "org"];

pub(crate) fn check() -> anyhow::Result<()> {
    let root = root();
    let files = cmd!("git", "ls-files", "--cached", "--others", "--exclude-standard")
        .dir(&root)
        .read()
        .context("git does not list the files")?;
    let mut found = Vec::new();
    let mut looked_at = 0;
    for file in files.lines() {
        // A file that is deleted and not committed, and one that is no text.
        let Ok(text) = std::fs::read_to_string(root.join(file)) else { continue };
        looked_at += 1;
        for (number, line) in text.lines().enumerate() {
            found.extend(servers(line).map(|server| format!("{file}:{}: {server}", number + 1)));
        }
    }
    if !found.is_empty() {
        bail!(
            "files name package servers, and the machine's own package sources should (crates/vm/src/archive.rs):\n  {}",
            found.join("\n  ")
        );
    }
    println!("{looked_at} files, none names a package server");
    Ok(())
}

/// The package servers that a line names.
fn servers(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '-'))
        .map(|word| word.trim_matches('.'))
        .filter(|word| is_server(word))
}

fn is_server(word: &str) -> bool {
    let labels: Vec<_> = word.split('.').collect();
    let [first, .., last] = labels.as_slice() else { return false };
    let is_numbered =
        |name: &&str| first.strip_prefix(*name).is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit()));
    labels.len() > 2 && NAMES.iter().any(is_numbered) && DOMAINS.contains(last)
}

#[cfg(test)]
mod tests {
    use super::servers;

    #[test]
    fn a_package_server_is_found_with_and_without_a_scheme() {
        // Put together here, so that this file names none.
        for server in
            [["deb", "debian.org"], ["apt", "llvm.org"], ["static", "crates.io"], ["ftp2", "example.net"]]
        {
            let server = server.join(".");
            for line in [
                format!("deb http://{server}/debian x main"),
                format!("is {server} reachable?"),
                server.clone(),
            ] {
                assert_eq!(servers(&line).collect::<Vec<_>>(), [server.as_str()], "{line}");
            }
        }
    }

    #[test]
    fn other_names_are_not_taken_for_one() {
        for line in [
            "https://www.1024cores.net/home",
            "https://github.com/a/deb",
            "apt.rs",
            "static.a",
            "index.html",
            "deb.x.rs",
        ] {
            assert_eq!(servers(line).count(), 0, "{line}");
        }
    }
}
