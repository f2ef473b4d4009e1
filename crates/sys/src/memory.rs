//! Memory that a process holds and does not need.

use std::ffi::{c_int, c_void};

/// Hands back what the process does not need at the moment, whatever that is worth; it may be called at any time, and costs about a millisecond.
///
/// - What the allocator keeps of freed heap goes back to the kernel (glibc's `malloc_trim`; by itself it gives back only what is at the end).
/// - Pages of the program's code and constants are let go. They are files' pages, so nothing is lost: the kernel keeps them in its cache as long as nobody
///   needs the memory more, and those that are used again are mapped again without a read. What only the start, or one request long ago, has used
///   counts for the process no longer, and is among the first that the kernel takes when memory is short.
#[expect(unsafe_code, reason = "the C library's view of the loaded program")]
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes a number, and the allocator's own locks.
    unsafe {
        libc::malloc_trim(0)
    };
    // SAFETY: the callback keeps to what it is given; it is not called after this returns.
    unsafe { libc::dl_iterate_phdr(Some(let_go), std::ptr::null_mut()) };
}

/// Called for each loaded object, the program first: one call is enough.
#[expect(unsafe_code, reason = "a C callback")]
unsafe extern "C" fn let_go(object: *mut libc::dl_phdr_info, _size: usize, _data: *mut c_void) -> c_int {
    const STOP: c_int = 1;
    // SAFETY: the C library passes a structure that is valid during the call.
    let Some(object) = (unsafe { object.as_ref() }) else { return STOP };
    if object.dlpi_phdr.is_null() {
        return STOP;
    }
    // SAFETY: so many headers are there, for as long as the object is loaded.
    let headers = unsafe { std::slice::from_raw_parts(object.dlpi_phdr, usize::from(object.dlpi_phnum)) };
    // Only segments that are never written: letting go of another's pages would lose what was written, the loader's relocations for one.
    for segment in headers.iter().filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0) {
        let (start, length) = pages(object.dlpi_addr as usize + segment.p_vaddr as usize, segment.p_memsz as usize);
        // Refused only where pages are locked; then they stay.
        // SAFETY: the range is that of a mapping of the program's file, unchanged since it was mapped: what is touched next is read from there.
        let _ = unsafe { libc::madvise(std::ptr::without_provenance_mut(start), length, libc::MADV_DONTNEED) };
    }
    STOP
}

/// The whole pages within a range, as start and length: what shares its page with something else stays.
fn pages(address: usize, length: usize) -> (usize, usize) {
    let page = rustix::param::page_size();
    let start = address.next_multiple_of(page);
    let end = (address + length) / page * page;
    (start, end.saturating_sub(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resident_file_kib() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("RssFile:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    #[test]
    fn a_program_that_has_let_go_of_its_pages_goes_on() {
        let before = resident_file_kib();
        give_back();
        let after = resident_file_kib();
        assert!(after < before, "{before} KiB of files were resident, and then {after}");
        // Constants, relocations and code are what they were.
        let numbers: Vec<String> = (0..1000).map(|n| format!("{n:x}")).collect();
        assert_eq!(numbers.concat().len(), 16 + 240 * 2 + 744 * 3);
        assert!(std::panic::catch_unwind(|| panic!("still caught")).is_err());
    }

    #[test]
    fn only_whole_pages_are_let_go() {
        let page = rustix::param::page_size();
        assert_eq!(pages(3 * page, 2 * page), (3 * page, 2 * page));
        assert_eq!(pages(3 * page + 7, 2 * page), (4 * page, page));
        assert_eq!(pages(3 * page + 7, 10), (4 * page, 0));
    }
}
