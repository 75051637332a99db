//! `qu backup` and `qu restore`: this node's files in one archive, and back. Neither asks the daemon.

use std::fs::File;
use std::io::{self, IsTerminal, Read};

use crate::base::text;

use super::parse::Said;
use super::wiring::{self, Archive};
use super::{Failure, Session};

/// `qu backup`.
pub fn save(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    let (target, force) = (said.arg("file"), said.has("force"));
    let dir = wiring::data_dir(session, said)?;
    let made = wiring::backup(&dir)?;
    if target == "-" {
        if io::stdout().is_terminal() {
            return Err(Failure::Usage("the archive holds keys: send it to a file or a pipe".to_owned()));
        }
        let written = session.out.write_all(&made.bytes).and_then(|()| session.out.flush());
        written.map_err(|e| Failure::Failed(format!("write the backup to standard output: {e}")))?;
    } else {
        wiring::save_backup(target.as_ref(), &made.bytes, force)?;
    }
    if let Err(why) = wiring::mark_backup(&dir) {
        session.say(&format!("warning: the time of this backup is not noted: {why}"));
    }
    let line = format!("backed up {}", describe(&made));
    if target == "-" {
        session.say(&line);
        return Ok(());
    }
    session.print(&format!("{line}\n"))
}

/// `qu restore`.
pub fn restore(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    let source = said.arg("file");
    let dir = wiring::data_dir(session, said)?;
    let bytes = read(session, source)?;
    let (archive, kept) = wiring::restore(&dir, source, bytes, said.has("force"))?;
    let mut out = format!("restored {} into {}\n", describe(&archive), dir.display());
    if let Some(kept) = kept {
        out.push_str(&format!("the state that was there is kept as {}\n", kept.display()));
    }
    out.push_str("start the daemon: it learns from the other nodes what happened since\n");
    session.print(&out)
}

fn describe(archive: &Archive) -> String {
    let c = &archive.content;
    format!(
        "node {} of cluster {}, config version {}, {} bytes, {}",
        c.node,
        c.cluster,
        c.version,
        archive.bytes.len(),
        text::rfc3339(c.at)
    )
}

fn read(session: &mut Session<'_>, source: &str) -> Result<Vec<u8>, Failure> {
    let most = wiring::LARGEST_BACKUP;
    let mut bytes = Vec::new();
    let read = if source == "-" {
        (&mut *session.input).take(most + 1).read_to_end(&mut bytes)
    } else {
        File::open(source).and_then(|f| f.take(most + 1).read_to_end(&mut bytes))
    };
    read.map_err(|e| Failure::Failed(format!("read {source}: {e}")))?;
    if bytes.len() as u64 > most {
        return Err(Failure::Failed(format!("{source}: larger than any backup")));
    }
    Ok(bytes)
}
