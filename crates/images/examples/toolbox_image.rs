//! Builds the toolbox image of Debian packages that have been downloaded, writes it as an OCI layout and as a docker-archive, and prints its
//! digest. Called by xtask; not part of what users get.
//!
//! ```text
//! toolbox_image --debs DIR --dir DIR --name NAME
//! ```
//!
//! Nothing of a package is run: its files are laid out as they are, and what its scripts would have done is done here, where it matters. The same
//! packages make the same bytes.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use oci_spec::image::{ConfigBuilder, ImageConfigurationBuilder, RootFsBuilder};
use remora_archive::{EntryReader, Header, Type};
use remora_images::{FileEntry, FileKind, build_image};

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What nobody looks up in a debug container. Copyrights, which are among the documentation, stay.
const LEFT_OUT: [&str; 8] = [
    "usr/share/doc/",
    "usr/share/man/",
    "usr/share/locale/",
    "usr/share/info/",
    "usr/share/lintian/",
    "usr/share/bash-completion/",
    "usr/share/bug/",
    "var/lib/",
];

/// Folders of programs: an applet of busybox stands for what is in none of them.
const PROGRAMS: [&str; 4] = ["bin", "sbin", "usr/bin", "usr/sbin"];

/// By path.
type Files = BTreeMap<String, FileEntry>;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let at = words.iter().position(|word| word == name).ok_or(format!("{name} is missing"))?;
        words.get(at + 1).cloned().ok_or(format!("{name} has no value"))
    };
    let (debs, dir, name) = (PathBuf::from(value("--debs")?), PathBuf::from(value("--dir")?), value("--name")?);
    let mut packages =
        std::fs::read_dir(&debs)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, std::io::Error>>()?;
    packages.retain(|path| path.extension().is_some_and(|extension| extension == "deb"));
    packages.sort();
    let mut files = skeleton();
    let mut list = String::new();
    for package in &packages {
        unpack(package, &mut files)?;
        list += &format!("{}\n", show(package)?.trim().replace('\n', " "));
    }
    applets(&mut files)?;
    certificates(&mut files);
    put(&mut files, file("etc/remora-toolbox", 0o644, list.into_bytes()));
    let config = ConfigBuilder::default().env([PATH.to_owned()]).cmd(["sh".to_owned()]).working_dir("/").build()?;
    let root = RootFsBuilder::default().typ("layers").diff_ids(Vec::<String>::new()).build()?;
    let image = ImageConfigurationBuilder::default()
        .created("2026-01-01T00:00:00Z")
        .architecture("amd64")
        .os("linux")
        .rootfs(root)
        .config(config)
        .build()?;
    let built = build_image(&ordered(files), &image)?;
    std::fs::create_dir_all(&dir)?;
    built.write_layout(&dir.join("toolbox"), &name)?;
    std::fs::write(dir.join("toolbox.tar"), built.docker_archive(&[&name])?)?;
    Ok(writeln!(std::io::stdout(), "{}", built.digest())?)
}

/// What Debian's scripts would have made.
fn skeleton() -> Files {
    let mut files = Files::new();
    for path in ["dev", "proc", "sys", "root", "home", "run", "etc"] {
        put(&mut files, FileEntry::new(path, 0o755, FileKind::Directory));
    }
    put(&mut files, FileEntry::new("tmp", 0o1777, FileKind::Directory));
    // tcpdump gives root up for a user of its own.
    let passwd =
        "root:x:0:0:root:/root:/bin/sh\ntcpdump:x:100:102::/:/bin/false\nnobody:x:65534:65534:nobody:/:/bin/false\n";
    put(&mut files, file("etc/passwd", 0o644, passwd.into()));
    put(&mut files, file("etc/group", 0o644, "root:x:0:\ntcpdump:x:102:\nnogroup:x:65534:\n".into()));
    files
}

fn show(package: &Path) -> Result<String, Box<dyn Error>> {
    let fields = ["--showformat=${Package} ${Version}", "--show"];
    let shown = Command::new("dpkg-deb").args(fields).arg(package).output()?;
    if !shown.status.success() {
        return Err(format!("{}: {}", package.display(), String::from_utf8_lossy(&shown.stderr)).into());
    }
    Ok(String::from_utf8(shown.stdout)?)
}

fn unpack(package: &Path, files: &mut Files) -> Result<(), Box<dyn Error>> {
    let mut dpkg = Command::new("dpkg-deb").arg("--fsys-tarfile").arg(package).stdout(Stdio::piped()).spawn()?;
    let stream = dpkg.stdout.take().ok_or("dpkg-deb has no output")?;
    let mut entries = EntryReader::new(stream);
    while let Some(header) = entries.next()? {
        let path = String::from_utf8(header.path.clone())?;
        let path = path.trim_start_matches("./").trim_end_matches('/').to_owned();
        let below = format!("{path}/");
        let mut kind = kind(&header)?;
        if let FileKind::File(content) = &mut kind {
            entries.data().read_to_end(content)?;
        }
        let is_left_out = LEFT_OUT.iter().any(|left_out| below.starts_with(left_out)) && !path.ends_with("/copyright");
        if !path.is_empty() && !is_left_out {
            put(files, FileEntry { path, mode: header.mode & 0o7777, uid: header.uid, gid: header.gid, kind });
        }
    }
    std::io::copy(&mut entries.into_stream(), &mut std::io::sink())?;
    if dpkg.wait()?.success() { Ok(()) } else { Err(format!("{} is damaged", package.display()).into()) }
}

fn kind(header: &Header) -> Result<FileKind, Box<dyn Error>> {
    let link = String::from_utf8(header.link.clone())?;
    Ok(match header.kind {
        Type::File => FileKind::File(Vec::new()),
        Type::Directory => FileKind::Directory,
        Type::Symlink => FileKind::Symlink(link),
        Type::HardLink => FileKind::HardLink(link.trim_start_matches("./").to_owned()),
        other => return Err(format!("a {other:?} in a package").into()),
    })
}

/// What the image has no program for, busybox does. It is run here to learn what it can do.
fn applets(files: &mut Files) -> Result<(), Box<dyn Error>> {
    let at = ["bin/busybox", "usr/bin/busybox"].into_iter().find(|path| files.contains_key(*path));
    let at = at.ok_or("busybox-static is not among the packages")?;
    let Some(FileEntry { kind: FileKind::File(program), .. }) = files.get(at) else {
        return Err("busybox is no file".into());
    };
    // It looks at its own name.
    let folder = std::env::temp_dir().join(format!("toolbox-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    let copy = folder.join("busybox");
    std::fs::write(&copy, program)?;
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755))?;
    let listed = Command::new(&copy).arg("--list").output();
    std::fs::remove_dir_all(&folder)?;
    let listed = listed?;
    if !listed.status.success() {
        return Err("busybox does not tell what it can do".into());
    }
    for applet in String::from_utf8(listed.stdout)?.lines() {
        if !PROGRAMS.iter().any(|folder| files.contains_key(&format!("{folder}/{applet}"))) {
            let link = FileKind::Symlink(format!("/{at}"));
            put(files, FileEntry::new(format!("bin/{applet}"), 0o777, link));
        }
    }
    Ok(())
}

/// In one file, as OpenSSL and its like look for them.
fn certificates(files: &mut Files) {
    let of_authorities = files.values().filter(|file| file.path.starts_with("usr/share/ca-certificates/"));
    let bundle = of_authorities.filter_map(|file| match &file.kind {
        FileKind::File(content) if file.path.ends_with(".crt") => Some(content.as_slice()),
        _ => None,
    });
    let bundle = bundle.collect::<Vec<_>>().concat();
    put(files, file("etc/ssl/certs/ca-certificates.crt", 0o644, bundle));
}

/// By path, folders before what is in them, and hard links last: after what they are names of.
fn ordered(files: Files) -> Vec<FileEntry> {
    let mut files: Vec<FileEntry> = files.into_values().collect();
    files.sort_by_key(|file| matches!(file.kind, FileKind::HardLink(_)));
    files
}

/// Debian's packages share folders; of a file the last package's counts, as for dpkg.
fn put(files: &mut Files, entry: FileEntry) {
    let mut above = Path::new(&entry.path).parent();
    while let Some(path) = above.filter(|path| !path.as_os_str().is_empty()) {
        let name = path.display().to_string();
        files.entry(name.clone()).or_insert_with(|| FileEntry::new(name, 0o755, FileKind::Directory));
        above = path.parent();
    }
    files.insert(entry.path.clone(), entry);
}

fn file(path: &str, mode: u32, content: Vec<u8>) -> FileEntry {
    FileEntry::new(path, mode, FileKind::File(content))
}
