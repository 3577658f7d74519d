//! Another ordering for a place in the source, as text.
//!
//! ```text
//! changes   = change { "," change }
//! change    = place [ "#" operation [ "(" orderings ")" ] ] "=" new
//! place     = FILE ":" LINE [ ":" COLUMN ]  |  "*"
//! operation = the name of a method: store, compare_exchange, fence, ...
//! orderings = ordering [ "/" ordering ]          what it says in the source
//! new       = ordering [ "/" ordering ]          "_" leaves one of two as it is
//! ordering  = Relaxed | Acquire | Release | AcqRel | SeqCst
//! ```
//!
//! `src/queue.rs:42:9#store=Relaxed`; for a compare-exchange success and failure,
//! `src/queue.rs:50#compare_exchange=Relaxed/_`. With one ordering alone a compare-exchange keeps the other,
//! that of failure. A file is given as the compiler was given it, or by its last parts: `queue.rs` is any
//! file of that name. The place `*` is every access that can have the ordering.

use std::fmt;
use std::str::FromStr;
use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, write};

use crate::operation::{Operation, Order, Orders};
use crate::record::Place;

/// Another ordering for the accesses at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where; `None` is everywhere.
    pub place: Option<Where>,
    /// Only accesses by this operation.
    pub operation: Option<Operation>,
    /// Only accesses that have these orderings in the source.
    pub from: Option<Orders>,
    /// The new ordering; `None` keeps the one of the source.
    pub success: Option<Order>,
    /// The new ordering of a failure, in the same way.
    pub failure: Option<Order>,
}

/// A place in the source, as somebody types it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Where {
    /// The file, or the last parts of its path.
    pub file: String,
    /// The line, counted from 1.
    pub line: u32,
    /// The column, counted from 1; `None` is the whole line.
    pub column: Option<u32>,
}

impl Where {
    /// Whether it means this place.
    pub fn is(&self, place: &Place) -> bool {
        let file = place.file == self.file
            || place.file.strip_suffix(&self.file).is_some_and(|before| before.ends_with(['/', '\\']));
        file && place.line == self.line && self.column.is_none_or(|column| column == place.column)
    }
}

impl From<&Place> for Where {
    fn from(place: &Place) -> Where {
        Where { file: place.file.clone(), line: place.line, column: Some(place.column) }
    }
}

impl Change {
    /// The list that an environment variable holds.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and how it is written.
    pub fn parse_list(text: &str) -> Result<Vec<Change>, String> {
        text.split(',').map(|change| change.trim().parse()).collect()
    }

    /// What becomes of an access; `None` if the change does not mean it.
    ///
    /// # Errors
    ///
    /// If it means the access, which cannot have the ordering.
    pub fn apply(
        &self,
        place: &Place,
        operation: Operation,
        orders: Orders,
    ) -> Result<Option<Orders>, String> {
        if operation.is_plain()
            || self.operation.is_some_and(|mine| mine != operation)
            || self.from.is_some_and(|from| from != orders)
        {
            return Ok(None);
        }
        let possible = operation.refuse(self.success, self.failure);
        match &self.place {
            Some(here) if !here.is(place) => return Ok(None),
            // Everywhere is: wherever it can be.
            None if possible.is_err() => return Ok(None),
            _ => possible.map_err(|reason| format!("{place}: {reason}"))?,
        }
        Ok(Some(Orders {
            success: self.success.unwrap_or(orders.success),
            failure: self.failure.or(orders.failure),
        }))
    }
}

impl fmt::Display for Where {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)?;
        self.column.map_or(Ok(()), |column| write!(f, ":{column}"))
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}")?,
            None => f.write_str("*")?,
        }
        if let Some(operation) = self.operation {
            write!(f, "#{operation}")?;
            if let Some(from) = self.from {
                write!(f, "({from})")?;
            }
        }
        let show = |order: Option<Order>| order.map_or_else(|| "_".to_string(), |order| order.to_string());
        write!(f, "={}", show(self.success))?;
        if self.failure.is_some() || self.success.is_none() {
            write!(f, "/{}", show(self.failure))?;
        }
        Ok(())
    }
}

impl FromStr for Change {
    type Err = String;

    fn from_str(text: &str) -> Result<Change, String> {
        let explain = |reason: String| {
            format!("{text}: {reason}\nwrite FILE:LINE[:COLUMN][#OPERATION]=ORDERING[/FAILURE]")
        };
        let (target, new) = text.rsplit_once('=').ok_or_else(|| explain("there is no `=`".to_string()))?;
        let (place, access) = match target.split_once('#') {
            Some((place, access)) => (place, Some(access)),
            None => (target, None),
        };
        let place = match place {
            "*" => None,
            place => Some(place.parse::<Where>().map_err(explain)?),
        };
        let (mut operation, mut from) = (None, None);
        if let Some(access) = access {
            let (name, orders) = match access.split_once('(') {
                Some((name, rest)) => {
                    let orders =
                        rest.strip_suffix(')').ok_or_else(|| explain("a `)` is missing".to_string()))?;
                    (name, Some(orders))
                }
                None => (access, None),
            };
            operation = Some(name.parse::<Operation>().map_err(explain)?);
            if let Some(orders) = orders {
                let (success, failure) = parse_orders(orders).map_err(explain)?;
                let success = success.ok_or_else(|| explain("`_` in the source's orderings".to_string()))?;
                from = Some(Orders { success, failure });
            }
        }
        let (success, failure) = parse_orders(new).map_err(explain)?;
        if success.is_none() && failure.is_none() {
            return Err(explain("it changes nothing".to_string()));
        }
        if let Some(operation) = operation {
            operation.refuse(success, failure).map_err(explain)?;
        }
        Ok(Change { place, operation, from, success, failure })
    }
}

impl FromStr for Where {
    type Err = String;

    fn from_str(text: &str) -> Result<Where, String> {
        let number = |text: &str| text.parse::<u32>().ok().filter(|number| *number > 0);
        let wrong = || format!("{text:?} is no place: write FILE:LINE or FILE:LINE:COLUMN");
        let (rest, last) = text.rsplit_once(':').ok_or_else(wrong)?;
        let last = number(last).ok_or_else(wrong)?;
        let (file, line, column) = match rest.rsplit_once(':').map(|(file, line)| (file, number(line))) {
            Some((file, Some(line))) => (file, line, Some(last)),
            _ => (rest, last, None),
        };
        if file.is_empty() {
            return Err(wrong());
        }
        Ok(Where { file: file.to_string(), line, column })
    }
}

fn parse_orders(text: &str) -> Result<(Option<Order>, Option<Order>), String> {
    let one = |text: &str| match text {
        "_" => Ok(None),
        text => text.parse().map(Some),
    };
    match text.split_once('/') {
        Some((success, failure)) => Ok((one(success)?, one(failure)?)),
        None => Ok((one(text)?, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::Change;
    use crate::operation::{Operation, Order, Orders};
    use crate::record::Place;
    use std::string::ToString;

    fn place() -> Place {
        Place { file: "crates/x/src/queue.rs".to_string(), line: 42, column: 9 }
    }

    #[test]
    fn a_change_is_read_as_it_is_written() {
        for text in [
            "src/queue.rs:42=Relaxed",
            "src/queue.rs:42:9#store=Relaxed",
            "src/queue.rs:42:9#compare_exchange(AcqRel/Acquire)=_/Relaxed",
            "src/queue.rs:42:9#compare_exchange_weak=Release/Relaxed",
            "*=SeqCst",
            "*#fence=Relaxed",
            "C:\\queue.rs:42=Relaxed",
        ] {
            let change: Change = text.parse().expect(text);
            assert_eq!(change.to_string(), text);
        }
        assert_eq!(Change::parse_list("a.rs:1=Relaxed, b.rs:2=Acquire").expect("two").len(), 2);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_its_reason() {
        for (text, reason) in [
            ("src/queue.rs:42", "no `=`"),
            ("src/queue.rs=Relaxed", "no place"),
            ("src/queue.rs:0=Relaxed", "no place"),
            (":3=Relaxed", "no place"),
            ("src/queue.rs:42=Weak", "no ordering"),
            ("src/queue.rs:42=_", "changes nothing"),
            ("src/queue.rs:42#push=Relaxed", "no operation"),
            ("src/queue.rs:42#store=Acquire", "cannot be Acquire"),
            ("src/queue.rs:42#store=Release/Relaxed", "cannot fail"),
            ("src/queue.rs:42#compare_exchange=AcqRel/Release", "cannot be Release"),
            ("src/queue.rs:42#read=Relaxed", "not atomic"),
            ("src/queue.rs:42#store(Release=Relaxed", "`)` is missing"),
        ] {
            let error = text.parse::<Change>().expect_err(text);
            assert!(error.contains(reason), "{text}: {error}");
            assert!(error.contains("FILE:LINE"), "how it is written: {error}");
        }
    }

    #[test]
    fn a_change_means_the_accesses_that_it_names() {
        let orders = Orders::two(Order::AcqRel, Order::Acquire);
        let apply = |text: &str| {
            let change: Change = text.parse().expect(text);
            change
                .apply(&place(), Operation::CompareExchange, orders)
                .map(|changed| changed.map(|orders| orders.to_string()))
        };
        let changed = |text: &str| Ok(Some(text.to_string()));
        assert_eq!(apply("queue.rs:42=Relaxed"), changed("Relaxed/Acquire"));
        assert_eq!(apply("x/src/queue.rs:42:9=_/Relaxed"), changed("AcqRel/Relaxed"));
        assert_eq!(apply("*=SeqCst/SeqCst"), changed("SeqCst/SeqCst"));
        assert_eq!(apply("queue.rs:42#compare_exchange(AcqRel/Acquire)=Release"), changed("Release/Acquire"));
        for other in [
            "ueue.rs:42=Relaxed",
            "queue.rs:43=Relaxed",
            "queue.rs:42:1=Relaxed",
            "queue.rs:42#store=Relaxed",
            "queue.rs:42#compare_exchange(Release/Acquire)=Relaxed",
        ] {
            assert_eq!(apply(other), Ok(None), "{other}");
        }
    }

    #[test]
    fn an_access_that_cannot_have_the_ordering_is_an_error_unless_everything_is_meant() {
        let apply = |text: &str| {
            let change: Change = text.parse().expect(text);
            change.apply(&place(), Operation::Store, Orders::one(Order::Release))
        };
        assert!(apply("queue.rs:42=Acquire").expect_err("a store").contains("queue.rs:42:9"));
        assert_eq!(apply("*=Acquire"), Ok(None));
    }
}
