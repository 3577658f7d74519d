//! Another ordering for a place in the source, as text.
//!
//! ```text
//! changes   = change { "," change }
//! change    = place [ "#" operation [ "(" orderings ")" ] ] "=" new
//! place     = FILE ":" LINE [ ":" COLUMN ]  |  NAME  |  "*"
//! operation = the name of a method: store, compare_exchange, fence, ...
//! orderings = ordering [ "/" ordering ]          what it says in the source
//! new       = ordering [ "/" ordering ]          "_" leaves one of two as it is
//! ordering  = Relaxed | Acquire | Release | AcqRel | SeqCst
//! ```
//!
//! `src/queue.rs:42:9#store=Relaxed`; for a compare-exchange success and failure,
//! `src/queue.rs:50#compare_exchange=Relaxed/_`. With one ordering alone a compare-exchange keeps the other,
//! that of failure. A file is given as the compiler was given it, or by its last parts: `queue.rs` is any
//! file of that name. A name is that of a site that [has one](crate::named), such as `queue.push.swap_head`. The place
//! `*` is every access that can have the ordering.

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

/// Where an access is, as somebody types it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Where {
    /// A place in the source.
    Line {
        /// The file, or the last parts of its path.
        file: String,
        /// The line, counted from 1.
        line: u32,
        /// The column, counted from 1; `None` is the whole line.
        column: Option<u32>,
    },
    /// A site that has a name.
    Name(String),
}

/// Where an access is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spot<'a> {
    /// At a place in the source.
    Place(&'a Place),
    /// In a site of this name.
    Name(&'a str),
}

impl Where {
    /// Whether it means this one.
    pub fn is<'a>(&self, spot: impl Into<Spot<'a>>) -> bool {
        match (self, spot.into()) {
            (Where::Line { line, column, .. }, Spot::Place(place)) => {
                self.is_in(place) && *line == place.line && column.is_none_or(|column| column == place.column)
            }
            (Where::Name(name), Spot::Name(site)) => name == site,
            (Where::Line { .. }, Spot::Name(_)) | (Where::Name(_), Spot::Place(_)) => false,
        }
    }

    /// Whether it means something in the file of this place.
    pub fn is_in(&self, place: &Place) -> bool {
        let Where::Line { file, .. } = self else { return false };
        place.file == *file
            || place.file.strip_suffix(file).is_some_and(|before| before.ends_with(['/', '\\']))
    }
}

impl From<&Place> for Where {
    fn from(place: &Place) -> Where {
        Where::Line { file: place.file.clone(), line: place.line, column: Some(place.column) }
    }
}

impl<'a> From<&'a Place> for Spot<'a> {
    fn from(place: &'a Place) -> Spot<'a> {
        Spot::Place(place)
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
    pub fn apply<'a>(
        &self,
        spot: impl Into<Spot<'a>>,
        operation: Operation,
        orders: Orders,
    ) -> Result<Option<Orders>, String> {
        let spot = spot.into();
        if operation.is_plain()
            || self.operation.is_some_and(|mine| mine != operation)
            || self.from.is_some_and(|from| from != orders)
        {
            return Ok(None);
        }
        let possible = operation.refuse(self.success, self.failure);
        match &self.place {
            Some(here) if !here.is(spot) => return Ok(None),
            // Everywhere is: wherever it can be.
            None if possible.is_err() => return Ok(None),
            _ => possible.map_err(|reason| format!("{spot}: {reason}"))?,
        }
        Ok(Some(Orders {
            success: self.success.unwrap_or(orders.success),
            failure: self.failure.or(orders.failure),
        }))
    }
}

impl fmt::Display for Where {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Where::Line { file, line, column: Some(column) } => write!(f, "{file}:{line}:{column}"),
            Where::Line { file, line, column: None } => write!(f, "{file}:{line}"),
            Where::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Spot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Spot::Place(place) => place.fmt(f),
            Spot::Name(name) => f.write_str(name),
        }
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
            format!(
                "{text}: {reason}\nwrite FILE:LINE[:COLUMN][#OPERATION]=ORDERING[/FAILURE], or NAME=ORDERING[/FAILURE]"
            )
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
        let wrong =
            || format!("{text:?} is no place: write FILE:LINE or FILE:LINE:COLUMN, or the name of a site");
        let Some((rest, last)) = text.rsplit_once(':') else {
            let is_name =
                !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || "/\\".contains(c));
            return if is_name { Ok(Where::Name(text.to_string())) } else { Err(wrong()) };
        };
        let last = number(last).ok_or_else(wrong)?;
        let (file, line, column) = match rest.rsplit_once(':').map(|(file, line)| (file, number(line))) {
            Some((file, Some(line))) => (file, line, Some(last)),
            _ => (rest, last, None),
        };
        if file.is_empty() {
            return Err(wrong());
        }
        Ok(Where::Line { file: file.to_string(), line, column })
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
    use super::{Change, Spot};
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
            "queue.push.swap_head=Release",
            "queue.claim#compare_exchange=_/Relaxed",
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
    fn a_site_is_known_by_its_name_and_a_place_is_not() {
        let change: Change = "queue.push=Relaxed".parse().expect("a name");
        let apply = |spot: Spot<'_>| change.apply(spot, Operation::Store, Orders::one(Order::Release));
        assert_eq!(apply(Spot::Name("queue.push")), Ok(Some(Orders::one(Order::Relaxed))));
        assert_eq!(apply(Spot::Name("queue.pushed")), Ok(None));
        assert_eq!(apply(Spot::Place(&place())), Ok(None));
        let line: Change = "queue.rs:42=Relaxed".parse().expect("a line");
        let named = line.apply(Spot::Name("queue.rs"), Operation::Store, Orders::one(Order::Release));
        assert_eq!(named, Ok(None));
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
