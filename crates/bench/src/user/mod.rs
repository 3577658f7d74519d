//! Queues of userspace.

pub mod contenders;
mod peers;
pub mod queue;
pub mod shape;

pub use contenders::Contender;
pub use shape::{Shape, Work};
