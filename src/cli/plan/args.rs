//! The command line of a plan: flags become a load and machines.

use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;

use super::load::Load;
use super::machines::Machines;
use super::protocol::Protocol;

/// Estimate the nodes, Redis capacity and bandwidth that a load needs
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    pipecast plan --streams 1e6 --rate 200\n  \
    pipecast plan --streams 10M --pipelines 1M --rate 50k --payload 1KiB --cores 16 --memory 32GiB\n\n\
    It multiplies measured costs. docs/operate/capacity.md has the formulas, and compares a plan with a real run.\n\
    Numbers may have an exponent, or end in k, M or G.")]
pub(crate) struct PlanArgs {
    /// Streams open at the same time
    #[arg(long, value_name = "N", value_parser = amount)]
    streams: f64,
    /// Events per second, over all pipelines
    #[arg(long, value_name = "N", value_parser = amount)]
    rate: f64,
    /// Pipelines with subscribers; the plan spreads streams and events evenly over them
    #[arg(long, value_name = "N", default_value = "1", value_parser = amount)]
    pipelines: f64,
    /// Size of an event's payload
    #[arg(long, value_name = "SIZE", default_value = "256B")]
    payload: ByteSize,
    /// Events per publish request
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=1000))]
    batch: u16,
    /// Events kept per pipeline (history.limit)
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    history: u32,
    /// Time between two keepalives of a stream (stream.keepalive)
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = keepalive)]
    keepalive: Duration,
    /// Protocol with which streams reach the nodes: that of the load balancer, if there is one
    #[arg(long, value_enum, default_value = "http1")]
    protocol: Protocol,
    /// Cores per node
    #[arg(long, value_name = "N", default_value = "4", value_parser = amount)]
    cores: f64,
    /// Memory per node
    #[arg(long, value_name = "SIZE", default_value = "8GiB")]
    memory: ByteSize,
    /// Network bandwidth per node, in bits per second
    #[arg(long, value_name = "BITS/S", default_value = "10G", value_parser = amount)]
    bandwidth: f64,
    /// Maximum streams per node: when a node fails, this many clients move to the others at once
    #[arg(long, value_name = "N", default_value = "100k", value_parser = amount)]
    streams_per_node: f64,
    /// Percentage of cores, memory and bandwidth to use at most; the rest is for peaks and failed nodes
    #[arg(long, value_name = "PERCENT", default_value = "60", value_parser = clap::value_parser!(u8).range(1..=100))]
    target_utilization: u8,
    /// Percentage of clients that do not keep up; the kernel buffers 128 KiB for each
    #[arg(long, value_name = "PERCENT", default_value = "1", value_parser = clap::value_parser!(u8).range(0..=100))]
    slow_clients: u8,
    /// Print one JSON object instead of a table
    #[arg(long)]
    pub(super) json: bool,
}

impl PlanArgs {
    pub(super) fn load(&self) -> Load {
        Load {
            streams: self.streams,
            rate: self.rate,
            // A pipeline without subscribers costs a node nothing, and Redis only its history.
            pipelines: self.pipelines,
            payload: self.payload.as_u64() as f64,
            batch: f64::from(self.batch),
            history: f64::from(self.history),
            keepalive: self.keepalive.as_secs_f64(),
            protocol: self.protocol,
            slow_clients: f64::from(self.slow_clients) / 100.0,
        }
    }

    pub(super) fn machines(&self) -> Machines {
        Machines {
            cores: self.cores,
            memory: self.memory.as_u64() as f64,
            bandwidth: self.bandwidth,
            streams: self.streams_per_node,
            utilization: f64::from(self.target_utilization) / 100.0,
        }
    }
}

/// A number above zero, in the usual forms for large ones: `200`, `0.5`, `1e6`, `10M`.
fn amount(text: &str) -> Result<f64, String> {
    let (digits, factor) = match text.as_bytes().last() {
        Some(b'k') => (&text[..text.len() - 1], 1e3),
        Some(b'M') => (&text[..text.len() - 1], 1e6),
        Some(b'G') => (&text[..text.len() - 1], 1e9),
        _ => (text, 1.0),
    };
    match digits.parse::<f64>().map(|number| number * factor) {
        // Beyond that, sums lose their small parts.
        Ok(number) if number > 0.0 && number <= 1e15 => Ok(number),
        _ => Err("must be a number above 0, for example 200, 0.5, 1e6 or 10M".into()),
    }
}

fn keepalive(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(interval) if interval >= Duration::from_secs(1) => Ok(interval),
        _ => Err("must be a time of at least 1s, for example 15s".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_may_end_in_a_unit() {
        assert_eq!(
            ["7", "0.5", "1e6", "10M", "1.5k", "10G"].map(amount).map(Result::ok),
            [7.0, 0.5, 1e6, 1e7, 1500.0, 1e10].map(Some)
        );
        for text in ["", "k", "-1", "0", "1e16", "inf", "nan", "1 000", "1K", "ä"] {
            assert!(amount(text).is_err(), "{text}");
        }
    }
}
