//! The built-in workload: several processes that do the same thing at once, as often as they can.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::error::Error;
use crate::hook::Hook;
use crate::launch::{Process, Processes, wait_to_be_traced};

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
    folder: tempfile::TempDir,
}

impl Workload {
    /// Starts `processes` workers, which wait until [`go`](Self::go), and then do `operations` in all; `None`
    /// for as many as they can.
    ///
    /// # Errors
    ///
    /// [`Error::Folder`] if no folder can be made in `parent`, [`Error::System`] if a process does not start.
    pub fn start(
        work: Work,
        processes: u32,
        operations: Option<u64>,
        parent: &Path,
    ) -> Result<Workload, Error> {
        let folder = tempfile::Builder::new()
            .prefix("arenaq-")
            .tempdir_in(parent)
            .map_err(|source| Error::Folder { folder: parent.to_owned(), source })?;
        let mut workers = Processes::default();
        for worker in 0..processes {
            let own = folder.path().join(worker.to_string());
            fs::create_dir(&own).map_err(Error::system(format!("making {}", own.display())))?;
            let mut arguments = vec![WORKER.to_owned(), work.name().to_owned(), own.display().to_string()];
            if let Some(all) = operations {
                // The first ones do what cannot be divided.
                let share =
                    all / u64::from(processes) + u64::from(u64::from(worker) < all % u64::from(processes));
                arguments.push(share.to_string());
            }
            workers.push(Process::start_stopped(&arguments, Stdio::piped())?);
        }
        Ok(Workload { workers, folder })
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

    /// Ends the workers and removes the folder. Returns the number of operations that they say they have
    /// done, or `None` if one did not get to say it.
    pub fn finish(mut self) -> Option<u64> {
        let mut done = Some(0);
        self.workers.end(Duration::from_secs(5));
        for worker in self.workers.iter_mut() {
            let ended = worker.poll();
            let mut said = String::new();
            if let Some(mut stdout) = worker.take_stdout() {
                let _ = stdout.read_to_string(&mut said);
            }
            let operations =
                said.trim().parse::<u64>().ok().filter(|_| ended.is_some_and(|status| status.success()));
            done = done.zip(operations).map(|(all, more)| all + more);
        }
        let _ = self.folder.close();
        done
    }
}

/// A worker's part: waits, works, and says how much it has done.
///
/// # Errors
///
/// What the file system or the system said.
pub fn work(work: Work, folder: &Path, operations: Option<u64>) -> io::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    wait_to_be_traced()?;
    let mut done = 0;
    while operations.is_none_or(|all| done < all) && !stop.load(Ordering::Relaxed) {
        operate(work, folder, done)?;
        done += 1;
    }
    // If the one who started us was killed, nobody else cleans up: the last worker removes the folder that
    // they share.
    fs::remove_dir(folder)?;
    if let Some(shared) = folder.parent() {
        let _ = fs::remove_dir(shared);
    }
    // Nobody to tell is no error of ours.
    let _ = writeln!(io::stdout(), "{done}");
    Ok(())
}

fn operate(work: Work, folder: &Path, number: u64) -> io::Result<()> {
    match work {
        Work::Files => {
            let path = file_name(folder, number);
            drop(File::create_new(&path)?);
            fs::remove_file(path)
        }
        Work::Programs => {
            let status = Command::new("/proc/self/exe").arg("--version").stdout(Stdio::null()).status()?;
            if status.success() {
                Ok(())
            } else {
                Err(io::Error::other(format!("the program ended with {status}")))
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

/// The function to which the hook `uprobe` attaches by default.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn arenaq_uprobe_target(number: u64) -> u64 {
    black_box(number).wrapping_add(1)
}
