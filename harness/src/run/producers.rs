//! What a run asks of whatever pushes.

use arenaq::arena::Arena;

use super::options::Options;
use crate::consume::Drain;
use crate::error::Error;
use crate::object::Counters;
use crate::tracee::Outcome;

/// Whatever pushes. Dropping it ends it.
pub(super) trait Producers {
    /// What drains their queue.
    type Consumer<'a>: Drain + Send
    where
        Self: 'a;
    /// The consumer of that number, which waits as they let it.
    fn consumer<'a>(
        &self,
        options: &Options,
        arena: &Arena<'a>,
        number: u32,
    ) -> Result<Self::Consumer<'a>, Error>
    where
        Self: 'a;
    /// What they have counted so far.
    fn counters(&self) -> Result<Counters, Error>;
    /// Whether they have ended by themselves.
    fn is_done(&mut self) -> bool;
    /// Ends them. When this returns nothing pushes any more.
    fn finish(self) -> Result<Finished, Error>;
}

/// What is known when producers have ended.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) counters: Counters,
    pub(super) operations: Option<u64>,
    pub(super) command: Option<Outcome>,
    /// How many nodes userspace has made while producers ran.
    pub(super) refilled: u64,
    /// What they were to do and did not.
    pub(super) problems: Vec<String>,
}
