//! Who looks after the child, and starts the next one where it has died.

use std::env;
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;

use super::child::{Task, When};
use super::progress::Progress;

/// How many failures are enough.
const ENOUGH: usize = 20;
/// A child that is in the same arena for so long hangs. The processor may be somebody else's meanwhile.
const HANGS: Duration = Duration::from_secs(30);

const TASK: &str = "ARENAQ_HOSTILE_TASK";
const SEED: &str = "ARENAQ_HOSTILE_SEED";

/// What this process is told to do, if it is a child.
pub(crate) fn task() -> Option<(Task, File)> {
    let told = env::var(TASK).ok()?;
    let [when, first, arenas, progress] = told.splitn(4, ' ').collect::<Vec<_>>()[..] else {
        panic!("{TASK}={told} is for the tests themselves");
    };
    let number = |text: &str| text.parse().expect("a number");
    let when = if when == "Before" { When::Before } else { When::Meanwhile };
    let file = File::options().read(true).write(true).open(progress).expect("the progress");
    Some((Task { when, first: number(first), arenas: number(arenas) }, file))
}

/// How a child has ended.
struct Death {
    seed: u64,
    how: String,
}

/// Lets children try so many arenas, or the one whose seed is in the environment.
pub(crate) fn survive(when: When, arenas: u64) -> Result<(), Failed> {
    let (first, arenas) = match env::var(SEED) {
        Ok(seed) => (seed.parse().map_err(|_| format!("{SEED} is a number"))?, 1),
        Err(_) => (0, arenas),
    };
    let (start, end) = (Instant::now(), first + arenas);
    let kept = tempfile::NamedTempFile::new()?;
    let progress = Progress::kept_in(kept.as_file());
    let mut deaths: Vec<Death> = Vec::new();
    let mut next = first;
    while next < end && deaths.len() < ENOUGH {
        let task = format!("{when:?} {next} {} {}", end - next, kept.path().display());
        let mut child = Command::new(env::current_exe()?).env(TASK, task).spawn()?;
        let Some(how) = wait(&mut child, progress)? else { break };
        let seed = progress.seed.load(Ordering::Relaxed);
        eprintln!("{when:?}, seed {seed}: {how}");
        deaths.push(Death { seed, how });
        next = seed + 1;
    }
    let number = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "{when:?}: {} arenas, {} of them attached, {} operations, {} deaths; the longest {:?}, all {:.1?}",
        number(&progress.arenas),
        number(&progress.attached),
        number(&progress.operations),
        deaths.len(),
        Duration::from_nanos(number(&progress.longest)),
        start.elapsed(),
    );
    match &deaths[..] {
        [] if number(&progress.operations) == 0 && arenas > 100 => Err("nothing was tried".into()),
        [] => Ok(()),
        [Death { seed, how }, ..] => Err(format!(
            "{} deaths, the first: {how}. To repeat it: {SEED}={seed} cargo test --test hostile {when:?}, or with another \
             optimisation cargo xtask hostile --seed {seed} --opt-level LEVEL",
            deaths.len()
        )
        .into()),
    }
}

/// How the child died, if it did.
fn wait(child: &mut Child, progress: &Progress) -> Result<Option<String>, Failed> {
    let (mut seen, mut since) = (u64::MAX, Instant::now());
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok((!status.success()).then(|| describe(status)));
        }
        let now = progress.seed.load(Ordering::Relaxed);
        if now != seen {
            (seen, since) = (now, Instant::now());
        } else if since.elapsed() > HANGS {
            child.kill()?;
            child.wait()?;
            return Ok(Some("it hangs".into()));
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn describe(status: ExitStatus) -> String {
    match status.signal() {
        Some(signal) => format!("it crashes with signal {signal}"),
        None => format!("it panics, {status}"),
    }
}
