//! Children that do not outlive this process.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Makes the child that this command starts hear SIGTERM when the thread that starts it ends, the
/// death of this process by SIGKILL included, and puts it into a process group of its own: Ctrl-C
/// at the terminal then reaches this process alone, which ends its children in its own order.
///
/// Call from a thread that lives as long as the child should.
pub fn ends_with_us(command: &mut Command) {
    let parent = std::process::id();
    command.process_group(0);
    let before_exec = move || {
        // SAFETY: both calls take numbers, touch no memory of ours, and may be made between fork
        // and exec (prctl and getppid are plain system calls).
        let (set, now) = unsafe { (libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM), libc::getppid()) };
        if set != 0 {
            return Err(io::Error::last_os_error());
        }
        // The parent may have died before the request was heard: then nobody would ever tell.
        if u32::try_from(now) != Ok(parent) {
            return Err(io::Error::from(io::ErrorKind::Interrupted));
        }
        Ok(())
    };
    // SAFETY: the closure allocates nothing, takes no lock and makes two system calls.
    unsafe { command.pre_exec(before_exec) };
}
