//! `qu cluster edit`: the configuration in the operator's editor.
//!
//! The editor gets a private copy (a directory of mode 0700, a file of 0600, no secret in it) that
//! names the version it started from. What is wrong with the text is put as a first line before it,
//! and the editor opened again, until the text is right, or is left as it was: then the copy is kept
//! and named. Two people who edit at the same time meet at the commit: items that both changed
//! refuse it, others merge.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use crate::base::file;
use crate::base::text::{chain, harmless};
use crate::config::kept::{Kept, REMARK};
use crate::config::{Cluster, Form, LARGEST_FILE, written};
use crate::sys::random;

use super::parse::Said;
use super::wanted::{self, Wanted};
use super::{Failure, Session, ask};

/// What the copy is called: the ending tells editors what it is.
const NAME: &str = "cluster.yaml";
/// In front of a text that is right, so that lines keep their numbers when there is a remark.
const NO_REMARK: &str = "#!\n";

/// `qu cluster edit`.
pub fn run(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    if !session.terminal && !said.has("yes") {
        let why = "nobody to ask: standard input is not a terminal; use qu cluster apply, or give --yes";
        return Err(Failure::Failed(why.to_owned()));
    }
    let (base, _) = wanted::configuration(session, None)?;
    let copy = Copy::make(session)?;
    let ended = Editing { copy: &copy, base, yes: said.has("yes") }.until_done(session, said);
    match ended {
        Ok(()) => copy.remove(),
        Err(GaveUp { why, keep: false }) => copy.remove().and(Err(why)),
        Err(GaveUp { why, keep: true }) => {
            let kept = format!("your text is kept as {}", copy.path.display());
            Err(match why {
                Failure::Failed(why) => Failure::Failed(format!("{why}; {kept}")),
                Failure::NotNow(why) => Failure::NotNow(format!("{why}; {kept}")),
                other => {
                    session.say(&kept);
                    other
                }
            })
        }
    }
}

/// Why it ended without a change, and whether there is a text worth keeping.
struct GaveUp {
    why: Failure,
    keep: bool,
}

struct Editing<'c> {
    copy: &'c Copy,
    base: Arc<Cluster>,
    yes: bool,
}

impl Editing<'_> {
    fn until_done(&self, session: &mut Session<'_>, said: &Said) -> Result<(), GaveUp> {
        let lost = |why| GaveUp { why, keep: false };
        let kept = |why| GaveUp { why, keep: true };
        let original = written(&self.base, Form::Copy);
        self.copy.write(&original).map_err(lost)?;
        let mut before = original.clone();
        let mut wrong: Option<Failure> = None;
        loop {
            let changed = before != original;
            let edited = self.copy.edit(session).and_then(|()| self.copy.read());
            let text = without_remark(&edited.map_err(|why| GaveUp { why, keep: changed })?);
            if text == original {
                session.say("not changed: nothing to do");
                return Ok(());
            }
            if let Some(why) = wrong.take().filter(|_| text == before) {
                return Err(kept(why));
            }
            let failed = match self.compare(session, &text) {
                Ok(found) if found.differences.is_empty() => {
                    session.say("the same configuration: nothing to do");
                    return Ok(());
                }
                Ok(found) => match self.commit(session, said, &found) {
                    Ok(()) => return Ok(()),
                    // Worth another look; everything else is not for an editor to mend.
                    Err(GaveUp { why: Failure::Failed(why), keep: false }) => Failure::Failed(why),
                    Err(gave_up) => return Err(kept(gave_up.why)),
                },
                Err(Failure::Failed(why)) => Failure::Failed(why),
                Err(other) => return Err(kept(other)),
            };
            if let Failure::Failed(why) = &failed {
                session.say(why);
                self.copy.write(&format!("{REMARK} {}\n{text}", harmless(why))).map_err(kept)?;
            }
            (before, wrong) = (text, Some(failed));
        }
    }

    fn compare(&self, session: &Session<'_>, text: &str) -> Result<Wanted, Failure> {
        let numbered = format!("{NO_REMARK}{text}");
        let kept = Kept::read(NAME, &numbered).map_err(|e| Failure::of(&e))?;
        if kept.version().map_err(|e| Failure::of(&e))? != Some(self.base.version) {
            return Err(Failure::Failed(format!(
                "version cannot be changed by hand; write version: {} again",
                self.base.version
            )));
        }
        // Whoever was faster shows here, not only at the commit.
        let (current, _) = wanted::configuration(session, None)?;
        wanted::compare(&kept, &self.base, &current)
    }

    /// Shows, asks, commits. Given up for good (`keep`) when the person says no.
    fn commit(&self, session: &mut Session<'_>, said: &Said, found: &Wanted) -> Result<(), GaveUp> {
        let failed = |why| GaveUp { why, keep: false };
        session.print(&wanted::lines(&found.differences)).map_err(failed)?;
        if !self.yes && !ask::person(session, "commit this?", "give --yes").map_err(failed)? {
            let why = Failure::Failed("not committed: nothing was changed".to_owned());
            return Err(GaveUp { why, keep: true });
        }
        let done = wanted::commit(session, found, false).map_err(failed)?;
        // It is done, whether or not it can be said.
        ask::print_done(session, said, &done).map_err(|why| GaveUp { why, keep: true })
    }
}

/// Without the lines that were put before it.
fn without_remark(text: &str) -> String {
    let lines = text.split_inclusive('\n').skip_while(|l| l.starts_with(REMARK));
    lines.collect()
}

/// The private copy.
struct Copy {
    dir: PathBuf,
    path: PathBuf,
}

impl Copy {
    fn make(session: &Session<'_>) -> Result<Copy, Failure> {
        let base = session.variable("TMPDIR")?.unwrap_or_else(|| "/tmp".to_owned());
        let bits = random::bits().map_err(|e| Failure::Failed(format!("no random bytes for a name: {e}")))?;
        let dir = Path::new(&base).join(format!("qu-edit-{bits:032x}"));
        let made = fs::DirBuilder::new().mode(0o700).create(&dir);
        made.map_err(|e| Failure::of(&file::at("create directory", &dir)(e)))?;
        Ok(Copy { path: dir.join(NAME), dir })
    }

    fn write(&self, text: &str) -> Result<(), Failure> {
        file::replace(&self.path, text.as_bytes(), 0o600).map_err(|e| Failure::of(&e))
    }

    fn read(&self) -> Result<String, Failure> {
        file::read_text(&self.path, LARGEST_FILE as u64).map_err(|e| Failure::of(&e))
    }

    /// With what the editor left beside it.
    fn remove(&self) -> Result<(), Failure> {
        fs::remove_dir_all(&self.dir).map_err(|e| Failure::of(&file::at("remove", &self.dir)(e)))
    }

    /// Runs the editor to its end.
    fn edit(&self, session: &mut Session<'_>) -> Result<(), Failure> {
        let chosen = match session.variable("VISUAL")? {
            Some(editor) => Some(editor),
            None => session.variable("EDITOR")?,
        };
        // An editor may come with flags of its own: the shell takes it apart, as it does for others
        // who open one.
        let script = match &chosen {
            Some(editor) => format!("{editor} \"$1\""),
            None => {
                "for e in vi nano; do if command -v $e >/dev/null; then exec $e \"$1\"; fi; done; exit 127"
                    .to_owned()
            }
        };
        session.out.flush().map_err(|e| Failure::of(&e))?;
        let name = chosen.as_deref().unwrap_or("vi or nano");
        let status = Command::new("/bin/sh").arg("-c").arg(&script).arg("qu").arg(&self.path).status();
        let status =
            status.map_err(|e| Failure::Failed(format!("cannot start the editor {name}: {}", chain(&e))))?;
        match status.code() {
            Some(0) => Ok(()),
            Some(127) => Err(Failure::Failed(format!("no editor: {name} is not found; set EDITOR"))),
            Some(code) => {
                Err(Failure::Failed(format!("the editor ended with status {code}: nothing was changed")))
            }
            None => Err(Failure::Failed(format!("the editor ended with {status}: nothing was changed"))),
        }
    }
}
