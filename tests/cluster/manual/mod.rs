//! Every command block of quptime-operations(7) and quptime-troubleshooting(7), run as it stands.
//!
//! A block is a `.Bd -literal` of the page; what is shown and not typed (output, a piece of a file)
//! goes into a `.Bd -unfilled`. Every heading with a block in it has a *story*: a function that
//! brings a cluster into the situation that the heading is about, lets the blocks run in the order
//! of the page, each on the host where the page says it is typed, and looks at what came of it. A
//! heading without a story, a story without a heading, and a block that no story ran are failures.
//!
//! To add a section: write it, and add a line to [`stories!`] below and a function that says
//!
//! ```text
//! pub fn replace_a_dead_node(s: &mut Story) {
//!     s.cluster(&["alpha", "beta", "gamma"]);      // three hosts, one cluster, all live
//!     s.node("gamma").kill();                      // the situation: tests/cluster/support
//!     let id = s.node("gamma").id.clone();
//!     s.means("a7f3", &id[..8]);                   // what the page's placeholder stands for
//!     s.run("alpha");                              // first block, typed on alpha; must end with 0
//!     s.host("delta");                             // a host with the package and nothing else
//!     s.input("delta", SECRET);                    // second block, with this as standard input
//!     s.typing("alpha", &["y"]);                   // third one, at a terminal, with these answers
//! }
//! ```
//!
//! Blocks are run by `sh -eu` in the environment of the host: what fails ends the block. Replaced in
//! the text are only names of hosts with the port (`alpha.example.com:9901`, by the address of that
//! node), placeholders ([`Story::means`]) and the beginnings of absolute paths (`host.rs`, `ROOTED`).
//! `sudo`, `systemctl` (which really starts and stops the node's process), `sudoedit`, `vi` (which
//! does what [`Story::edit`] said), `ssh`, `scp`, `journalctl`, `chown` and `page-me` are small
//! commands of the test; `qu serve` in a block starts the node with the flags given. Everything
//! else is the real thing.

mod host;
mod lasting;
mod operations;
mod page;
mod troubleshooting;

use std::collections::{BTreeSet, VecDeque};
use std::fs;

use super::support::{Home, Node, Ran, SECRET, until};
use host::{Given, Host};
use page::{Block, blocks};

/// Page, heading, story.
macro_rules! stories {
    ($($page:ident $heading:literal => $story:ident;)*) => {
        const TOLD: &[(&str, &str)] = &[$((stringify!($page), $heading)),*];
        $(#[test]
        fn $story() {
            tell(stringify!($page), $heading, stringify!($story), $page::$story);
        })*
    };
}

stories! {
    operations "Backup" => backup;
    operations "Restore one node" => restore_one_node;
    operations "Restore all nodes" => restore_all_nodes;
    operations "Go on when a quorum is lost for good" => go_on_when_a_quorum_is_lost;
    operations "Go on with a majority of the peers" => go_on_with_a_majority;
    operations "Replace a dead node" => replace_a_dead_node;
    operations "Keys and secrets" => keys_and_secrets;
    operations "Configuration in git" => configuration_in_git;
    operations "Watch the watcher" => watch_the_watcher;
    troubleshooting "cluster.yaml of version ... gives way" => gives_way;
    troubleshooting "Some nodes lost it, and no majority remembers" => no_majority_remembers;
    troubleshooting "A node lost everything" => a_node_lost_everything;
}

#[test]
fn every_heading_with_a_block_has_its_story() {
    let told: BTreeSet<(String, String)> =
        TOLD.iter().map(|(page, heading)| ((*page).to_owned(), (*heading).to_owned())).collect();
    let headings = ["operations", "troubleshooting"]
        .into_iter()
        .flat_map(|page| blocks(&file(page)).into_iter().map(move |(heading, _)| (page.to_owned(), heading)));
    assert_eq!(told, headings.collect(), "stories on the left, headings with blocks on the right");
}

fn file(page: &str) -> String {
    format!("quptime-{page}.7")
}

fn tell(page: &str, heading: &str, name: &str, story: fn(&mut Story)) {
    let found = blocks(&file(page)).into_iter().find(|(h, _)| h == heading);
    let (_, blocks) = found.unwrap_or_else(|| panic!("no blocks under {heading:?}"));
    let mut s = Story::of(&file(page), name, blocks);
    story(&mut s);
    assert!(s.blocks.is_empty(), "no block of {heading:?} may be left out: {:?}", s.blocks);
}

#[test]
fn the_commands_of_the_test_do_what_their_names_say() {
    let text = "\
sudo systemctl stop quptime
test \"$(systemctl is-active quptime || echo $?)\" = 3
sudoedit /etc/quptime/cluster.yaml
sudo vi /etc/quptime/cluster.yaml
scp /etc/quptime/cluster.yaml beta.example.com:/etc/quptime/copy.yaml
ssh beta.example.com 'sudo cat /etc/quptime/copy.yaml' >/tmp/back
scp -p beta.example.com:/etc/quptime/copy.yaml /tmp/copy
cmp /etc/quptime/cluster.yaml /tmp/back
cmp /etc/quptime/cluster.yaml /tmp/copy
sudo -u quptime qu serve --log-level info
ssh root@beta.example.com systemctl restart quptime
sudo systemctl is-active quptime
journalctl -u quptime
";
    let block = Block { line: 1, text: text.to_owned() };
    let mut s = Story::of("test", "the_commands", VecDeque::from([block]));
    s.cluster(&["alpha", "beta"]);
    s.edit("alpha", "echo '# edited' >>\"$1\"");
    let pid = s.node("beta").pid();
    let ran = s.run("alpha");
    assert!(ran.out.contains(" ready "), "{ran:?}");
    let copy = fs::read_to_string(s.home.path().join("beta/etc/quptime/copy.yaml")).expect("copied");
    assert_eq!(copy.matches("# edited").count(), 2, "{copy}");
    assert_ne!(pid, s.node("beta").pid());
    s.whole();
}

/// The blocks under one heading, and the hosts on which they are run.
pub struct Story {
    page: String,
    blocks: VecDeque<Block>,
    means: Vec<(String, String)>,
    // Before `home`, so that the processes end before their directories do.
    hosts: Vec<Host>,
    home: Home,
}

impl Story {
    fn of(page: &str, name: &str, blocks: VecDeque<Block>) -> Story {
        let home = Home::new(&name.chars().take(24).collect::<String>());
        Story { page: page.to_owned(), blocks, means: Vec::new(), hosts: Vec::new(), home }
    }

    /// A host with the package and nothing else.
    pub fn host(&mut self, name: &str) {
        self.hosts.push(Host::new(self.home.path(), name));
    }

    /// Hosts whose nodes are one cluster, all live, the first of them alone at the beginning.
    pub fn cluster(&mut self, names: &[&str]) {
        for name in names {
            self.host(name);
            let node = self.node(name);
            node.init(SECRET);
            node.start();
            node.sees("a cluster of one has its master", |v| !v["master"].is_null());
        }
        let others: Vec<_> = names[1..]
            .iter()
            .map(|name| (self.node(name).address(), self.node(name).fingerprint.clone()))
            .collect();
        let first = self.node(names[0]);
        // Elections within three seconds, and no news of a busy machine.
        first.ok(&["cluster", "set", "heartbeat", "200ms"]);
        first.ok(&["cluster", "set", "dead_after", "2s"]);
        for (address, fingerprint) in others {
            first.ok(&["node", "add", &address, "--fingerprint", &fingerprint]);
        }
        self.whole();
    }

    /// Waits until every running node has the same master and version and hears every other.
    pub fn whole(&self) {
        let running: Vec<&Node> = self.hosts.iter().map(|h| &h.node).filter(|n| n.runs()).collect();
        until("all nodes agree on a master and hear each other", || {
            let views: Option<Vec<_>> = running.iter().map(|n| n.view()).collect();
            let views = views?;
            let first = views.first()?;
            let hears = |v: &serde_json::Value, id: &str| {
                let peers = v["peers"].as_array();
                peers.is_some_and(|p| {
                    p.iter().any(|p| p["node_id"] == id && p["live"] == true && p["voter"] == true)
                })
            };
            let good = views.iter().all(|v| {
                !v["master"].is_null()
                    && v["master"] == first["master"]
                    && v["config_version"] == first["config_version"]
                    && running.iter().all(|n| hears(v, &n.id))
            });
            good.then_some(())
        });
    }

    /// The node of a host.
    pub fn node(&mut self, name: &str) -> &mut Node {
        let found = self.hosts.iter_mut().find(|h| h.name == name);
        &mut found.unwrap_or_else(|| panic!("no host {name}")).node
    }

    /// What a placeholder of the page stands for.
    pub fn means(&mut self, placeholder: &str, text: &str) {
        self.means.push((placeholder.to_owned(), text.to_owned()));
    }

    /// What the editor on a host does to the file that it is given: a shell script, the file is `$1`.
    pub fn edit(&mut self, name: &str, script: &str) {
        let root = self.hosts.iter().find(|h| h.name == name).expect("a host").root.clone();
        fs::write(root.join("edit.sh"), script).expect("written");
    }

    /// The next block, typed on this host; it must end well.
    #[track_caller]
    pub fn run(&mut self, name: &str) -> Ran {
        self.end(name, &Given::default())
    }

    /// The next block, with this as standard input.
    #[track_caller]
    pub fn input(&mut self, name: &str, text: &str) -> Ran {
        self.end(name, &Given { input: Some(text.to_owned()), ..Given::default() })
    }

    /// The next block, at a terminal at which these lines are typed.
    #[track_caller]
    pub fn typing(&mut self, name: &str, lines: &[&str]) -> Ran {
        let typed = lines.iter().map(|l| (*l).to_owned()).collect();
        self.end(name, &Given { typed, ..Given::default() })
    }

    #[track_caller]
    fn end(&mut self, name: &str, given: &Given) -> Ran {
        let block = self.blocks.pop_front().expect("a block that was not run yet");
        let mut text = block.text.clone();
        for host in &self.hosts {
            text = text.replace(&format!("{}.example.com:9901", host.name), &host.node.address());
        }
        for (placeholder, meant) in &self.means {
            text = text.replace(placeholder, meant);
        }
        let at = self.hosts.iter().position(|h| h.name == name).expect("a host");
        let text = self.hosts[at].paths(&text);
        let shell = self.hosts[at].shell(self.home.path(), &text, given);
        let ran = host::wait(shell, &mut self.hosts);
        assert_eq!(ran.status, 0, "{}:{} on {name}:\n{text}{ran:?}", self.page, block.line);
        ran
    }
}
