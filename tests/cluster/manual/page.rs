//! Command blocks of a page of the manual: every `.Bd -literal`, with the heading it stands under.

use std::collections::VecDeque;
use std::path::Path;

/// One block.
#[derive(Clone, Debug)]
pub struct Block {
    /// Line in the page of the first command.
    pub line: usize,
    /// The commands, as a reader sees them.
    pub text: String,
}

/// The blocks of each heading (`.Ss`, or `.Sh` where there is none), in order.
pub fn blocks(page: &str) -> Vec<(String, VecDeque<Block>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("man").join(page);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut found: Vec<(String, VecDeque<Block>)> = Vec::new();
    let mut inside: Option<Block> = None;
    for (n, line) in text.lines().enumerate() {
        if let Some(heading) = line.strip_prefix(".Sh ").or_else(|| line.strip_prefix(".Ss ")) {
            found.push((heading.trim_matches('"').to_owned(), VecDeque::new()));
        } else if line.starts_with(".Bd -literal") {
            inside = Some(Block { line: n + 2, text: String::new() });
        } else if line.starts_with(".Ed") {
            if let (Some(block), Some((_, blocks))) = (inside.take(), found.last_mut()) {
                blocks.push_back(block);
            }
        } else if let Some(block) = &mut inside {
            block.text.push_str(&shown(line));
            block.text.push('\n');
        }
    }
    found.retain(|(_, blocks)| !blocks.is_empty());
    found
}

/// A line of the source as it looks on the page.
fn shown(line: &str) -> String {
    line.replace("\\&", "").replace("\\(aq", "'").replace("\\-", "-").replace("\\e", "\\")
}
