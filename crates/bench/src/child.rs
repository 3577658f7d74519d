//! Measurements in a process of their own.
//!
//! A queue that hangs can only be ended with its process, and one that crashes takes its process with it. A
//! new process for each run also has its memory at new addresses, whose luck is then part of the spread and
//! not of the result.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Args;

use crate::limits::Limit;
use crate::user::{Shape, Work, contenders};

/// What a child does.
#[derive(Args, Clone, Debug)]
pub struct Job {
    /// The contender, or the limit.
    #[arg(long)]
    what: String,
    /// The shape; none for a limit.
    #[arg(long)]
    shape: Option<String>,
    /// Bytes of an element.
    #[arg(long, default_value_t = 16)]
    payload: usize,
    /// Elements that the queue holds.
    #[arg(long, default_value_t = 1024)]
    capacity: usize,
    /// For how long.
    #[arg(long)]
    milliseconds: u64,
}

impl Job {
    /// A contender's run.
    pub fn contender(name: &str, payload: usize, work: Work) -> Job {
        Job {
            what: name.to_owned(),
            shape: Some(work.shape.to_string()),
            payload,
            capacity: work.capacity,
            milliseconds: milliseconds(work.duration),
        }
    }

    /// A limit's run.
    pub fn limit(limit: Limit, duration: Duration) -> Job {
        Job {
            what: limit.name().to_owned(),
            shape: None,
            payload: 16,
            capacity: 1024,
            milliseconds: milliseconds(duration),
        }
    }

    /// Does it, in this process.
    ///
    /// # Errors
    ///
    /// As what it does.
    pub fn run(&self) -> anyhow::Result<f64> {
        let duration = Duration::from_millis(self.milliseconds);
        match &self.shape {
            Some(shape) => {
                let shape: Shape = shape.parse()?;
                let work = Work { shape, capacity: self.capacity, duration };
                contenders::find(&self.what)?.run(self.payload, work)
            }
            None => {
                let limit = Limit::ALL.into_iter().find(|limit| limit.name() == self.what);
                limit.with_context(|| format!("no limit {}", self.what))?.run(duration)
            }
        }
    }

    /// Does it in a child, which has a multiple of the time that it should need.
    ///
    /// # Errors
    ///
    /// As what it does; if the child hangs, or crashes.
    pub fn run_in_child(&self) -> anyhow::Result<f64> {
        let mut command = Command::new(std::env::current_exe().context("where am I?")?);
        command.args(["child", "--what", &self.what]);
        if let Some(shape) = &self.shape {
            command.args(["--shape", shape]);
        }
        command.args(["--payload", &self.payload.to_string()]);
        command.args(["--capacity", &self.capacity.to_string()]);
        command.args(["--milliseconds", &self.milliseconds.to_string()]);
        let patience = Duration::from_secs(5) + 10 * Duration::from_millis(self.milliseconds);
        let output = output_within(&mut command, patience)?;
        output.trim().parse().with_context(|| format!("the child said {output:?}"))
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A child that does not survive us.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It has ended already unless it hangs.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a program writes to its standard output, if it ends well and in time.
fn output_within(command: &mut Command, patience: Duration) -> anyhow::Result<String> {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = Ended(child.context("starting a process for the measurement")?);
    let stdout = child.0.stdout.take().context("its output is a pipe")?;
    let stderr = child.0.stderr.take().context("its errors are a pipe")?;
    let (sender, receiver) = mpsc::channel();
    // Both threads end with the child: nobody else has the other ends of its pipes.
    std::thread::spawn(move || {
        let mut errors = String::new();
        let (mut stdout, mut stderr, mut output) = (stdout, stderr, String::new());
        let read = stdout.read_to_string(&mut output).and_then(|_| stderr.read_to_string(&mut errors));
        // Nobody waits any more if the child has hung.
        let _ = sender.send(read.map(|_| (output, errors)));
    });
    let Ok(read) = receiver.recv_timeout(patience) else {
        bail!("hung: it was ended after {:.0} s", patience.as_secs_f64());
    };
    let (output, errors) = read.context("reading what the measurement says")?;
    let status = child.0.wait().context("waiting for the measurement")?;
    ensure!(status.success(), "{status}: {}", errors.trim());
    Ok(output)
}

/// Lets the kernel end this process when its parent is gone.
///
/// # Errors
///
/// If the kernel refuses.
pub fn end_with_parent() -> anyhow::Result<()> {
    let kill = Some(rustix::process::Signal::KILL);
    rustix::process::set_parent_process_death_signal(kill).context("asking to end with the parent")
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::output_within;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_a_child_says_comes_back() {
        assert_eq!(output_within(Command::new("echo").arg("1.5"), LONG).expect("it ends"), "1.5\n");
    }

    #[test]
    fn a_child_that_hangs_is_ended_and_said_to_hang() {
        let error = output_within(Command::new("sleep").arg("1000"), Duration::from_millis(20));
        assert!(error.expect_err("it sleeps").to_string().starts_with("hung"));
    }

    #[test]
    fn a_child_that_fails_says_why() {
        let error = output_within(Command::new("sh").args(["-c", "echo no >&2; exit 3"]), LONG);
        assert!(error.expect_err("it fails").to_string().ends_with("no"));
    }
}
