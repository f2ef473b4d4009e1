//! The SQLite engine on real files: crashes, damage, kill -9, and comparison with the fake. Needs no root; what a full
//! disk does is in `root_disk_full.rs`.

#[cfg(test)]
mod damage;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod model;
#[cfg(test)]
mod support;
#[cfg(test)]
mod torn;
