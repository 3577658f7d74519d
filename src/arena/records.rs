//! Records in an arena, for those who push and those who consume.

use super::Arena;
use super::error::ArenaError;
use super::kinds::Parts;
use super::kinds::records::Recordings;
use super::owner::Owner;
use crate::drops::{Dropped, Drops};
use crate::platform::Native;
use crate::records::{Records, Reservation};
use crate::status::PushError;
use crate::structures::Kind;

/// Records in an arena; any number of copies. They are [`Records`] whose pushes count what they drop.
#[derive(Clone, Copy, Debug)]
pub struct ArenaRecords<'m> {
    records: Records<'m, Native>,
    drops: Option<&'m Drops<Native>>,
}

impl<'m> core::ops::Deref for ArenaRecords<'m> {
    type Target = Records<'m, Native>;

    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.records
    }
}

impl<'m> ArenaRecords<'m> {
    /// Pushes a record of bytes, or counts it as dropped; see [`Records::push`].
    ///
    /// # Errors
    ///
    /// As there.
    #[inline]
    pub fn push(&self, data: &[u8], stamp: u64) -> Result<(), PushError> {
        self.records.push(data, stamp).inspect_err(|error| self.count(*error))
    }

    /// Reserves room for a record, or counts it as dropped; see [`Records::reserve`]. Who tries until there is room drops nothing, and
    /// takes a [lane](Records::lane) instead.
    ///
    /// # Errors
    ///
    /// As there.
    #[inline]
    pub fn reserve(&self, size: u64) -> Result<Reservation<'m, Native>, PushError> {
        self.records.reserve(size).inspect_err(|error| self.count(*error))
    }

    fn count(&self, error: PushError) {
        if let Some(drops) = self.drops {
            drops.count(error, 1);
        }
    }

    /// What was dropped until now, if that is counted.
    pub fn dropped(&self) -> Option<Dropped> {
        self.drops.map(Drops::read)
    }
}

impl<'m> Arena<'m> {
    /// The records of that name, for those who push and those who consume; each calls itself `owner`.
    ///
    /// # Errors
    ///
    /// [`ArenaError`] if there are none, or it is a queue.
    pub fn records(&self, name: &str, Owner(owner): Owner) -> Result<ArenaRecords<'m>, ArenaError> {
        let found = self.find(name)?;
        let Parts::Records(Recordings(records)) = found.parts else {
            return Err(found.is_not(Kind::Records));
        };
        Ok(ArenaRecords { records: records.with_owner(owner), drops: found.drops })
    }
}
