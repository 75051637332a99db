//! Signals as values: blocked in every thread, taken by one that waits for them.

use std::io;

/// What the daemon listens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT: end in order.
    Stop,
    /// SIGHUP: nothing to re-read that is not watched anyway; logged.
    HangUp,
    /// SIGUSR1: a thread of this process has something to say ([`wake`]).
    Wake,
}

/// Blocks SIGTERM, SIGINT, SIGHUP and SIGUSR1 in this thread and in every one that it starts. Call before
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
    Ok(match signal {
        libc::SIGHUP => Signal::HangUp,
        libc::SIGUSR1 => Signal::Wake,
        _ => Signal::Stop,
    })
}

/// Makes [`wait`] return in this process. Only after [`block`]: unblocked, the signal ends it.
pub fn wake() {
    // SAFETY: takes two numbers and touches no memory of ours; a process may signal itself.
    unsafe { libc::kill(libc::getpid(), libc::SIGUSR1) };
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
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR1] {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        set.assume_init()
    }
}
