//! Workloads: what a run does, step by step. Each kind of load has its file; the steps that they share are those of [`Measurement`].

mod idle;
mod load;
mod measurement;
mod storm;

use crate::error::BenchError;
use crate::tally::MIN_PAYLOAD_BYTES;

pub use idle::Idle;
pub use load::Load;
pub(crate) use measurement::Measurement;
pub use storm::Storm;

/// Streams that connect at the same time: fewer than the queue of any server for new connections holds.
const AT_ONCE: usize = 256;

/// A load to put on a server.
#[derive(Clone, Copy, Debug)]
pub enum Workload {
    /// Streams on which nothing is sent.
    Idle(Idle),
    /// Events to subscribers.
    Load(Load),
    /// Many clients that connect at once and catch up.
    Storm(Storm),
}

impl Workload {
    /// Streams that it opens.
    pub fn streams(&self) -> usize {
        match self {
            Self::Idle(idle) => idle.streams,
            Self::Load(load) => load.subscribers,
            Self::Storm(storm) => storm.clients,
        }
    }

    /// Streams that connect at the same time, unless the options say otherwise: 256, and in a storm all.
    pub fn at_once(&self) -> usize {
        match self {
            Self::Idle(_) | Self::Load(_) => AT_ONCE,
            Self::Storm(storm) => storm.clients,
        }
    }

    pub(crate) fn pipelines(&self) -> usize {
        match self {
            Self::Idle(idle) => idle.pipelines,
            Self::Load(load) => load.pipelines,
            Self::Storm(storm) => storm.pipelines,
        }
    }

    pub(crate) fn publishers(&self) -> usize {
        match self {
            Self::Idle(_) => 0,
            Self::Load(load) => load.publishers,
            Self::Storm(_) => storm::PUBLISHERS,
        }
    }

    pub(crate) fn batch(&self) -> usize {
        match self {
            Self::Idle(_) | Self::Storm(_) => 1,
            Self::Load(load) => load.batch,
        }
    }

    pub(crate) fn payload_bytes(&self) -> usize {
        match self {
            Self::Idle(_) => MIN_PAYLOAD_BYTES,
            Self::Load(load) => load.payload_bytes,
            Self::Storm(storm) => storm.payload_bytes,
        }
    }

    pub(crate) fn run(&self, measurement: &mut Measurement) -> Result<(), BenchError> {
        match self {
            Self::Idle(idle) => idle.run(measurement),
            Self::Load(load) => load.run(measurement),
            Self::Storm(storm) => storm.run(measurement),
        }
    }
}
