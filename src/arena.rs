//! Queues in memory that is shared with others, whom nobody trusts.
//!
//! The memory is described twice: by a [`Region`], what this process has mapped, and by an [`ArenaHeader`] inside it,
//! what the program that made the arena says. Saying that a region is what it claims to be is the only unsafe step
//! ([`Region::new`]); everything after it checks.
//!
//! An arena has a *directory* of queues, by their names: of which kind they are, what they carry, and where their parts
//! lie. [`Arena::attach`] copies all of it, checks the copy, and uses nothing else from then on:
//!
//! - magic, version and layout are this program's, and the memory is mapped where its pointers lead;
//! - every part lies in the region, aligned, and on no other part;
//! - an element of a type that this program asks for has the size and the hash of the other side's.
//!
//! # What is promised
//!
//! Whatever other processes write into the memory, before the attach or while an operation runs: an operation returns an
//! error, or elements that nobody has pushed. It never touches memory outside of the region, never walks further than the
//! queue that was attached to has cells or nodes, and does not panic; `docs/trust.md` says it word by word. How each queue keeps that is said where it reads
//! what others can write: [`mpmc`](crate::mpmc), [`mpsc`](crate::mpsc), [`pool`](crate::pool).
//!
//! ```
//! use arenaq::{KeyValue, arena::{Arena, Places, Region, Spec}};
//!
//! let mut memory = vec![0u64; 8192];
//! // SAFETY: the vector is writable, outlives every handle below, and is touched only through them.
//! let region = unsafe { Region::new(memory.as_mut_ptr().cast(), memory.len() * 8) }?;
//! let places = Places::in_plain_memory(&region)?;
//! let mut arena = Arena::format(region, places)?;
//! arena.create(&Spec::mpmc::<KeyValue>("jobs", 64))?;
//! arena.create(&Spec::mpsc::<u64>("numbers", 100))?;
//! arena.publish();
//!
//! let (jobs, numbers) = (arena.queue::<KeyValue>("jobs")?, arena.queue::<u64>("numbers")?);
//! jobs.push(KeyValue { key: 1, value: 2 })?;
//! numbers.push(3)?;
//! assert_eq!(arena.consumer::<u64>("numbers")?.pop()?, 3);
//! assert_eq!(arena.consumer::<KeyValue>("jobs")?.pop()?, KeyValue { key: 1, value: 2 });
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```

mod attach;
mod bytes;
mod consumer;
mod create;
mod directory;
mod error;
mod handles;
mod header;
mod kinds;
mod look;
mod mpmc;
mod mpsc;
mod name;
mod owner;
mod places;
mod queues;
mod records;
mod region;
mod said;
mod spec;

use alloc::vec::Vec;

pub use self::bytes::{ByteConsumer, ByteProducer};
pub use self::consumer::Right;
pub use self::directory::Entry;
pub use self::error::{ArenaError, CreateError};
pub use self::handles::{Consumer, Queue, QueueInfo};
pub use self::header::{ArenaHeader, Draft, Heading, MAGIC, MAX_QUEUES, VERSION, site};
pub use self::look::{Front, Look};
pub use self::mpmc::{Mpmc, MpmcConsumer};
pub use self::mpsc::{MpscConsumer, MpscProducer};
pub use self::name::Name;
pub use self::owner::Owner;
pub use self::places::Places;
pub use self::records::ArenaRecords;
pub use self::region::Region;
pub use self::said::Said;
pub use self::spec::{Placed, Spec};

use self::create::Making;
use self::queues::Found;
use self::region::Span;
use crate::eventcount::EventCount;
use crate::layout::layouts;
use crate::platform::Native;

/// An arena, and what this process knows of its queues.
#[derive(Debug)]
pub struct Arena<'m> {
    region: Span<'m>,
    events: Option<&'m EventCount<Native>>,
    making: Option<Making<'m>>,
    queues: Vec<Found<'m>>,
}

impl<'m> Arena<'m> {
    /// The event count on which the consumers of the arena sleep: of all queues that have none of their own.
    ///
    /// # Errors
    ///
    /// [`ArenaError::NoEventCount`] if there is none.
    pub fn event_count(&self) -> Result<&'m EventCount<Native>, ArenaError> {
        self.events.ok_or(ArenaError::NoEventCount)
    }
}

layouts! {
    "arenaq_header", ArenaHeader<Native>, {
        "magic": magic,
        "version": version,
        "layout_hash": layout_hash,
        "base": base,
        "length": length,
        "event_count": event_count,
        "directory": directory,
        "queues": queues,
    }
    "arenaq_entry", Entry<Native>, {
        "name": name,
        "kind": kind,
        "element_size": element_size,
        "element_hash": element_hash,
        "counted": counted,
        "head": head,
        "pool": pool,
        "drops": drops,
        "consumer": consumer,
        "slots": slots,
        "events": events,
    }
}
