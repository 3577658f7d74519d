//! Real files, created by several processes in a guest: each is one event of the hook `lsm.s/inode_create`.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::accelerator::Accelerator;
use crate::arch::Arch;
use crate::boot::Boot;
use crate::crash;
use crate::guest;
use crate::image::{Flavour, Image};
use crate::machine::{Ended, Machine, Output};

/// The structures that are tried.
pub(crate) const QUEUES: [&str; 3] = ["mpsc", "mpmc", "records"];
/// The guest's processors.
pub(crate) const CPUS: u32 = 4;
/// Many times what it takes under emulation on a busy machine.
const TIME_LIMIT: Duration = Duration::from_secs(240);

const HOOK: &str = "inode-create";
const PROCESSES: &str = "4";
/// How many files; under emulation, which takes many times as long, fewer.
fn operations(accelerator: Accelerator) -> u64 {
    match accelerator {
        Accelerator::Kvm => 100_000,
        Accelerator::Emulation { .. } => 5000,
    }
}

/// What is looked at of what `arenaq run --json` prints.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Summary {
    hook: String,
    pub(crate) instructions: Option<String>,
    operations: Option<u64>,
    produced: u64,
    consumed: u64,
    dropped: Dropped,
    left: u64,
    fifo_violations: u64,
    verify: String,
    seconds: f64,
    problems: Vec<String>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Dropped {
    full: u64,
    nomem: u64,
    busy: u64,
}

/// Fails if files that are created in a guest with this kernel, a version or the path of an image, are not all accounted
/// for, through each queue; prints what was seen.
///
/// # Errors
///
/// There is no such kernel, the guest does not get to the end, or an account does not add up.
pub fn check(kernel: &str, arch: Arch, arenaq: &Path) -> anyhow::Result<()> {
    let machine = Machine {
        image: Image::find(kernel, arch, Flavour::Cloud)?,
        root: guest::root(arenaq, arch)?,
        accelerator: Accelerator::choose(None, arch)?,
        cpus: CPUS,
        boot: Boot::default(),
        time_limit: TIME_LIMIT,
    };
    println!("Linux {}, {} processors, {}", machine.image.release, machine.cpus, machine.accelerator);
    for queue in QUEUES {
        let start = Instant::now();
        let command = command(queue, machine.accelerator);
        let (ended, crash) = crash::twice(|| machine.run(&command, Output::Kept));
        if let Some(crash) = crash {
            println!("{queue}: {crash}");
        }
        let summary = ended.and_then(|ended| read(&ended, machine.accelerator));
        let summary = summary.with_context(|| format!("the queue {queue}"))?;
        println!("{queue}: {summary} ({:.1} s with the boot)", start.elapsed().as_secs_f64());
    }
    Ok(())
}

/// The command that creates the files, as the guest runs it.
pub(crate) fn command(queue: &str, accelerator: Accelerator) -> Vec<String> {
    let operations = operations(accelerator).to_string();
    guest::command([
        "run",
        "--queue",
        queue,
        "--hook",
        HOOK,
        "--processes",
        PROCESSES,
        "--operations",
        &operations,
        "--json",
    ])
}

/// What it has printed.
pub(crate) fn read(ended: &Ended, accelerator: Accelerator) -> anyhow::Result<Summary> {
    if ended.code != 0 {
        bail!("arenaq ended with exit code {}: {}{}", ended.code, ended.stderr, ended.stdout);
    }
    let summary: Summary = serde_json::from_str(&ended.stdout)
        .with_context(|| format!("what `arenaq run --json` printed: {}", ended.stdout))?;
    summary.check(operations(accelerator))?;
    Ok(summary)
}

impl Summary {
    /// That the command found no fault is not enough: its numbers must say so too.
    fn check(&self, wanted: u64) -> anyhow::Result<()> {
        let dropped = self.dropped.full + self.dropped.nomem + self.dropped.busy;
        ensure!(self.problems.is_empty(), "{}", self.problems.join("; "));
        ensure!(self.hook == HOOK, "the hook is {}", self.hook);
        ensure!(
            self.operations == Some(wanted) && self.produced == wanted,
            "{:?} files were created, and {} seen, of {wanted}",
            self.operations,
            self.produced
        );
        ensure!(
            self.produced == self.consumed + dropped + self.left,
            "produced {}, and consumed {}, dropped {dropped}, left {}",
            self.produced,
            self.consumed,
            self.left
        );
        ensure!(self.fifo_violations == 0, "{} events out of their order", self.fifo_violations);
        ensure!(self.verify == "SUCCESS", "verify says {}", self.verify);
        Ok(())
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = self.produced as f64 / self.seconds;
        write!(
            f,
            "{} files, {} events, verify {}, {rate:.0} a second",
            self.produced, self.consumed, self.verify
        )
    }
}

#[cfg(test)]
mod tests {
    use super::Summary;

    fn summary(produced: u64, left: u64, verify: &str) -> Summary {
        let json = format!(
            r#"{{"hook":"inode-create","instructions":"tso","operations":100000,"produced":{produced},"consumed":99998,
                "dropped":{{"full":1,"nomem":0,"busy":0}},"left":{left},"fifo_violations":0,"verify":"{verify}",
                "seconds":2.0,"problems":[],"something":"new"}}"#
        );
        serde_json::from_str(&json).expect("a summary")
    }

    #[test]
    fn only_exact_accounts_pass() {
        assert!(summary(100_000, 1, "SUCCESS").check(100_000).is_ok());
        for (produced, left, verify, reason) in [
            (99_999, 0, "SUCCESS", "99999 seen"),
            (100_000, 0, "SUCCESS", "left 0"),
            (100_000, 1, "CORRUPT", "CORRUPT"),
        ] {
            let error = summary(produced, left, verify).check(100_000).expect_err(reason).to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
