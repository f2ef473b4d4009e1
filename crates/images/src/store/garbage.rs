//! What nobody needs goes: layers without an image, lease or pin, and blobs without an image.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;

use super::layers::TemporaryFolder;
use super::{ImageStore, blocking};
use crate::{Digest, Error};

/// Keeps layers from being collected while a pull or an import counts on them.
pub(crate) struct Pin {
    store: ImageStore,
    layers: Vec<Digest>,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut state = self.store.state();
        for layer in &self.layers {
            if let Some(count) = state.pins.get_mut(layer) {
                *count -= 1;
                if *count == 0 {
                    state.pins.remove(layer);
                }
            }
        }
    }
}

impl ImageStore {
    /// Pins layers, whether they are here yet or not. Pin first, then ask what is here.
    pub(crate) fn pin(&self, layers: &[Digest]) -> Pin {
        let mut state = self.state();
        for layer in layers {
            *state.pins.entry(*layer).or_default() += 1;
        }
        Pin { store: self.clone(), layers: layers.to_vec() }
    }

    /// Removes what nobody needs.
    pub(super) async fn collect_garbage(&self) -> Result<(), Error> {
        let store = self.clone();
        blocking(move || {
            // Layers leave their place while nobody else writes; deleting their files takes long and happens after.
            let doomed = store.unlink_garbage()?;
            drop(doomed);
            Ok(())
        })
        .await
    }

    fn unlink_garbage(&self) -> Result<Vec<TemporaryFolder>, Error> {
        let _writing = self.writing();
        let mut doomed = Vec::new();
        for chain in self.forget_layers() {
            let (home, path) = (self.layer_home(&chain), self.temporary_path("tmp"));
            fs::rename(&home, &path).map_err(Error::io(&home))?;
            doomed.push(TemporaryFolder { path });
        }
        self.remove_blobs()?;
        Ok(doomed)
    }

    /// Takes unneeded layers out of the state, in one moment with looking who needs them.
    fn forget_layers(&self) -> Vec<Digest> {
        let mut state = self.state();
        let images = state.books.records().flat_map(|record| &record.layers);
        let leases = state.leases.values().flat_map(|lease| &lease.layers);
        let needed: BTreeSet<Digest> = images.chain(leases).chain(state.pins.keys()).copied().collect();
        let doomed: Vec<Digest> = state.layers.keys().filter(|chain| !needed.contains(chain)).copied().collect();
        for chain in &doomed {
            state.layers.remove(chain);
        }
        doomed
    }

    /// Blobs are written in one go with the books, so those that no image names are left from before.
    fn remove_blobs(&self) -> Result<(), Error> {
        let needed: BTreeSet<String> =
            self.state().books.records().flat_map(|record| &record.blobs).map(Digest::hex).collect();
        let folder = self.config().root.join("blobs/sha256");
        let doomed = |entry: io::Result<fs::DirEntry>| -> io::Result<Option<PathBuf>> {
            let entry = entry?;
            let is_needed = entry.file_name().to_str().is_some_and(|name| needed.contains(name));
            Ok((!is_needed).then(|| entry.path()))
        };
        for entry in fs::read_dir(&folder).map_err(Error::io(&folder))? {
            if let Some(path) = doomed(entry).map_err(Error::io(&folder))? {
                fs::remove_file(&path).map_err(Error::io(&path))?;
            }
        }
        Ok(())
    }
}
