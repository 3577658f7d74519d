//! Ordinary memory in the place of an arena.

use std::num::NonZero;
use std::thread;

use arenaq::KeyValue;
use arenaq::arena::{Arena, Places, Region, Spec};
use arenaq::payload::ElementType;
use arenaq::structures::Kind;
use bytemuck::allocation::try_zeroed_vec;

use super::crew::require_addresses;
use super::options::Options;
use crate::error::Error;
use crate::event::LARGEST;
use crate::limits::require_memory;
use crate::queue::variable;

/// What a thread takes of the control group's memory: the pages of its stack, and what the kernel keeps of it.
/// Measured: 40 KB.
const OF_A_THREAD: u64 = 64 << 10;
/// Memory of this process, with one queue in it.
#[derive(Debug)]
pub(super) struct PlainMemory {
    words: Vec<u64>,
    base: *mut u8,
    header: usize,
}

impl PlainMemory {
    /// PlainMemory with one queue in it.
    ///
    /// # Errors
    ///
    /// [`Error`] if the capacity is not possible, or a limit leaves too little memory for it and for the threads of
    /// the run.
    pub(super) fn new(options: &Options) -> Result<PlainMemory, Error> {
        let Options { queue, capacity, .. } = *options;
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        let name = variable(queue);
        let spec = if queue == Kind::Records {
            Spec::records(name, processors as u64, capacity, LARGEST)
        } else {
            Spec::of(queue, name, ElementType::of::<KeyValue>(), capacity).counted()
        };
        let needed = spec.room()?.saturating_add(8192);
        // As an arena: what does not fit there is refused here too.
        if needed > 1 << 32 {
            return Err(arenaq_libbpf::Error::TooLarge { capacity, needed }.into());
        }
        let threads = options.processes + options.consumers;
        require_memory(needed + u64::from(threads) * OF_A_THREAD)?;
        require_addresses(threads, needed)?;
        let mut words =
            try_zeroed_vec::<u64>(needed.div_ceil(8) as usize).map_err(|()| Error::NoMemory { needed })?;
        let base = words.as_mut_ptr().cast::<u8>();
        let mut memory = PlainMemory { words, base, header: 0 };
        let header = {
            let region = memory.region()?;
            let places = Places::in_plain_memory(&region)?;
            let header = places.header;
            let mut arena = Arena::format(region, places)?;
            arena.create(&spec)?;
            arena.publish();
            header
        };
        memory.header = header;
        Ok(memory)
    }

    fn region(&self) -> Result<Region<'_>, Error> {
        // SAFETY: the words live as long as `self`, which the region borrows, and are never touched but
        // through `base`, which has been taken from them as mutable.
        Ok(unsafe { Region::new(self.base, self.words.len() * 8) }?)
    }

    /// The queue.
    ///
    /// # Errors
    ///
    /// [`Error::Library`] if the header is not what `new` has written.
    pub(super) fn arena(&self) -> Result<Arena<'_>, Error> {
        Ok(Arena::attach(self.region()?, self.header)?)
    }
}
