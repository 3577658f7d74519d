//! The survivors that are known: a file that CI compares with.
//!
//! A survivor is known by its line of source, not by the number of the line: code above it may come and go.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Status};
use crate::report::{Changed, Report};

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

impl Survivor {
    /// A line that cannot be read is known by its number.
    fn new(changed: &Changed, root: &Path) -> Survivor {
        let Changed { place, operation, from, to } = changed;
        let text = std::fs::read_to_string(root.join(&place.file)).unwrap_or_default();
        let source = text.lines().nth(place.line as usize - 1).map(|line| line.trim().to_owned());
        Survivor {
            file: place.file.clone(),
            source: source.unwrap_or_else(|| format!("line {}", place.line)),
            operation: operation.to_string(),
            from: from.to_string(),
            to: to.to_string(),
        }
    }
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

    /// Those of a run.
    pub(crate) fn of(report: &Report, root: &Path) -> Baseline {
        Baseline {
            survivors: report.survivors().map(|mutation| Survivor::new(&mutation.access, root)).collect(),
        }
    }

    /// Whether it has a survivor like this.
    pub(crate) fn knows(&self, changed: &Changed, root: &Path) -> bool {
        self.survivors.contains(&Survivor::new(changed, root))
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
                    let place = &mutation.access.place;
                    eprintln!("new survivor: {place}: {operation} {from} -> {to}\n    {source}");
                }
            }
        }
        let gone: usize = known.values().sum();
        // What was skipped is not gone.
        if gone > 0 && report.summary.skipped == 0 {
            eprintln!("{gone} survivors of the baseline are gone: --write-baseline forgets them");
        }
        if new > 0 {
            eprintln!("error: {new} new survivors: add a model that needs the ordering, or --write-baseline");
            return Status::Found;
        }
        Status::Fine
    }
}
