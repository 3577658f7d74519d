//! The signals as whoever started this process has set them: arenaq needs some otherwise, and the command that is
//! traced gets them back.

use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What arenaq waits for: the ends of its children, and to be told to end. Others stay as they are.
const NEEDED: [i32; 3] = [libc::SIGCHLD, libc::SIGINT, libc::SIGTERM];

static INHERITED: OnceLock<Inherited> = OnceLock::new();

/// What a process inherits: which signals are blocked, and which of those that arenaq needs are ignored. In text
/// two hexadecimal numbers, of which bit `n - 1` is for signal `n`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inherited {
    blocked: u64,
    ignored: u64,
}

/// Makes the signals that arenaq needs arrive, whatever was inherited. To be called before there are other threads.
///
/// # Errors
///
/// The system call's.
pub fn settle() -> io::Result<()> {
    let inherited = Inherited { blocked: blocked()?, ignored: ignored()? };
    let _ = INHERITED.set(inherited);
    mask(libc::SIG_UNBLOCK, NEEDED.into_iter().fold(0, |bits, signal| bits | bit(signal)))?;
    // Ignored, the kernel would forget how children have ended.
    act(libc::SIGCHLD, libc::SIG_DFL)
}

/// Sleeps, and not longer than until somebody wants this process to end.
pub fn sleep_unless(interrupted: &AtomicBool, longest: Duration) {
    /// How late the end may be noticed.
    const LOOK: Duration = Duration::from_millis(20);
    let start = Instant::now();
    while !interrupted.load(Ordering::Relaxed) {
        match longest.checked_sub(start.elapsed()) {
            Some(left) if !left.is_zero() => thread::sleep(left.min(LOOK)),
            _ => return,
        }
    }
}

/// What was found by [`settle`]; nothing blocked and nothing ignored if that was not called.
pub(crate) fn inherited() -> Inherited {
    INHERITED.get().copied().unwrap_or_default()
}

impl Inherited {
    /// Sets them again. It does nothing that a process may not do between fork and exec.
    ///
    /// # Errors
    ///
    /// The system call's.
    pub(crate) fn restore(self) -> io::Result<()> {
        for signal in NEEDED.into_iter().filter(|&signal| self.ignored & bit(signal) != 0) {
            act(signal, libc::SIG_IGN)?;
        }
        mask(libc::SIG_SETMASK, self.blocked)
    }
}

fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

fn blocked() -> io::Result<u64> {
    let mut set = MaybeUninit::uninit();
    // SAFETY: with no new mask this writes the present one to `set`.
    check(unsafe { libc::sigprocmask(libc::SIG_SETMASK, ptr::null(), set.as_mut_ptr()) })?;
    // SAFETY: the call above has succeeded.
    let set = unsafe { set.assume_init() };
    // SAFETY: `set` is a set of signals; a number that is none is answered with -1.
    let is_blocked = |signal: i32| unsafe { libc::sigismember(&raw const set, signal) } == 1;
    Ok((1..=64).filter(|&signal| is_blocked(signal)).fold(0, |bits, signal| bits | bit(signal)))
}

fn ignored() -> io::Result<u64> {
    let mut bits = 0;
    for signal in NEEDED {
        let mut action = MaybeUninit::<libc::sigaction>::uninit();
        // SAFETY: with no new action this writes the present one to `action`.
        check(unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) })?;
        // SAFETY: the call above has succeeded.
        if unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN {
            bits |= bit(signal);
        }
    }
    Ok(bits)
}

fn mask(how: i32, bits: u64) -> io::Result<()> {
    let mut set = MaybeUninit::uninit();
    // SAFETY: this makes an empty set of `set`.
    check(unsafe { libc::sigemptyset(set.as_mut_ptr()) })?;
    for signal in (1..=64).filter(|&signal| bits & bit(signal) != 0) {
        // SAFETY: `set` is a set of signals. A number that the C library keeps for itself is refused, and then
        // not in the set.
        unsafe { libc::sigaddset(set.as_mut_ptr(), signal) };
    }
    // SAFETY: `set` is a set of signals, and the old mask is not asked for.
    check(unsafe { libc::sigprocmask(how, set.as_ptr(), ptr::null_mut()) })
}

/// Ignores a signal, or lets it do what it does by default.
fn act(signal: i32, action: libc::sighandler_t) -> io::Result<()> {
    // SAFETY: `action` is no function: nothing of ours runs when the signal comes.
    if unsafe { libc::signal(signal, action) } == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn check(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

impl fmt::Display for Inherited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}:{:x}", self.blocked, self.ignored)
    }
}

impl FromStr for Inherited {
    type Err = String;

    fn from_str(text: &str) -> Result<Inherited, String> {
        let bits = |text: &str| u64::from_str_radix(text, 16).map_err(|error| error.to_string());
        let (blocked, ignored) = text.split_once(':').ok_or("two numbers with a colon between them")?;
        Ok(Inherited { blocked: bits(blocked)?, ignored: bits(ignored)? })
    }
}
