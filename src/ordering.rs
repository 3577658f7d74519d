//! Sites: every access to shared memory has a name, an ordering, a partner and a reason.
//!
//! An algorithm never passes a bare [`Ordering`]: it passes the [`Site`] of the access. From the sites come
//! the ordering tables, the labels of a counterexample and the weakening experiments, so a claim about an
//! ordering stands in one place only, next to the code that relies on it.
//!
//! A site's kind is part of its type, and its constructor is evaluated at compile time: a load with
//! `Release`, or a swap's site passed to a load, does not compile.
//!
//! ```
//! use arenaq::ordering::{Ordering, Site, Load};
//!
//! const TAKE: Site<Load> = Site::load(Ordering::Acquire, "example.take")
//!     .pairs_with(&["example.give"])
//!     .why("the reader must see what was written before the flag");
//! assert_eq!(TAKE.info().order, Ordering::Acquire);
//! ```
//!
//! ```compile_fail
//! use arenaq::ordering::{Ordering, Site, Load};
//!
//! const WRONG: Site<Load> = Site::load(Ordering::Release, "example.wrong");
//! let _ = WRONG;
//! ```

pub use core::sync::atomic::Ordering;

use core::marker::PhantomData;

/// What a site does to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A non-atomic read of memory that this thread owns or that nobody writes.
    Read,
    /// A non-atomic write to memory that only this thread can reach.
    Write,
    /// An atomic load.
    Load,
    /// An atomic store.
    Store,
    /// An atomic exchange.
    Swap,
    /// An atomic compare-exchange.
    CompareExchange,
    /// An atomic addition or subtraction whose result is not used.
    Add,
    /// An atomic addition whose result is used.
    FetchAdd,
    /// A fence behind a read-modify-write.
    Fence,
}

/// The memory that a site accesses: a field of one of the shared structures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// The site does not say. No site of this crate does that.
    Unknown,
    /// The position of the ring at which producers add.
    EnqueuePosition,
    /// The position of the ring from which consumers take.
    DequeuePosition,
    /// Either position.
    Position,
    /// Where the ring is, and how large.
    Ring,
    /// The sequence of a cell.
    Sequence,
    /// The element of a cell or of a node.
    Data,
    /// The counter of a queue.
    Count,
    /// The back of the list.
    Head,
    /// The front of the list.
    Tail,
    /// The next node of a node.
    Next,
    /// The top of the free list.
    Top,
    /// The link of a block.
    Link,
    /// A magazine.
    Magazine,
    /// How many nodes the pool has made.
    Created,
    /// Where nodes and links of the pool are, and how many there is room for.
    Room,
    /// The consumer's position, as a producer has seen it.
    Seen,
    /// How large a record is that is reserved, as a lane's owner remembers it.
    Reserved,
    /// Who sleeps on an event count.
    Sleepers,
    /// How many elements were dropped.
    Drops,
    /// The arena's header, but for the owner.
    Header,
    /// Who has the right to consume, or a slot for a consumer.
    Owner,
    /// What a consumer is about to claim.
    Announcement,
    /// Who takes over from the dead.
    Turn,
    /// Several fields of one structure.
    Several,
    /// A field of a structure that is not this crate's, by its name.
    Named(&'static str),
    /// The same, of a pointer.
    NamedPointer(&'static str),
    /// None: a fence.
    Nothing,
}

/// Everything there is to know about one access; what is left of a [`Site`] when its kind is a value.
#[derive(Clone, Copy, Debug)]
pub struct SiteInfo {
    /// `structure.operation.access`, unique in the crate: `mpsc.push.swap_head`.
    pub name: &'static str,
    /// What the site does to memory.
    pub access: Access,
    /// What it accesses.
    pub field: Field,
    /// The ordering; for a compare-exchange, the one on success. `Relaxed` for plain accesses, which have
    /// none.
    pub order: Ordering,
    /// The ordering of a compare-exchange that fails, and `None` for everything else.
    pub failure: Option<Ordering>,
    /// The names of the sites on the other end of the happens-before edge; empty for a site that makes no
    /// edge.
    pub pairs_with: &'static [&'static str],
    /// Why this ordering is right, and enough.
    pub why: &'static str,
    /// The labels in the seed documents, such as `insert m04`; empty if they have none.
    pub seed: &'static str,
    /// What is enough in the memory model of the Linux kernel, where that is less than C11 needs; else empty.
    pub lkmm: &'static str,
    /// What of the reason no model can show, as loom has no such execution; empty if there is nothing.
    pub unseen: &'static str,
}

/// A named access of kind `K`.
#[derive(Clone, Copy, Debug)]
pub struct Site<K> {
    info: SiteInfo,
    kind: PhantomData<K>,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub enum $kind {}
    )*};
}

kinds! {
    /// Kind of a plain read.
    Read
    /// Kind of a plain write.
    Write
    /// Kind of an atomic load.
    Load
    /// Kind of an atomic store.
    Store
    /// Kind of an atomic exchange.
    Swap
    /// Kind of an atomic compare-exchange.
    CompareExchange
    /// Kind of an atomic addition or subtraction without a result.
    Add
    /// Kind of an atomic addition with a result.
    FetchAdd
    /// Kind of a fence behind a read-modify-write.
    Fence
}

impl<K> Site<K> {
    const fn new(access: Access, order: Ordering, failure: Option<Ordering>, name: &'static str) -> Self {
        let field = Field::Unknown;
        let (pairs_with, why, seed, lkmm, unseen) = (&[], "", "", "", "");
        let info = SiteInfo { name, access, field, order, failure, pairs_with, why, seed, lkmm, unseen };
        Site { info, kind: PhantomData }
    }

    /// Says what the site accesses.
    #[must_use]
    pub const fn of(mut self, field: Field) -> Self {
        self.info.field = field;
        self
    }

    /// Names the other end of the edge that this site makes.
    #[must_use]
    pub const fn pairs_with(mut self, partners: &'static [&'static str]) -> Self {
        self.info.pairs_with = partners;
        self
    }

    /// Says why the ordering is right.
    #[must_use]
    pub const fn why(mut self, why: &'static str) -> Self {
        self.info.why = why;
        self
    }

    /// Names the operation in the seed documents that this site stands for.
    #[must_use]
    pub const fn seed(mut self, seed: &'static str) -> Self {
        self.info.seed = seed;
        self
    }

    /// Says what is enough in the memory model of the Linux kernel, where that is less than C11 needs.
    #[must_use]
    pub const fn lkmm(mut self, enough: &'static str) -> Self {
        self.info.lkmm = enough;
        self
    }

    /// Says what of the reason no model can show: what rests on there being no load buffering, which loom lacks.
    #[must_use]
    pub const fn unseen(mut self, rests_on: &'static str) -> Self {
        self.info.unseen = rests_on;
        self
    }

    /// The site without its kind.
    pub const fn info(&self) -> &SiteInfo {
        &self.info
    }

    /// The ordering; for a compare-exchange, the one on success.
    #[inline(always)]
    pub const fn order(&self) -> Ordering {
        self.info.order
    }
}

impl Site<Read> {
    /// A plain read.
    pub const fn read(name: &'static str) -> Self {
        Site::new(Access::Read, Ordering::Relaxed, None, name)
    }
}

impl Site<Write> {
    /// A plain write.
    pub const fn write(name: &'static str) -> Self {
        Site::new(Access::Write, Ordering::Relaxed, None, name)
    }
}

impl Site<Load> {
    /// An atomic load.
    ///
    /// # Panics
    ///
    /// If `order` is not one that a load can have; in a constant, at compile time.
    pub const fn load(order: Ordering, name: &'static str) -> Self {
        assert!(is_load_order(order), "a load is Relaxed, Acquire or SeqCst");
        Site::new(Access::Load, order, None, name)
    }
}

impl Site<Store> {
    /// An atomic store.
    ///
    /// # Panics
    ///
    /// If `order` is not one that a store can have; in a constant, at compile time.
    pub const fn store(order: Ordering, name: &'static str) -> Self {
        assert!(is_store_order(order), "a store is Relaxed, Release or SeqCst");
        Site::new(Access::Store, order, None, name)
    }
}

impl Site<Swap> {
    /// An atomic exchange.
    pub const fn swap(order: Ordering, name: &'static str) -> Self {
        Site::new(Access::Swap, order, None, name)
    }
}

impl Site<CompareExchange> {
    /// An atomic compare-exchange with its orderings on success and on failure.
    ///
    /// # Panics
    ///
    /// If `failure` is not one that a load can have; in a constant, at compile time.
    pub const fn compare_exchange(success: Ordering, failure: Ordering, name: &'static str) -> Self {
        assert!(is_load_order(failure), "a failed compare-exchange only loads: Relaxed, Acquire or SeqCst");
        Site::new(Access::CompareExchange, success, Some(failure), name)
    }

    /// The ordering of a compare-exchange that fails.
    #[inline(always)]
    pub const fn failure(&self) -> Ordering {
        match self.info.failure {
            Some(order) => order,
            None => Ordering::Relaxed,
        }
    }
}

impl Site<Add> {
    /// An atomic addition or subtraction whose result nobody uses.
    pub const fn add(order: Ordering, name: &'static str) -> Self {
        Site::new(Access::Add, order, None, name)
    }
}

impl Site<FetchAdd> {
    /// An atomic addition whose result is used.
    pub const fn fetch_add(order: Ordering, name: &'static str) -> Self {
        Site::new(Access::FetchAdd, order, None, name)
    }
}

impl Site<Fence> {
    /// A fence behind a read-modify-write.
    ///
    /// # Panics
    ///
    /// If `order` is `Relaxed`; in a constant, at compile time.
    pub const fn fence(order: Ordering, name: &'static str) -> Self {
        assert!(!matches!(order, Ordering::Relaxed), "a relaxed fence is none");
        Site::new(Access::Fence, order, None, name)
    }
}

pub(crate) const fn is_load_order(order: Ordering) -> bool {
    matches!(order, Ordering::Relaxed | Ordering::Acquire | Ordering::SeqCst)
}

pub(crate) const fn is_store_order(order: Ordering) -> bool {
    matches!(order, Ordering::Relaxed | Ordering::Release | Ordering::SeqCst)
}

/// Declares the sites of a module and the list of them all, `ALL`, so that none can be left out of the list.
///
/// ```
/// use arenaq::ordering::{Field, Ordering::Release, Site};
///
/// arenaq::sites! {
///     /// The flag is up: who sees it sees what was written before.
///     RAISE: Store = Site::store(Release, "flag.raise.store").of(Field::Named("flag"));
/// }
///
/// assert_eq!(ALL[0].name, RAISE.info().name);
/// ```
#[macro_export]
macro_rules! sites {
    ($($(#[$doc:meta])* $name:ident: $kind:ident = $site:expr;)*) => {
        $($(#[$doc])* pub const $name: $crate::ordering::Site<$crate::ordering::$kind> = $site;)*

        /// Every site of this module, in the order of the algorithm.
        pub const ALL: &[&$crate::ordering::SiteInfo] = &[$($name.info()),*];
    };
}
#[doc(no_inline)]
pub use sites;
