//! Several producers and one consumer: a ring for each producer, and the consumer goes round.

use alloc::vec::Vec;
use core::fmt;

use super::{Consumer, Producer, ring};
use crate::platform::{Heap, Native};

/// How many elements come from one ring in a row while others may have some. Going on costs a look at another producer's line.
const TURN: usize = 64;

/// A ring for each of `producers`, for `capacity` elements each as [`ring()`] makes it, and the one consumer of all.
///
/// No producer waits for another one, or touches a line of another one; no instruction is a locked one.
///
/// # Panics
///
/// If `capacity` is more than 2^31.
pub fn fan_in<T>(producers: usize, capacity: usize) -> (Vec<Producer<T>>, FanIn<T>) {
    let (producers, consumers): (Vec<_>, Vec<_>) = (0..producers).map(|_| ring(capacity)).unzip();
    (producers, consumers.into_iter().collect())
}

/// The consumer of several rings. They may have different capacities, and more may [join](Self::add).
///
/// The elements of a producer come in their order, and those of different producers in any. None of them waits for ever: after 64
/// pops of one ring the others are looked at, and each drain begins with another ring.
///
/// ```
/// let (mut producers, mut consumer) = arenaq::spsc::fan_in(2, 4);
/// producers[0].push("a").unwrap();
/// producers[1].push("c").unwrap();
/// producers[0].push("b").unwrap();
/// assert_eq!(consumer.pop(), Some("a"));
/// assert_eq!(consumer.pop(), Some("b"));
///
/// let (mut late, its_end) = arenaq::spsc::ring(1);
/// consumer.add(its_end);
/// late.push("d").unwrap();
/// let mut rest = Vec::new();
/// assert_eq!(consumer.drain(10, |element| rest.push(element)), 2);
/// assert_eq!(rest, ["c", "d"]);
/// ```
pub struct FanIn<T, P: Heap = Native> {
    rings: Vec<Consumer<T, P>>,
    /// The one from which comes what comes next, if it has something.
    current: usize,
    /// How many have come from it in a row.
    taken: usize,
}

impl<T, P: Heap> FanIn<T, P> {
    /// Of no ring yet.
    pub fn new() -> Self {
        FanIn { rings: Vec::new(), current: 0, taken: 0 }
    }

    /// One more ring.
    pub fn add(&mut self, ring: Consumer<T, P>) {
        self.rings.push(ring);
    }

    /// The rings, with what is in them.
    pub fn into_rings(self) -> Vec<Consumer<T, P>> {
        self.rings
    }

    /// How many elements can be popped at least.
    pub fn len(&mut self) -> usize {
        self.rings.iter_mut().map(Consumer::len).sum()
    }

    /// Whether nothing can be popped.
    pub fn is_empty(&mut self) -> bool {
        self.rings.iter_mut().all(Consumer::is_empty)
    }

    /// Dequeues the oldest element of a ring, or returns `None` if each was found empty. Wait-free.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        if self.taken == TURN {
            self.go_on();
        }
        if self.rings.get_mut(self.current)?.is_empty() && !self.find_another() {
            return None;
        }
        self.taken += 1;
        self.rings[self.current].pop()
    }

    /// Goes on to a ring that has something. Whether there is one.
    ///
    /// It takes no element, so that there is one place where one is read: two places would hand it over in memory, by halves, and who
    /// takes it as a whole would wait for both.
    #[cold]
    fn find_another(&mut self) -> bool {
        // Ends at the current one, where there most likely is something next.
        (0..self.rings.len()).any(|_| {
            self.go_on();
            !self.rings[self.current].is_empty()
        })
    }

    /// Dequeues up to `limit` elements, of one ring after the other what [`Consumer::drain`] finds there. Returns how many.
    ///
    /// # Panics
    ///
    /// If `hand_over` does, as there.
    #[inline]
    pub fn drain(&mut self, limit: usize, mut hand_over: impl FnMut(T)) -> usize {
        let mut left = limit;
        for _ in 0..self.rings.len() {
            if left == 0 {
                break;
            }
            let current = self.current;
            // Before anything is handed over, so that the next drain begins elsewhere however this one ends.
            self.go_on();
            left -= self.rings[current].drain(left, &mut hand_over);
        }
        limit - left
    }

    #[inline(always)]
    fn go_on(&mut self) {
        self.current = if self.current + 1 < self.rings.len() { self.current + 1 } else { 0 };
        self.taken = 0;
    }
}

impl<T, P: Heap> Default for FanIn<T, P> {
    fn default() -> Self {
        FanIn::new()
    }
}

impl<T, P: Heap> FromIterator<Consumer<T, P>> for FanIn<T, P> {
    fn from_iter<I: IntoIterator<Item = Consumer<T, P>>>(rings: I) -> Self {
        FanIn { rings: rings.into_iter().collect(), ..FanIn::new() }
    }
}

impl<T, P: Heap> Extend<Consumer<T, P>> for FanIn<T, P> {
    fn extend<I: IntoIterator<Item = Consumer<T, P>>>(&mut self, rings: I) {
        self.rings.extend(rings);
    }
}

impl<T, P: Heap> fmt::Debug for FanIn<T, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("spsc::FanIn").field("rings", &self.rings.len()).finish_non_exhaustive()
    }
}
