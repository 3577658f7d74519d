//! The magazines: from here producers take nodes.

use super::free_list::{AllocError, TAKEN};
use super::{MAGAZINES, Nodes, site};
use crate::platform::{Platform, Word};

/// Nodes that one owner has and that lie side by side. A run that is dropped is lost to the pool.
///
/// That only the pool it came from is asked for its nodes is the caller's promise:
///
/// ```compile_fail,E0133
/// use arenaq::{platform::Native, pool::{Nodes, Run}};
///
/// fn take(nodes: Nodes<'_, Native, u64>, run_of_another_pool: Run) {
///     let _ = nodes.nodes_of_run(&run_of_another_pool);
/// }
/// ```
#[must_use = "a run that is dropped is lost to the pool"]
#[derive(Debug)]
pub struct Run {
    pub(super) first: u64,
    pub(super) count: u64,
}

impl Run {
    /// How many nodes it has: at least 1.
    #[expect(clippy::len_without_is_empty, reason = "it never is")]
    #[inline]
    pub fn len(&self) -> u64 {
        self.count
    }
}

impl<'a, P: Platform, N> Nodes<'a, P, N> {
    /// Takes a node. Its contents are whatever the last owner left, or nothing if it is new.
    ///
    /// Lock-free: an attempt fails only because another alloc or free succeeded.
    ///
    /// # Errors
    ///
    /// [`AllocError`] says why there is none.
    #[inline(always)]
    pub fn alloc(&self) -> Result<*mut N, AllocError> {
        let run = self.alloc_run(1)?;
        // SAFETY: a run is of nodes inside the room.
        Ok(unsafe { self.node(run.first) })
    }

    /// Takes up to `most` nodes that lie side by side, with one compare-exchange on the magazine of this
    /// processor, or one on the free list and another on the magazine if it is empty. There are less than
    /// `most` if the block ends, and at least one.
    ///
    /// Lock-free: an attempt fails only because another alloc or free succeeded.
    ///
    /// # Errors
    ///
    /// [`AllocError`] says why there is not one; `Exhausted` also if `most` is 0.
    #[inline(always)]
    pub fn alloc_run(&self, most: u64) -> Result<Run, AllocError> {
        if most == 0 {
            return Err(AllocError::Exhausted);
        }
        let blocks = self.blocks;
        let magazine = &self.pool.magazines[P::processor() % MAGAZINES].0;
        // Of a block of one node nothing is ever left for a magazine.
        if blocks.shift > 0 {
            let mut next = magazine.load(&site::ALLOC_MAGAZINE);
            for _ in P::steps(P::retry_budget()) {
                if next == 0 {
                    break;
                }
                let run = blocks.run(next, most).ok_or(AllocError::Corrupt)?;
                match magazine.compare_exchange(next, blocks.behind(&run), &site::ALLOC_TAKE) {
                    Ok(_) => return Ok(run),
                    Err(now) => next = now,
                }
                P::relax();
            }
        }
        let block = match self.take_block() {
            Err(AllocError::Exhausted) if blocks.shift > 0 => return self.steal(most),
            taken => taken?,
        };
        let run = blocks.run(blocks.first(block), most).ok_or(AllocError::Corrupt)?;
        let rest = blocks.behind(&run);
        if blocks.shift > 0 {
            self.link(block).ok_or(AllocError::Corrupt)?.store(TAKEN, &site::ALLOC_RESET);
        }
        if rest != 0 && magazine.compare_exchange(0, rest, &site::ALLOC_FILL).is_err() {
            // Somebody else has filled it meanwhile. The rest goes where it goes when it is spent: back to the
            // list, with the last of our nodes.
            if let Some(spent) = self.link(block) {
                spent.add(blocks.len(block) - run.count, &site::ALLOC_SPEND);
            }
        }
        Ok(run)
    }

    /// Takes nodes out of anybody's magazine: no block is free.
    #[inline(always)]
    fn steal(&self, most: u64) -> Result<Run, AllocError> {
        let mut empty = 0;
        for step in P::steps(MAGAZINES as u64 + P::retry_budget()) {
            let magazine = &self.pool.magazines[step as usize % MAGAZINES].0;
            let next = magazine.load(&site::STEAL_MAGAZINE);
            if next != 0 {
                let run = self.blocks.run(next, most).ok_or(AllocError::Corrupt)?;
                if magazine.compare_exchange(next, self.blocks.behind(&run), &site::STEAL_TAKE).is_ok() {
                    return Ok(run);
                }
                // Somebody was faster, and there may be more: all of them are asked once more.
                empty = 0;
            } else if empty + 1 == MAGAZINES {
                return Err(AllocError::Exhausted);
            } else {
                empty += 1;
            }
        }
        Err(AllocError::Contended)
    }

    /// The nodes of a run, which are its owner's to do with as it likes.
    ///
    /// # Safety
    ///
    /// The run came from this pool's [`alloc_run`](Self::alloc_run).
    #[inline]
    pub unsafe fn nodes_of_run(&self, run: &Run) -> impl Iterator<Item = *mut N> + use<'a, P, N> {
        let nodes = *self;
        // SAFETY: a run of this pool is of nodes inside its room.
        (run.first..run.first + run.count).map(move |number| unsafe { nodes.node(number) })
    }
}
