//! Which devices the processes of a v2 cgroup may use: a BPF program that the kernel asks at every open and mknod. (v1 has a controller
//! with files for it.)
//!
//! [`program`] decides, and is pure; [`attach_device_filter`] gives the result to the kernel, which keeps it until the cgroup goes.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use crate::Result;
use crate::error::failed;

/// Making a node, `m`.
pub const MAKE: u8 = 1;
/// Reading, `r`.
pub const READ: u8 = 2;
/// Writing, `w`.
pub const WRITE: u8 = 4;
const ALL: u8 = MAKE | READ | WRITE;

/// Block or character device, by the kernel's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum DeviceKind {
    /// `b`
    Block = 1,
    /// `c`
    Char = 2,
}

/// One line of a device cgroup. What is `None` stands for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRule {
    /// Allow or refuse.
    pub allow: bool,
    /// Which kind.
    pub kind: Option<DeviceKind>,
    /// Major number.
    pub major: Option<u32>,
    /// Minor number.
    pub minor: Option<u32>,
    /// [`MAKE`], [`READ`], [`WRITE`], joined.
    pub access: u8,
}

impl DeviceRule {
    /// Whether it speaks of every device and every access.
    #[must_use]
    pub fn is_about_all(&self) -> bool {
        self.kind.is_none() && self.major.is_none() && self.minor.is_none() && self.access == ALL
    }
}

/// Sets what the processes of a cgroup may use: the last rule that fits decides, and without one nothing is allowed. A cgroup can only take
/// away from what those above it allow.
///
/// # Errors
/// The folder is none of a v2 cgroup, or the kernel takes no such program from us.
pub fn attach_device_filter(folder: &Path, rules: &[DeviceRule]) -> Result<()> {
    let cgroup = File::open(folder).map_err(failed("open cgroup", folder.display()))?;
    let program = load(&program(rules)).map_err(failed("load the device filter of", folder.display()))?;
    attach(cgroup.as_raw_fd(), program.as_raw_fd()).map_err(failed("attach the device filter to", folder.display()))
}

/// One instruction, as the kernel reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
struct Instruction {
    code: u8,
    /// Destination in the lower half, source in the upper.
    registers: u8,
    jump: i16,
    value: i32,
}

/// Registers: r0 is the answer, r1 the question and later scratch, the others what was asked.
const ANSWER: u8 = 0;
const SCRATCH: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

/// The rules from the last to the first; each is a chain of conditions that jumps to the next rule, and an answer.
fn program(rules: &[DeviceRule]) -> Vec<Instruction> {
    // struct bpf_cgroup_dev_ctx: access << 16 | kind, major, minor.
    let mut program = vec![
        load_word(KIND, 0),
        copy(ACCESS, KIND),
        and(KIND, 0xffff),
        shift_right(ACCESS, 16),
        load_word(MAJOR, 4),
        load_word(MINOR, 8),
    ];
    for rule in rules.iter().rev() {
        program.extend(section(rule));
        if rule.is_about_all() {
            // The kernel refuses programs with instructions that are never reached.
            return program;
        }
    }
    program.extend(answer(false));
    program
}

fn section(rule: &DeviceRule) -> Vec<Instruction> {
    let mut conditions = Vec::new();
    if let Some(kind) = rule.kind {
        conditions.push(skip_unless_equal(KIND, kind as i32));
    }
    if rule.access != ALL {
        let (copied, access) = (copy(SCRATCH, ACCESS), i32::from(rule.access));
        // Allowed is what asks for nothing else; refused is what asks for any of it.
        match rule.allow {
            true => conditions.extend([copied, and(SCRATCH, !access), skip_unless_equal(SCRATCH, 0)]),
            false => conditions.extend([copied, and(SCRATCH, access), skip_if_equal(SCRATCH, 0)]),
        }
    }
    let numbers = [(MAJOR, rule.major), (MINOR, rule.minor)];
    let numbers = numbers.into_iter().filter_map(|(register, number)| Some((register, number?)));
    conditions.extend(numbers.map(|(register, number)| skip_unless_equal(register, number.cast_signed())));
    let mut section = conditions;
    section.extend(answer(rule.allow));
    let length = section.len();
    for (at, instruction) in section.iter_mut().enumerate().filter(|(_, instruction)| is_jump(instruction)) {
        instruction.jump = i16::try_from(length - at - 1).unwrap_or(i16::MAX);
    }
    section
}

fn instruction(code: u8, destination: u8, source: u8, value: i32) -> Instruction {
    Instruction { code, registers: source << 4 | destination, jump: 0, value }
}

fn load_word(register: u8, offset: i16) -> Instruction {
    Instruction { jump: offset, ..instruction(0x61, register, SCRATCH, 0) }
}

fn copy(to: u8, from: u8) -> Instruction {
    instruction(0xbc, to, from, 0)
}

fn and(register: u8, mask: i32) -> Instruction {
    instruction(0x54, register, 0, mask)
}

fn shift_right(register: u8, bits: i32) -> Instruction {
    instruction(0x74, register, 0, bits)
}

const JUMP_IF_EQUAL: u8 = 0x15;
const JUMP_UNLESS_EQUAL: u8 = 0x55;

fn skip_if_equal(register: u8, value: i32) -> Instruction {
    instruction(JUMP_IF_EQUAL, register, 0, value)
}

fn skip_unless_equal(register: u8, value: i32) -> Instruction {
    instruction(JUMP_UNLESS_EQUAL, register, 0, value)
}

fn is_jump(instruction: &Instruction) -> bool {
    [JUMP_IF_EQUAL, JUMP_UNLESS_EQUAL].contains(&instruction.code)
}

fn answer(allow: bool) -> [Instruction; 2] {
    [instruction(0xb7, ANSWER, 0, allow.into()), instruction(0x95, 0, 0, 0)]
}

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROGRAM_OF_CGROUP_DEVICE: u32 = 15;
const ATTACH_TO_CGROUP_DEVICE: u32 = 6;
/// Programs of cgroups above and below are asked too.
const ALLOW_MULTI: u32 = 2;

/// The first fields of `union bpf_attr` for loading; the kernel takes the rest as zero.
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

/// Likewise for attaching.
#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

#[expect(unsafe_code, reason = "bpf(2) has no wrapper in rustix")]
fn load(program: &[Instruction]) -> io::Result<OwnedFd> {
    let attributes = Load {
        kind: PROGRAM_OF_CGROUP_DEVICE,
        count: u32::try_from(program.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?,
        instructions: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
    };
    let descriptor = bpf(PROG_LOAD, &attributes)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn attach(cgroup: RawFd, program: RawFd) -> io::Result<()> {
    let [target, program] = [cgroup, program].map(RawFd::cast_unsigned);
    let attributes = Attach { target, program, kind: ATTACH_TO_CGROUP_DEVICE, flags: ALLOW_MULTI };
    bpf(PROG_ATTACH, &attributes).map(drop)
}

#[expect(unsafe_code, reason = "bpf(2) has no wrapper in rustix")]
fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<RawFd> {
    // SAFETY: the attributes, and what they point to, live as long as the call; the size is theirs.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    match result {
        -1 => Err(io::Error::last_os_error()),
        // Zero or a descriptor: both are small.
        result => RawFd::try_from(result).map_err(|_| io::Error::from(io::ErrorKind::InvalidData)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would do: runs the instructions that [`program`] can emit.
    fn run(program: &[Instruction], kind: DeviceKind, access: u8, major: u32, minor: u32) -> bool {
        let context = [u32::from(access) << 16 | kind as u32, major, minor];
        let mut registers = [0u32; 6];
        let mut at = 0;
        loop {
            let now = program[at];
            let (to, from) = (usize::from(now.registers & 15), usize::from(now.registers >> 4));
            at += 1;
            match now.code {
                0x61 => registers[to] = context[now.jump as usize / 4],
                0xbc => registers[to] = registers[from],
                0x54 => registers[to] &= now.value.cast_unsigned(),
                0x74 => registers[to] >>= now.value,
                0xb7 => registers[to] = now.value.cast_unsigned(),
                JUMP_IF_EQUAL if registers[to] == now.value.cast_unsigned() => at += now.jump as usize,
                JUMP_UNLESS_EQUAL if registers[to] != now.value.cast_unsigned() => at += now.jump as usize,
                JUMP_IF_EQUAL | JUMP_UNLESS_EQUAL => {}
                0x95 => return registers[0] == 1,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    fn rule(allow: bool, kind: Option<DeviceKind>, numbers: (Option<u32>, Option<u32>), access: u8) -> DeviceRule {
        DeviceRule { allow, kind, major: numbers.0, minor: numbers.1, access }
    }

    #[test]
    fn the_last_rule_that_fits_decides() {
        use DeviceKind::{Block, Char};
        let any = (None, None);
        let nothing = rule(false, None, any, ALL);
        let check = |rules: &[DeviceRule], asked: (DeviceKind, u8, u32, u32), expected| {
            let allowed = run(&program(rules), asked.0, asked.1, asked.2, asked.3);
            assert_eq!(allowed, expected, "{rules:?} asked for {asked:?}");
        };
        check(&[], (Char, READ, 1, 3), false);
        check(&[rule(true, None, any, ALL)], (Block, READ | WRITE, 8, 0), true);
        check(&[rule(true, None, any, ALL), nothing.clone()], (Block, READ, 8, 0), false);
        let null = [nothing.clone(), rule(true, Some(Char), (Some(1), Some(3)), ALL)];
        check(&null, (Char, READ | WRITE, 1, 3), true);
        check(&null, (Char, READ, 1, 5), false);
        check(&null, (Char, READ, 2, 3), false);
        check(&null, (Block, READ, 1, 3), false);
        let terminals = [nothing.clone(), rule(true, Some(Char), (Some(136), None), READ | WRITE)];
        check(&terminals, (Char, READ | WRITE, 136, 7), true);
        check(&terminals, (Char, MAKE, 136, 7), false);
        check(&terminals, (Char, MAKE | READ, 136, 7), false);
        let no_writing = [rule(true, None, any, ALL), rule(false, Some(Block), any, WRITE)];
        check(&no_writing, (Block, READ, 8, 0), true);
        check(&no_writing, (Block, READ | WRITE, 8, 0), false);
        check(&no_writing, (Char, WRITE, 8, 0), true);
    }
}
