//! Control groups, v1, v2 and the hybrid of both: where they are, making and removing folders, killing all that is in one, memory events, what is used, devices.

mod devices;
mod hasten;
mod kill;
mod layout;
mod memory;
mod usage;

pub use devices::{DeviceKind, DeviceRule, MAKE, READ, WRITE, attach_device_filter};
pub use hasten::hasten_moves;
pub use kill::{has_processes, kill_all, kill_round, processes};
pub use layout::{Hierarchy, Layout, is_legacy_controller, is_unified, remove_folder};
pub use memory::{OomCount, memory_usage, oom_kills};
pub use usage::{MemoryUsage, Usage};
