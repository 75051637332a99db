//! `/etc/resolv.conf` and `/etc/hosts`, read again when they change.
//!
//! As libc reads them (resolv.conf(5), hosts(5)): unknown lines are passed over, a missing
//! resolv.conf means a server on this host.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Of either file no more than this is read: a block list in `/etc/hosts` has a few megabytes.
const MOST_BYTES: u64 = 16 * 1024 * 1024;

/// What `resolv.conf` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvConf {
    /// Whom to ask, in order; three at most, as in libc.
    pub servers: Vec<IpAddr>,
    /// Domains that short names are tried in.
    pub search: Vec<String>,
    /// Names with fewer dots are tried in the search domains first.
    pub ndots: usize,
    /// How long one server is waited for before the next one is asked.
    pub timeout: Duration,
    /// How often the list of servers is gone through.
    pub attempts: usize,
    /// Begin with another server each time.
    pub rotate: bool,
}

impl Default for ResolvConf {
    fn default() -> ResolvConf {
        ResolvConf {
            servers: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
            rotate: false,
        }
    }
}

impl ResolvConf {
    /// Reads the text of the file.
    #[must_use]
    pub fn parse(text: &str) -> ResolvConf {
        let mut conf = ResolvConf { servers: Vec::new(), ..ResolvConf::default() };
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or("");
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") if conf.servers.len() < 3 => {
                    conf.servers.extend(words.next().and_then(|w| w.parse::<IpAddr>().ok()));
                }
                Some("search" | "domain") => {
                    let clean = |w: &str| w.trim_end_matches('.').to_ascii_lowercase();
                    conf.search = words.map(clean).filter(|w| !w.is_empty()).take(6).collect();
                }
                Some("options") => words.for_each(|w| conf.option(w)),
                _ => {}
            }
        }
        if conf.servers.is_empty() {
            conf.servers = ResolvConf::default().servers;
        }
        conf
    }

    fn option(&mut self, word: &str) {
        let (name, value) = word.split_once(':').unwrap_or((word, ""));
        let number = value.parse::<u8>().ok();
        // The bounds are those of libc.
        match (name, number) {
            ("ndots", Some(n)) => self.ndots = usize::from(n.min(15)),
            ("timeout", Some(n)) => self.timeout = Duration::from_secs(u64::from(n.clamp(1, 30))),
            ("attempts", Some(n)) => self.attempts = usize::from(n.clamp(1, 5)),
            ("rotate", None) => self.rotate = true,
            _ => {}
        }
    }

    /// The full names to ask for, in order.
    #[must_use]
    pub fn candidates(&self, name: &str) -> Vec<String> {
        if let Some(absolute) = name.strip_suffix('.') {
            return vec![absolute.to_owned()];
        }
        let as_is = name.to_owned();
        let mut searched: Vec<String> = self.search.iter().map(|d| format!("{name}.{d}")).collect();
        searched.retain(|n| n.len() <= 253);
        let at = if name.bytes().filter(|b| *b == b'.').count() >= self.ndots { 0 } else { searched.len() };
        searched.insert(at, as_is);
        searched
    }
}

/// Names in the text of a hosts file, lower case.
fn parse_hosts(text: &str) -> BTreeMap<Box<str>, Vec<IpAddr>> {
    let mut hosts: BTreeMap<Box<str>, Vec<IpAddr>> = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or("").split_ascii_whitespace();
        let Some(ip) = words.next().and_then(|w| w.parse::<IpAddr>().ok()) else { continue };
        for name in words {
            let known = hosts.entry(name.trim_end_matches('.').to_ascii_lowercase().into()).or_default();
            if !known.contains(&ip) {
                known.push(ip);
            }
        }
    }
    hosts
}

/// Tells whether a file is still the one that was read.
type Stamp = Option<(i64, i64, u64, u64)>;

fn stamp(path: &Path) -> Stamp {
    fs::metadata(path).ok().map(|m| (m.mtime(), m.mtime_nsec(), m.size(), m.ino()))
}

fn read(path: &Path) -> String {
    let mut bytes = Vec::new();
    // An unreadable file is as good as a missing one, for libc too.
    if let Ok(file) = fs::File::open(path) {
        drop(file.take(MOST_BYTES).read_to_end(&mut bytes));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Both files, with what was read of them last.
#[derive(Debug)]
pub struct Files {
    resolv_path: PathBuf,
    hosts_path: PathBuf,
    /// The port of the servers; always 53 but in tests.
    pub port: u16,
    conf: Arc<ResolvConf>,
    conf_stamp: Option<Stamp>,
    hosts: BTreeMap<Box<str>, Vec<IpAddr>>,
    hosts_stamp: Option<Stamp>,
}

impl Files {
    /// Reads nothing yet.
    #[must_use]
    pub fn new(resolv_conf: PathBuf, hosts: PathBuf, port: u16) -> Files {
        Files {
            resolv_path: resolv_conf,
            hosts_path: hosts,
            port,
            conf: Arc::new(ResolvConf::default()),
            conf_stamp: None,
            hosts: BTreeMap::new(),
            hosts_stamp: None,
        }
    }

    /// What `resolv.conf` says now.
    pub fn conf(&mut self) -> Arc<ResolvConf> {
        let now = stamp(&self.resolv_path);
        if self.conf_stamp != Some(now) {
            self.conf = Arc::new(ResolvConf::parse(&read(&self.resolv_path)));
            self.conf_stamp = Some(now);
        }
        Arc::clone(&self.conf)
    }

    /// What `hosts` says now about a name (lower case); `localhost` is always known (RFC 6761).
    pub fn host(&mut self, name: &str) -> Option<Vec<IpAddr>> {
        let now = stamp(&self.hosts_path);
        if self.hosts_stamp != Some(now) {
            self.hosts = parse_hosts(&read(&self.hosts_path));
            self.hosts_stamp = Some(now);
        }
        let name = name.trim_end_matches('.');
        let local = || vec![IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::LOCALHOST)];
        let is_local = name == "localhost" || name.ends_with(".localhost");
        self.hosts.get(name).cloned().or_else(|| is_local.then(local))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_is_read_as_libc_reads_it() {
        let conf = ResolvConf::parse(
            "# made by hand\nnameserver 10.0.0.1 # first\nnameserver bad\nnameserver fd00::1\n\
             domain old.example\nsearch Example.com. lab.example.com\n\
             options ndots:2 timeout:1 attempts:9 rotate edns0\nnameserver 10.0.0.3\nnameserver 10.0.0.4\n",
        );
        let servers: Vec<String> = conf.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["10.0.0.1", "fd00::1", "10.0.0.3"]);
        assert_eq!(conf.search, ["example.com", "lab.example.com"]);
        assert_eq!((conf.ndots, conf.timeout.as_secs(), conf.attempts, conf.rotate), (2, 1, 5, true));
        assert_eq!(ResolvConf::parse("").servers, [IpAddr::V4(Ipv4Addr::LOCALHOST)]);
    }

    #[test]
    fn short_names_are_searched_first_and_dotted_ones_last() {
        let conf = ResolvConf::parse("search a.example b.example");
        assert_eq!(conf.candidates("web"), ["web.a.example", "web.b.example", "web"]);
        assert_eq!(conf.candidates("web.org"), ["web.org", "web.org.a.example", "web.org.b.example"]);
        assert_eq!(conf.candidates("web."), ["web"]);
    }

    #[test]
    fn both_files_are_read_again_when_they_change() {
        let dir = std::env::temp_dir().join(format!("qu-dns-files-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let (resolv, hosts) = (dir.join("resolv.conf"), dir.join("hosts"));
        let mut files = Files::new(resolv.clone(), hosts.clone(), 53);
        assert_eq!(*files.conf(), ResolvConf::default(), "missing: a server on this host");
        assert_eq!(files.host("web"), None);
        fs::write(&resolv, "nameserver 10.0.0.1\n").unwrap();
        fs::write(&hosts, "10.0.0.9 Web web.lan # here\n10.0.0.9 web\n::9 web\nbad line\n").unwrap();
        assert_eq!(files.conf().servers, [IpAddr::from([10, 0, 0, 1])]);
        let web: Vec<String> = files.host("web").unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(web, ["10.0.0.9", "::9"]);
        fs::write(&hosts, "").unwrap();
        assert_eq!(files.host("web"), None);
        assert_eq!(files.host("localhost").unwrap().len(), 2);
        fs::remove_dir_all(&dir).unwrap();
    }
}
