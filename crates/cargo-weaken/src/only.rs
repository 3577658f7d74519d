//! `--only`: which accesses are asked about.

use glob::Pattern;

use crate::access::Access;
use crate::error::Error;

/// One option.
#[derive(Debug)]
struct Glob {
    text: String,
    place: Pattern,
    operation: Option<Pattern>,
}

/// All of them; with none, every access is meant.
#[derive(Debug)]
pub(crate) struct Only(Vec<Glob>);

impl Only {
    pub(crate) fn parse(texts: &[String]) -> Result<Only, Error> {
        let globs = texts.iter().map(|text| {
            let pattern = |pattern: &str| {
                Pattern::new(pattern).map_err(|error| {
                    Error::Usage(format!(
                        "--only {text}: {error}; write FILE:LINE, FILE or a name, each with * and ?, and \
                         #OPERATION behind it to mean only those"
                    ))
                })
            };
            let (place, operation) = match text.split_once('#') {
                Some((place, operation)) => (place, Some(operation)),
                None => (text.as_str(), None),
            };
            let operation = operation.map(pattern).transpose()?;
            Ok(Glob { text: text.clone(), place: pattern(place)?, operation })
        });
        Ok(Only(globs.collect::<Result<_, Error>>()?))
    }

    pub(crate) fn means(&self, access: &Access) -> bool {
        self.0.is_empty() || self.0.iter().any(|glob| glob.means(access))
    }

    /// # Errors
    ///
    /// If one of them means nothing: that would be a question nobody has asked.
    pub(crate) fn check(&self, accesses: &[Access]) -> Result<(), Error> {
        match self.0.iter().find(|glob| !accesses.iter().any(|access| glob.means(access))) {
            Some(Glob { text, .. }) => {
                let all = accesses.iter().map(|access| format!("  {}", access.label()));
                let all = all.collect::<Vec<_>>().join("\n");
                Err(Error::Usage(format!("--only {text}: no model makes such an access; they make\n{all}")))
            }
            None => Ok(()),
        }
    }
}

impl Glob {
    fn means(&self, access: &Access) -> bool {
        let place = &access.place;
        let is_operation =
            self.operation.as_ref().is_none_or(|operation| operation.matches(access.operation.name()));
        let is_place = || {
            // As for --site, the end of the path is enough.
            let starts = [0].into_iter().chain(place.file.match_indices(['/', '\\']).map(|(at, _)| at + 1));
            starts.map(|start| &place.file[start..]).any(|file| {
                self.place.matches(file)
                    || self.place.matches(&format!("{file}:{}", place.line))
                    || self.place.matches(&format!("{file}:{}:{}", place.line, place.column))
            })
        };
        is_operation && (is_place() || access.names.iter().any(|name| self.place.matches(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::Only;
    use crate::access::Access;
    use weaken::operation::{Operation, Order, Orders};
    use weaken::record::Place;

    #[test]
    fn a_glob_means_places_and_names() {
        let access = Access {
            place: Place { file: "crates/x/src/ring.rs".into(), line: 38, column: 19 },
            operation: Operation::Store,
            ordering: Orders::one(Order::Release),
            count: 1,
            failed: 0,
            names: vec!["ring.tail".into()],
            tests: Vec::new(),
            numbers: Vec::new(),
        };
        let means = |text: &str| Only::parse(&[text.into()]).expect(text).means(&access);
        for text in [
            "ring.rs:38",
            "src/ring.rs:38:19",
            "ring.rs",
            "crates/*",
            "ring.rs:3?",
            "*.tail",
            "ring.rs:*#store",
            "*#st*",
            "ring.tail#store",
        ] {
            assert!(means(text), "{text}");
        }
        for text in ["ring.rs:3", "ing.rs", "ring.rs:38:1", "tail", "ring.rs#load", "*#*e_exchange", ""] {
            assert!(!means(text), "{text}");
        }
        assert!(Only::parse(&[]).expect("none").means(&access));
        assert!(Only::parse(&["[".into()]).is_err());
    }
}
