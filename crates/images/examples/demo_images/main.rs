//! Builds the images of the demo and the tests, or those of upstream's suite, writes them as docker-archives, and pushes them to a registry.
//! Called by xtask; not part of what users get.
//!
//! ```text
//! demo_images --pause FILE --httpd FILE --busybox FILE --dir DIR [--push URL]
//! demo_images --upstream DIR --busybox FILE --sh FILE --dir DIR [--push URL]
//! ```

mod upstream;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

use oci_spec::image::{Config, ConfigBuilder, ImageConfiguration, ImageConfigurationBuilder, RootFsBuilder};
use remora_images::{FileEntry, FileKind, build_image, push_image};

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// An image, and the names by which pods ask for it.
struct Recipe {
    file: &'static str,
    names: &'static [&'static str],
    files: Vec<FileEntry>,
    config: Config,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = arguments()?;
    let path = |name: &str| arguments.get(name).map(PathBuf::from).ok_or(format!("--{name} is missing"));
    let dir = path("dir")?;
    std::fs::create_dir_all(&dir)?;
    let recipes = match arguments.get("upstream") {
        Some(programs) => upstream::recipes(Path::new(programs), &path("busybox")?, &path("sh")?)?,
        None => vec![busybox(&path("busybox")?)?, pause(&path("pause")?)?, httpd(&path("httpd")?)?],
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    for recipe in recipes {
        let built = build_image(&recipe.files, &configuration(recipe.config)?)?;
        std::fs::write(dir.join(recipe.file).with_extension("tar"), built.docker_archive(recipe.names)?)?;
        let layout = dir.join(recipe.file);
        for name in recipe.names {
            built.write_layout(&layout, name)?;
            if let Some(registry) = arguments.get("push") {
                runtime.block_on(push_image(&layout, registry, name))?;
            }
        }
    }
    Ok(())
}

fn arguments() -> Result<BTreeMap<String, String>, String> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let pairs = words.chunks(2).map(|pair| match pair {
        [name, value] => {
            name.strip_prefix("--").map(|n| (n.to_owned(), value.clone())).ok_or(format!("what is {name}?"))
        }
        [name, ..] => Err(format!("{name} has no value")),
        [] => Err("no arguments".to_owned()),
    });
    pairs.collect()
}

fn configuration(config: Config) -> Result<ImageConfiguration, Box<dyn Error>> {
    let root = RootFsBuilder::default().typ("layers").diff_ids(Vec::<String>::new()).build()?;
    let image = ImageConfigurationBuilder::default()
        .created("2026-01-01T00:00:00Z")
        .architecture("amd64")
        .os("linux")
        .rootfs(root)
        .config(config);
    Ok(image.build()?)
}

fn pause(program: &Path) -> Result<Recipe, Box<dyn Error>> {
    let config = ConfigBuilder::default().env([PATH.to_owned()]).entrypoint(["/pause".to_owned()]).working_dir("/");
    Ok(Recipe {
        file: "pause",
        names: &["k8s.gcr.io/pause:3.1", "registry.k8s.io/pause:3.10"],
        files: vec![file("pause", 0o755, std::fs::read(program)?)],
        config: config.build()?,
    })
}

/// Distroless: one program, no shell, an ordinary user.
fn httpd(program: &Path) -> Result<Recipe, Box<dyn Error>> {
    let config = ConfigBuilder::default()
        .env([PATH.to_owned()])
        .entrypoint(["/httpd".to_owned()])
        .user("65532:65532")
        .working_dir("/");
    let passwd = "root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n";
    Ok(Recipe {
        file: "httpd",
        names: &["registry.example/httpd:1"],
        files: vec![
            file("httpd", 0o755, std::fs::read(program)?),
            file("etc/passwd", 0o644, passwd.into()),
            file("etc/group", 0o644, "root:x:0:\nnonroot:x:65532:\n".into()),
        ],
        config: config.build()?,
    })
}

fn busybox(program: &Path) -> Result<Recipe, Box<dyn Error>> {
    Ok(Recipe {
        file: "busybox",
        names: &[
            "docker.io/library/busybox:latest",
            "docker.io/library/busybox:1.35",
            "docker.io/library/busybox:1.37-musl",
        ],
        files: tools(program, &[])?,
        config: ConfigBuilder::default().env([PATH.to_owned()]).cmd(["sh".to_owned()]).build()?,
    })
}

/// As the well-known image: every applet a hard link in /bin, but for these.
fn tools(program: &Path, without: &[&str]) -> Result<Vec<FileEntry>, Box<dyn Error>> {
    let folders = ["bin", "dev", "etc", "home", "proc", "root", "sys", "usr/bin", "usr/sbin", "var/spool"];
    let mut files: Vec<FileEntry> = folders.into_iter().map(|path| folder(path, 0o755)).collect();
    files.extend([folder("tmp", 0o1777), folder("var/tmp", 0o1777)]);
    files.push(file("bin/busybox", 0o755, std::fs::read(program)?));
    let applets = applets(program)?.into_iter().filter(|applet| !without.contains(&applet.as_str()));
    files.extend(applets.map(|applet| entry(&format!("bin/{applet}"), 0o755, link())));
    let passwd = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n";
    let group = "root:x:0:\nusers:x:100:\nnogroup:x:65534:\n";
    files.push(file("etc/passwd", 0o644, passwd.into()));
    files.push(file("etc/group", 0o644, group.into()));
    files.push(file("etc/shadow", 0o600, "root:*:::::::\n".into()));
    Ok(files)
}

fn applets(program: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let listed = Command::new(program).arg("--list").output()?;
    let names = String::from_utf8(listed.stdout)?;
    Ok(names.lines().filter(|name| *name != "busybox").map(str::to_owned).collect())
}

fn link() -> FileKind {
    FileKind::HardLink("bin/busybox".to_owned())
}

fn folder(path: &str, mode: u32) -> FileEntry {
    entry(path, mode, FileKind::Directory)
}

fn file(path: &str, mode: u32, content: Vec<u8>) -> FileEntry {
    entry(path, mode, FileKind::File(content))
}

fn entry(path: &str, mode: u32, kind: FileKind) -> FileEntry {
    FileEntry { path: path.to_owned(), mode, uid: 0, gid: 0, kind }
}
