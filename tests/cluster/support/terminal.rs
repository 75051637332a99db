//! A terminal for a command that asks: its standard input is one, and the answers are typed ahead.

use std::ffi::CStr;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;

/// The other end of a command's standard input; to be kept until the command has ended.
pub struct Keyboard(File);

/// A terminal, and who types into it.
pub fn open() -> (Keyboard, File) {
    // SAFETY: takes flags, gives a descriptor that is ours alone, or -1.
    let master = unsafe { libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC) };
    assert!(master >= 0, "no terminal: {}", std::io::Error::last_os_error());
    // SAFETY: the descriptor was just made, and nobody else has it.
    let master = unsafe { File::from_raw_fd(master) };
    let mut name = [0; 128];
    // SAFETY: the descriptor is open; the buffer is as long as is said.
    let ready = unsafe {
        libc::grantpt(master.as_raw_fd()) == 0
            && libc::unlockpt(master.as_raw_fd()) == 0
            && libc::ptsname_r(master.as_raw_fd(), name.as_mut_ptr(), name.len()) == 0
    };
    assert!(ready, "no terminal: {}", std::io::Error::last_os_error());
    // SAFETY: ptsname_r ended the name by a zero within the buffer.
    let path = unsafe { CStr::from_ptr(name.as_ptr()) };
    let path = std::ffi::OsStr::from_bytes(path.to_bytes());
    let slave = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY).open(path);
    (Keyboard(master), slave.expect("the terminal opens"))
}

impl Keyboard {
    /// Types a line.
    pub fn line(&mut self, text: &str) {
        writeln!(self.0, "{text}").expect("typed");
    }
}
