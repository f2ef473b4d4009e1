//! A process that is only there to be there: it gives back the memory that starting it took, and waits for the signal that ends it.

use std::convert::Infallible;
use std::fs;
use std::io;

/// Gives back all memory that this process shares with nobody, and returns only what stands against it. Afterwards the process costs the machine a
/// few pages, and only a signal ends it.
///
/// # Errors
/// There is another thread, or the kernel does not say what is mapped.
pub fn vacate_and_wait() -> io::Result<Infallible> {
    if fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("the memory of other threads cannot be given back"));
    }
    leave(&ranges(&fs::read_to_string("/proc/self/maps")?))
}

/// An address and a length, as madvise(2) takes them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Range {
    start: usize,
    length: usize,
}

/// More than a small program has.
const MOST: usize = 64;

/// All that is mapped, with the end marked by a length of nothing. What the kernel keeps there itself is left out, and so is the stack, where the
/// answer is.
fn ranges(maps: &str) -> [Range; MOST] {
    let mut ranges = [Range::default(); MOST];
    let all = maps.lines().filter(|line| !["[stack]", "[v"].iter().any(|own| line.contains(own))).filter_map(range);
    // The last one stays the end.
    ranges[..MOST - 1].iter_mut().zip(all).for_each(|(place, range)| *place = range);
    ranges
}

/// Of a line of proc_pid_maps(5): `5635e1c52000-5635e1cb2000 r--p …`.
fn range(line: &str) -> Option<Range> {
    let (start, end) = line.split_once(' ')?.0.split_once('-')?;
    let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
    Some(Range { start, length: end.checked_sub(start)? })
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "no language's rules hold for a program without its data")]
fn leave(ranges: &[Range; MOST]) -> ! {
    // SAFETY: it reads `ranges`, on the stack, up to the mark of the end that `ranges()` leaves, and touches no other memory before or after the kernel
    // has taken it away; its own instructions the kernel reads from the program's file again. It does not return, and no other thread runs: nothing
    // ever looks at what is gone. (But the standard library's handler of an invalid access, which ends the process in any case.)
    unsafe {
        std::arch::asm!(
            "2:",
            "mov rsi, [r12 + 8]",
            "test rsi, rsi",
            "jz 3f",
            "mov rdi, [r12]",
            "mov edx, {dont_need}",
            "mov eax, {madvise}",
            "syscall",
            "add r12, 16",
            "jmp 2b",
            "3:",
            "mov eax, {pause}",
            "syscall",
            "jmp 3b",
            dont_need = const libc::MADV_DONTNEED,
            madvise = const libc::SYS_madvise,
            pause = const libc::SYS_pause,
            in("r12") ranges.as_ptr(),
            options(noreturn),
        )
    }
}

/// Elsewhere nothing is given back: it costs memory, and no more.
#[cfg(not(target_arch = "x86_64"))]
fn leave(_: &[Range; MOST]) -> ! {
    loop {
        // Nothing to wait for: it returns for signals that are handled, and none is.
        let _ = rustix::event::poll(&mut [], None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_the_stack_and_the_kernels_own_is_given_back() {
        let maps = "5635e1c52000-5635e1cb2000 r--p 00000000 fe:00 1 /usr/libexec/remora-shim\n\
                    5635e2000000-5635e2021000 rw-p 00000000 00:00 0 [heap]\n\
                    7f5e6a000000-7f5e6a001000 rw-p 00000000 00:00 0\n\
                    7fff10000000-7fff10021000 rw-p 00000000 00:00 0 [stack]\n\
                    7fff10100000-7fff10104000 r--p 00000000 00:00 0 [vvar]\n\
                    ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]\n";
        let found = ranges(maps);
        let expected = [(0x5635_e1c5_2000, 0x6_0000), (0x5635_e200_0000, 0x2_1000), (0x7f5e_6a00_0000, 0x1000), (0, 0)];
        let expected = expected.map(|(start, length)| Range { start, length });
        assert_eq!(found[..expected.len()], expected);
        assert_eq!(ranges(&"0-1000 r--p\n".repeat(MOST + 1))[MOST - 1], Range::default(), "there is always an end");
    }
}
