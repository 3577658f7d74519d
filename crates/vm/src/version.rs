//! The versions of kernels, as users and Debian's packages write them.

use std::fmt;

/// The numbers of a version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(Vec<u32>);

impl Version {
    /// What a user writes: numbers and dots.
    pub fn parse(text: &str) -> Option<Version> {
        text.split('.').map(|number| number.parse().ok()).collect::<Option<_>>().map(Version)
    }

    /// `6.12.90+deb12.1-cloud-amd64`, with the suffix of its flavour: the numbers of Debian's own revision count too.
    pub(crate) fn of_release(release: &str, suffix: &str) -> Option<Version> {
        Version::of_numbers(release.strip_suffix(suffix)?)
    }

    /// Of a release of any of Debian's kernels: what stands before the first hyphen.
    pub fn of_any_release(release: &str) -> Option<Version> {
        let (numbers, _) = release.split_once('-')?;
        Version::of_numbers(numbers).filter(|_| numbers.starts_with(|c: char| c.is_ascii_digit()))
    }

    fn of_numbers(text: &str) -> Option<Version> {
        let numbers = text.split(|c: char| !c.is_ascii_digit()).filter(|number| !number.is_empty());
        numbers.map(|number| number.parse().ok()).collect::<Option<_>>().map(Version)
    }

    /// Whether it is that version, or one that has more numbers behind the same.
    pub(crate) fn is_of(&self, version: &Version) -> bool {
        self.0.starts_with(&version.0)
    }

    /// Its first two numbers: kernels of one series differ in what was mended.
    pub fn series(&self) -> Version {
        self.first(2)
    }

    /// Its first three numbers, without those of Debian.
    pub(crate) fn point(&self) -> Version {
        self.first(3)
    }

    fn first(&self, numbers: usize) -> Version {
        Version(self.0.iter().take(numbers).copied().collect())
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<_> = self.0.iter().map(u32::to_string).collect();
        f.write_str(&numbers.join("."))
    }
}

#[cfg(test)]
mod tests {
    use super::Version;

    const CLOUD: &str = "-cloud-amd64";

    #[test]
    fn the_numbers_of_a_release_are_compared_as_numbers() {
        let mut releases = ["7.10.1+deb13", "7.3.12+deb13", "7.3.4+deb13.1", "7.3.4+deb13", "6.18.15+deb13"]
            .map(|release| Version::of_release(&format!("{release}{CLOUD}"), CLOUD).expect("numbers"));
        releases.sort();
        assert_eq!(
            releases.map(|version| version.point().to_string()),
            ["6.18.15", "7.3.4", "7.3.4", "7.3.12", "7.10.1"]
        );
        assert_eq!(Version::of_release("7.3.4+deb13-amd64", CLOUD), None, "no kernel for virtual machines");
        assert_eq!(Version::of_release("7.3.4+deb13-cloud-arm64", CLOUD), None, "not this architecture's");
        let any = |release| Version::of_any_release(release).map(|version| version.to_string());
        assert_eq!(any("7.3.4+deb13-rt-amd64").as_deref(), Some("7.3.4.13"));
        assert_eq!((any("/boot/vmlinuz-7.3.4"), any("bzImage")), (None, None));
    }

    #[test]
    fn a_series_has_all_its_point_releases_and_no_others() {
        let series = |text: &str| Version::parse(text).expect("a version").series();
        assert_eq!(series("7.3.4.13").to_string(), "7.3");
        assert!(Version::parse("7.3.4").expect("a version").is_of(&series("7.3.1")));
        assert!(!Version::parse("7.30.4").expect("a version").is_of(&series("7.3.1")));
    }
}
