//! Ctrl-C: everything that runs is ended, and then this program.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::error::Error;

/// Whether somebody wants the program to end.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt {
    flag: Arc<AtomicBool>,
    /// What the program itself has set, in this copy and those of it.
    stop: Arc<AtomicBool>,
}

impl Interrupt {
    pub(crate) fn install() -> Result<Interrupt, Error> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&flag))
                .map_err(Error::system("cannot listen to signals"))?;
        }
        Ok(Interrupt { flag, stop: Arc::default() })
    }

    /// Whether everything is to end.
    pub(crate) fn is_set(&self) -> bool {
        self.flag.load(Ordering::Relaxed) || self.is_stopped()
    }

    /// One that also ends when it is stopped; this one does not.
    pub(crate) fn part(&self) -> Interrupt {
        Interrupt { flag: Arc::clone(&self.flag), stop: Arc::default() }
    }

    /// Ends what has this part.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
