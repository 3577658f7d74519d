//! How many cells a ring can have.

use thiserror::Error;

/// The number of cells: a power of two from 2 to 2^31.
///
/// With one cell, *published* (`p + 1`) and *free for the next lap* (`p + capacity`) would be the same
/// sequence, and a full queue would overwrite its element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capacity(u64);

impl Capacity {
    /// The smallest capacity.
    pub const MIN: Capacity = Capacity(2);
    /// The largest capacity.
    pub const MAX: Capacity = Capacity(1 << 31);

    /// Checks a number of cells.
    ///
    /// # Errors
    ///
    /// [`CapacityError`] says what is wrong with it, and which capacity would do.
    pub const fn new(cells: u64) -> Result<Capacity, CapacityError> {
        if cells < Self::MIN.0 {
            Err(CapacityError::TooSmall(cells))
        } else if cells > Self::MAX.0 {
            Err(CapacityError::TooLarge(cells))
        } else if !cells.is_power_of_two() {
            Err(CapacityError::NotPowerOfTwo { cells, next: cells.next_power_of_two() })
        } else {
            Ok(Capacity(cells))
        }
    }

    /// The smallest capacity that has room for so many elements.
    ///
    /// # Errors
    ///
    /// [`CapacityError::TooLarge`] if none has.
    pub const fn at_least(elements: u64) -> Result<Capacity, CapacityError> {
        if elements > Self::MAX.0 {
            Err(CapacityError::TooLarge(elements))
        } else if elements < Self::MIN.0 {
            Ok(Self::MIN)
        } else {
            Ok(Capacity(elements.next_power_of_two()))
        }
    }

    /// The number of cells.
    pub const fn get(self) -> u64 {
        self.0
    }

    pub(super) const fn mask(self) -> u64 {
        self.0 - 1
    }
}

/// Why a number of cells is not a [`Capacity`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum CapacityError {
    /// Fewer than two cells.
    #[error(
        "a capacity of {0} is too small: it must be at least 2, or a full queue could not be told from one free for the next lap"
    )]
    TooSmall(u64),
    /// More than 2^31 cells.
    #[error("a capacity of {0} is too large: it can be at most 2147483648 (2^31)")]
    TooLarge(u64),
    /// Not a power of two.
    #[error("a capacity of {cells} is not a power of two: the next is {next}")]
    NotPowerOfTwo {
        /// The number asked for.
        cells: u64,
        /// The next power of two.
        next: u64,
    },
}
