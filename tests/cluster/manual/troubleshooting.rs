//! The situations of quptime-troubleshooting(7).

use super::super::support::SECRET;
use super::Story;
pub use super::lasting::{gives_way, no_majority_remembers};

pub fn a_node_lost_everything(s: &mut Story) {
    s.cluster(&["alpha", "beta", "gamma"]);
    s.node("alpha").kill();
    let (lost, dir) = (s.node("alpha").id.clone(), s.node("alpha").dir.clone());
    std::fs::remove_dir_all(dir).expect("lost");
    s.means("a7f3", &lost);
    s.run("beta");
    let made = s.input("alpha", SECRET);
    s.node("alpha").is_called(&made.out);
    s.typing("beta", &["y"]);
    s.whole();
}
