//! The arena of a queue that this process has loaded, as words for somebody who means no good.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{ptr, slice};

use arenaq_harness::Kernel;
use fastrand::Rng;
use procfs::process::{MMapPath, Process};

/// An arena with everything in it, before anybody damages it.
pub(crate) struct Damaged<'a> {
    words: &'a [AtomicU64],
    base: u64,
    sound: Vec<u64>,
    /// The words that were written: the others are room that nothing reads.
    used: Vec<usize>,
}

impl<'a> Damaged<'a> {
    /// What is sound is what is there now.
    pub(crate) fn new(kernel: &'a Kernel) -> Damaged<'a> {
        let mapping = mapping(kernel);
        let length = (mapping.end - mapping.start) / size_of::<u64>();
        // SAFETY: the kernel maps the arena there for as long as it is loaded, which `kernel` is for 'a; a page that nobody has
        // touched yet is allocated at the first access. Everybody accesses it with atomics of whole words or in the kernel.
        let words = unsafe { slice::from_raw_parts(ptr::with_exposed_provenance(mapping.start), length) };
        let sound: Vec<_> = words.iter().map(|word: &AtomicU64| word.load(Ordering::Relaxed)).collect();
        let used = (0..length).filter(|&word| sound[word] != 0).collect();
        Damaged { words, base: mapping.start as u64, sound, used }
    }

    /// The word at an address.
    pub(crate) fn at(&self, address: u64) -> &AtomicU64 {
        &self.words[((address - self.base) / 8) as usize]
    }

    /// Writes one wrong word.
    pub(crate) fn strike(&self, random: &mut Rng) {
        // Beside what was written lie the words that are 0 and mean something.
        let near = self.used[random.usize(..self.used.len())] + random.usize(..2);
        let word =
            if random.u8(..8) == 0 { random.usize(..self.words.len()) } else { near % self.words.len() };
        let wrong = self.wrong(random, self.words[word].load(Ordering::Relaxed));
        self.words[word].store(wrong, Ordering::Relaxed);
    }

    /// A word that is wrong in an interesting way: near the one that is there, an address in the arena or just outside, what is
    /// right elsewhere, one bit, or an end of the numbers.
    fn wrong(&self, random: &mut Rng, is: u64) -> u64 {
        let length = 8 * self.words.len() as u64;
        match random.u8(..10) {
            0 => is.wrapping_add(random.u64(..64)).wrapping_sub(32),
            1 => self.base - 64 + random.u64(..length + 128),
            2 => self.base + random.u64(..length) / 8 * 8,
            3 => self.sound[self.used[random.usize(..self.used.len())]],
            4 => is ^ 1 << random.u32(..64),
            5 => 1 << random.u32(..64),
            6 => random.u64(..64),
            7 => u64::MAX - random.u64(..64),
            8 => is.wrapping_mul(2).wrapping_sub(random.u64(..2)),
            _ => random.u64(..),
        }
    }
}

/// Where this process has the arena.
fn mapping(kernel: &Kernel) -> Range<usize> {
    let arena = kernel.arena().expect("it is sound");
    let inside = ptr::from_ref(arena.event_count().expect("it was made")).addr();
    let maps = Process::myself().and_then(|process| process.maps()).expect("/proc shows them");
    let mut ranges = maps.iter().map(|map| (map.address.0 as usize..map.address.1 as usize, &map.pathname));
    let (range, path) = ranges.find(|(range, _)| range.contains(&inside)).expect("it is mapped");
    assert!(matches!(path, MMapPath::Other(_) | MMapPath::Path(_)), "{path:?} is no file of the kernel's");
    range
}
