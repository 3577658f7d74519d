//! Debian's archive, where this machine's own package sources have it: a mirror, or behind a cache, as they say.

use std::path::Path;

use anyhow::{Context, bail};
use duct::cmd;

/// How apt-get is asked for the machine's sources: one line each, with these fields.
const FORMAT: &str = "$(REPO_URI)\t$(ORIGIN)\t$(LABEL)\t$(RELEASE)\t$(COMPONENT)\t$(SOURCESENTRY)";

/// One source of Debian's packages.
#[derive(Debug, PartialEq, Eq)]
pub struct Archive {
    uri: String,
    /// The entry that names it, with its options: who signs, and what is trusted.
    entry: Entry,
}

#[derive(Debug, PartialEq, Eq)]
enum Entry {
    /// A stanza of a `.sources` file: fields, with their continuation lines.
    Stanza(Vec<(String, String)>),
    /// A line of a `.list` file: its options, with their brackets.
    Line(String),
}

impl Archive {
    /// All of this machine's, in the order of its sources.
    ///
    /// # Errors
    ///
    /// apt-get does not list the sources, one of them cannot be read, or none is Debian's archive.
    pub fn all() -> anyhow::Result<Vec<Archive>> {
        let targets = cmd!("apt-get", "indextargets", "--format", FORMAT, "Created-By: Packages")
            .read()
            .context("apt-get does not say what package sources this machine has")?;
        let system = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        let mut archives: Vec<Archive> = Vec::new();
        for (uri, file) in places(&targets, &system) {
            if archives.iter().any(|archive| archive.uri == uri) {
                continue;
            }
            let text = std::fs::read_to_string(file).with_context(|| file.to_owned())?;
            let is_list = Path::new(file).extension().is_some_and(|extension| extension == "list");
            let entry = if is_list { line(&text, uri) } else { stanza(&text, uri) };
            archives.extend(entry.map(|entry| Archive { uri: uri.to_owned(), entry }));
        }
        if archives.is_empty() {
            bail!(
                "none of this machine's package sources (`apt-get indextargets` lists them) is Debian's archive. If one should be, run \
                 `apt-get update`; else add one to /etc/apt/sources.list.d"
            );
        }
        Ok(archives)
    }

    /// Writes the sources of an apt that knows these suites of the archive and nothing else, into a folder for
    /// `Dir::Etc::sourceparts`.
    ///
    /// # Errors
    ///
    /// The folder cannot be emptied or written to.
    pub fn write_sources(&self, folder: &Path, suites: &[&str]) -> anyhow::Result<()> {
        let (name, text) = match &self.entry {
            Entry::Stanza(fields) => ("archive.sources", stanza_for(fields, &self.uri, suites)),
            Entry::Line(options) => ("archive.list", lines_for(options, &self.uri, suites)),
        };
        // Of another archive that was tried before.
        let removed = std::fs::remove_dir_all(folder);
        if removed.is_err() && folder.exists() {
            removed.with_context(|| format!("cannot empty {}", folder.display()))?;
        }
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(folder.join(name), text))
            .with_context(|| format!("cannot write to {}", folder.display()))
    }
}

/// The address and the file of each source that is Debian's. What a source is, is known when its lists were fetched; before,
/// it is Debian's if the system is, and the suite is called like the system's version.
fn places<'a>(targets: &'a str, system: &str) -> Vec<(&'a str, &'a str)> {
    let codename = codename(system);
    let mut places = Vec::new();
    for target in targets.lines() {
        let fields: Vec<_> = target.split('\t').collect();
        let &[uri, origin, label, release, component, entry] = fields.as_slice() else { continue };
        // apt-get leaves what it does not know as it is.
        let is_known = !origin.is_empty() && !origin.starts_with("$(");
        let is_debian = if is_known {
            origin == "Debian" && label == "Debian"
        } else {
            component == "main" && Some(release) == codename
        };
        // The number is that of the entry in the file.
        if let (true, Some((file, _))) = (is_debian, entry.rsplit_once(':')) {
            places.push((uri.trim_end_matches('/'), file));
        }
    }
    places
}

/// The name of Debian's version from the text of `/etc/os-release`, if the system is Debian.
pub fn codename(system: &str) -> Option<&str> {
    let value = |key: &str| {
        system
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
            .map(|value| value.trim_matches('"'))
    };
    value("VERSION_CODENAME").filter(|_| value("ID") == Some("debian"))
}

fn stanza(text: &str, uri: &str) -> Option<Entry> {
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    lines
        .split(|line| line.trim().is_empty())
        .map(fields)
        .find(|fields| {
            let has = |key: &str, test: &dyn Fn(&str) -> bool| {
                fields.iter().any(|(name, value)| name.eq_ignore_ascii_case(key) && test(value))
            };
            let is_off = has("Enabled", &|value| value.trim() == "no");
            !is_off
                && has("URIs", &|value| {
                    value.split_whitespace().any(|word| word.trim_end_matches('/') == uri)
                })
        })
        .map(Entry::Stanza)
}

fn fields(lines: &[&str]) -> Vec<(String, String)> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in lines {
        match (line.starts_with([' ', '\t']), line.split_once(':'), fields.last_mut()) {
            (true, _, Some((_, value))) => {
                value.push('\n');
                value.push_str(line);
            }
            (false, Some((name, value)), _) => fields.push((name.to_owned(), value.to_owned())),
            _ => {}
        }
    }
    fields
}

fn stanza_for(fields: &[(String, String)], uri: &str, suites: &[&str]) -> String {
    let ours = ["Types", "URIs", "Suites", "Components", "Architectures", "Languages", "Targets"];
    let kept = fields.iter().filter(|(name, _)| !ours.iter().any(|other| name.eq_ignore_ascii_case(other)));
    let kept: String = kept.map(|(name, value)| format!("{name}:{value}\n")).collect();
    format!("Types: deb\nURIs: {uri}\nSuites: {}\nComponents: main\n{kept}", suites.join(" "))
}

fn line(text: &str, uri: &str) -> Option<Entry> {
    text.lines().find_map(|line| {
        let rest = line.trim().strip_prefix("deb")?.strip_prefix([' ', '\t'])?.trim_start();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => ("", rest),
        };
        let is_it = rest.split_whitespace().next()?.trim_end_matches('/') == uri;
        is_it.then(|| Entry::Line(options.to_owned()))
    })
}

fn lines_for(options: &str, uri: &str, suites: &[&str]) -> String {
    let options: Vec<_> = options.split_whitespace().filter(|option| !option.starts_with("arch=")).collect();
    let options = if options.is_empty() { String::new() } else { format!("[{}] ", options.join(" ")) };
    suites.iter().map(|suite| format!("deb {options}{uri} {suite} main\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::{Entry, codename, line, lines_for, places, stanza, stanza_for};

    const SYSTEM: &str = "ID=debian\nVERSION_CODENAME=bookworm\n";

    #[test]
    fn debians_own_packages_are_told_from_others() {
        let targets = "http://a/debian/\tDebian\tDebian\tbookworm\tmain\t/etc/a.sources:1\n\
                       http://a/security/\tDebian\tDebian-Security\tbookworm-security\tmain\t/etc/a.sources:2\n\
                       http://b/tools/\tTools\tTools\tbookworm\tmain\t/etc/b.list:3\n";
        assert_eq!(places(targets, SYSTEM), [("http://a/debian", "/etc/a.sources")]);
    }

    #[test]
    fn before_the_first_update_the_systems_version_tells() {
        let targets = "http://a/debian/\t$(ORIGIN)\t$(LABEL)\tbookworm\tmain\t/etc/a.sources:1\n\
                       http://b/tools/\t$(ORIGIN)\t$(LABEL)\tnodistro\tmain\t/etc/b.list:3\n";
        assert_eq!(places(targets, SYSTEM), [("http://a/debian", "/etc/a.sources")]);
        assert!(places(targets, "ID=ubuntu\nVERSION_CODENAME=bookworm\n").is_empty());
    }

    #[test]
    fn only_debian_has_its_versions() {
        assert_eq!(codename("ID=debian\nVERSION_CODENAME=trixie\n"), Some("trixie"));
        assert_eq!(codename("ID=raspbian\nID_LIKE=debian\nVERSION_CODENAME=bookworm\n"), None);
    }

    #[test]
    fn a_stanza_keeps_what_says_who_signs_and_whether_it_is_on() {
        let text = "Types: deb\nURIs: http://off\nSuites: bookworm\nEnabled: no\n\n# a comment\nTypes: deb deb-src\n\
                    URIs: http://other http://mirror/debian/\nSuites: bookworm\nComponents: main contrib\nSigned-By:\n KEY\n .\n LINE\n";
        let Some(Entry::Stanza(fields)) = stanza(text, "http://mirror/debian") else {
            panic!("it is there");
        };
        assert_eq!(
            stanza_for(&fields, "http://mirror/debian", &["trixie", "trixie-backports"]),
            "Types: deb\nURIs: http://mirror/debian\nSuites: trixie trixie-backports\nComponents: main\nSigned-By:\n KEY\n .\n LINE\n"
        );
        assert_eq!(stanza(text, "http://off"), None);
    }

    #[test]
    fn a_line_keeps_its_options() {
        let text = "# deb http://mirror/debian bookworm main\n\
                    deb [ arch=arm64 signed-by=/a.gpg ] http://mirror/debian/ bookworm main contrib\n\
                    deb-src http://other bookworm main\n";
        let Some(Entry::Line(options)) = line(text, "http://mirror/debian") else {
            panic!("it is there");
        };
        assert_eq!(
            lines_for(&options, "http://mirror/debian", &["trixie"]),
            "deb [signed-by=/a.gpg] http://mirror/debian trixie main\n"
        );
        assert_eq!(
            lines_for("", "http://mirror", &["a", "b"]),
            "deb http://mirror a main\ndeb http://mirror b main\n"
        );
        assert_eq!(line(text, "http://other"), None);
    }
}
