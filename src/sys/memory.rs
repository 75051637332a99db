//! What the C library's allocator keeps for later, kept small.
//!
//! Model: a node lives for years and works in peaks (a configuration of megabytes is read, written
//! down, sent; a listing of all checks is put together). With its defaults glibc gives each thread
//! an arena of its own, raises by itself the size from which a block goes straight back to the
//! system, and returns the rest of a peak late or never. Other C libraries have nothing to set:
//! there these functions do nothing.

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

/// Gives back to the system what is free, wherever it lies. Takes a millisecond or two for a heap
/// of tens of megabytes, in which no other thread can allocate.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: looks at free blocks only, under the allocator's own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_in_use_survives_giving_the_rest_back() {
        super::stay_small();
        let kept: Vec<String> = (0..20_000).map(|n| format!("kept {n}")).collect();
        drop((0..20_000).map(|n| vec![n; 50]).collect::<Vec<_>>());
        super::give_back();
        assert!(kept.iter().enumerate().all(|(n, text)| *text == format!("kept {n}")));
    }
}
