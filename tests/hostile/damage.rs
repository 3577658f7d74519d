//! What somebody writes who may write to the arena, and means no good.

use std::cell::RefCell;
use std::sync::atomic::Ordering;

use fastrand::Rng;

use super::mould::{ANYWHERE, CONTROL, DIRECTORY, GEOMETRY, LINKS, Mould};

/// Somebody who writes wrong words.
pub(crate) struct Damage<'a> {
    mould: &'a Mould,
    random: RefCell<Rng>,
    /// How often each class of words is hit.
    weights: [usize; 5],
}

impl<'a> Damage<'a> {
    /// Before anybody attaches: mostly one class of words, so that not all damage is refused for the same reason.
    pub(crate) fn before(mould: &'a Mould, seed: u64) -> Damage<'a> {
        let mut random = Rng::with_seed(seed);
        let mut weights = [0; 5];
        let class = random.choice([DIRECTORY, GEOMETRY, CONTROL, CONTROL, LINKS, LINKS, ANYWHERE]);
        weights[class.unwrap_or(ANYWHERE)] = 1;
        Damage { mould, random: random.into(), weights }
    }

    /// Afterwards: what operations read.
    pub(crate) fn meanwhile(mould: &'a Mould, seed: u64) -> Damage<'a> {
        let mut weights = [0; 5];
        weights[DIRECTORY] = 1;
        weights[GEOMETRY] = 2;
        weights[CONTROL] = 6;
        weights[LINKS] = 6;
        weights[ANYWHERE] = 1;
        Damage { mould, random: Rng::with_seed(!seed).into(), weights }
    }

    /// Writes one word.
    pub(crate) fn strike(&self) {
        let mut random = self.random.borrow_mut();
        let mut class = random.usize(..self.weights.iter().sum::<usize>());
        let class = self.weights.iter().position(|weight| {
            let found = class < *weight;
            class = class.wrapping_sub(*weight);
            found
        });
        let words = &self.mould.targets[class.unwrap_or(ANYWHERE)];
        let word = self.mould.memory.word(words[random.usize(..words.len())]);
        let wrong = self.wrong(&mut random, word.load(Ordering::Relaxed));
        word.store(wrong, Ordering::Relaxed);
    }

    /// Up to `most` of them, mostly few.
    pub(crate) fn strike_some(&self, most: u32) {
        let times = 1 + self.random.borrow_mut().u32(..most);
        let times = 1 + self.random.borrow_mut().u32(..times);
        (0..times).for_each(|_| self.strike());
    }

    /// Once in so many calls.
    pub(crate) fn strike_now_and_then(&self, calls: u32) {
        let strikes = self.random.borrow_mut().u32(..calls) == 0;
        if strikes {
            self.strike();
        }
    }

    /// A word that is wrong in an interesting way: near the sound one, an address in the arena or near a part of it, another
    /// word that is right elsewhere, or at an end of the numbers.
    fn wrong(&self, random: &mut Rng, sound: u64) -> u64 {
        let Mould { memory, landmarks, sound: words, .. } = self.mould;
        let (base, length) = (memory.base(), 8 * memory.words() as u64);
        match random.u8(..16) {
            0 => sound.wrapping_add(random.u64(..64)).wrapping_sub(32),
            1 => base - 64 + random.u64(..length + 128),
            2 => base - 64 + random.u64(..length + 128) / 8 * 8,
            3 => base - 64 + random.u64(..length + 128) / 64 * 64,
            4 => landmarks[random.usize(..landmarks.len())],
            5 => landmarks[random.usize(..landmarks.len())]
                .wrapping_add(random.u64(..32) * 8)
                .wrapping_sub(128),
            6 => random.u64(..64),
            7 => u64::MAX - random.u64(..64),
            8 => 1 << random.u32(..64),
            9 => sound ^ 1 << random.u32(..64),
            10 => words[random.usize(..words.len())],
            11 => memory.word(random.usize(..words.len())).load(Ordering::Relaxed),
            12 => sound.wrapping_mul(2).wrapping_sub(random.u64(..2)),
            13 => sound / 2,
            14 => random.u64(..) << 32 | random.u64(..1024),
            _ => random.u64(..),
        }
    }
}
