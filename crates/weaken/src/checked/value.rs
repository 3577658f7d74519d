//! The values that atomics hold, as words of 64 bits.

use std::format;
use std::string::{String, ToString};

/// What an atomic can hold.
pub(super) trait Value: Copy {
    /// How a word is shown.
    const SHAPE: Shape;

    fn into_word(self) -> u64;
    fn from_word(word: u64) -> Self;
}

/// How a word is shown.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    Bool,
    Signed,
    Unsigned,
    Pointer,
}

impl Shape {
    /// `pointee` knows the names of addresses.
    pub(crate) fn show(self, word: u64, pointee: impl FnOnce(usize) -> Option<String>) -> String {
        match self {
            Shape::Bool => (word != 0).to_string(),
            Shape::Signed => (word as i64).to_string(),
            Shape::Unsigned => word.to_string(),
            Shape::Pointer if word == 0 => "null".to_string(),
            Shape::Pointer => match pointee(word as usize) {
                Some(name) => format!("&{name}"),
                None => format!("{word:#x}"),
            },
        }
    }
}

impl Value for bool {
    const SHAPE: Shape = Shape::Bool;

    fn into_word(self) -> u64 {
        u64::from(self)
    }

    fn from_word(word: u64) -> bool {
        word != 0
    }
}

impl<T> Value for *mut T {
    const SHAPE: Shape = Shape::Pointer;

    fn into_word(self) -> u64 {
        self.expose_provenance() as u64
    }

    fn from_word(word: u64) -> *mut T {
        core::ptr::with_exposed_provenance_mut(word as usize)
    }
}

macro_rules! integers {
    ($shape:ident: $($name:ty),*) => {
        $(impl Value for $name {
            const SHAPE: Shape = Shape::$shape;

            // A signed value is extended, so that all its bits say the sign.
            fn into_word(self) -> u64 {
                self as u64
            }

            fn from_word(word: u64) -> $name {
                word as $name
            }
        })*
    };
}

integers!(Unsigned: u8, u16, u32, u64, usize);
integers!(Signed: i8, i16, i32, i64, isize);
