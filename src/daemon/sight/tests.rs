use std::fs::{FileTimes, OpenOptions};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::*;

struct Here(PathBuf);

impl Here {
    fn new(name: &str) -> Here {
        let dir = std::env::temp_dir().join(format!("qu-sight-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&dir));
        fs::create_dir_all(&dir).unwrap();
        Here(dir)
    }

    fn file(&self) -> PathBuf {
        self.0.join("cluster.yaml")
    }

    fn names(&self) -> usize {
        fs::read_dir(&self.0).unwrap().count()
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Long after every file here was written, so that all of them have rested.
fn later() -> Wall {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Wall(u64::try_from(now.as_millis()).unwrap() + 60_000)
}

fn at(seconds: u64) -> Mono {
    Mono(0) + Duration::from_secs(seconds)
}

fn stamp(path: &Path, time: SystemTime) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.set_times(FileTimes::new().set_modified(time)).unwrap();
}

fn edited(sighting: Sighting) -> String {
    match sighting {
        Sighting::Edited(text) => text,
        other => panic!("{other:?}"),
    }
}

/// A save that leaves times, length and inode as they were, as one within the same tick does. The
/// time of change cannot be set, so the memory of it is set instead.
fn save_unseen(sight: &mut Sight, text: &str) {
    let time = fs::metadata(&sight.path).unwrap().modified().unwrap();
    fs::write(&sight.path, text).unwrap();
    stamp(&sight.path, time);
    let look = sight.look().unwrap();
    if let Some(seen) = &mut sight.seen {
        assert_eq!(seen.look.inode, look.inode);
        assert_eq!(seen.look.length, look.length);
        seen.look = look;
    }
}

#[test]
fn a_save_within_the_tick_of_the_last_look_is_noticed() {
    let here = Here::new("tick");
    let mut sight = Sight::new(here.file());
    assert_eq!(sight.replace("target: 1", at(10)).unwrap(), Replaced::Done);
    assert!(matches!(sight.glance(at(10), later()), Sighting::Known));
    save_unseen(&mut sight, "target: 3");
    assert_eq!(edited(sight.glance(at(11), later())), "target: 3");
}

#[test]
fn a_look_settles_one_tick_after_it_was_first_seen_and_is_not_read_again() {
    let here = Here::new("settle");
    let mut sight = Sight::new(here.file());
    sight.replace("one", at(10)).unwrap();
    for (second, settled) in [(10, false), (11, false), (12, true)] {
        assert!(matches!(sight.glance(at(second), later()), Sighting::Known));
        assert_eq!(sight.seen.unwrap().settled, settled);
    }
}

#[test]
fn what_was_just_written_need_not_rest_before_it_is_written_over() {
    let here = Here::new("again");
    let mut sight = Sight::new(here.file());
    for text in ["one", "two", "three"] {
        sight.replace(text, at(1)).unwrap();
        let saved = fs::metadata(here.file()).unwrap().modified().unwrap();
        let ms = u64::try_from(saved.duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
        assert!(matches!(sight.glance(at(1), Wall(ms + 10)), Sighting::Known));
    }
}

#[test]
fn an_edit_stays_new_until_it_was_dealt_with() {
    let here = Here::new("new");
    let mut sight = Sight::new(here.file());
    sight.replace("one", at(0)).unwrap();
    fs::write(here.file(), "two").unwrap();
    for second in 1..4 {
        assert_eq!(edited(sight.glance(at(second), later())), "two");
    }
    sight.dealt("two");
    assert!(matches!(sight.glance(at(5), later()), Sighting::Known));
}

#[test]
fn an_edit_rests_before_it_is_read() {
    let here = Here::new("rest");
    let mut sight = Sight::new(here.file());
    sight.replace("one", at(0)).unwrap();
    fs::write(here.file(), "two").unwrap();
    let saved = fs::metadata(here.file()).unwrap().modified().unwrap();
    let ms = u64::try_from(saved.duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    assert!(matches!(sight.glance(at(1), Wall(ms + 100)), Sighting::Young));
    assert_eq!(edited(sight.glance(at(1), Wall(ms + 600))), "two");
}

#[test]
fn an_edit_between_the_look_and_the_write_is_not_overwritten() {
    let here = Here::new("overtaken");
    let mut sight = Sight::new(here.file());
    sight.replace("one", at(0)).unwrap();
    assert!(matches!(sight.glance(at(1), later()), Sighting::Known));
    fs::write(here.file(), "theirs").unwrap();
    assert_eq!(sight.replace("ours", at(0)).unwrap(), Replaced::Overtaken);
    assert_eq!(edited(sight.glance(at(2), later())), "theirs");
    assert_eq!(here.names(), 1, "no temporary file");
    sight.dealt("theirs");
    assert_eq!(sight.replace("ours", at(0)).unwrap(), Replaced::Done);
    assert_eq!(fs::read_to_string(here.file()).unwrap(), "ours");
    assert_eq!(here.names(), 1, "no temporary file");
}

#[test]
fn a_removed_file_is_gone_and_one_that_came_meanwhile_is_kept() {
    let here = Here::new("gone");
    let mut sight = Sight::new(here.file());
    sight.replace("one", at(0)).unwrap();
    fs::remove_file(here.file()).unwrap();
    assert!(matches!(sight.glance(at(1), later()), Sighting::Gone));
    fs::write(here.file(), "theirs").unwrap();
    assert_eq!(sight.replace("one", at(0)).unwrap(), Replaced::Overtaken);
    fs::remove_file(here.file()).unwrap();
    assert_eq!(sight.replace("one", at(0)).unwrap(), Replaced::Done);
    assert_eq!(fs::read_to_string(here.file()).unwrap(), "one");
}

#[test]
fn a_file_that_is_a_directory_or_no_text_is_told_once_and_left_alone() {
    let here = Here::new("broken");
    let mut sight = Sight::new(here.file());
    sight.replace("one", at(0)).unwrap();
    fs::write(here.file(), [0xff, 0xfe]).unwrap();
    assert!(matches!(sight.glance(at(1), later()), Sighting::Broken(_)));
    assert!(matches!(sight.glance(at(2), later()), Sighting::StillBroken));
    assert_eq!(sight.replace("two", at(0)).unwrap(), Replaced::Overtaken);
    fs::remove_file(here.file()).unwrap();
    fs::create_dir(here.file()).unwrap();
    assert!(matches!(sight.glance(at(3), later()), Sighting::Broken(_)));
    assert_eq!(sight.replace("two", at(0)).unwrap(), Replaced::Overtaken);
    fs::remove_dir(here.file()).unwrap();
    fs::write(here.file(), "one").unwrap();
    assert!(matches!(sight.glance(at(4), later()), Sighting::Known), "as it was");
}

#[test]
fn a_mode_that_was_mended_is_a_new_look() {
    let here = Here::new("mode");
    let mut sight = Sight::new(here.file());
    sight.replace("one", at(0)).unwrap();
    let look = sight.look().unwrap();
    let changed = |look: Look| {
        std::os::unix::fs::chown(here.file(), None, None).unwrap();
        sight.look().unwrap() != look
    };
    // The clock of the file system ticks some hundred times a second.
    assert!((0..100_000).any(|_| changed(look)));
}

#[test]
fn where_files_cannot_be_exchanged_the_last_look_is_as_late_as_possible() {
    let here = Here::new("over");
    let mut sight = Sight::new(here.file());
    sight.replace("one", at(0)).unwrap();
    let temp = here.0.join("temp");
    fs::write(&temp, "two").unwrap();
    fs::write(here.file(), "theirs").unwrap();
    assert_eq!(sight.put_over(&temp).unwrap(), Replaced::Overtaken);
    fs::write(here.file(), "one").unwrap();
    assert_eq!(sight.put_over(&temp).unwrap(), Replaced::Done);
    assert_eq!(fs::read_to_string(here.file()).unwrap(), "two");
}
