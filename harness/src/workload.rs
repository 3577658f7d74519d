//! The built-in workload: several processes that do the same thing at once, as often as they can.

use std::fs::{self, File};
use std::hint::black_box;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::error::Error;
use crate::hook::Hook;
use crate::launch::{Ended, Process, Processes, wait_to_be_traced};
use crate::report::Report;
use crate::uprobe::arenaq_uprobe_target;

/// The hidden subcommand of a worker.
pub const WORKER: &str = "__worker";

/// What a worker does again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Work {
    /// Creates a file and removes it.
    Files,
    /// Starts a program.
    Programs,
    /// Calls a function.
    Calls,
}

impl Work {
    /// What makes events for a hook.
    pub fn for_hook(hook: Hook) -> Work {
        match hook {
            Hook::Exec => Work::Programs,
            Hook::Uprobe | Hook::UprobeSleepable => Work::Calls,
            Hook::InodeCreate | Hook::ExtCreate | Hook::SysEnter | Hook::Drive => Work::Files,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Work::Files => "files",
            Work::Programs => "programs",
            Work::Calls => "calls",
        }
    }
}

/// The processes of a workload, and the folder in which they work.
#[derive(Debug)]
pub struct Workload {
    workers: Processes,
    /// How many operations each of them does; `None` for as many as it can.
    shares: Vec<Option<u64>>,
    folder: tempfile::TempDir,
}

/// What a workload has done.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// How many operations the workers say they have done; `None` if one did not get to say it.
    pub operations: Option<u64>,
    /// What was to be done and was not, with the reason.
    pub problems: Vec<String>,
}

/// How long workers have time to end, all together: the last of hundreds has to wait for its turn.
const PATIENCE: Duration = Duration::from_secs(30);
/// Of so many workers it is told what went wrong; for the others mostly the same did.
const TOLD: usize = 3;

impl Workload {
    /// Starts `processes` workers, which wait until [`go`](Self::go), and then do `operations` in all; `None`
    /// for as many as they can. No further one is started when `interrupted` has become true.
    ///
    /// # Errors
    ///
    /// [`Error::Folder`] if no folder can be made in `parent`, [`Error::System`] if a process does not start.
    pub fn start(
        work: Work,
        processes: u32,
        operations: Option<u64>,
        parent: &Path,
        interrupted: &AtomicBool,
    ) -> Result<Workload, Error> {
        let folder = tempfile::Builder::new()
            .prefix("arenaq-")
            .tempdir_in(parent)
            .map_err(|source| Error::Folder { folder: parent.to_owned(), source })?;
        let mut workers = Processes::default();
        let mut shares = Vec::new();
        for worker in 0..processes {
            if interrupted.load(Ordering::Relaxed) {
                break;
            }
            let own = folder.path().join(worker.to_string());
            fs::create_dir(&own).map_err(Error::system(format!("making {}", own.display())))?;
            let mut arguments = vec![work.name().into(), own.into_os_string()];
            // The first ones do what cannot be divided.
            let share = operations.map(|all| {
                all / u64::from(processes) + u64::from(u64::from(worker) < all % u64::from(processes))
            });
            arguments.extend(share.map(|share| share.to_string().into()));
            workers.push(Process::start_stopped(WORKER, &arguments, Stdio::null())?);
            shares.push(share);
        }
        Ok(Workload { workers, shares, folder })
    }

    /// The ids of the workers.
    pub fn ids(&self) -> impl Iterator<Item = u32> {
        self.workers.iter().map(Process::id)
    }

    /// Lets all of them go.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if one is gone.
    pub fn go(&self) -> Result<(), Error> {
        self.workers.iter().try_for_each(Process::go)
    }

    /// Whether all have ended.
    pub fn is_done(&mut self) -> bool {
        self.workers.iter_mut().all(|worker| worker.poll().is_some())
    }

    /// Ends the workers and removes the folder.
    pub fn finish(mut self) -> Done {
        let by_themselves: Vec<bool> =
            self.workers.iter_mut().map(|worker| worker.poll().is_some()).collect();
        self.workers.end(PATIENCE);
        let (mut operations, mut problems) = (Some(0), Vec::new());
        for (number, worker) in self.workers.iter_mut().enumerate() {
            let part = Part::of(worker);
            operations = operations.zip(part.done).map(|(all, more)| all + more);
            let share = self.shares[number].filter(|_| by_themselves[number]);
            problems.extend(
                part.problem(share)
                    .map(|problem| format!("worker {number} (process {}) {problem}", worker.id())),
            );
        }
        if problems.len() > TOLD {
            let others = problems.len() - TOLD;
            problems.truncate(TOLD);
            problems.push(format!("{others} more workers did not do their part either"));
        }
        let path = self.folder.path().to_owned();
        // The last worker has removed it, if all have come so far.
        if let Err(error) = self.folder.close().or_else(ignore_missing) {
            problems.push(format!("the folder {} could not be removed: {error}", path.display()));
        }
        Done { operations, problems }
    }
}

fn ignore_missing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// What one worker has done.
struct Part {
    ended: Option<Ended>,
    done: Option<u64>,
    /// What it says went wrong.
    error: String,
}

impl Part {
    /// Of a worker that has ended.
    fn of(worker: &mut Process) -> Part {
        let ended = worker.poll();
        let said = worker.report();
        let (done, error) = said.split_once('\n').unwrap_or_default();
        Part { ended, done: done.parse().ok(), error: error.to_owned() }
    }

    /// What is wrong. `share` is what it was to do, if it has ended by itself.
    fn problem(&self, share: Option<u64>) -> Option<String> {
        let of_share = share.map_or_else(String::new, |share| format!(" of {share}"));
        match (self.done, self.ended) {
            (Some(done), _) if !self.error.is_empty() => {
                Some(format!("failed after {done}{of_share} operations: {}", self.error))
            }
            (Some(done), _) if share.is_some_and(|share| done < share) => {
                Some(format!("was ended by a signal of somebody else after {done}{of_share} operations"))
            }
            (Some(_), _) => None,
            (None, Some(Ended::With(status))) => {
                Some(format!("did not say what it has done: it ended with {status}"))
            }
            (None, Some(Ended::Unseen) | None) => {
                Some("did not say what it has done, nor can it be seen how it ended".to_owned())
            }
        }
    }
}

/// A worker's part: waits, works, and reports how much it has done, and what went wrong. Returns whether nothing
/// did.
pub fn work(mut report: Report, work: Work, folder: &Path, operations: Option<u64>) -> bool {
    let stop = Arc::new(AtomicBool::new(false));
    if let Err(error) = get_ready(&report, &stop) {
        report.say(&format!("a worker cannot be stopped to be traced: {error}"));
        return false;
    }
    let mut done = 0;
    let mut result = Ok(());
    while result.is_ok() && operations.is_none_or(|all| done < all) && !stop.load(Ordering::Relaxed) {
        result = operate(work, folder, done);
        done += u64::from(result.is_ok());
    }
    // If the one who started us was killed, nobody else cleans up: the last worker removes the folder that
    // they share.
    let _ = fs::remove_dir(folder);
    if let Some(shared) = folder.parent() {
        let _ = fs::remove_dir(shared);
    }
    let error = result.as_ref().err().map_or_else(String::new, ToString::to_string);
    report.say(&format!("{done}\n{error}"));
    result.is_ok()
}

fn get_ready(report: &Report, stop: &Arc<AtomicBool>) -> io::Result<()> {
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(stop))?;
    }
    wait_to_be_traced(report)
}

fn operate(work: Work, folder: &Path, number: u64) -> Result<(), Error> {
    match work {
        Work::Files => {
            let path = file_name(folder, number);
            let what = |doing: &str| format!("{doing} {}", path.display());
            drop(File::create_new(&path).map_err(Error::system(what("creating")))?);
            fs::remove_file(&path).map_err(Error::system(what("removing")))
        }
        Work::Programs => {
            let status = Command::new("/proc/self/exe").arg("--version").stdout(Stdio::null()).status();
            let status = status.map_err(Error::system("starting a program"))?;
            if status.success() {
                Ok(())
            } else {
                let ended = io::Error::other(format!("it ended with {status}"));
                Err(Error::system("running a program")(ended))
            }
        }
        Work::Calls => {
            black_box(arenaq_uprobe_target(black_box(number)));
            Ok(())
        }
    }
}

fn file_name(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:x}"))
}
