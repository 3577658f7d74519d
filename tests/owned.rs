//! The queues in plain Rust: elements of any type, each dropped once, whatever happens to them and to the queue.
//!
//! All tests run on both queues, but for those that say which.

use std::collections::VecDeque;
use std::num::NonZero;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::{mem, thread};

use arenaq::mpmc::{Drain, Queue};
use arenaq::mpsc::queue::{Consumer, Producer};
use arenaq::{mpmc, mpsc};
use proptest::prelude::{Just, Strategy, prop_oneof};
use proptest::test_runner::{Config, TestRunner};

/// An end that pushes.
trait Pushes<T>: Clone + Send + Sync {
    fn push(&self, value: T) -> Result<(), T>;
    fn push_from(&self, values: &mut Vec<T>) -> usize;
    fn room(&self) -> usize;
}

/// An end that pops.
trait Pops<T>: Send {
    fn pop(&mut self) -> Option<T>;
    fn drain(&mut self, limit: usize) -> Drain<T>;
    /// So many elements of an iterator over those that come.
    fn take(&mut self, most: usize) -> Vec<T>;
    fn length(&self) -> usize;
    fn is_empty(&self) -> bool;
}

/// One of the queues.
trait Kind {
    type Pushing<T: Send>: Pushes<T>;
    type Popping<T: Send>: Pops<T>;
    /// How many threads may pop at once.
    const CONSUMERS: usize;
    /// Whether there is room for as many elements as it says, and for no more.
    const IS_EXACT: bool;

    fn make<T: Send>(capacity: usize) -> (Self::Pushing<T>, Self::Popping<T>);
    /// Another popping end, if there may be several.
    fn another<T: Send>(end: &Self::Popping<T>) -> Option<Self::Popping<T>>;
}

enum Mpmc {}

impl Kind for Mpmc {
    type Pushing<T: Send> = Arc<Queue<T>>;
    type Popping<T: Send> = Arc<Queue<T>>;
    const CONSUMERS: usize = 2;
    const IS_EXACT: bool = true;

    fn make<T: Send>(capacity: usize) -> (Arc<Queue<T>>, Arc<Queue<T>>) {
        let queue = Arc::new(Queue::new(capacity));
        (queue.clone(), queue)
    }

    fn another<T: Send>(end: &Arc<Queue<T>>) -> Option<Arc<Queue<T>>> {
        Some(end.clone())
    }
}

impl<T: Send> Pushes<T> for Arc<Queue<T>> {
    fn push(&self, value: T) -> Result<(), T> {
        Queue::push(self, value)
    }

    fn push_from(&self, values: &mut Vec<T>) -> usize {
        Queue::push_from(self, values)
    }

    fn room(&self) -> usize {
        self.capacity()
    }
}

impl<T: Send> Pops<T> for Arc<Queue<T>> {
    fn pop(&mut self) -> Option<T> {
        Queue::pop(self)
    }

    fn drain(&mut self, limit: usize) -> Drain<T> {
        Queue::drain(self, limit)
    }

    fn take(&mut self, most: usize) -> Vec<T> {
        self.try_iter().take(most).collect()
    }

    fn length(&self) -> usize {
        self.len()
    }

    fn is_empty(&self) -> bool {
        Queue::is_empty(self)
    }
}

enum Mpsc {}

impl Kind for Mpsc {
    type Pushing<T: Send> = Producer<T>;
    type Popping<T: Send> = Consumer<T>;
    const CONSUMERS: usize = 1;
    const IS_EXACT: bool = false;

    fn make<T: Send>(capacity: usize) -> (Producer<T>, Consumer<T>) {
        mpsc::queue(capacity)
    }

    fn another<T: Send>(_: &Consumer<T>) -> Option<Consumer<T>> {
        None
    }
}

impl<T: Send> Pushes<T> for Producer<T> {
    fn push(&self, value: T) -> Result<(), T> {
        Producer::push(self, value)
    }

    fn push_from(&self, values: &mut Vec<T>) -> usize {
        Producer::push_from(self, values)
    }

    fn room(&self) -> usize {
        self.capacity()
    }
}

impl<T: Send> Pops<T> for Consumer<T> {
    fn pop(&mut self) -> Option<T> {
        Consumer::pop(self)
    }

    fn drain(&mut self, limit: usize) -> Drain<T> {
        Consumer::drain(self, limit)
    }

    fn take(&mut self, most: usize) -> Vec<T> {
        self.try_iter().take(most).collect()
    }

    fn length(&self) -> usize {
        self.len()
    }

    fn is_empty(&self) -> bool {
        Consumer::is_empty(self)
    }
}

/// Each of the tests, on both queues.
macro_rules! on_both_queues {
    ($($test:ident,)*) => {
        mod mpmc_queue {
            $(#[test] fn $test() { super::$test::<super::Mpmc>(); })*
        }
        mod mpsc_queue {
            $(#[test] fn $test() { super::$test::<super::Mpsc>(); })*
        }
    };
}

on_both_queues! {
    an_element_is_dropped_once_by_whoever_has_it_last,
    a_full_queue_gives_the_element_back,
    a_batch_leaves_what_has_no_room_in_the_vector,
    what_is_not_taken_from_a_drain_is_dropped_with_it,
    an_element_that_panics_keeps_no_other_from_being_dropped,
    a_panic_of_the_user_leaves_the_queue_as_it_is,
    an_element_may_push_and_pop_when_it_is_dropped,
    threads_lose_nothing_and_drop_nothing_twice,
    ends_may_go_while_others_push_and_pop,
    there_is_room_for_as_many_as_were_asked_for,
    elements_without_a_size_are_counted_like_others,
    elements_of_every_shape_come_out_as_they_went_in,
    queues_can_be_moved_and_swapped_with_what_is_in_them,
    the_queue_does_what_a_deque_does,
}

/// How often, here or under Miri, which is some hundred times slower.
fn times(natively: usize, under_miri: usize) -> usize {
    if cfg!(miri) { under_miri } else { natively }
}

/// How often each element was dropped, by its number.
#[derive(Clone)]
struct Tally(Arc<[AtomicUsize]>);

impl Tally {
    fn new(elements: usize) -> Tally {
        Tally((0..elements).map(|_| AtomicUsize::new(0)).collect())
    }

    /// An element that is counted. Its text is on the heap, so that Miri and the allocator see a second drop too.
    fn element(&self, number: usize) -> Counted {
        Counted { number, text: number.to_string(), tally: self.clone(), is_counted: true, panics: false }
    }

    fn elements(&self, numbers: impl IntoIterator<Item = usize>) -> Vec<Counted> {
        numbers.into_iter().map(|number| self.element(number)).collect()
    }

    /// The numbers of those that were dropped.
    #[track_caller]
    fn dropped(&self) -> Vec<usize> {
        let times = |number: &usize| self.0[*number].load(Ordering::Relaxed);
        let numbers = 0..self.0.len();
        assert_eq!(numbers.clone().find(|number| times(number) > 1), None, "dropped more than once");
        numbers.filter(|number| times(number) == 1).collect()
    }

    #[track_caller]
    fn assert_all_are_dropped(&self) {
        let dropped = self.dropped();
        let missing: Vec<_> = (0..self.0.len()).filter(|number| !dropped.contains(number)).collect();
        assert_eq!(missing, [0; 0], "leaked");
    }
}

/// An element that counts its drop.
struct Counted {
    number: usize,
    text: String,
    tally: Tally,
    is_counted: bool,
    panics: bool,
}

impl Counted {
    #[track_caller]
    fn check(&self) -> usize {
        assert_eq!(self.text, self.number.to_string());
        self.number
    }

    /// Drops it, and counts the next of its number instead.
    fn undo(mut self) {
        self.is_counted = false;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.check();
        self.tally.0[self.number].fetch_add(self.is_counted.into(), Ordering::Relaxed);
        if mem::take(&mut self.panics) {
            panic!("element {} panics", self.number);
        }
    }
}

fn numbers<'a>(elements: impl IntoIterator<Item = &'a Counted>) -> Vec<usize> {
    elements.into_iter().map(Counted::check).collect()
}

/// What the panic says with which `act` ends.
#[track_caller]
fn panic_of(act: impl FnOnce()) -> String {
    let panic = panic::catch_unwind(AssertUnwindSafe(act)).expect_err("it panics");
    *panic.downcast::<String>().expect("a text")
}

fn an_element_is_dropped_once_by_whoever_has_it_last<K: Kind>() {
    // Also after some laps of the ring, and with nodes that were used before.
    for laps in [0, 1, 7] {
        let tally = Tally::new(8 + 6 * laps);
        let (pushing, mut popping) = K::make(8);
        for lap in 0..laps {
            let mut lap = tally.elements((0..6).map(|step| 8 + 6 * lap + step));
            assert_eq!(pushing.push_from(&mut lap), 6);
            assert_eq!(popping.take(6).len(), 6);
        }
        let before = tally.dropped();
        assert_eq!(before.len(), 6 * laps);
        for number in 0..8 {
            assert!(pushing.push(tally.element(number)).is_ok(), "room for 8");
        }
        let popped = popping.pop().expect("8 elements");
        assert_eq!(popped.check(), 0);
        let drained: Vec<_> = popping.drain(3).collect();
        assert_eq!(numbers(&drained), [1, 2, 3]);
        assert_eq!(tally.dropped(), before, "all of them are somebody's");

        drop(popped);
        drop(drained);
        assert_eq!(tally.dropped()[..4], [0, 1, 2, 3]);
        assert_eq!(popping.length(), 4);
        drop(popping);
        assert_eq!(tally.dropped().len(), before.len() + 4, "the others are in the queue, which is there");
        drop(pushing);
        tally.assert_all_are_dropped();
    }
}

fn a_full_queue_gives_the_element_back<K: Kind>() {
    let tally = Tally::new(5);
    let (pushing, mut popping) = K::make(4);
    for number in 0..4 {
        assert!(pushing.push(tally.element(number)).is_ok());
    }
    let back = pushing.push(tally.element(4)).expect_err("4 are there");
    assert_eq!(back.check(), 4);
    assert_eq!(tally.dropped(), [0; 0]);
    assert_eq!(popping.pop().expect("an element").check(), 0);
    assert!(pushing.push(back).is_ok(), "room for one");
    assert_eq!(numbers(&popping.take(9)), [1, 2, 3, 4]);
    drop((pushing, popping));
    tally.assert_all_are_dropped();
}

fn a_batch_leaves_what_has_no_room_in_the_vector<K: Kind>() {
    let tally = Tally::new(7);
    let (pushing, mut popping) = K::make(4);
    let mut values = tally.elements(0..7);
    assert_eq!(pushing.push_from(&mut values), 4);
    assert_eq!(numbers(&values), [4, 5, 6]);
    assert_eq!(pushing.push_from(&mut values), 0, "it is full");
    assert_eq!(numbers(&values), [4, 5, 6]);
    assert_eq!(pushing.push_from(&mut Vec::new()), 0);
    assert_eq!(numbers(&popping.take(2)), [0, 1]);
    assert_eq!(pushing.push_from(&mut values), 2);
    assert_eq!(tally.dropped(), [0, 1]);
    drop((pushing, popping));
    assert_eq!(tally.dropped(), [0, 1, 2, 3, 4, 5], "element 6 is in the vector");
    drop(values);
    tally.assert_all_are_dropped();
}

fn what_is_not_taken_from_a_drain_is_dropped_with_it<K: Kind>() {
    let tally = Tally::new(8);
    let (pushing, mut popping) = K::make(8);
    assert_eq!(pushing.push_from(&mut tally.elements(0..8)), 8);

    assert_eq!(popping.drain(0).len(), 0);
    let mut drained = popping.drain(5);
    assert_eq!((drained.len(), drained.size_hint()), (5, (5, Some(5))));
    assert_eq!((popping.length(), popping.is_empty()), (3, false), "they have left the queue");
    assert_eq!(drained.next().expect("5 of them").check(), 0);
    let second = drained.next().expect("5 of them");
    assert_eq!(tally.dropped(), [0]);
    drop(drained);
    assert_eq!(tally.dropped(), [0, 2, 3, 4]);
    assert_eq!(second.check(), 1);

    let mut rest = popping.drain(usize::MAX);
    assert_eq!(numbers(&rest.by_ref().collect::<Vec<_>>()), [5, 6, 7]);
    assert!(rest.next().is_none() && rest.next().is_none());
    assert_eq!((popping.length(), popping.is_empty()), (0, true));
    assert_eq!(popping.drain(usize::MAX).len(), 0);
    drop(second);
    tally.assert_all_are_dropped();
}

fn an_element_that_panics_keeps_no_other_from_being_dropped<K: Kind>() {
    for panicking in [0, 3, 7] {
        let fill = || {
            let tally = Tally::new(8);
            let (pushing, popping) = K::make(8);
            for number in 0..8 {
                let mut element = tally.element(number);
                element.panics = number == panicking;
                assert!(pushing.push(element).is_ok());
            }
            (tally, pushing, popping)
        };
        let text = format!("element {panicking} panics");

        // The queue drops them.
        let (tally, pushing, popping) = fill();
        assert_eq!(panic_of(|| drop((pushing, popping))), text);
        tally.assert_all_are_dropped();

        // The iterator drops them.
        let (tally, pushing, mut popping) = fill();
        let drained = popping.drain(8);
        assert_eq!(panic_of(|| drop(drained)), text);
        tally.assert_all_are_dropped();
        drop((pushing, popping));
        tally.assert_all_are_dropped();

        // The user drops them, one by one.
        let (tally, pushing, mut popping) = fill();
        assert_eq!(panic_of(|| while popping.pop().is_some() {}), text);
        assert_eq!(tally.dropped(), (0..=panicking).collect::<Vec<_>>());
        drop((pushing, popping));
        tally.assert_all_are_dropped();
    }
}

fn a_panic_of_the_user_leaves_the_queue_as_it_is<K: Kind>() {
    let tally = Tally::new(6);
    let (pushing, mut popping) = K::make(8);
    assert_eq!(pushing.push_from(&mut tally.elements(0..6)), 6);
    let text = panic_of(|| {
        for element in popping.drain(3) {
            assert_ne!(element.check(), 1, "{}", "the second");
        }
    });
    assert!(text.contains("the second"), "{text}");
    assert_eq!(tally.dropped(), [0, 1, 2], "they had left the queue");
    assert_eq!(numbers(&popping.take(2)), [3, 4]);
    drop((pushing, popping));
    tally.assert_all_are_dropped();
}

/// What an element does.
type Act = Arc<dyn Fn(usize) + Send + Sync>;

/// An element that does something when it is dropped, with its number.
struct Acting(usize, Act);

impl Drop for Acting {
    fn drop(&mut self) {
        (self.1)(self.0);
    }
}

fn an_element_may_push_and_pop_when_it_is_dropped<K: Kind<Pushing<Acting>: 'static>>() {
    let (pushing, mut popping) = K::make::<Acting>(4);
    // Each pushes the next.
    let act: Arc<OnceLock<Act>> = Arc::default();
    let push_next = {
        let (pushing, act) = (pushing.clone(), Arc::downgrade(&act));
        move |number: usize| {
            if number > 0 {
                let act = act.upgrade().expect("the test has it").get().expect("it is set").clone();
                assert!(pushing.push(Acting(number - 1, act)).is_ok(), "room for one");
            }
        }
    };
    let act_of_all: Act = Arc::new(push_next);
    assert!(act.set(act_of_all.clone()).is_ok());
    assert!(pushing.push(Acting(10, act_of_all)).is_ok());

    for number in (6..=10).rev() {
        assert_eq!(popping.pop().expect("the last has pushed it").0, number);
    }
    for _ in 0..5 {
        assert_eq!(popping.drain(4).len(), 1, "the last has pushed it");
    }
    drop(popping.drain(4));
    assert!(popping.is_empty(), "number 0 pushes none");
}

fn threads_lose_nothing_and_drop_nothing_twice<K: Kind>() {
    // As many as there may be of each kind, with one element at a time and with batches, full and empty.
    let each = times(20_000, 40);
    for (producers, capacity, batch) in [(1, 2, 1), (2, 2, 1), (3, 64, 1), (2, 64, 7), (3, 1024, 33)] {
        let tally = Tally::new(producers * each);
        let (pushing, popping) = K::make(capacity);
        let left = AtomicUsize::new(producers);
        let popped: Vec<Vec<usize>> = thread::scope(|scope| {
            for producer in 0..producers {
                let (pushing, tally, left) = (pushing.clone(), &tally, &left);
                scope.spawn(move || {
                    for first in (0..each).step_by(batch) {
                        let numbers = first..each.min(first + batch);
                        let mut values = tally.elements(numbers.map(|step| producer * each + step));
                        push_all(&pushing, &mut values, batch);
                    }
                    left.fetch_sub(1, Ordering::Release);
                });
            }
            let more = (1..K::CONSUMERS).filter_map(|_| K::another(&popping)).collect::<Vec<_>>();
            let consumers: Vec<_> = more
                .into_iter()
                .chain([popping])
                .map(|popping| scope.spawn(|| pop_all(popping, &left, batch)))
                .collect();
            consumers.into_iter().map(|consumer| consumer.join().expect("it ends")).collect()
        });
        drop(pushing);
        tally.assert_all_are_dropped();
        for numbers in &popped {
            for producer in 0..producers {
                let of_one = numbers.iter().filter(|number| *number / each == producer);
                assert!(of_one.is_sorted(), "the elements of one producer come in its order");
            }
        }
        let mut all: Vec<_> = popped.into_iter().flatten().collect();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..producers * each), "lost, or seen twice");
    }
}

fn push_all(pushing: &impl Pushes<Counted>, values: &mut Vec<Counted>, batch: usize) {
    if batch > 1 {
        while !values.is_empty() {
            if pushing.push_from(values) == 0 {
                thread::yield_now();
            }
        }
    } else {
        for mut value in values.drain(..) {
            while let Err(back) = pushing.push(value) {
                value = back;
                thread::yield_now();
            }
        }
    }
}

/// What one consumer gets until all producers are done and nothing is left.
fn pop_all(mut popping: impl Pops<Counted>, producers: &AtomicUsize, batch: usize) -> Vec<usize> {
    let mut popped = Vec::new();
    loop {
        let are_done = producers.load(Ordering::Acquire) == 0;
        let before = popped.len();
        if batch > 1 {
            popped.extend(popping.drain(batch).map(|element| element.check()));
        } else {
            popped.extend(popping.pop().map(|element| element.check()));
        }
        if popped.len() > before {
            continue;
        }
        if are_done {
            return popped;
        }
        thread::yield_now();
    }
}

fn ends_may_go_while_others_push_and_pop<K: Kind>() {
    for round in 0..times(300, 8) {
        let tally = Tally::new(64);
        let (pushing, mut popping) = K::make(16);
        thread::scope(|scope| {
            for producer in 0..2 {
                let (pushing, tally) = (pushing.clone(), &tally);
                scope.spawn(move || {
                    for number in 0..32 {
                        // What has no room is dropped here, and what has is dropped by somebody.
                        drop(pushing.push(tally.element(32 * producer + number)));
                    }
                });
            }
            drop(pushing);
            scope.spawn(move || {
                for _ in 0..round % 8 {
                    drop(popping.pop());
                    let _ = popping.drain(3).next();
                }
            });
        });
        // Who was the last has dropped the rest.
        tally.assert_all_are_dropped();
    }
}

fn there_is_room_for_as_many_as_were_asked_for<K: Kind>() {
    let most = times(300, 10);
    for asked in (0..=most).chain([1000, 8191, 8192, 20_000].into_iter().filter(|_| !cfg!(miri))) {
        let (pushing, mut popping) = K::make(asked);
        let room = pushing.room();
        assert!(room >= asked.max(1), "{room} for {asked}");
        if K::IS_EXACT {
            assert_eq!(room, asked.max(2).next_power_of_two());
        }
        // Also when it was full before, and emptied in other portions than it was filled in.
        for portion in [usize::MAX, 1, 3, 64] {
            let mut pushed = 0;
            while pushed < room {
                assert_eq!(pushing.push(pushed), Ok(()), "{pushed} of {room} are there");
                pushed += 1;
            }
            if K::IS_EXACT {
                assert_eq!(pushing.push(pushed), Err(pushed));
            }
            assert_eq!(popping.length(), room);
            let mut popped = 0;
            while popped < room {
                for number in popping.drain(portion) {
                    assert_eq!(number, popped);
                    popped += 1;
                }
            }
            assert!(popping.is_empty() && popping.pop().is_none());
        }
    }
}

fn elements_without_a_size_are_counted_like_others<K: Kind>() {
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    static ONE_QUEUE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());

    #[derive(Debug)]
    struct Nothing;

    impl Drop for Nothing {
        fn drop(&mut self) {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
    }

    let _alone = ONE_QUEUE_AT_A_TIME.lock();
    let before = DROPPED.load(Ordering::Relaxed);
    let dropped = || DROPPED.load(Ordering::Relaxed) - before;
    let (pushing, mut popping) = K::make(8);
    let mut values = vec![Nothing, Nothing, Nothing];
    assert_eq!(pushing.push_from(&mut values), 3);
    assert_eq!((values.len(), dropped()), (0, 0));
    assert!(pushing.push(Nothing).is_ok());
    assert_eq!(popping.length(), 4);
    drop(popping.pop().expect("4 of them"));
    assert_eq!(dropped(), 1);
    let mut drained = popping.drain(2);
    assert!(drained.next().is_some());
    assert_eq!((drained.len(), dropped()), (1, 2));
    drop(drained);
    assert_eq!(dropped(), 3);
    drop((pushing, popping));
    assert_eq!(dropped(), 4);

    let (pushing, mut popping) = K::make(4);
    assert_eq!(pushing.push_from(&mut vec![(); 3]), 3);
    assert_eq!(popping.drain(usize::MAX).len(), 3);
}

/// Two of each, one alone and one in a batch.
fn come_out_as_they_went_in<K: Kind, T: Send + Clone + PartialEq + std::fmt::Debug>(values: &[T; 2]) {
    let (pushing, mut popping) = K::make(2);
    // So often that each cell, and each node, has had both.
    for _ in 0..3 {
        let [first, second] = values.clone();
        assert_eq!(pushing.push(first), Ok(()));
        assert_eq!(pushing.push_from(&mut vec![second]), 1);
        assert_eq!(popping.pop().as_ref(), Some(&values[0]));
        assert_eq!(popping.drain(2).collect::<Vec<_>>(), values[1..]);
        assert_eq!(pushing.push_from(&mut values.to_vec()), 2);
        assert_eq!(popping.take(3), *values);
    }
}

fn elements_of_every_shape_come_out_as_they_went_in<K: Kind>() {
    #[derive(Clone, Copy, Debug, PartialEq)]
    #[repr(align(64))]
    struct Line(u8);
    #[derive(Clone, Copy, Debug, PartialEq)]
    #[repr(align(4096))]
    struct Page([u8; 5]);
    #[derive(Clone, Debug, PartialEq)]
    enum Event {
        None,
        Small(u8),
        Text(String, u16),
        Boxed(Box<Event>),
    }

    come_out_as_they_went_in::<K, _>(&[true, false]);
    come_out_as_they_went_in::<K, _>(&[1u8, 2]);
    come_out_as_they_went_in::<K, _>(&[[1u8; 3], [2; 3]]);
    come_out_as_they_went_in::<K, _>(&[u128::MAX, 1]);
    come_out_as_they_went_in::<K, _>(&["a", "b"]);
    come_out_as_they_went_in::<K, _>(&[Line(1), Line(2)]);
    come_out_as_they_went_in::<K, _>(&[Page([1; 5]), Page([2; 5])]);
    come_out_as_they_went_in::<K, _>(&[Box::new(1), Box::new(2)]);
    come_out_as_they_went_in::<K, _>(&[Some(Box::new(1)), None]);
    come_out_as_they_went_in::<K, _>(&[NonZero::new(1u64), None]);
    come_out_as_they_went_in::<K, _>(&["a".repeat(100), String::new()]);
    come_out_as_they_went_in::<K, _>(&[vec!["a".to_owned()], Vec::new()]);
    come_out_as_they_went_in::<K, _>(&[Arc::new(1), Arc::new(2)]);
    // 16, 24 and 32 bytes are read word by word: with padding, with pointers, with words that are not initialised.
    come_out_as_they_went_in::<K, _>(&[(1u64, 1u8), (2, 2)]);
    come_out_as_they_went_in::<K, _>(&[Some(1u64), None]);
    come_out_as_they_went_in::<K, _>(&[Some((1u64, "a")), None]);
    come_out_as_they_went_in::<K, _>(&[(Box::new(1), 1u8, "a"), (Box::new(2), 2, "b")]);
    come_out_as_they_went_in::<K, _>(&[Event::Text("a".into(), 1), Event::Boxed(Box::new(Event::Small(1)))]);
    come_out_as_they_went_in::<K, _>(&[Event::Small(7), Event::None]);
    // 48 to 128 bytes that are whole pairs of words are read in pairs: the same, in one of the words of a pair or in both.
    let texts = [1, 2, 3, 4, 5].map(|length| "a".repeat(length));
    let [first, second, ..] = texts.clone();
    let small = (first.clone(), "b", 1u8);
    let middle = (first, second, "b");
    let large = (texts.clone(), 1u8);
    let larger = (texts, "b");
    let sizes = [size_of_val(&small), size_of_val(&middle), size_of_val(&large), size_of_val(&larger)];
    assert_eq!(sizes, [48, 64, 128, 136]);
    come_out_as_they_went_in::<K, _>(&[Some(small), None]);
    come_out_as_they_went_in::<K, _>(&[Ok(middle), Err(7u8)]);
    come_out_as_they_went_in::<K, _>(&[Ok(large), Err(7u64)]);
    come_out_as_they_went_in::<K, _>(&[larger.clone(), larger]);
    come_out_as_they_went_in::<K, _>(&[[1u64; 8], [2; 8]]);
    // As large as nobody would have them.
    come_out_as_they_went_in::<K, _>(&[[1u64; 8192], [2; 8192]]);
}

fn queues_can_be_moved_and_swapped_with_what_is_in_them<K: Kind>() {
    let tally = Tally::new(16);
    let mut ends = [0, 8].map(|first| {
        let (pushing, popping) = K::make(8);
        assert_eq!(pushing.push_from(&mut tally.elements(first..first + 6)), 6);
        (pushing, popping)
    });
    // Only the popping ends, so that each is with the pushing end of the other.
    let [(_, first), (_, second)] = &mut ends;
    assert_eq!(first.pop().expect("an element").check(), 0);
    mem::swap(first, second);
    let mut ends = Box::new(Vec::from(ends));
    ends.rotate_left(1);
    for (first, (pushing, _)) in [8, 0].into_iter().zip(&*ends) {
        assert!(pushing.push(tally.element(first + 6)).is_ok());
        assert!(pushing.push(tally.element(first + 7)).is_ok());
    }
    let popped: Vec<_> = ends
        .drain(..)
        .map(|(_pushing, popping)| {
            let mut popping = Some(popping);
            let moved = move || numbers(&popping.take().expect("it is there").take(9));
            thread::scope(|scope| scope.spawn(moved).join().expect("it ends"))
        })
        .collect();
    assert_eq!(popped, [[1, 2, 3, 4, 5, 6, 7].as_slice(), &[8, 9, 10, 11, 12, 13, 14, 15]]);
    tally.assert_all_are_dropped();
}

/// Bursts, because single pushes and pops in random order seldom fill a queue or empty it.
#[derive(Clone, Debug)]
enum Op {
    Push(usize),
    PushFrom(usize),
    Pop(usize),
    TryIter(usize),
    /// So many at once, of which so many are taken.
    Drain(usize, usize),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        (1..12usize).prop_map(Op::Push),
        (0..12usize).prop_map(Op::PushFrom),
        (1..12usize).prop_map(Op::Pop),
        (1..12usize).prop_map(Op::TryIter),
        (prop_oneof![0..12usize, Just(usize::MAX)], 0..12usize)
            .prop_map(|(limit, take)| Op::Drain(limit, take)),
    ];
    proptest::collection::vec(op, 1..times(40, 8))
}

fn the_queue_does_what_a_deque_does<K: Kind>() {
    let mut config = Config::with_cases(times(500, 2) as u32);
    // There is a file for the seeds of failures, which Miri does not let a test look for.
    if cfg!(miri) {
        config.failure_persistence = None;
    }
    // From 256 elements on nodes come in blocks.
    let capacities = prop_oneof![4 => 1..20usize, 1 => 250..times(300, 251)];
    TestRunner::new(config)
        .run(&(capacities, ops()), |(capacity, ops)| {
            check::<K>(capacity, &ops);
            Ok(())
        })
        .unwrap();
}

fn check<K: Kind>(capacity: usize, ops: &[Op]) {
    // No operation pushes more than 11, and what has no room does not count.
    let tally = Tally::new(40 * 11);
    let mut next = 0;
    let (pushing, mut popping) = K::make(capacity);
    let room = pushing.room();
    let mut deque = VecDeque::new();
    for op in ops {
        match *op {
            Op::Push(times) => {
                for _ in 0..times {
                    match pushing.push(tally.element(next)) {
                        Ok(()) => deque.push_back(next),
                        Err(back) => {
                            assert_eq!(back.check(), next);
                            assert!(deque.len() >= room, "{} of {room} are there", deque.len());
                            back.undo();
                            break;
                        }
                    }
                    assert!(!K::IS_EXACT || deque.len() <= room);
                    next += 1;
                }
            }
            Op::PushFrom(many) => {
                let mut values = tally.elements(next..next + many);
                let pushed = pushing.push_from(&mut values);
                deque.extend(next..next + pushed);
                next += pushed;
                assert_eq!(numbers(&values), (next..next + many - pushed).collect::<Vec<_>>());
                assert!(values.is_empty() || deque.len() >= room, "{} of {room} are there", deque.len());
                assert!(!K::IS_EXACT || deque.len() <= room);
                values.drain(..).for_each(Counted::undo);
            }
            Op::Pop(times) => {
                for _ in 0..times {
                    assert_eq!(popping.pop().map(|element| element.check()), deque.pop_front());
                }
            }
            Op::TryIter(most) => {
                let expected: Vec<_> = deque.drain(..most.min(deque.len())).collect();
                assert_eq!(numbers(&popping.take(most)), expected);
            }
            Op::Drain(limit, take) => {
                let drained = popping.drain(limit);
                let expected: Vec<_> = deque.drain(..limit.min(deque.len())).collect();
                assert_eq!(drained.len(), expected.len());
                let taken: Vec<_> = drained.take(take).collect();
                assert_eq!(numbers(&taken), expected[..take.min(expected.len())]);
            }
        }
        assert_eq!((popping.length(), popping.is_empty()), (deque.len(), deque.is_empty()));
        let gone = (0..next).filter(|number| !deque.contains(number));
        assert_eq!(tally.dropped(), gone.collect::<Vec<_>>());
    }
    drop((pushing, popping));
    assert_eq!(tally.dropped(), (0..next).collect::<Vec<_>>());
}

#[test]
fn a_capacity_that_is_too_large_is_told() {
    let text = panic_of(|| drop(Queue::<u8>::new((1 << 31) + 1)));
    assert_eq!(text, "a capacity of 2147483649 is too large: it can be at most 2147483648 (2^31)");
    let text = panic_of(|| drop(Queue::<u8>::new(usize::MAX)));
    assert!(text.contains(&usize::MAX.to_string()), "the number that was asked for: {text}");
    let text = panic_of(|| drop(mpsc::queue::<u8>(usize::MAX)));
    let most = arenaq::pool::MAX_ELEMENTS;
    assert_eq!(text, format!("a capacity of {} is too large: it can be at most {most}", usize::MAX));
    for (asked, cells) in [(0, 2), (1, 2), (2, 2), (3, 4), (1 << 31, 1 << 31)] {
        assert_eq!(mpmc::Capacity::at_least(asked).map(mpmc::Capacity::get), Ok(cells), "{asked}");
    }
}

#[test]
fn a_consumer_that_is_gone_leaves_what_is_pushed_to_the_last_producer() {
    let tally = Tally::new(4);
    let (producer, mut consumer) = mpsc::queue(3);
    assert!(producer.push(tally.element(0)).is_ok());
    assert!(consumer.pop().is_some());
    drop(consumer);
    let another = producer.clone();
    for number in 1..4 {
        assert!([&producer, &another][number % 2].push(tally.element(number)).is_ok());
    }
    drop(producer);
    assert_eq!(tally.dropped(), [0]);
    drop(another);
    tally.assert_all_are_dropped();
}

#[test]
fn a_consumer_gets_what_producers_that_are_gone_have_pushed() {
    let tally = Tally::new(3);
    let (producer, mut consumer) = mpsc::queue(3);
    assert_eq!(producer.push_from(&mut tally.elements(0..3)), 3);
    drop(producer);
    assert_eq!(numbers(&consumer.drain(2).collect::<Vec<_>>()), [0, 1]);
    drop(consumer);
    tally.assert_all_are_dropped();
}

#[test]
fn ends_and_queues_go_to_other_threads_and_through_panics_if_their_elements_may() {
    fn shared<T: Send + Sync>() {}
    fn sent<T: Send>() {}
    fn caught<T: panic::UnwindSafe + panic::RefUnwindSafe>() {}

    // Elements need not be `Sync`, nor survive a panic in one piece.
    type Element = std::cell::Cell<u8>;
    shared::<Queue<Element>>();
    shared::<Producer<Element>>();
    sent::<Consumer<Element>>();
    sent::<Drain<Element>>();
    sent::<mpmc::TryIter<'_, Element, arenaq::platform::Native>>();
    caught::<Queue<Element>>();
    caught::<Producer<Element>>();
    caught::<Consumer<Element>>();
}

#[test]
fn a_queue_tells_its_length_and_nothing_of_its_elements() {
    struct Secret;

    let queue = Queue::new(3);
    assert!(queue.push(Secret).is_ok());
    assert_eq!(format!("{queue:?}"), "Queue { len: 1, capacity: 4, .. }");
    let (producer, consumer) = mpsc::queue(3);
    assert!(producer.push(Secret).is_ok());
    assert_eq!(format!("{producer:?}"), "Producer { capacity: 3, .. }");
    assert_eq!(format!("{consumer:?}"), "Consumer { len: 1, capacity: 3, .. }");
}

#[test]
fn a_length_is_never_above_the_capacity_while_it_is_looked_at() {
    let queue = Queue::new(2);
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for value in 0..times(200_000, 100) {
                let _ = queue.push(value);
                let _ = queue.pop();
            }
            is_done.store(true, Ordering::Relaxed);
        });
        while !is_done.load(Ordering::Relaxed) {
            assert!(queue.len() <= queue.capacity());
            assert!(queue.drain(usize::MAX).len() <= queue.capacity());
        }
    });
}
