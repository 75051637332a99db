//! What stays in memory although nobody needs it, kept small.
//!
//! Model: a node lives for years and works in peaks (a configuration of megabytes is read, written
//! down, sent; a listing of all checks is put together). With its defaults glibc gives each thread
//! an arena of its own, raises by itself the size from which a block goes straight back to the
//! system, and returns the rest of a peak late or never. Other C libraries have nothing to set:
//! there nothing is set.
//!
//! The program's own code is read from its file as it runs, and counted as long as it stays. Most of
//! what the start has read (files, keys, the first handshakes) is not needed again.

/// From this size on a block is mapped by itself, and given back when it is freed.
#[cfg(target_env = "gnu")]
const MAPPED_FROM: libc::c_int = 256 * 1024;
/// So much may lie free at the end of the heap.
#[cfg(target_env = "gnu")]
const KEPT: libc::c_int = 256 * 1024;
/// Threads that allocate at the same time wait for each other rather than keep a heap each.
#[cfg(target_env = "gnu")]
const ARENAS: libc::c_int = 1;

/// Sets the allocator for a process that runs long and small. Before the first thread starts.
pub fn stay_small() {
    #[cfg(target_env = "gnu")]
    // SAFETY: each sets a number; one that is not taken leaves the default.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, ARENAS);
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
    }
}

/// Gives back to the system what is free, wherever it lies, and code that has not run lately: what
/// runs again is mapped again, from memory as a rule. Takes a millisecond or two for a heap of tens
/// of megabytes, in which no other thread can allocate.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: looks at free blocks only, under the allocator's own locks.
    unsafe {
        libc::malloc_trim(0);
    }
    // Where there is no /proc the code simply stays.
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for (from, length) in maps.lines().filter_map(code) {
        // SAFETY: code of a file is never written to, so that what is dropped here is read from the
        // file again when it runs; this thread's own next instruction included.
        unsafe { libc::madvise(std::ptr::with_exposed_provenance_mut(from), length, libc::MADV_DONTNEED) };
    }
}

/// Where a line of /proc/self/maps says that code of a file lies: begin and length. Only what may
/// be run and not be written: of all else somebody may have changed a copy.
fn code(line: &str) -> Option<(usize, usize)> {
    let mut words = line.split_ascii_whitespace();
    let (place, rights, file) = (words.next()?, words.next()?, words.nth(3)?);
    if rights != "r-xp" || !file.starts_with('/') {
        return None;
    }
    let (from, to) = place.split_once('-')?;
    let from = usize::from_str_radix(from, 16).ok()?;
    Some((from, usize::from_str_radix(to, 16).ok()?.checked_sub(from)?))
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_code_of_files_is_dropped() {
        let line = |rights: &str, file: &str| {
            super::code(&format!("55d0c000-55d0e000 {rights} 00002000 08:01 131 {file}"))
        };
        assert_eq!(line("r-xp", "/usr/local/bin/qu"), Some((0x55d0_c000, 0x2000)));
        for (rights, file) in
            [("r--p", "/usr/bin/qu"), ("rw-p", "/usr/bin/qu"), ("r-xp", "[vdso]"), ("r-xp", "")]
        {
            assert_eq!(line(rights, file), None, "{rights} {file}");
        }
    }

    #[test]
    fn what_is_in_use_survives_giving_the_rest_back() {
        super::stay_small();
        let kept: Vec<String> = (0..20_000).map(|n| format!("kept {n}")).collect();
        drop((0..20_000).map(|n| vec![n; 50]).collect::<Vec<_>>());
        super::give_back();
        assert!(kept.iter().enumerate().all(|(n, text)| *text == format!("kept {n}")));
    }
}
