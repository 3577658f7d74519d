//! What is measured between BPF and userspace.

use anyhow::Context;

use super::way::Way;
use super::{NS, Part, Session};
use crate::kernel::back::{Back, WayBack};
use crate::kernel::deliver::{self, Refused};
use crate::kernel::{Channel, Size, Via, object, push};
use crate::results::Unit;
use crate::rounds::{Candidate, Metric};

/// The sizes of a push alone.
const ALONE: [Size; 6] =
    [Size::Bytes(8), Size::Bytes(16), Size::Bytes(64), Size::Bytes(256), Size::Bytes(1024), Size::Mixed];
/// Those that are also pushed from all CPUs at once, and delivered.
const TOGETHER: [Size; 5] =
    [Size::Bytes(16), Size::Bytes(64), Size::Bytes(256), Size::Bytes(1024), Size::Mixed];
/// How many groups of candidates the progress counts.
pub(super) const GROUPS: usize = ALONE.len() + 4 * TOGETHER.len() + 3;

/// The tables of one size: those of 16 bytes, which are the seeds', have it not in their names.
fn named(what: &str, size: Size) -> String {
    if size == Size::Bytes(16) { what.to_owned() } else { format!("{what}.{size}") }
}

impl Session {
    pub(super) fn kernel(&mut self) {
        if let Err(why) = object::probe() {
            self.skip("everything in the kernel", &why, Part::Kernel.groups());
            return;
        }
        for size in ALONE {
            self.pushes_alone(size);
        }
        for size in TOGETHER {
            self.pushes_contended(size);
        }
        for (name, producers, refused) in [
            ("kernel.flood.1-1", 1, Refused::Lose),
            ("kernel.lossless.1-1", 1, Refused::Wait),
            ("kernel.lossless.2-1", 2, Refused::Wait),
        ] {
            for size in TOGETHER {
                self.throughput(&named(name, size), size, Way::delivering(size), producers, refused);
            }
        }
        self.latency();
        self.idle();
        self.way_back();
    }

    /// Loads channels, of which each may fail by itself.
    fn channels(&mut self, group: &str, ways: Vec<Way>, size: Size, capacity: u32) -> Vec<(Way, Channel)> {
        let mut channels = Vec::new();
        for way in ways {
            match Channel::load(way.via, size, capacity) {
                Ok(channel) => channels.push((way, channel.with_flags(way.flags))),
                Err(why) => self.skip(&format!("{group}.{}", way.name()), &why, 0),
            }
        }
        channels
    }

    fn pushes_alone(&mut self, size: Size) {
        let name = format!("kernel.push.{size}");
        let channels = self.channels(&name, Way::pushing(size), size, 2 * push::BATCH);
        let batches = self.effort.batches;
        let candidates = candidates(&channels, |_, channel| Ok(vec![push::alone(channel, batches)?]));
        self.measure(&name, Some(Via::LockedRmw.name()), NS, candidates);
    }

    fn pushes_contended(&mut self, size: Size) {
        let name = format!("kernel.push-contended.{size}");
        let channels = self.channels(&name, Way::contending(size), size, 2 * push::BATCH);
        let batches = self.effort.batches;
        let candidates = candidates(&channels, |_, channel| Ok(vec![push::contended(channel, batches)?]));
        self.measure_across(&name, Some(Via::LockedRmw.name()), NS, candidates);
    }

    pub(super) fn throughput(
        &mut self,
        name: &str,
        size: Size,
        ways: Vec<Way>,
        producers: usize,
        refused: Refused,
    ) {
        let channels = self.channels(name, ways, size, size.capacity());
        // There are many tables of the other sizes.
        let duration = self.effort.deliver * if size == Size::Bytes(16) { 3 } else { 2 } / 3;
        let candidates = candidates(&channels, |way, channel| {
            let delivered = deliver::throughput(channel, producers, way.waiting, refused, duration)?;
            Ok(vec![delivered.per_second, delivered.lost])
        });
        let metrics = [
            Metric { suffix: Some("rate"), unit: Unit::EventsPerSecond },
            Metric { suffix: Some("lost"), unit: Unit::Percent },
        ];
        // Who waits for room loses nothing.
        let metrics = if refused == Refused::Lose { &metrics[..] } else { &metrics[..1] };
        self.measure_across(name, None, metrics, candidates);
    }

    fn latency(&mut self) {
        let channels = self.waiting_channels("kernel.latency");
        let duration = self.effort.latency;
        let candidates = candidates(&channels, |way, channel| {
            let latency = deliver::latency(channel, way.waiting, duration)?;
            Ok(vec![latency.median, latency.p999])
        });
        let metrics = [
            Metric { suffix: Some("median"), unit: Unit::Microseconds },
            Metric { suffix: Some("p99.9"), unit: Unit::Microseconds },
        ];
        self.measure_across("kernel.latency", None, &metrics, candidates);
    }

    fn idle(&mut self) {
        let channels = self.waiting_channels("kernel.idle");
        let duration = self.effort.latency / 2;
        let candidates =
            candidates(&channels, |way, channel| Ok(vec![deliver::idle(channel, way.waiting, duration)?]));
        self.measure("kernel.idle", None, &[Metric { suffix: None, unit: Unit::Percent }], candidates);
    }

    fn waiting_channels(&mut self, group: &str) -> Vec<(Way, Channel)> {
        self.channels(group, Way::waiting(), Size::Bytes(16), 1 << 12)
    }

    fn way_back(&mut self) {
        let mut ways = Vec::new();
        for back in Back::ALL {
            match WayBack::load(back) {
                Ok(way) => ways.push((back, way)),
                Err(why) => self.skip(&format!("kernel.back.{}", back.name()), &why, 0),
            }
        }
        let batches = self.effort.batches;
        let candidates = ways
            .iter()
            .map(|(back, way)| {
                Candidate::new(back.name(), back.role(), move || {
                    let times = way.measure(batches).context("the way back")?;
                    Ok(vec![times.push, times.pop])
                })
            })
            .collect();
        let metrics = [
            Metric { suffix: Some("push"), unit: Unit::Nanoseconds },
            Metric { suffix: Some("pop"), unit: Unit::Nanoseconds },
        ];
        self.measure("kernel.back", None, &metrics, candidates);
    }
}

fn candidates<'a>(
    channels: &'a [(Way, Channel)],
    run: impl Fn(Way, &Channel) -> anyhow::Result<Vec<f64>> + Copy + 'a,
) -> Vec<Candidate<'a>> {
    channels
        .iter()
        .map(|(way, channel)| Candidate::new(way.name(), channel.via.role(), move || run(*way, channel)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{ALONE, Channel, Way, push};
    use crate::kernel::object::tests::is_there;

    #[test]
    fn every_way_carries_every_element_of_every_size_that_it_can() {
        if !is_there() {
            return;
        }
        for size in ALONE {
            for way in Way::pushing(size) {
                let took = Channel::load(way.via, size, 2 * push::BATCH)
                    .and_then(|channel| push::alone(&channel.with_flags(way.flags), 1));
                assert!(took.is_ok(), "{}, {size}: {took:?}", way.name());
            }
        }
    }
}
