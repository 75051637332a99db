//! The network: one namespace a node, one bridge in a namespace of its own, and cuts in it.
//!
//! Node `i` is `10.77.0.(i+1)`. All faults are made in the bridge's namespace: directed drops by
//! nft rules, and pairs of ports that are isolated from each other. Names carry the process id;
//! everything goes when [`Net`] is dropped, and what an earlier run left behind when it was killed
//! goes at the next start.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The port on which every node listens.
pub const PORT: u16 = 9901;
const PREFIX: &str = "qu-netns-";

/// A cut: frames from the first node do not reach the second.
pub type Cut = (usize, usize);

/// Why it cannot be done here.
pub fn lacking() -> Option<String> {
    let root = quptime::sys::cred::euid() == 0;
    if !root {
        return Some("needs root".to_owned());
    }
    for (tool, args) in [("ip", ["-V"]), ("bridge", ["-V"]), ("nft", ["-v"])] {
        let ran = Command::new(tool).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if ran.is_err() {
            return Some(format!("{tool} is not installed (Debian: iproute2, nftables)"));
        }
    }
    // In a container without the right, the tools are there and fail.
    let probe = format!("{PREFIX}{}-probe", std::process::id());
    let made = run("ip", &["netns", "add", &probe]);
    let ruled = made.clone().and_then(|()| feed_nft(&probe, &rules(&BTreeSet::new())));
    drop(run("ip", &["netns", "del", &probe]));
    made.and(ruled).err()
}

/// The address of node `i`.
pub fn address(node: usize) -> String {
    format!("10.77.0.{}", node + 1)
}

/// Namespaces and bridge of one cluster.
pub struct Net {
    name: String,
    size: usize,
}

impl Net {
    pub fn new(size: usize) -> Net {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        sweep();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let net = Net { name: format!("{PREFIX}{}-{count}", std::process::id()), size };
        net.build().unwrap_or_else(|e| panic!("build the network: {e}"));
        net
    }

    fn build(&self) -> Result<(), String> {
        let switch = self.switch();
        let ip = |args: &str| run("ip", &args.split_whitespace().collect::<Vec<_>>());
        ip(&format!("netns add {switch}"))?;
        ip(&format!("-n {switch} link set lo up"))?;
        ip(&format!("-n {switch} link add br0 type bridge"))?;
        ip(&format!("-n {switch} link set br0 up"))?;
        for i in 0..self.size {
            let node = self.namespace(i);
            ip(&format!("netns add {node}"))?;
            ip(&format!("-n {node} link set lo up"))?;
            ip(&format!("-n {switch} link add p{i} type veth peer name eth0 netns {node}"))?;
            ip(&format!("-n {switch} link set p{i} master br0 up"))?;
            ip(&format!("-n {node} addr add {}/24 dev eth0", address(i)))?;
            ip(&format!("-n {node} link set eth0 up"))?;
        }
        self.cut(&BTreeSet::new())
    }

    fn switch(&self) -> String {
        format!("{}-sw", self.name)
    }

    /// The namespace of a node.
    pub fn namespace(&self, node: usize) -> String {
        format!("{}-n{node}", self.name)
    }

    /// These cuts and no others, all at the same moment.
    pub fn cut(&self, cuts: &BTreeSet<Cut>) -> Result<(), String> {
        feed_nft(&self.switch(), &rules(cuts))
    }

    /// Isolated ports reach every port but isolated ones.
    pub fn isolate(&self, node: usize, on: bool) -> Result<(), String> {
        let (switch, port) = (self.switch(), format!("p{node}"));
        let on = if on { "on" } else { "off" };
        run("ip", &["netns", "exec", &switch, "bridge", "link", "set", "dev", &port, "isolated", on])
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for name in (0..self.size).map(|i| self.namespace(i)).chain([self.switch()]) {
            remove(&name);
        }
    }
}

fn rules(cuts: &BTreeSet<Cut>) -> String {
    let drops: String =
        cuts.iter().map(|(from, to)| format!("iifname p{from} oifname p{to} drop\n")).collect();
    format!(
        "table bridge faults\ndelete table bridge faults\ntable bridge faults {{\nchain cuts {{\n\
         type filter hook forward priority 0; policy accept;\n{drops}}}\n}}\n"
    )
}

fn feed_nft(namespace: &str, rules: &str) -> Result<(), String> {
    let mut child = Command::new("ip")
        .args(["netns", "exec", namespace, "nft", "-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("start ip: {e}"))?;
    if let Some(mut to) = child.stdin.take() {
        to.write_all(rules.as_bytes()).map_err(|e| format!("tell nft: {e}"))?;
    }
    let ended = child.wait_with_output().map_err(|e| format!("wait for nft: {e}"))?;
    if ended.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&ended.stderr).into_owned()) }
}

fn run(tool: &str, args: &[&str]) -> Result<(), String> {
    let ended = Command::new(tool).args(args).output().map_err(|e| format!("start {tool}: {e}"))?;
    if ended.status.success() {
        return Ok(());
    }
    Err(format!("{tool} {}: {}", args.join(" "), String::from_utf8_lossy(&ended.stderr).trim()))
}

/// A namespace goes with what still runs in it.
fn remove(namespace: &str) {
    if let Ok(pids) = Command::new("ip").args(["netns", "pids", namespace]).output() {
        for pid in String::from_utf8_lossy(&pids.stdout).split_whitespace() {
            // It may have ended by itself in between.
            drop(run("kill", &["-KILL", pid]));
        }
    }
    if let Err(e) = run("ip", &["netns", "del", namespace]) {
        eprintln!("left behind: {e}");
    }
}

/// Takes away what a run left that was killed.
fn sweep() {
    let Ok(entries) = std::fs::read_dir("/run/netns") else { return };
    for name in entries.flatten().filter_map(|e| e.file_name().into_string().ok()) {
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        let owner = rest.split('-').next().unwrap_or_default();
        if owner.parse::<u32>().is_ok() && !Path::new("/proc").join(owner).exists() {
            remove(&name);
        }
    }
}
