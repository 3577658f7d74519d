//! What can be done to shared memory, and with which orderings.

use std::fmt;
use std::str::FromStr;
use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, write};

use serde::{Deserialize, Serialize};

use core::sync::atomic::Ordering;

/// A memory ordering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Order {
    /// No order.
    Relaxed,
    /// A read that synchronises with the release that it reads from.
    Acquire,
    /// A write with which an acquire can synchronise.
    Release,
    /// Both.
    AcqRel,
    /// Both, in one order that all threads agree upon. loom takes it for [`Order::AcqRel`], but for fences.
    SeqCst,
}

/// Strongest first.
const ORDERS: [Order; 5] = [Order::SeqCst, Order::AcqRel, Order::Acquire, Order::Release, Order::Relaxed];

impl Order {
    /// Whether a read with this ordering synchronises with a release.
    pub fn acquires(self) -> bool {
        matches!(self, Order::Acquire | Order::AcqRel | Order::SeqCst)
    }

    /// Whether an acquire can synchronise with a write of this ordering.
    pub fn releases(self) -> bool {
        matches!(self, Order::Release | Order::AcqRel | Order::SeqCst)
    }

    /// Whether this promises strictly less than `other`; acquire and release are not comparable.
    pub fn is_weaker_than(self, other: Order) -> bool {
        let promises = |order: Order| (order.acquires(), order.releases(), order == Order::SeqCst);
        let (mine, theirs) = (promises(self), promises(other));
        mine != theirs && mine.0 <= theirs.0 && mine.1 <= theirs.1 && mine.2 <= theirs.2
    }
}

impl From<Ordering> for Order {
    fn from(ordering: Ordering) -> Order {
        match ordering {
            Ordering::Relaxed => Order::Relaxed,
            Ordering::Acquire => Order::Acquire,
            Ordering::Release => Order::Release,
            Ordering::AcqRel => Order::AcqRel,
            // The enumeration may grow: then the strongest is the one that hides nothing.
            _ => Order::SeqCst,
        }
    }
}

impl From<Order> for Ordering {
    fn from(order: Order) -> Ordering {
        match order {
            Order::Relaxed => Ordering::Relaxed,
            Order::Acquire => Ordering::Acquire,
            Order::Release => Ordering::Release,
            Order::AcqRel => Ordering::AcqRel,
            Order::SeqCst => Ordering::SeqCst,
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl FromStr for Order {
    type Err = String;

    fn from_str(text: &str) -> Result<Order, String> {
        ORDERS.into_iter().find(|order| order.to_string() == text).ok_or_else(|| {
            format!("{text:?} is no ordering; write Relaxed, Acquire, Release, AcqRel or SeqCst")
        })
    }
}

/// The orderings of an access: two where it can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Orders {
    /// The ordering; where the access can fail, the one of success.
    pub success: Order,
    /// The ordering of a failure: of the read that a compare-exchange then is, and of the load with which
    /// `fetch_update` begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Order>,
}

impl Orders {
    /// Of an access that cannot fail.
    pub fn one(order: Order) -> Orders {
        Orders { success: order, failure: None }
    }

    /// Of one that can.
    pub fn two(success: Order, failure: Order) -> Orders {
        Orders { success, failure: Some(failure) }
    }
}

/// As it is written in a [`Change`](crate::change::Change): `Release`, `AcqRel/Acquire`.
impl fmt::Display for Orders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.failure {
            Some(failure) => write!(f, "{}/{failure}", self.success),
            None => write!(f, "{}", self.success),
        }
    }
}

/// What an operation does to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Load,
    Store,
    /// Reads and writes in one step.
    Change,
    /// Reads, and writes if it found what it expected.
    Exchange,
    Fence,
    /// Not atomic: it has no ordering.
    Plain,
}

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident $text:literal $kind:ident),* $(,)?) => {
        /// An operation on shared memory, by the name of its method.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Operation {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl Operation {
            const ALL: &[Operation] = &[$(Operation::$name),*];

            /// The method's name.
            pub fn name(self) -> &'static str {
                match self { $(Operation::$name => $text),* }
            }

            fn kind(self) -> Kind {
                match self { $(Operation::$name => Kind::$kind),* }
            }
        }
    };
}

operations! {
    /// `load`
    Load "load" Load,
    /// `store`
    Store "store" Store,
    /// `swap`
    Swap "swap" Change,
    /// `compare_and_swap`
    CompareAndSwap "compare_and_swap" Exchange,
    /// `compare_exchange`
    CompareExchange "compare_exchange" Exchange,
    /// `compare_exchange_weak`
    CompareExchangeWeak "compare_exchange_weak" Exchange,
    /// `fetch_update`: a load, and compare-exchanges until one succeeds.
    FetchUpdate "fetch_update" Exchange,
    /// `fetch_add`
    FetchAdd "fetch_add" Change,
    /// `fetch_sub`
    FetchSub "fetch_sub" Change,
    /// `fetch_and`
    FetchAnd "fetch_and" Change,
    /// `fetch_nand`
    FetchNand "fetch_nand" Change,
    /// `fetch_or`
    FetchOr "fetch_or" Change,
    /// `fetch_xor`
    FetchXor "fetch_xor" Change,
    /// `fetch_max`
    FetchMax "fetch_max" Change,
    /// `fetch_min`
    FetchMin "fetch_min" Change,
    /// `fence`; a relaxed one is none.
    Fence "fence" Fence,
    /// `unsync_load`, a read of an atomic that is not atomic.
    UnsyncLoad "unsync_load" Plain,
    /// `with_mut` of an atomic.
    WithMut "with_mut" Plain,
    /// A read of plain memory: `with` or `get` of an `UnsafeCell`.
    Read "read" Plain,
    /// A write of plain memory: `with_mut` or `get_mut` of an `UnsafeCell`.
    Write "write" Plain,
}

impl Operation {
    /// The orderings that it can have, strongest first.
    fn possible(self) -> &'static [Order] {
        match self.kind() {
            Kind::Load => &[Order::SeqCst, Order::Acquire, Order::Relaxed],
            Kind::Store => &[Order::SeqCst, Order::Release, Order::Relaxed],
            Kind::Change | Kind::Exchange | Kind::Fence => &ORDERS,
            Kind::Plain => &[],
        }
    }

    /// Whether it has two orderings.
    pub fn can_fail(self) -> bool {
        self.kind() == Kind::Exchange
    }

    /// Whether it has no ordering.
    pub fn is_plain(self) -> bool {
        self.kind() == Kind::Plain
    }

    /// Whether it can write.
    pub fn writes(self) -> bool {
        !matches!(self, Operation::Load | Operation::Fence | Operation::UnsyncLoad | Operation::Read)
    }

    /// Every access that promises less, one ordering at a time, so that a verdict is about one of them.
    pub fn weaker(self, orders: Orders) -> Vec<Orders> {
        self.with_one_changed(orders, |operation, order| {
            let all = operation.possible().iter().copied();
            all.filter(|candidate| candidate.is_weaker_than(order)).collect()
        })
    }

    /// Every access that promises more by one step, one ordering at a time: there is none between the two.
    pub fn stronger(self, orders: Orders) -> Vec<Orders> {
        self.with_one_changed(orders, |operation, order| {
            let all = operation.possible();
            let is_stronger = |candidate: &&Order| order.is_weaker_than(**candidate);
            let is_next = |candidate: &&Order| {
                !all.iter().filter(is_stronger).any(|between| between.is_weaker_than(**candidate))
            };
            all.iter().filter(is_stronger).filter(is_next).copied().collect()
        })
    }

    /// The access with each of these orderings in place of the one of success, then of the one of failure.
    fn with_one_changed(
        self,
        orders: Orders,
        others: impl Fn(Operation, Order) -> Vec<Order>,
    ) -> Vec<Orders> {
        let success = others(self, orders.success).into_iter().map(|success| Orders { success, ..orders });
        let failure = orders
            .failure
            .into_iter()
            .flat_map(|failure| others(Operation::Load, failure))
            .map(|failure| Orders { failure: Some(failure), ..orders });
        success.chain(failure).collect()
    }

    /// Why it cannot have this ordering, if it cannot.
    pub(crate) fn refuse(self, success: Option<Order>, failure: Option<Order>) -> Result<(), String> {
        let check = |operation: Operation, order: Option<Order>, what: &str| match order {
            Some(order) if !operation.possible().contains(&order) => {
                let possible: Vec<_> = operation.possible().iter().map(Order::to_string).collect();
                Err(format!("{what} cannot be {order}, only {}", possible.join(", ")))
            }
            _ => Ok(()),
        };
        if self.is_plain() {
            return Err(format!("{self} is not atomic and has no ordering"));
        }
        if failure.is_some() && !self.can_fail() {
            return Err(format!("{self} cannot fail: it has one ordering, not two"));
        }
        check(self, success, self.name())?;
        check(Operation::Load, failure, &format!("the failure of {self}"))
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Operation {
    type Err = String;

    fn from_str(text: &str) -> Result<Operation, String> {
        Operation::ALL.iter().copied().find(|operation| operation.name() == text).ok_or_else(|| {
            let names: Vec<_> = Operation::ALL.iter().map(|operation| operation.name()).collect();
            format!("{text:?} is no operation; write one of {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Operation, Order, Orders};
    use std::string::ToString;
    use std::vec::Vec;

    fn weaker(operation: Operation, orders: Orders) -> Vec<std::string::String> {
        operation.weaker(orders).iter().map(Orders::to_string).collect()
    }

    #[test]
    fn what_is_weaker_is_what_the_operation_can_have_and_promises_less() {
        assert_eq!(weaker(Operation::Load, Orders::one(Order::SeqCst)), ["Acquire", "Relaxed"]);
        assert_eq!(weaker(Operation::Store, Orders::one(Order::Release)), ["Relaxed"]);
        assert_eq!(weaker(Operation::Swap, Orders::one(Order::AcqRel)), ["Acquire", "Release", "Relaxed"]);
        assert_eq!(weaker(Operation::Fence, Orders::one(Order::Acquire)), ["Relaxed"]);
        assert!(weaker(Operation::FetchAdd, Orders::one(Order::Relaxed)).is_empty());
    }

    #[test]
    fn what_is_stronger_is_one_step_away() {
        let stronger = |operation: Operation, orders: Orders| -> Vec<std::string::String> {
            operation.stronger(orders).iter().map(Orders::to_string).collect()
        };
        assert_eq!(stronger(Operation::Load, Orders::one(Order::Relaxed)), ["Acquire"]);
        assert_eq!(stronger(Operation::Store, Orders::one(Order::Relaxed)), ["Release"]);
        assert_eq!(stronger(Operation::Swap, Orders::one(Order::Relaxed)), ["Acquire", "Release"]);
        assert_eq!(stronger(Operation::Fence, Orders::one(Order::Acquire)), ["AcqRel"]);
        assert_eq!(stronger(Operation::Load, Orders::one(Order::Acquire)), ["SeqCst"]);
        assert!(stronger(Operation::Swap, Orders::one(Order::SeqCst)).is_empty());
        assert_eq!(
            stronger(Operation::CompareExchange, Orders::two(Order::Acquire, Order::Relaxed)),
            ["AcqRel/Relaxed", "Acquire/Acquire"]
        );
    }

    #[test]
    fn a_compare_exchange_is_weakened_on_one_side_at_a_time() {
        assert_eq!(
            weaker(Operation::CompareExchange, Orders::two(Order::AcqRel, Order::Acquire)),
            ["Acquire/Acquire", "Release/Acquire", "Relaxed/Acquire", "AcqRel/Relaxed"]
        );
    }
}
