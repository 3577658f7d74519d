//! How the user writes the words of an atomic.

use std::fmt::{self, Display};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::string::{String, ToString};

/// A function of the user.
#[derive(Clone)]
pub(super) struct Show(Rc<dyn Fn(u64) -> String>);

impl Show {
    pub(super) fn new<S: Display>(show: impl Fn(u64) -> S + 'static) -> Show {
        Show(Rc::new(move |word| show(word).to_string()))
    }

    /// None if it panics: then the word is shown as any other.
    pub(super) fn text(&self, word: u64) -> Option<String> {
        catch_unwind(AssertUnwindSafe(|| (self.0)(word))).ok()
    }
}

impl fmt::Debug for Show {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Show")
    }
}
