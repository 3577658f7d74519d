//! What went wrong, as a code and as a text.

use std::cell::RefCell;
use std::ffi::{CString, c_char, c_int};
use std::fmt::Display;

use queues::Status;
use queues::arena::{ArenaError, CreateError};

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

/// Why a function failed.
pub(crate) struct Failure {
    status: Status,
    text: String,
}

impl Failure {
    pub(crate) fn new(status: Status, text: impl Display) -> Failure {
        Failure { status, text: text.to_string() }
    }

    /// A wrong argument.
    pub(crate) fn invalid(text: impl Display) -> Failure {
        Failure::new(Status::Invalid, text)
    }

    pub(crate) fn null(what: &str) -> Failure {
        Failure::invalid(format_args!("{what} is a null pointer"))
    }
}

impl From<ArenaError> for Failure {
    fn from(error: ArenaError) -> Failure {
        let status = match error {
            ArenaError::Absent { .. } => Status::NotFound,
            ArenaError::Exists(_) => Status::Exists,
            ArenaError::ConsumerTaken { .. } | ArenaError::NoSlot { .. } => Status::Busy,
            ArenaError::NoSpace { .. } | ArenaError::TooManyQueues(_) => Status::NoMemory,
            ArenaError::OutOfBounds { .. }
            | ArenaError::Overlap { .. }
            | ArenaError::Directory { .. }
            | ArenaError::Corrupt(_) => Status::Corrupt,
            _ => Status::Invalid,
        };
        Failure::new(status, error)
    }
}

impl From<CreateError> for Failure {
    fn from(error: CreateError) -> Failure {
        match error {
            CreateError::Arena(error) => error.into(),
            other => Failure::invalid(other),
        }
    }
}

/// The code of a result; its text is kept for [`arenaq_last_error`].
pub(crate) fn code(result: Result<(), Failure>) -> c_int {
    match result {
        Ok(()) => Status::Success.code(),
        Err(Failure { status, text }) => {
            LAST.set(CString::new(text.replace('\0', " ")).unwrap_or_default());
            status.code()
        }
    }
}

/// The text of this thread's last failure.
#[unsafe(no_mangle)]
pub extern "C" fn arenaq_last_error() -> *const c_char {
    LAST.with_borrow(|last| last.as_ptr())
}

/// What a code means.
#[unsafe(no_mangle)]
pub extern "C" fn arenaq_strerror(code: c_int) -> *const c_char {
    let text = match Status::from_code(code) {
        Some(Status::Success) => c"success",
        Some(Status::NotFound) => c"the queue is empty, or there is no such queue",
        Some(Status::Exists) => c"there is a queue of this name already",
        Some(Status::NoMemory) => c"the queue is full, or there is no room for what was asked for",
        Some(Status::Invalid) => c"an argument is wrong: arenaq_last_error() says which",
        Some(Status::Corrupt) => c"the arena or the queue is damaged",
        Some(Status::Busy) => c"try again: somebody is in the middle of an operation, or consumes already",
        None => c"no code of arenaq",
    };
    text.as_ptr()
}
