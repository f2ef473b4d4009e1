//! One virtual machine for one job: made, booted, heard, gone.
//!
//! A run's folder is named after its process, so that the next run removes what a killed one has left. QEMU itself ends with us.

use std::fs::{self, File};
use std::io::IsTerminal;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::kernel::{DRIVERS, Kernel};
use super::{home, quoted};
use crate::host;

/// What a machine is started for.
pub(crate) struct Job {
    /// Shell text; its exit status is the run's.
    pub(crate) script: String,
    /// Folders of the host that the script must find, also if they lie below `/tmp` or `/var/tmp`, which are the machine's own.
    pub(crate) shown: Vec<PathBuf>,
    /// The machine's process 1.
    pub(crate) init: Init,
}

/// What a machine's process 1 is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Init {
    /// A script that does the least that is needed.
    Script,
    /// Debian's systemd, with the job as its only service.
    Systemd,
}

impl Init {
    pub(crate) fn new(systemd: bool) -> Self {
        if systemd { Self::Systemd } else { Self::Script }
    }

    /// As `initrd.sh` is told.
    fn name(self) -> &'static str {
        match self {
            Self::Script => "script",
            Self::Systemd => "systemd",
        }
    }
}

/// Runs the job with our terminal or streams, and returns its exit status.
pub(crate) fn run(job: &Job) -> Result<u8> {
    let kernel = Kernel::find()?;
    remove_left_runs()?;
    let run = Run::create(job, &kernel)?;
    host::run(&mut run.machine(&kernel)).with_context(|| run.kernel_log())?;
    let status = fs::read_to_string(run.path("status"))?;
    status.trim().parse().with_context(|| format!("the machine ended without its job's status\n{}", run.kernel_log()))
}

/// The folder of one run; removed at the end.
struct Run(PathBuf);

impl Drop for Run {
    fn drop(&mut self) {
        // What cannot be removed now is tried again by the next run.
        let _left = fs::remove_dir_all(&self.0);
    }
}

impl Run {
    fn create(job: &Job, kernel: &Kernel) -> Result<Self> {
        let pid = std::process::id();
        let start_time = host::process_start_time(pid).context("no start time of our own in /proc")?;
        let run = Self(home().join("runs").join(format!("{pid}-{start_time}")));
        fs::create_dir_all(&run.0)?;
        fs::write(run.path("init.sh"), include_str!("../../vm/init.sh"))?;
        fs::write(run.path("job.sh"), job_script(&job.script)?)?;
        run.make_scratch_disk()?;
        run.make_initial_disk(job, kernel)?;
        Ok(run)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Sparse, and without a journal: it lives as long as the machine.
    fn make_scratch_disk(&self) -> Result<()> {
        const BYTES: u64 = 16 << 30;
        let path = self.path("scratch");
        File::create(&path)?.set_len(BYTES)?;
        host::read(Command::new("mkfs.ext4").args(["-q", "-F", "-O", "^has_journal"]).arg(path)).map(drop)
    }

    /// The initial RAM disk: busybox, the drivers for the disks, and `initrd.sh`.
    fn make_initial_disk(&self, job: &Job, kernel: &Kernel) -> Result<()> {
        let root = self.path("initrd");
        for file in kernel.driver_files()? {
            copy(&kernel.library().join(&file), &root.join(&file))?;
        }
        copy(Path::new("/bin/busybox"), &root.join("bin/busybox"))?;
        fs::write(root.join("settings"), self.settings(job, kernel))?;
        let init = root.join("init");
        fs::write(&init, include_str!("../../vm/initrd.sh"))?;
        fs::set_permissions(&init, PermissionsExt::from_mode(0o755))?;
        let pack = "find . | busybox cpio -o -H newc > ../initrd.cpio";
        host::read(Command::new("sh").args(["-c", pack]).current_dir(root)).map(drop)
    }

    fn settings(&self, job: &Job, kernel: &Kernel) -> String {
        let shown = job.shown.iter().filter(|folder| folder.is_dir() && is_hidden(folder));
        let shown: Vec<_> = shown.map(|folder| folder.to_string_lossy()).collect();
        let setting = |name: &str, value: &str| format!("{name}={}\n", quoted(value));
        [
            setting("INIT", job.init.name()),
            setting("RUN", &self.0.to_string_lossy()),
            setting("LIBRARY", &kernel.library().to_string_lossy()),
            setting("DRIVERS", &DRIVERS.join(" ")),
            setting("SHOW", &shown.join(" ")),
        ]
        .concat()
    }

    /// QEMU's command line. It is killed when we are.
    fn machine(&self, kernel: &Kernel) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
        command.args(["-no-user-config", "-nodefaults", "-no-reboot", "-display", "none", "-nic", "none"]);
        command.args(["-machine", "q35", "-smp", "2", "-m", "4096"]).args(processor());
        command.arg("-kernel").arg(kernel.image()).arg("-initrd").arg(self.path("initrd.cpio"));
        command.args(["-append", "console=ttyS0 panic=-1 mitigations=off"]);
        command.arg("-serial").arg(format!("file:{}", self.path("kernel.log").display()));
        command.args(["-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"]);
        command.args(["-device", "virtio-9p-pci,fsdev=host,mount_tag=host"]);
        let scratch = self.path("scratch");
        command.arg("-drive").arg(format!("file={},format=raw,if=virtio,cache=unsafe", scratch.display()));
        command.args(["-device", "virtio-serial-pci"]);
        command.args(["-chardev", "stdio,id=console,signal=off", "-device", "virtconsole,chardev=console"]);
        command.arg("-chardev").arg(format!("file,id=status,path={}", self.path("status").display()));
        command.args(["-device", "virtserialport,chardev=status"]);
        if !on_a_terminal() {
            command.stdin(Stdio::null());
        }
        command
    }

    /// The end of what the kernel and its first program have said.
    fn kernel_log(&self) -> String {
        const LINES: usize = 30;
        let log = fs::read(self.path("kernel.log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        format!("the last words of its kernel:\n{}", lines[lines.len().saturating_sub(LINES)..].join("\n"))
    }
}

/// Whether the machine has something else at this place.
fn is_hidden(folder: &Path) -> bool {
    ["/tmp", "/var/tmp"].map(Path::new).iter().any(|own| folder.starts_with(own) && folder != *own)
}

/// Hardware virtualization where there is any that runs a stock kernel. A `/dev/kvm` on a processor that shows neither flag (pvm) takes
/// only guests that are made for it.
fn processor() -> [&'static str; 4] {
    let flags = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let has = |flag| flags.lines().any(|line| line.starts_with("flags") && line.split(' ').any(|word| word == flag));
    if (has("vmx") || has("svm")) && File::options().read(true).write(true).open("/dev/kvm").is_ok() {
        return ["-accel", "kvm", "-cpu", "host"];
    }
    host::say("no hardware virtualization for a stock kernel here: QEMU emulates the processor, 10 to 20 times slower");
    ["-accel", "tcg,thread=multi,tb-size=1024", "-cpu", "max"]
}

/// Whether somebody sits there: then keys, the interrupt too, are for the job. Else an interrupt ends the machine.
fn on_a_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// On a terminal the machine's console has its size; else it passes on what programs write, unchanged.
fn job_script(script: &str) -> Result<String> {
    let console = if on_a_terminal() {
        let size = host::read(Command::new("stty").arg("size").stdin(Stdio::inherit()))?;
        let (rows, columns) = size.trim().split_once(' ').context("stty tells no size")?;
        format!(
            "stty sane rows {rows} cols {columns}\nexport TERM={}\n",
            quoted(&std::env::var("TERM").unwrap_or_default())
        )
    } else {
        "stty raw -echo\n".to_owned()
    };
    let path = std::env::var("PATH").unwrap_or_default();
    let home = std::env::var("HOME").unwrap_or_default();
    Ok(format!("{console}export PATH={} HOME={}\n{script}", quoted(&path), quoted(&home)))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.parent().context("no folder to copy to")?)?;
    fs::copy(from, to).with_context(|| format!("copying {}", from.display())).map(drop)
}

/// Of runs whose process is gone.
fn remove_left_runs() -> Result<()> {
    let entries = fs::read_dir(home().join("runs")).into_iter().flatten();
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((pid, start_time)) = name.split_once('-') else {
            bail!("{} is no run of ours", entry.path().display())
        };
        let (pid, start_time): (u32, u64) = (pid.parse()?, start_time.parse()?);
        if host::process_start_time(pid) != Some(start_time) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
