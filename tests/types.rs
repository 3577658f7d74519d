//! Who may have a handle: which can be copied, which go to another thread, and which several threads share. That a queue has
//! one consumer is a matter of types.

use std::cell::Cell;
use std::rc::Rc;

use arenaq::arena::{self, MpscConsumer, MpscProducer, Region};
use arenaq::count::Counted;
use arenaq::eventcount::Ticket;
use arenaq::platform::Native;
use arenaq::records::{self, OwnedLane};
use arenaq::single::{SingleConsumer, SingleProducer};
use arenaq::{mpmc, mpsc, pool, spsc};
use static_assertions::{assert_impl_all, assert_not_impl_any};

// The only consumer of a list: it goes to another thread, and no two threads have it.
assert_impl_all!(mpsc::Consumer<'static, Native, u64>: Send);
assert_not_impl_any!(mpsc::Consumer<'static, Native, u64>: Clone, Sync);
assert_impl_all!(MpscConsumer<'static, u64>: Send);
assert_not_impl_any!(MpscConsumer<'static, u64>: Clone, Sync);
assert_impl_all!(arena::Consumer<'static, u64>: Send);
assert_not_impl_any!(arena::Consumer<'static, u64>: Clone, Sync);
assert_impl_all!(arena::ByteConsumer<'static>: Send);
assert_not_impl_any!(arena::ByteConsumer<'static>: Clone, Sync);

// A consumer that has a slot, a shard, or a side for itself.
assert_impl_all!(mpmc::Consumer<'static, Native, u64>: Send);
assert_not_impl_any!(mpmc::Consumer<'static, Native, u64>: Clone);
assert_impl_all!(records::Consumer<'static, Native>: Send);
assert_not_impl_any!(records::Consumer<'static, Native>: Clone);
assert_not_impl_any!(SingleConsumer<'static, Native, u64, Counted>: Clone);
assert_not_impl_any!(SingleProducer<'static, Native, u64, Counted>: Clone);
assert_not_impl_any!(spsc::Consumer<u64>: Clone);
assert_not_impl_any!(spsc::Producer<u64>: Clone);
assert_impl_all!(spsc::FanIn<u64>: Send);
assert_not_impl_any!(spsc::FanIn<u64>: Clone);

// Elements cross threads and are never shared.
assert_impl_all!(mpmc::Queue<Cell<u64>>: Send, Sync);
assert_not_impl_any!(mpmc::Queue<Rc<u64>>: Send, Sync);
assert_not_impl_any!(mpmc::Consumer<'static, Native, Rc<u64>>: Send);
assert_not_impl_any!(mpsc::Consumer<'static, Native, Rc<u64>>: Send);
assert_not_impl_any!(spsc::Consumer<Rc<u64>>: Send);
assert_not_impl_any!(spsc::Producer<Rc<u64>>: Send);
assert_not_impl_any!(spsc::FanIn<Rc<u64>>: Send);

// Those who push.
assert_impl_all!(MpscProducer<'static, u64>: Copy, Send, Sync);
assert_impl_all!(arena::Queue<'static, u64>: Copy, Send, Sync);
assert_impl_all!(mpsc::List<'static, Native, u64>: Copy, Send, Sync);
assert_impl_all!(mpmc::Ring<'static, Native, u64>: Copy, Send, Sync);

// What one owner has.
assert_not_impl_any!(pool::Chain: Clone);
assert_not_impl_any!(pool::Run: Clone);
assert_not_impl_any!(pool::Reservation: Clone);
assert_not_impl_any!(records::Reservation<'static, Native>: Clone);
assert_not_impl_any!(OwnedLane<'static, Native>: Clone);
assert_not_impl_any!(Ticket: Clone);

// Memory with live handles is not formatted again.
assert_not_impl_any!(Region<'static>: Clone);
assert_not_impl_any!(arena::Draft<'static, Native>: Clone);
