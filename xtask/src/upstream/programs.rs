//! Upstream's suite, its runner, and the programs that its images are made of: built once of what `tests/upstream` pins.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::made::{Failure, Made, cached, copy, fetch, go_command, program};
use crate::{host, setup};

/// The module whose suite it is.
const KUBERNETES: &str = "k8s.io/kubernetes";
const BUILD: &[&str] = &["build"];
/// How each is built, its name, its package.
const PROGRAMS: [(&[&str], &str, &str); 5] = [
    (BUILD, "ginkgo", "github.com/onsi/ginkgo/v2/ginkgo"),
    (BUILD, "curl", "./curl"),
    (BUILD, "agnhost", "k8s.io/kubernetes/test/images/agnhost"),
    (BUILD, "nonewprivs", "k8s.io/kubernetes/test/images/nonewprivs"),
    // Upstream has vetted it.
    (&["test", "-c", "-vet=off"], "e2e.test", "k8s.io/kubernetes/test/e2e"),
];
/// What agnhost's image has beside its program: the keys of a server that tests play.
const KEYS: [&str; 2] = ["localhost.crt", "localhost.key"];

/// What a run needs.
pub(crate) struct Programs {
    /// Runs specs side by side.
    pub(crate) ginkgo: PathBuf,
    /// All of upstream's end-to-end tests.
    pub(crate) suite: PathBuf,
    /// The folder with what images are made of.
    pub(crate) images: PathBuf,
}

impl Programs {
    /// From the cache, or built now, which takes a while.
    pub(crate) fn made() -> Result<Self> {
        setup::install(&[("busybox-static", "the suite's images")])?;
        let module = host::root().join("tests/upstream");
        let folder = cached("suites", &module, |folder| build(&module, folder))?;
        Ok(Self { ginkgo: folder.join("ginkgo"), suite: folder.join("e2e.test"), images: folder })
    }
}

fn build(module: &Path, folder: &Path) -> Made<()> {
    let go = program("go", "golang-go")?;
    host::say("building upstream's suite: this takes many minutes, once");
    // Brings what is not there, of the modules that are needed.
    fetch(go_command(&go, module).args(["list", "-deps"]).args(PROGRAMS.map(|(.., package)| package)))?;
    let of_module = |what: &str| -> Result<String, Failure> {
        let told = host::read(go_command(&go, module).args(["list", "-m", "-f", what, KUBERNETES]))?;
        Ok(told.trim().to_owned())
    };
    let flags = link_flags(&of_module("{{.Version}}")?);
    for (how, name, package) in PROGRAMS {
        host::say(format_args!("building {name}"));
        let mut command = go_command(&go, module);
        command.args(how).args(["-trimpath", "-ldflags", &flags, "-o"]).arg(folder.join(name)).arg(package);
        host::read(&mut command)?;
    }
    let keys = PathBuf::from(of_module("{{.Dir}}")?).join("test/images/agnhost/porter");
    for key in KEYS {
        copy(&keys.join(key), &folder.join(key))?;
    }
    Ok(())
}

/// What upstream's own build tells its programs of their version, without what only debuggers want.
fn link_flags(version: &str) -> String {
    let mut parts = version.trim_start_matches('v').split('.');
    let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let of = |package: &str| {
        format!("-X {package}.gitVersion={version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}")
    };
    format!("-s -w {} {}", of("k8s.io/component-base/version"), of("k8s.io/client-go/pkg/version"))
}
