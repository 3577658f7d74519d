//! What a consumer sleeps on: a ring buffer that programs ring, and of which only that it was rung matters.
//!
//! All consumers of an object share the ring buffer, and each must hear every ring, whoever has answered it. So each has
//! an epoll instance of its own, which tells it of *edges*: of every ring since it has looked the last time. For that the
//! ring buffer must never be empty again once it was rung. Nobody reads it to its end: whoever finds it half full takes
//! all away but the last record.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use libbpf_rs::{MapCore, MapType, Object};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

use crate::error::Error;
use crate::pinned::record::DOORBELL;

/// How long a record is, with its header.
const RECORD: u64 = 16;

/// What one consumer hears of the doorbell. Programs ring it for those who have said that they sleep
/// ([`arenaq::eventcount`]).
#[derive(Debug)]
pub struct Doorbell {
    epoll: OwnedFd,
    ring: Option<Ring>,
    /// Wakes an event loop after a time.
    timer: OwnedFd,
    is_set: bool,
}

impl Doorbell {
    /// Opens the ring buffer.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] if the map is none, [`Error::System`] if it cannot be mapped or waited for.
    pub fn new(map: &dyn MapCore) -> Result<Doorbell, Error> {
        let doorbell = Doorbell::silent()?;
        let ring = Ring::open(map)?;
        // The mappings keep the ring buffer open, and so this stays.
        doorbell.listen(&map.as_fd())?;
        Ok(Doorbell { ring: Some(ring), ..doorbell })
    }

    /// That of an object: its map `doorbell`, if it has one.
    pub(crate) fn of(object: &Object) -> Result<Doorbell, Error> {
        match object.maps().find(|map| map.name() == DOORBELL) {
            Some(map) => Doorbell::new(&map),
            None => Doorbell::silent(),
        }
    }

    /// One that nobody rings.
    pub(crate) fn silent() -> Result<Doorbell, Error> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(Error::system(WAITING))?;
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags).map_err(Error::system(WAITING))?;
        let doorbell = Doorbell { epoll, ring: None, timer, is_set: false };
        doorbell.listen(&doorbell.timer)?;
        Ok(doorbell)
    }

    /// Whether programs can ring it.
    pub(crate) fn rings(&self) -> bool {
        self.ring.is_some()
    }

    fn listen(&self, to: &impl AsFd) -> Result<(), Error> {
        let edges = EventFlags::IN | EventFlags::ET;
        epoll::add(&self.epoll, to, EventData::new_u64(0), edges).map_err(Error::system(WAITING))
    }

    /// Forgets what rang before. To be called before the sleep is announced: what rings after that counts.
    pub(crate) fn clear(&self) {
        let mut events = Vec::with_capacity(2);
        // It does not wait. Should it fail, so will the next wait, which says why.
        let _ =
            epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&Timespec::default()));
        if let Some(ring) = &self.ring {
            ring.make_room();
        }
    }

    /// Blocks until it rings, or for so long.
    pub(crate) fn wait(&self, longest: Duration) -> Result<(), Error> {
        let mut bells = [PollFd::new(&self.epoll, PollFlags::IN)];
        match poll(&mut bells, Some(&timespec(longest))) {
            // A signal may be what the caller waits for.
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(Error::system(WAITING)(error)),
        }
    }

    /// The file descriptor becomes readable after so long, whether it rings or not.
    pub(crate) fn set_timer(&mut self, after: Duration) {
        self.arm_timer(timespec(after.max(Duration::from_nanos(1))));
        self.is_set = true;
    }

    /// It does not any more.
    pub(crate) fn stop_timer(&mut self) {
        if std::mem::take(&mut self.is_set) {
            self.arm_timer(Timespec::default());
        }
    }

    fn arm_timer(&self, it_value: Timespec) {
        let once = Itimerspec { it_interval: Timespec::default(), it_value };
        // A timer of ours takes every time that is one.
        let _ = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once);
    }
}

const WAITING: &str = "waiting for the doorbell";

/// So long, or as long as there is a number for.
fn timespec(duration: Duration) -> Timespec {
    const LONGEST: Duration = Duration::from_secs(1 << 30);
    Timespec::try_from(duration.min(LONGEST)).unwrap_or_default()
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl AsRawFd for Doorbell {
    fn as_raw_fd(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }
}

/// The positions of the ring buffer.
#[derive(Debug)]
struct Ring {
    size: u64,
    /// Ours to write, with all who consume.
    consumer: Page,
    producer: Page,
}

impl Ring {
    fn open(map: &dyn MapCore) -> Result<Ring, Error> {
        if map.map_type() != MapType::RingBuf {
            return Err(Error::Usage(format!(
                "the map {} is no ring buffer, and so no doorbell: declare it with ARENAQ_DOORBELL",
                map.name().to_string_lossy()
            )));
        }
        let ring = map.as_fd();
        let page = rustix::param::page_size();
        let consumer = Page::map(ring, 0, ProtFlags::READ | ProtFlags::WRITE)?;
        let producer = Page::map(ring, page as u64, ProtFlags::READ)?;
        Ok(Ring { size: map.max_entries().into(), consumer, producer })
    }

    /// Sees to it that there is room for more rings, and that it is not empty.
    fn make_room(&self) {
        let consumed = self.consumer.position().load(Ordering::Relaxed);
        let produced = self.producer.position().load(Ordering::Acquire);
        // If others store an older position after this, it is fuller than it need be until the next one looks.
        if produced.wrapping_sub(consumed) > self.size / 2 {
            self.consumer.position().store(produced.wrapping_sub(RECORD), Ordering::Release);
        }
    }
}

/// A page of the ring buffer that begins with a position.
#[derive(Debug)]
struct Page(NonNull<AtomicU64>);

// SAFETY: an atomic word, mapped for as long as this lives.
unsafe impl Send for Page {}
// SAFETY: as above.
unsafe impl Sync for Page {}

impl Page {
    fn map(ring: BorrowedFd<'_>, offset: u64, access: ProtFlags) -> Result<Page, Error> {
        let page = rustix::param::page_size();
        // SAFETY: a new mapping, anywhere.
        let memory = unsafe { mmap(ptr::null_mut(), page, access, MapFlags::SHARED, ring, offset) };
        let memory = memory.map_err(Error::system("mapping the doorbell"))?;
        let place = NonNull::new(memory.cast());
        Ok(Page(
            place.ok_or_else(|| Error::system("mapping the doorbell")(io::Error::other("at no address")))?,
        ))
    }

    fn position(&self) -> &AtomicU64 {
        // SAFETY: mapped until `self` is dropped, and a page is aligned for a word.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: `map` has mapped exactly this, and nothing borrows it any more.
        let _ = unsafe { munmap(self.0.as_ptr().cast(), rustix::param::page_size()) };
    }
}
