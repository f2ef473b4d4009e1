//! Faults of the node's disk: full for a while, and damaged files.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::machine::Machine;
use crate::random::{Random, chosen};
use crate::schedule::Record;

/// A file that takes all the space there is, until it is dropped.
pub(crate) struct Filler(PathBuf);

impl Filler {
    pub(crate) fn fill(folder: &Path) -> Result<Filler> {
        let path = folder.join("filler");
        let mut file = File::create(&path)?;
        let filler = Filler(path);
        for size in [1 << 20, 4096, 1] {
            let zeros = vec![0; size];
            while file.write_all(&zeros).is_ok() {}
        }
        Ok(filler)
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        // One that stays fails the rounds that follow, loudly.
        let _ = fs::remove_file(&self.0);
    }
}

/// What was damaged.
#[derive(Debug)]
pub(crate) struct Damaged {
    pub(crate) files: Vec<PathBuf>,
    /// The container or sandbox whose it is.
    pub(crate) id: String,
}

/// Damages one record of its kind; none if there is no such file.
pub(crate) fn damage(machine: &Machine, record: Record, pick: u64) -> Result<Option<Damaged>> {
    let durable = machine.data.join("containers");
    let one_file = |path: PathBuf| -> Result<Option<Damaged>> {
        spoil(&path, &mut Random::new(pick))?;
        Ok(Some(Damaged { files: vec![path], id: String::new() }))
    };
    let (folder, name) = match record {
        Record::Images => return one_file(machine.data.join("images/images.json")),
        Record::Network => return one_file(machine.run.join("network/network.json")),
        Record::Address => {
            let mut files: Vec<PathBuf> =
                fs::read_dir(machine.run.join("network/sandboxes"))?.flatten().map(|entry| entry.path()).collect();
            files.sort();
            return if files.is_empty() { Ok(None) } else { one_file(files.swap_remove(chosen(pick, files.len()))) };
        }
        Record::Container | Record::ContainerTwice => (durable.join("containers"), "container.json"),
        Record::Start => (durable.join("containers"), "start.json"),
        Record::Exit => (durable.join("containers"), "exit.json"),
        Record::Sandbox => (durable.join("sandboxes"), "sandbox.json"),
        Record::ShimConfig => (machine.run.join("containers/containers"), "shim.json"),
    };
    let mut ids: Vec<String> =
        fs::read_dir(&folder)?.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    ids.retain(|id| folder.join(id).join(name).is_file());
    ids.sort();
    if ids.is_empty() {
        return Ok(None);
    }
    let id = ids[chosen(pick, ids.len())].clone();
    let mut files = vec![folder.join(&id).join(name)];
    if record == Record::ContainerTwice {
        files.push(remora_shim_protocol::copy_of(&files[0], &machine.run.join("containers/containers").join(&id)));
    }
    files.retain(|file| file.is_file());
    files.iter().try_for_each(|file| spoil(file, &mut Random::new(pick)))?;
    Ok(Some(Damaged { files, id }))
}

/// As disks do it: nothing left, half of it left, a block of zeros, or a wrong byte.
fn spoil(file: &Path, random: &mut Random) -> Result<()> {
    let mut bytes = fs::read(file)?;
    let half = bytes.len() / 2;
    match random.between(0, 4) {
        0 => bytes.clear(),
        1 => bytes.truncate(half),
        2 => bytes[half..].fill(0),
        _ => {
            let at = chosen(random.number(), bytes.len());
            bytes[at] ^= 0x40;
        }
    }
    fs::write(file, bytes).with_context(|| format!("damaging {}", file.display()))
}
