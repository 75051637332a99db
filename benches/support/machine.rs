//! The machine: its name, and what its disk and its loopback take by themselves.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use super::{percentile, timed};

/// CPU, cores, kernel, file system.
pub fn name(dir: &Path) -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{}, {cores} cores, Linux {}, {}",
        model.map_or("unknown CPU", |(_, m)| m.trim()),
        read("/proc/sys/kernel/osrelease").trim(),
        file_system(dir),
    )
}

fn file_system(dir: &Path) -> String {
    let dir = dir.canonicalize().unwrap_or_default();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let on = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (at, kind) = (words.next()?, words.next()?);
        dir.starts_with(at).then(|| (at.len(), kind.to_owned()))
    });
    on.max_by_key(|(length, _)| *length).map_or_else(|| "?".to_owned(), |(_, kind)| kind)
}

/// A small append and its fdatasync, p50 in milliseconds: as the log of a node is written.
pub fn fsync(dir: &Path) -> f64 {
    let path = dir.join("fsync");
    let mut file = File::create(&path).expect("a file");
    let mut times = Vec::new();
    for _ in 0..300 {
        let (_, took) = timed(|| {
            file.write_all(&[b'x'; 400]).expect("written");
            file.sync_data().expect("synced");
        });
        times.push(took);
    }
    drop(fs::remove_file(path));
    percentile(&times, 50)
}

/// A small message and its answer over a TCP connection of the loopback, p50 in milliseconds.
pub fn round_trip() -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let echo = std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().expect("a caller");
        drop(peer.set_nodelay(true));
        let mut bytes = [0; 400];
        while peer.read_exact(&mut bytes).is_ok() && peer.write_all(&bytes).is_ok() {}
    });
    let mut socket = TcpStream::connect(address).expect("connected");
    socket.set_nodelay(true).expect("no delay");
    let mut bytes = [0; 400];
    let mut once = || {
        socket.write_all(&bytes).expect("sent");
        socket.read_exact(&mut bytes).expect("answered");
    };
    let times: Vec<f64> = (0..1000).map(|_| timed(&mut once).1).collect();
    drop(socket);
    drop(echo.join());
    percentile(&times, 50)
}
