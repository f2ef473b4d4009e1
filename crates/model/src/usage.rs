//! What a node, its pods and their containers use: words between the node agent, which measures, and those who tell of it (the kubelet's API, the
//! API server's metrics).

use std::time::Duration;

use jiff::Timestamp;

/// A node and its pods, measured together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeUsage {
    /// The node's name.
    pub node: String,
    /// When the machine started.
    pub since: Timestamp,
    /// Of the whole machine.
    pub cpu: Option<Cpu>,
    /// Of the whole machine.
    pub memory: Option<Memory>,
    /// Of the whole machine.
    pub swap: Option<Swap>,
    /// What the machine's own interfaces carry.
    pub network: Option<Network>,
    /// The file system with the agent's files and the containers' layers.
    pub filesystem: Option<Filesystem>,
    /// The one with images; what is used is what images use.
    pub images: Option<Filesystem>,
    /// Of the whole machine.
    pub processes: Option<Processes>,
    /// How many processors there are.
    pub cpus: usize,
    /// Bytes of memory in all.
    pub memory_bytes: u64,
    /// The pods that run here.
    pub pods: Vec<PodUsage>,
}

/// A pod and its containers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodUsage {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// When it started.
    pub since: Timestamp,
    /// All that runs in it.
    pub cpu: Option<Cpu>,
    /// All that runs in it.
    pub memory: Option<Memory>,
    /// None for a pod in the node's network.
    pub network: Option<Network>,
    /// How many there are.
    pub processes: Option<u64>,
    /// Its running containers.
    pub containers: Vec<ContainerUsage>,
}

/// One running container.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContainerUsage {
    /// Its name in the pod.
    pub name: String,
    /// Its id in the runtime.
    pub id: String,
    /// Its image, as the runtime resolved it.
    pub image: String,
    /// When it started.
    pub since: Timestamp,
    /// Since then.
    pub cpu: Option<Cpu>,
    /// Now.
    pub memory: Option<Memory>,
    /// Now.
    pub swap: Option<Swap>,
    /// What it has changed of its image's files.
    pub layer: Option<Filesystem>,
    /// Its logs.
    pub logs: Option<Filesystem>,
}

/// Processor time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// When it was read.
    pub at: Timestamp,
    /// Nanoseconds of one processor, in all time.
    pub total: u64,
    /// How fast that has grown, if it has been seen twice.
    pub rate: Option<Rate>,
}

/// How fast processor time has grown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// Billionths of a processor.
    pub nano_cores: u64,
    /// Over how long, up to when it was read.
    pub window: Duration,
}

/// Memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// When it was read.
    pub at: Timestamp,
    /// All of it, with pages of files.
    pub usage: u64,
    /// What cannot be given back at once: usage without pages of files that nobody has touched for long.
    pub working_set: u64,
    /// Anonymous pages.
    pub rss: u64,
    /// What is left of its limit; none without one.
    pub available: Option<u64>,
    /// Page faults in all time.
    pub page_faults: u64,
    /// Those that had to wait for a disk.
    pub major_page_faults: u64,
}

/// Swap space, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swap {
    /// When it was read.
    pub at: Timestamp,
    /// Used.
    pub usage: u64,
    /// What is left of its limit; none without one.
    pub available: Option<u64>,
}

/// What interfaces have carried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// When it was read.
    pub at: Timestamp,
    /// The one that leads out, first.
    pub interfaces: Vec<Interface>,
}

/// What one interface has carried in all time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// `eth0`
    pub name: String,
    /// Bytes that came.
    pub received: u64,
    /// What could not be received.
    pub receive_errors: u64,
    /// Bytes that went.
    pub sent: u64,
    /// What could not be sent.
    pub send_errors: u64,
}

/// A part of a file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filesystem {
    /// When it was looked at.
    pub at: Timestamp,
    /// Bytes that this part uses.
    pub used: u64,
    /// Inodes that this part uses.
    pub inodes_used: u64,
    /// Of the whole file system: bytes in all.
    pub capacity: u64,
    /// Bytes that are free.
    pub available: u64,
    /// Inodes in all.
    pub inodes: u64,
    /// Inodes that are free.
    pub inodes_free: u64,
}

/// Processes and threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Processes {
    /// When they were counted.
    pub at: Timestamp,
    /// How many there may be.
    pub most: u64,
    /// How many there are.
    pub running: u64,
}
