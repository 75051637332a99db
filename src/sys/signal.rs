//! Signals as values: blocked in every thread, taken by one that waits for them.

use std::io;

/// What the daemon listens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT: end in order.
    Stop,
    /// SIGHUP: nothing to re-read that is not watched anyway; logged.
    HangUp,
}

/// Blocks SIGTERM, SIGINT and SIGHUP in this thread and in every one that it starts. Call before
/// the first thread.
///
/// # Errors
/// The system's.
pub fn block() -> io::Result<()> {
    let set = set();
    // SAFETY: `set` is initialised by `set()`, and no old mask is asked for.
    let code = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) }
}

/// Waits for the next signal.
///
/// # Errors
/// The system's.
pub fn wait() -> io::Result<Signal> {
    let set = set();
    let mut signal = 0;
    // SAFETY: both point to initialised locals that outlive the call.
    let code = unsafe { libc::sigwait(&raw const set, &raw mut signal) };
    if code != 0 {
        return Err(io::Error::from_raw_os_error(code));
    }
    Ok(if signal == libc::SIGHUP { Signal::HangUp } else { Signal::Stop })
}

/// Ends the process of this id in order, or at once.
///
/// # Errors
/// The system's: no such process, not allowed.
pub fn send(pid: u32, at_once: bool) -> io::Result<()> {
    let pid = i32::try_from(pid).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let signal = if at_once { libc::SIGKILL } else { libc::SIGTERM };
    // SAFETY: takes two numbers and touches no memory of ours.
    let code = unsafe { libc::kill(pid, signal) };
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn set() -> libc::sigset_t {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the whole set; sigaddset is given that set and signal numbers
    // that exist, so neither can fail.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        set.assume_init()
    }
}
