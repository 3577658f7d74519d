//! Looking at records: how full they are, who has their lanes.

use core::num::NonZero;

use super::{Lane, Records, site};
use crate::platform::{Platform, Word};
use crate::status::Corruption;

impl<P: Platform> Records<'_, P> {
    /// How many bytes are published and not given back by a consumer, headers and padding with them: approximate while others go
    /// on, and never more than there are.
    pub fn bytes(&self) -> u64 {
        let bytes = |lane: &Lane<P>| {
            let (consumed, published) = lane.between();
            published.wrapping_sub(consumed).min(self.geometry.words()).saturating_mul(8)
        };
        self.lanes().iter().map(bytes).fold(0, u64::saturating_add).min(self.geometry.words() * 8)
    }

    /// Whether nothing is published that is not given back.
    pub fn is_empty(&self) -> bool {
        self.bytes() == 0
    }

    /// Who has which lane: shard, lane, and owner. One that stays there is stuck, or dead.
    pub fn owners(&self) -> impl Iterator<Item = (usize, usize, NonZero<u64>)> {
        let each = self.geometry.lanes_each();
        self.lanes().iter().enumerate().filter_map(move |(number, lane)| {
            let owner = NonZero::new(lane.owner.load(&site::INSPECT_OWNER))?;
            Some((number / each, number % each, owner))
        })
    }

    /// Checks what holds while nobody pushes or consumes: no lane has more than its words. What is in them, its
    /// [consumer](super::Consumer::verify) can check.
    ///
    /// # Errors
    ///
    /// What is wrong.
    pub fn verify(&self) -> Result<(), Corruption> {
        for shard in 0..self.geometry.shards() {
            for ring in self.shard(shard) {
                let (consumed, published) = ring.lane.between();
                if published.wrapping_sub(consumed) > ring.capacity() {
                    return Err(Corruption::Positions { enqueue: published, dequeue: consumed });
                }
            }
        }
        Ok(())
    }
}
