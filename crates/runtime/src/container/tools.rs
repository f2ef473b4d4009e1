//! Programs of an image that run on another container's root: which one a word means, and whether it can run there at all.
//!
//! A program that needs a loader or an interpreter finds it by an absolute path, and so in the other root or not at all. The kernel would
//! say "no such file or directory" of a program that is there; a sentence says more.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use object::elf::{FileHeader32, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, FileKind};
use remora_oci_config::{TOOLS, search_path};
use remora_sys::rootfs::{look_beneath, look_inside, open_inside};

use crate::Error;
use crate::error::failed;

/// The beginning of a program: linkers put the interpreter's name into its first page or two.
const HEAD: u64 = 64 << 10;

/// Two roots: that of the image's files, and the one that the container stands on.
pub(super) struct Roots<'a> {
    pub(super) tools: &'a Path,
    pub(super) root: &'a Path,
}

impl Roots<'_> {
    /// What a command's first word stands for: the image's program, by its path in the container, if the image has it; else the word
    /// itself, to be looked for in the root.
    pub(super) fn locate(&self, word: &str, image_env: &[String]) -> Result<String, Error> {
        let candidates: Vec<PathBuf> = match word.contains('/') {
            true => Some(PathBuf::from(word)).filter(|path| path.is_absolute()).into_iter().collect(),
            false => search_path(image_env).map(|folder| Path::new(folder).join(word)).collect(),
        };
        for candidate in candidates {
            if self.is_program(self.tools, &candidate)? {
                return self.runnable(word, &candidate);
            }
        }
        Ok(word.to_owned())
    }

    fn is_program(&self, root: &Path, path: &Path) -> Result<bool, Error> {
        let found = look_inside(root, path)?;
        Ok(found.is_some_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0))
    }

    fn runnable(&self, word: &str, program: &Path) -> Result<String, Error> {
        let cannot = |why: String| Err(Error::Root(format!("the image's {} {why}", program.display())));
        if look_beneath(self.tools, program)?.is_none() {
            // From within the folder an absolute link would lead into the other root.
            return match self.is_program(self.root, program)? {
                true => Ok(word.to_owned()),
                false => cannot("is a link that leads to / and so into the target's root, which has no such program: use an image with relative links, such as busybox".to_owned()),
            };
        }
        match self.interpreter(program)? {
            Some(needed) if look_inside(self.root, &needed)?.is_none() => cannot(format!(
                "needs {}, which the target's root does not have: use an image whose programs are statically linked, such as busybox",
                needed.display()
            )),
            _ => Ok(format!("{TOOLS}{}", program.display())),
        }
    }

    fn interpreter(&self, program: &Path) -> Result<Option<PathBuf>, Error> {
        let Some(file) = open_inside(self.tools, program)? else { return Ok(None) };
        let mut head = Vec::new();
        file.take(HEAD).read_to_end(&mut head).map_err(failed("read", program))?;
        Ok(interpreter(&head))
    }
}

/// What the kernel starts in place of a program: the loader of a dynamically linked one, the interpreter of a script. Bytes that are
/// neither have none; whether they can be executed is the kernel's to say.
fn interpreter(head: &[u8]) -> Option<PathBuf> {
    if let Some(script) = head.strip_prefix(b"#!") {
        let line = script.split(|byte| *byte == b'\n').next()?;
        let word = line.split(u8::is_ascii_whitespace).find(|word| !word.is_empty())?;
        return path(word);
    }
    match FileKind::parse(head).ok()? {
        FileKind::Elf32 => loader(FileHeader32::<Endianness>::parse(head).ok()?, head),
        FileKind::Elf64 => loader(FileHeader64::<Endianness>::parse(head).ok()?, head),
        _ => None,
    }
}

fn loader<H: FileHeader<Endian = Endianness>>(header: &H, head: &[u8]) -> Option<PathBuf> {
    let endian = header.endian().ok()?;
    let segments = header.program_headers(endian, head).ok()?;
    segments.iter().find_map(|segment| segment.interpreter(endian, head).ok().flatten()).and_then(path)
}

fn path(bytes: &[u8]) -> Option<PathBuf> {
    std::str::from_utf8(bytes).ok().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_interpreter_of_scripts_and_programs_is_found() {
        let check = |head: &[u8], expected: Option<&str>| assert_eq!(interpreter(head), expected.map(PathBuf::from));
        check(b"#!/bin/sh -e\necho", Some("/bin/sh"));
        check(b"#! /usr/bin/env python3", Some("/usr/bin/env"));
        check(b"#!\n", None);
        check(b"", None);
        check(b"\x7fELF", None);
        check(&fs::read("/bin/busybox").unwrap(), None);
        let own = fs::read(std::env::current_exe().unwrap()).unwrap();
        let loader = interpreter(&own).unwrap();
        assert!(loader.file_name().unwrap().to_string_lossy().starts_with("ld-"), "{loader:?}");
        // No damage makes it panic.
        for cut in (0..4096).step_by(7) {
            interpreter(&own[..cut]);
            let mut damaged = own[..4096].to_vec();
            damaged[cut] ^= 0xff;
            interpreter(&damaged);
        }
    }

    #[test]
    fn a_word_means_the_images_program_if_it_has_one() {
        let folder = tempfile::tempdir().unwrap();
        let (tools, root) = (folder.path().join("tools"), folder.path().join("root"));
        for place in [tools.join("bin"), root.join("bin")] {
            fs::create_dir_all(place).unwrap();
        }
        let put = |path: PathBuf, text: &str| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        };
        put(tools.join("bin/busybox"), "static");
        put(tools.join("bin/script"), "#!/bin/bash\n");
        put(tools.join("bin/works"), "#!/bin/app\n");
        put(root.join("bin/app"), "static");
        fs::write(tools.join("bin/data"), "").unwrap();
        symlink("busybox", tools.join("bin/sh")).unwrap();
        symlink("/bin/busybox", tools.join("bin/ash")).unwrap();
        symlink("/bin/busybox", tools.join("bin/app")).unwrap();
        let roots = Roots { tools: &tools, root: &root };
        let env = ["PATH=/sbin:/bin".to_owned()];
        let check = |word: &str, expected: Result<&str, &str>| {
            let found = roots.locate(word, &env).map_err(|error| error.to_string());
            assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned), "{word}");
        };
        check("sh", Ok("/dev/remora/tools/bin/sh"));
        check("/bin/sh", Ok("/dev/remora/tools/bin/sh"));
        check("works", Ok("/dev/remora/tools/bin/works"));
        check("none", Ok("none"));
        check("./sh", Ok("./sh"));
        check("data", Ok("data"));
        check("app", Ok("app"));
        let sentence = "cannot use another container's root: the image's /bin/script needs /bin/bash, which the target's root does not have: use an image whose programs are statically linked, such as busybox";
        check("script", Err(sentence));
        let sentence = "cannot use another container's root: the image's /bin/ash is a link that leads to / and so into the target's root, which has no such program: use an image with relative links, such as busybox";
        check("ash", Err(sentence));
    }
}
