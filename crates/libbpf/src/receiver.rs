//! A consumer that can sleep.

pub(crate) mod carried;
pub(crate) mod doorbell;
mod end;
pub(crate) mod lock;
pub(crate) mod records;
pub(crate) mod right;
pub(crate) mod sleeper;
pub(crate) mod source;
pub(crate) mod table;
pub(crate) mod tally;
#[cfg(feature = "tokio")]
mod tasks;

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arenaq::PopError;
use arenaq::eventcount::EventCount;
use arenaq::payload::Element;
use arenaq::platform::Native;
use crossbeam_utils::Backoff;

use self::carried::Carried;
use self::doorbell::Doorbell;
use self::end::End;
use self::right::Right;
use self::sleeper::{Sleeper, Wake};
use self::source::Source;
use self::tally::Teller;
use crate::error::Error;

/// What a receiver keeps for as long as it lives: the loaded object, or what was mapped of a pinned one.
#[derive(Clone)]
pub struct Keeper(#[expect(dead_code, reason = "it is only kept")] Arc<dyn Any + Send + Sync>);

impl Keeper {
    pub(crate) fn new<T: Any + Send + Sync>(kept: Arc<T>) -> Keeper {
        Keeper(kept)
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keeper")
    }
}

/// What a receiver borrows that keeps nothing itself.
pub type Borrowed<'a> = PhantomData<&'a ()>;

/// The consuming end of a queue. It can go to another thread or task, and while nothing comes it uses no CPU.
///
/// `T` is the type of the elements ([`element!`](arenaq::element!)), or `[u8]` for the bytes of elements of which this
/// program knows no type. `K` is what the receiver keeps: by default the object itself, so that it may go anywhere, or a
/// borrow of an object that somebody else has.
///
/// Producers wake it with `arenaq_notify()` after their pushes; [`set_wake`](Self::set_wake) says what else does.
///
/// In a task of tokio's, with the feature `tokio`, there is `recv_async`. In another event loop, such as epoll's, [`AsFd`] gives what becomes readable: [`arm`](Self::arm) first, and wait only if it
/// is true; [`disarm`](Self::disarm) when the wait has ended.
pub struct Receiver<T: Carried + ?Sized, K = Keeper> {
    // Dropped in this order: the right to consume behind the end that it is the right to, and last what all of it lies in.
    end: T::End<'static>,
    sleeper: Sleeper,
    teller: Option<Teller<'static>>,
    right: Option<Right<'static>>,
    keeper: K,
}

impl<T: Carried + ?Sized, K: fmt::Debug> fmt::Debug for Receiver<T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("element", &std::any::type_name::<T>())
            .field("sleeper", &self.sleeper)
            .field("keeper", &self.keeper)
            .finish_non_exhaustive()
    }
}

/// What a receiver is made of. All of it lies where it is for as long as the receiver's keeper lives.
pub(crate) struct Parts<T: Carried + ?Sized> {
    pub(crate) end: T::End<'static>,
    pub(crate) events: Option<&'static EventCount<Native>>,
    pub(crate) doorbell: Doorbell,
    /// What others see of the consumer, if it is counted.
    pub(crate) known: Option<(Teller<'static>, Right<'static>)>,
}

impl<'a, T: Element> Receiver<T, Borrowed<'a>> {
    /// A consumer that nobody counts. `events` and `doorbell` are what its queue's producers look at and ring.
    pub fn new(source: Source<'a, T>, events: &'a EventCount<Native>, doorbell: Doorbell) -> Self {
        // SAFETY: the receiver cannot outlive 'a, and gives neither away.
        let (end, events) = unsafe {
            (
                std::mem::transmute::<Source<'a, T>, Source<'static, T>>(source),
                std::mem::transmute::<&'a EventCount<Native>, &'static EventCount<Native>>(events),
            )
        };
        Receiver::of(Parts { end, events: Some(events), doorbell, known: None }, PhantomData)
    }
}

impl<T: Carried + ?Sized, K> Receiver<T, K> {
    pub(crate) fn of(parts: Parts<T>, keeper: K) -> Receiver<T, K> {
        let Parts { end, events, doorbell, known } = parts;
        let (teller, right) = known.unzip();
        let sleeper = Sleeper::new(events, doorbell);
        Receiver { end, sleeper, teller, right, keeper }
    }

    /// What else belongs to this consumer, if it is counted.
    pub(crate) fn parts(
        &mut self,
    ) -> (&mut T::End<'static>, Option<&mut Teller<'static>>, Option<&Right<'static>>) {
        (&mut self.end, self.teller.as_mut(), self.right.as_ref())
    }

    /// What ends its sleep.
    pub fn set_wake(&mut self, wake: Wake) {
        self.disarm();
        self.sleeper.wake = wake;
    }

    /// Dequeues the oldest element, which leaves the queue after `hand_over` has returned: should this process die before,
    /// another consumer is handed the element again; see [`arenaq::recovery`].
    ///
    /// # Errors
    ///
    /// [`PopError`] says why there is none.
    pub fn pop_with<R>(&mut self, hand_over: impl for<'e> FnOnce(T::Handed<'e>) -> R) -> Result<R, PopError> {
        let Receiver { end, teller, .. } = self;
        let Some(teller) = teller else { return end.pop_with(hand_over) };
        end.pop_with(|element| {
            let known_by = T::End::<'static>::fingerprint(&element);
            let result = hand_over(element);
            teller.count(known_by);
            result
        })
    }

    /// Dequeues up to `limit` elements, and returns how many.
    ///
    /// A consumer whose place another may take, as that of a queue which is pinned, dequeues them one by one: its
    /// death hands one element over twice, and not a batch.
    ///
    /// # Errors
    ///
    /// As [`pop_with`](Self::pop_with), if there is not one element.
    pub fn drain(
        &mut self,
        limit: u64,
        mut hand_over: impl for<'e> FnMut(T::Handed<'e>),
    ) -> Result<u64, PopError> {
        if self.teller.is_none() {
            return self.end.drain(limit, hand_over);
        }
        let mut drained = 0;
        while drained < limit {
            match self.pop_with(&mut hand_over) {
                Ok(()) => drained += 1,
                Err(error) if drained == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(drained)
    }

    /// Waits for an element, and not longer than `timeout`, and hands it over before it leaves the queue.
    fn wait_for<R>(
        &mut self,
        timeout: Duration,
        mut hand_over: impl for<'e> FnMut(T::Handed<'e>) -> R,
    ) -> Result<Option<R>, Error> {
        let start = Instant::now();
        let backoff = Backoff::new();
        loop {
            match self.pop_with(&mut hand_over) {
                Ok(found) => return Ok(Some(found)),
                Err(PopError::Empty | PopError::Busy | PopError::Contended) => {}
                Err(error @ (PopError::Corrupt | PopError::Invalid)) => return Err(Error::Queue(error)),
            }
            let Some(left) = timeout.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) else {
                return Ok(None);
            };
            if !backoff.is_completed() {
                backoff.snooze();
                continue;
            }
            match self.take_over_one(&mut hand_over) {
                Some(found) => return Ok(Some(found)),
                None => self.sleep(left)?,
            }
        }
    }

    /// Takes over from dead consumers of a pinned MPMC queue: hands up to `limit` elements over that they had claimed, and
    /// each leaves the queue when `hand_over` has returned. Returns how many there were.
    ///
    /// To be called now and then by those who [`pop_with`](Self::pop_with) and [`drain`](Self::drain), and when the queue
    /// seems empty: an element that a dead consumer has claimed keeps producers from the cells behind it a lap later. What
    /// waits for an element does so by itself. While nobody is dead it costs a system call for each other consumer.
    pub fn take_over(&mut self, limit: u64, mut hand_over: impl for<'e> FnMut(T::Handed<'e>)) -> u64 {
        let Receiver { end, teller, right, .. } = self;
        match (teller, right) {
            (Some(teller), Some(right)) => right.take_over::<T>(end, limit, teller, &mut hand_over),
            _ => 0,
        }
    }

    /// Takes over one element, if there is one.
    fn take_over_one<R>(&mut self, mut hand_over: impl for<'e> FnMut(T::Handed<'e>) -> R) -> Option<R> {
        let mut result = None;
        self.take_over(1, |element| result = Some(hand_over(element)));
        result
    }

    /// Blocks until a producer rings, or for a while, if the queue is empty.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if the kernel does not let this thread wait.
    pub fn sleep(&mut self, longest: Duration) -> Result<(), Error> {
        self.sleeper.sleep(&self.end, longest)
    }

    /// Announces a sleep. If it is true, the queue is empty, and the file descriptor becomes readable with the
    /// next push that rings, or when it is time to look ([`Wake`]). If it is false, an element is there, or on its way: try
    /// again.
    pub fn arm(&mut self) -> bool {
        self.sleeper.arm(&self.end)
    }

    /// Withdraws the announcement.
    pub fn disarm(&mut self) {
        self.sleeper.disarm();
    }
}

impl<T: Element, K> Receiver<T, K> {
    /// Dequeues the oldest element, if there is one.
    ///
    /// # Errors
    ///
    /// [`PopError`] says why there is none.
    pub fn try_recv(&mut self) -> Result<T, PopError> {
        self.pop_with(|element| element)
    }

    /// Waits for an element.
    ///
    /// What a consumer of a pinned MPMC queue has left that died comes as well: nobody else need take over.
    ///
    /// # Errors
    ///
    /// [`Error::Queue`] if the queue is damaged, [`Error::System`] if the kernel does not let this thread wait.
    pub fn recv(&mut self) -> Result<T, Error> {
        loop {
            if let Some(element) = self.recv_timeout(Duration::MAX)? {
                return Ok(element);
            }
        }
    }

    /// Waits for an element, and not longer than `timeout`.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<T>, Error> {
        self.wait_for(timeout, |element| element)
    }

    /// Waits for an element, and not longer than `timeout`, and hands it over before it leaves the queue: an element that
    /// [`recv`](Self::recv) has returned is lost if this process is killed, and this one comes again.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub fn recv_timeout_with<R>(
        &mut self,
        timeout: Duration,
        hand_over: impl FnMut(T) -> R,
    ) -> Result<Option<R>, Error> {
        self.wait_for(timeout, hand_over)
    }
}

impl<K> Receiver<[u8], K> {
    /// How many bytes an element has: those of the C type, padded to whole words of 8.
    pub fn element_size(&self) -> usize {
        self.end.element().size as usize
    }

    /// Waits for an element, and not longer than `timeout`, and hands its bytes over before it leaves the queue.
    ///
    /// What a consumer of a pinned MPMC queue has left that died comes as well: nobody else need take over.
    ///
    /// # Errors
    ///
    /// [`Error::Queue`] if the queue is damaged, [`Error::System`] if the kernel does not let this thread wait.
    pub fn recv_timeout_with<R>(
        &mut self,
        timeout: Duration,
        hand_over: impl FnMut(&[u8]) -> R,
    ) -> Result<Option<R>, Error> {
        self.wait_for(timeout, hand_over)
    }
}

impl<T: Carried + ?Sized, K> AsFd for Receiver<T, K> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.sleeper.doorbell().as_fd()
    }
}

impl<T: Carried + ?Sized, K> AsRawFd for Receiver<T, K> {
    fn as_raw_fd(&self) -> RawFd {
        self.sleeper.doorbell().as_raw_fd()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.disarm();
    }
}
