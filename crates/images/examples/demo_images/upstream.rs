//! Images under the names that upstream's suite asks for, of v1.34.4: agnhost and nonewprivs are upstream's own programs, the others have busybox in
//! their place.

use std::error::Error;
use std::path::Path;

use oci_spec::image::ConfigBuilder;
use remora_images::{FileEntry, FileKind};

use super::{PATH, Recipe, entry, file, folder, tools};

/// All that are made here.
pub(crate) fn recipes(programs: &Path, busybox: &Path, sh: &Path) -> Result<Vec<Recipe>, Box<dyn Error>> {
    let mut base = tools(busybox, &["sh"])?;
    base.push(file("bin/sh", 0o755, std::fs::read(sh)?));
    base.push(entry("usr/bin/env", 0o777, FileKind::Symlink("../../bin/env".to_owned())));
    Ok(vec![
        agnhost(&base, programs)?,
        nonewprivs(&base, programs)?,
        pause(programs)?,
        plain("busybox", &["registry.k8s.io/e2e-test-images/busybox:1.37.0-1"], base.clone(), "sh")?,
        web(
            "httpd",
            &["registry.k8s.io/e2e-test-images/httpd:2.4.38-4", "registry.k8s.io/e2e-test-images/httpd:2.4.39-4"],
            &base,
            "usr/local/bin/httpd-foreground",
        )?,
        web(
            "nginx",
            &["registry.k8s.io/e2e-test-images/nginx:1.14-4", "registry.k8s.io/e2e-test-images/nginx:1.15-4"],
            &base,
            "usr/sbin/nginx",
        )?,
        nonroot(&base)?,
    ])
}

/// With upstream's user and groups, and curl, which tests call.
fn agnhost(base: &[FileEntry], programs: &Path) -> Result<Recipe, Box<dyn Error>> {
    let program = |name: &str| std::fs::read(programs.join(name));
    let mut files: Vec<FileEntry> =
        base.iter().filter(|file| !["etc/passwd", "etc/group"].contains(&file.path.as_str())).cloned().collect();
    let passwd = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n\
                  user-defined-in-image:x:1000:1000::/home/user-defined-in-image:/bin/sh\n";
    let group = "root:x:0:\nnogroup:x:65534:\nuser-defined-in-image:x:1000:\n\
                 group-defined-in-image:x:50000:user-defined-in-image\n";
    files.extend([
        file("etc/passwd", 0o644, passwd.into()),
        file("etc/group", 0o644, group.into()),
        folder("uploads", 0o1777),
        file("agnhost", 0o755, program("agnhost")?),
        entry("agnhost-2", 0o777, FileKind::Symlink("agnhost".to_owned())),
        file("usr/bin/curl", 0o755, program("curl")?),
        file("localhost.crt", 0o644, program("localhost.crt")?),
        file("localhost.key", 0o644, program("localhost.key")?),
    ]);
    let config = ConfigBuilder::default().env([PATH.to_owned()]).entrypoint(["/agnhost".to_owned()]);
    Ok(Recipe {
        file: "agnhost",
        names: &["registry.k8s.io/e2e-test-images/agnhost:2.56"],
        files,
        config: config.cmd(["pause".to_owned()]).build()?,
    })
}

/// A program that gains root's rights wherever it may.
fn nonewprivs(base: &[FileEntry], programs: &Path) -> Result<Recipe, Box<dyn Error>> {
    let mut files = base.to_vec();
    files.push(file("usr/local/bin/nnp", 0o6755, std::fs::read(programs.join("nonewprivs"))?));
    plain("nonewprivs", &["registry.k8s.io/e2e-test-images/nonewprivs:1.3"], files, "nnp")
}

/// Agnhost can pause, too.
fn pause(programs: &Path) -> Result<Recipe, Box<dyn Error>> {
    let config = ConfigBuilder::default().env([PATH.to_owned()]).user("65535:65535").working_dir("/");
    Ok(Recipe {
        file: "upstream-pause",
        names: &["registry.k8s.io/pause:3.10.1"],
        files: vec![file("pause", 0o755, std::fs::read(programs.join("agnhost"))?)],
        config: config.entrypoint(["/pause".to_owned(), "pause".to_owned()]).build()?,
    })
}

/// A server that shows one page, by busybox.
fn web(
    name: &'static str,
    names: &'static [&'static str],
    base: &[FileEntry],
    program: &str,
) -> Result<Recipe, Box<dyn Error>> {
    let mut files = base.to_vec();
    files.push(folder("www", 0o755));
    files.push(file("www/index.html", 0o644, format!("<html><title>{name}</title><h1>It works!</h1></html>\n").into()));
    files.push(file(program, 0o755, "#!/bin/sh\nexec httpd -f -p 80 -h /www\n".into()));
    let command = program.rsplit('/').next().unwrap_or_default();
    plain(name, names, files, command)
}

fn nonroot(base: &[FileEntry]) -> Result<Recipe, Box<dyn Error>> {
    let config = ConfigBuilder::default().env([PATH.to_owned()]).user("1234");
    Ok(Recipe {
        file: "nonroot",
        names: &["registry.k8s.io/e2e-test-images/nonroot:1.4"],
        files: base.to_vec(),
        config: config.cmd(["sh", "-c", "id -u"].map(str::to_owned)).build()?,
    })
}

fn plain(
    name: &'static str,
    names: &'static [&'static str],
    files: Vec<FileEntry>,
    command: &str,
) -> Result<Recipe, Box<dyn Error>> {
    let config = ConfigBuilder::default().env([PATH.to_owned()]).cmd([command.to_owned()]).build()?;
    Ok(Recipe { file: name, names, files, config })
}
