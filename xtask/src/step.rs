//! The steps of which CI is made, by name.

use clap::ValueEnum;

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Step {
    /// What the machine must have is there, or is installed.
    Setup,
    /// The sources are formatted.
    Fmt,
    /// Clippy has nothing to say.
    Clippy,
    /// The documentation compiles, and its links lead somewhere.
    Doc,
    /// The relative links in Markdown files lead to files.
    Links,
    /// No file names a package server.
    Servers,
    /// Everything compiles.
    Build,
    /// What is published compiles from its packages, which have nothing of the repository around them.
    Packages,
    /// docs/layouts.md is what the code says.
    Layouts,
    /// Unit, property, stress, kernel and documentation tests.
    Test,
    /// System calls of `arenaq` that fail: two of each kind.
    Faults,
    /// Files that are created in a virtual machine with the newest kernel, through both queues.
    Vm,
    /// The algorithms under loom, and weaken's own models.
    Loom,
    /// The algorithms under shuttle.
    Shuttle,
    /// docs/orderings.md is what the models say: every weaker ordering and every mutant, against them.
    Orderings,
    /// The instructions of the generic code, against a twin written by hand.
    NativeCost,
    /// The instructions of each operation, against crates/bench/cost/instructions.toml.
    Instructions,
}

impl Step {
    pub(crate) const ALL: &[Step] = &[
        Step::Setup,
        Step::Fmt,
        Step::Clippy,
        Step::Doc,
        Step::Links,
        Step::Servers,
        Step::Build,
        Step::Packages,
        Step::Layouts,
        Step::Test,
        Step::Faults,
        Step::Vm,
        Step::Loom,
        Step::Shuttle,
        Step::Orderings,
        Step::NativeCost,
        Step::Instructions,
    ];

    /// Those that only look at the sources.
    pub(crate) const LINT: &[Step] = &[Step::Fmt, Step::Clippy, Step::Doc, Step::Links, Step::Servers];

    /// As it is written.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// The step without which this one says nothing that is not known.
    pub(crate) fn needs(self) -> Option<Step> {
        matches!(self, Step::Layouts | Step::Test | Step::Faults | Step::Vm).then_some(Step::Build)
    }
}
