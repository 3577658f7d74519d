//! Running models, and writing down how they ended.

use std::boxed::Box;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};

use crate::record::Bounds;
use crate::running::changes;

use super::report::Header;
use super::{execution, hook, report};

/// The number of the thread that runs in a model: 0 is the model itself. It is what [`trace`](crate::trace) has of accesses that
/// weaken's atomics make.
pub fn thread() -> u32 {
    super::access::thread()
}

/// What loom is given.
type Body = Box<dyn Fn() + Send + Sync>;

/// [`loom::model()`], with a record.
///
/// # Panics
///
/// As loom's, if an execution fails; and if a model runs in this thread already.
#[track_caller]
pub fn model<F>(body: F)
where
    F: Fn() + Sync + Send + 'static,
{
    let Builder(builder) = Builder::new();
    run(Location::caller(), &builder, |body| builder.check(body), body);
}

/// [`loom::model::Builder`], with a record: its fields are loom's.
#[derive(Debug)]
pub struct Builder(loom::model::Builder);

impl Default for Builder {
    fn default() -> Builder {
        Builder::new()
    }
}

impl Builder {
    /// What the environment says, or loom's defaults.
    pub fn new() -> Builder {
        let mut builder = loom::model::Builder::new();
        // So that loom says which threads race, for the record.
        builder.location |= report::is_wanted();
        Builder(builder)
    }

    /// The file to which loom writes how far it is.
    pub fn checkpoint_file(&mut self, file: &str) -> &mut Builder {
        self.0.checkpoint_file(file);
        self
    }

    /// Runs every execution of a model.
    ///
    /// # Panics
    ///
    /// As loom's, if an execution fails; and if a model runs in this thread already.
    #[track_caller]
    pub fn check<F>(&self, body: F)
    where
        F: Fn() + Sync + Send + 'static,
    {
        run(Location::caller(), &self.0, |body| self.0.check(body), body);
    }
}

impl Deref for Builder {
    type Target = loom::model::Builder;

    fn deref(&self) -> &loom::model::Builder {
        &self.0
    }
}

impl DerefMut for Builder {
    fn deref_mut(&mut self) -> &mut loom::model::Builder {
        &mut self.0
    }
}

fn run<F>(location: &Location<'_>, builder: &loom::model::Builder, check: impl FnOnce(Body), body: F)
where
    F: Fn() + Sync + Send + 'static,
{
    // What cannot be tried is refused before anything runs.
    changes();
    hook::install();
    let header = Header {
        model: location.into(),
        bounds: Bounds {
            preemptions: builder.preemption_bound,
            branches: builder.max_branches,
            permutations: builder.max_permutations,
            seconds: builder.max_duration.map(|duration| duration.as_secs()),
        },
    };
    assert!(execution::begin_model(), "a model runs in this thread already: a model cannot hold another");
    report::begin(&header);
    let begin_and_run: Body = Box::new(move || {
        execution::with(execution::Execution::begin);
        body();
    });
    let result = catch_unwind(AssertUnwindSafe(|| check(begin_and_run)));
    report::end(result.is_err());
    if let Err(payload) = result {
        resume_unwind(payload);
    }
}
