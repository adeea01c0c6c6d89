//! The machines that nodes run on.

/// The machine of a node, and how much of it the plan may use.
#[derive(Debug)]
pub(super) struct Machines {
    pub(super) cores: f64,
    /// Bytes.
    pub(super) memory: f64,
    /// Bits per second.
    pub(super) bandwidth: f64,
    /// Maximum streams per node.
    pub(super) streams: f64,
    /// The share of cores, memory and bandwidth that may be used, 0 to 1.
    pub(super) utilization: f64,
}
