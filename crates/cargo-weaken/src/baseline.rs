//! The survivors that are known: a file that CI compares with.
//!
//! A survivor is known by its line of source, not by the number of the line: code above it may come and go.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Status};
use crate::report::Report;

/// A change that no model notices.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Survivor {
    file: String,
    /// The line of source, without the space around it.
    source: String,
    operation: String,
    from: String,
    to: String,
}

/// All of them.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Baseline {
    survivors: Vec<Survivor>,
}

impl Baseline {
    pub(crate) fn read(file: &Path) -> Result<Baseline, Error> {
        let text = std::fs::read_to_string(file).map_err(Error::file(file))?;
        serde_json::from_str(&text).map_err(|source| Error::NoBaseline { path: file.into(), source })
    }

    /// Those of a run. A line that cannot be read is known by its number.
    pub(crate) fn of(report: &Report, root: &Path) -> Baseline {
        let mut files: HashMap<PathBuf, Vec<String>> = HashMap::new();
        let survivors = report.survivors().map(|mutation| {
            let place = &mutation.place;
            let lines = files.entry(root.join(&place.file)).or_insert_with_key(|path| {
                let text = std::fs::read_to_string(path).unwrap_or_default();
                text.lines().map(|line| line.trim().to_owned()).collect()
            });
            let source = lines.get(place.line as usize - 1).cloned();
            Survivor {
                file: place.file.clone(),
                source: source.unwrap_or_else(|| format!("line {}", place.line)),
                operation: mutation.operation.to_string(),
                from: mutation.from.to_string(),
                to: mutation.to.to_string(),
            }
        });
        Baseline { survivors: survivors.collect() }
    }

    pub(crate) fn write(&self, file: &Path) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| Error::system("cannot write JSON")(error.into()))?;
        std::fs::write(file, text + "\n").map_err(Error::file(file))
    }

    /// Says what is new in `now`, and what is gone. `now` has the survivors in the order of the report.
    pub(crate) fn compare(&self, now: &Baseline, report: &Report) -> Status {
        // The same line may stand in a file several times.
        let mut known: BTreeMap<&Survivor, usize> = BTreeMap::new();
        for survivor in &self.survivors {
            *known.entry(survivor).or_default() += 1;
        }
        let mut new = 0;
        for (survivor, mutation) in now.survivors.iter().zip(report.survivors()) {
            match known.get_mut(survivor) {
                Some(count) if *count > 0 => *count -= 1,
                _ => {
                    new += 1;
                    let Survivor { source, operation, from, to, .. } = survivor;
                    eprintln!("new survivor: {}: {operation} {from} -> {to}\n    {source}", mutation.place);
                }
            }
        }
        let gone: usize = known.values().sum();
        if gone > 0 {
            eprintln!("{gone} survivors of the baseline are gone: --write-baseline forgets them");
        }
        if new > 0 {
            eprintln!("error: {new} new survivors: add a model that needs the ordering, or --write-baseline");
            return Status::Found;
        }
        Status::Fine
    }
}
