//! Ways to break the disk of a running daemon, and to mend it: a small file system of its own, and
//! system calls that a tracer lets fail or wait. Both need root.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::support::until;

/// A file system of one MiB in memory.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` when this process may not mount.
    pub fn mount(at: &Path) -> Option<SmallDisk> {
        fs::create_dir_all(at).expect("a directory");
        let made = run("mount", &["-t", "tmpfs", "-o", "size=1m,mode=0750", "qu-test"], at);
        made.then(|| SmallDisk(at.to_owned()))
    }

    /// Takes all the room that is left.
    pub fn fill(&self) {
        let mut file =
            OpenOptions::new().create(true).append(true).open(self.0.join("filler")).expect("a file");
        for size in [4096, 1] {
            while file.write_all(&vec![b'x'; size]).is_ok() {}
        }
    }

    pub fn empty(&self) {
        fs::remove_file(self.0.join("filler")).expect("it was there");
    }

    pub fn read_only(&self) {
        // Refused while the daemon has a file open for writing, which is for moments only.
        until("nothing is being written", || run("mount", &["-o", "remount,ro"], &self.0).then_some(()));
    }

    pub fn writable(&self) {
        assert!(run("mount", &["-o", "remount,rw"], &self.0));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run("umount", &["-l"], &self.0);
    }
}

fn run(program: &str, args: &[&str], at: &Path) -> bool {
    let done = Command::new(program).args(args).arg(at).stderr(Stdio::null()).status();
    done.is_ok_and(|status| status.success())
}

/// What a tracer does to every sync of a process, until it is dropped.
pub struct Syncs {
    tracer: Child,
}

impl Syncs {
    /// `how` as strace's `inject`: `error=EIO`, `delay_enter=5000000` (microseconds). `None` when
    /// there is no tracer, or it may not trace.
    pub fn of(pid: u32, how: &str, log: &Path) -> Option<Syncs> {
        let inject = format!("inject=fsync,fdatasync:{how}");
        let mut command = Command::new("strace");
        command.args(["-f", "-e", "trace=fsync,fdatasync", "-e", &inject, "-p", &pid.to_string()]);
        command.stdout(Stdio::null()).stderr(fs::File::create(log).expect("a file"));
        quptime::sys::child::ends_with_us(&mut command);
        let mut tracer = command.spawn().ok()?;
        let attached = until("the tracer has attached, or ended", || {
            let said = fs::read_to_string(log).unwrap_or_default();
            let ended = tracer.try_wait().expect("a child").is_some();
            (ended || said.contains("attached")).then_some(!ended)
        });
        attached.then_some(Syncs { tracer })
    }
}

impl Drop for Syncs {
    fn drop(&mut self) {
        // Told to end it lets go of the process; killed it would take it along.
        quptime::sys::signal::send(self.tracer.id(), false).expect("it is there");
        self.tracer.wait().expect("it ends");
    }
}
