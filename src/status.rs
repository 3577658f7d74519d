//! Outcomes: enums for Rust, the seeds' status codes for C.

use thiserror::Error;

/// The seeds' status codes, `DS_SUCCESS` and `DS_ERROR_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Status {
    /// Done.
    Success = 0,
    /// The queue is empty, or the key is not there.
    NotFound = -1,
    /// The key is there already. No queue says this; the code belongs to the seeds' other structures.
    Exists = -2,
    /// The queue is full, or no node is left.
    NoMemory = -3,
    /// An argument is wrong, or the queue was never initialised.
    Invalid = -4,
    /// The structure is damaged.
    Corrupt = -5,
    /// Try again: the retry budget is spent, or a producer is between swap and link.
    Busy = -6,
}

impl Status {
    /// Every status, in the order of the codes.
    pub const ALL: [Status; 7] = [
        Status::Success,
        Status::NotFound,
        Status::Exists,
        Status::NoMemory,
        Status::Invalid,
        Status::Corrupt,
        Status::Busy,
    ];

    /// The code that C sees.
    pub const fn code(self) -> i32 {
        self as i32
    }

    /// The status of a code, or `None` if there is none.
    pub fn from_code(code: i32) -> Option<Status> {
        Status::ALL.into_iter().find(|status| status.code() == code)
    }
}

/// Why a push did not happen. Nothing was enqueued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum PushError {
    /// Every cell of the ring holds an element that is not yet popped.
    #[error("the queue is full")]
    Full,
    /// The pool has no free node.
    #[error("the node pool is exhausted")]
    Exhausted,
    /// Others won every attempt of the retry budget.
    #[error("the retry budget is spent: other producers were faster every time")]
    Contended,
    /// The queue or its pool was never initialised.
    #[error("the queue is not initialised")]
    Invalid,
    /// Something in the queue or its pool leads to what is no node of the pool: somebody has written over it.
    #[error("the queue is damaged: a link leads out of the node pool")]
    Corrupt,
}

impl From<PushError> for Status {
    #[inline]
    fn from(error: PushError) -> Status {
        match error {
            PushError::Full | PushError::Exhausted => Status::NoMemory,
            PushError::Contended => Status::Busy,
            PushError::Invalid => Status::Invalid,
            PushError::Corrupt => Status::Corrupt,
        }
    }
}

/// Why a pop returned nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum PopError {
    /// No element is visible.
    #[error("the queue is empty")]
    Empty,
    /// A producer is between its swap and its link: an element is there and cannot be reached yet.
    #[error("a producer has not linked its node yet")]
    Busy,
    /// Others won every attempt of the retry budget.
    #[error("the retry budget is spent: other consumers were faster every time")]
    Contended,
    /// The queue was never initialised, or may not be popped from here.
    #[error("the queue is not initialised")]
    Invalid,
    /// A link leads out of the node pool. Nothing was popped.
    #[error("a link leads out of the node pool")]
    Corrupt,
}

impl From<PopError> for Status {
    #[inline]
    fn from(error: PopError) -> Status {
        match error {
            PopError::Empty => Status::NotFound,
            PopError::Busy | PopError::Contended => Status::Busy,
            PopError::Invalid => Status::Invalid,
            PopError::Corrupt => Status::Corrupt,
        }
    }
}

/// What a verification found wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum Corruption {
    /// A pointer that is never null is null: the structure was not initialised.
    #[error("not initialised: a pointer that must not be null is null")]
    NotInitialised,
    /// The mask is not a capacity less one.
    #[error("buffer mask {0:#x} is not a power of two less one, from 1 to 2^31 - 1")]
    Mask(u64),
    /// A cell's sequence is neither free nor published in any lap.
    #[error("cell {cell} has sequence {sequence}, which no lap gives it")]
    Sequence {
        /// The cell's index.
        cell: u64,
        /// Its sequence.
        sequence: u64,
    },
    /// More elements than cells, or fewer than none.
    #[error("enqueue position {enqueue} and dequeue position {dequeue} are further apart than the capacity")]
    Positions {
        /// The enqueue position.
        enqueue: u64,
        /// The dequeue position.
        dequeue: u64,
    },
    /// The header of a record is none that fits there.
    #[error("the record at position {position} has the header {header:#x}, which no producer writes there")]
    Header {
        /// The position, in words.
        position: u64,
        /// The header.
        header: u64,
    },
    /// Records cannot be as large as it says.
    #[error("the records have a number of shards, lanes, words or bytes that cannot be")]
    Geometry,
    /// The counter of a resting queue is not its length.
    #[error("the counter says {count}, the queue holds {length}")]
    Count {
        /// The counter.
        count: i64,
        /// The length.
        length: u64,
    },
    /// A link or position leads to an address that is no node of the pool.
    #[error("address {0:#x} is no node of the pool")]
    Link(u64),
    /// The list does not end within the number of nodes that there are.
    #[error("the list has a cycle: more than {0} nodes")]
    Cycle(u64),
    /// The list of a resting queue ends before its head.
    #[error("the list ends at {0:#x}, before the head: a producer never linked its node")]
    Unlinked(u64),
    /// A pointer or capacity in the head leads out of the shared memory.
    #[error("{0} leads out of the shared memory")]
    OutOfBounds(&'static str),
    /// The platform ended the loop before the end of the structure; nothing wrong was found until there.
    #[error("not finished: the platform ended the loop")]
    Unfinished,
}

impl From<Corruption> for Status {
    #[inline]
    fn from(corruption: Corruption) -> Status {
        match corruption {
            Corruption::NotInitialised => Status::Invalid,
            Corruption::Unfinished => Status::Busy,
            _ => Status::Corrupt,
        }
    }
}

macro_rules! status_of_result {
    ($($error:ty),*) => {$(
        impl<T> From<Result<T, $error>> for Status {
            #[inline]
            fn from(result: Result<T, $error>) -> Status {
                match result {
                    Ok(_) => Status::Success,
                    Err(error) => error.into(),
                }
            }
        }
    )*};
}

status_of_result!(PushError, PopError, Corruption);

#[cfg(test)]
mod tests {
    use super::{Corruption, PopError, PushError, Status};

    #[test]
    fn codes_are_the_seeds() {
        assert_eq!(Status::ALL.map(Status::code), [0, -1, -2, -3, -4, -5, -6]);
        for status in Status::ALL {
            assert_eq!(Status::from_code(status.code()), Some(status));
        }
        assert_eq!(Status::from_code(1), None);
        assert_eq!(Status::from_code(-7), None);
    }

    #[test]
    fn every_error_becomes_the_status_that_the_seeds_return() {
        assert_eq!(Status::from(PushError::Full), Status::NoMemory);
        assert_eq!(Status::from(PushError::Exhausted), Status::NoMemory);
        assert_eq!(Status::from(PushError::Contended), Status::Busy);
        assert_eq!(Status::from(PushError::Invalid), Status::Invalid);
        assert_eq!(Status::from(PushError::Corrupt), Status::Corrupt);
        assert_eq!(Status::from(PopError::Empty), Status::NotFound);
        assert_eq!(Status::from(PopError::Busy), Status::Busy);
        assert_eq!(Status::from(PopError::Contended), Status::Busy);
        assert_eq!(Status::from(PopError::Invalid), Status::Invalid);
        assert_eq!(Status::from(PopError::Corrupt), Status::Corrupt);
        assert_eq!(Status::from(Corruption::NotInitialised), Status::Invalid);
        assert_eq!(Status::from(Corruption::Cycle(3)), Status::Corrupt);
        assert_eq!(Status::from(Ok::<(), PushError>(())), Status::Success);
    }
}
