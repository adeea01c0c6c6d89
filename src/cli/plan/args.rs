//! What is asked of a plan, on the command line.

use std::time::Duration;

use bytesize::ByteSize;
use clap::{Args, ValueEnum};

use super::load::Load;
use super::size::Machines;

/// Say how many nodes, how much Redis and bandwidth a load takes
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    pipecast plan --streams 1e6 --rate 200\n  \
    pipecast plan --streams 10M --pipelines 1M --rate 50k --payload 1KiB --cores 16 --memory 32GiB\n\n\
    It multiplies what was measured; docs/capacity.md has the formulas, and how well they met a load that was run.\n\
    Numbers may have an exponent or k, M, G behind them.")]
pub(crate) struct PlanArgs {
    /// Streams that are open at the same time
    #[arg(long, value_name = "N", value_parser = amount)]
    streams: f64,
    /// Events a second, over all pipelines
    #[arg(long, value_name = "N", value_parser = amount)]
    rate: f64,
    /// Pipelines with readers; streams and events are taken to be spread evenly over them
    #[arg(long, value_name = "N", default_value = "1", value_parser = amount)]
    pipelines: f64,
    /// Size of an event's payload
    #[arg(long, value_name = "SIZE", default_value = "256B")]
    payload: ByteSize,
    /// Events in a publish request
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=1000))]
    batch: u16,
    /// Events kept a pipeline (history.limit)
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    history: u32,
    /// Between two keepalives of a stream (stream.keepalive)
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = keepalive)]
    keepalive: Duration,
    /// How streams come to the nodes: what the load balancer speaks to them, if there is one
    #[arg(long, value_enum, default_value = "http1")]
    over: Way,
    /// Cores of a node
    #[arg(long, value_name = "N", default_value = "4", value_parser = amount)]
    cores: f64,
    /// Memory of a node
    #[arg(long, value_name = "SIZE", default_value = "8GiB")]
    memory: ByteSize,
    /// What a node's network takes, bits a second
    #[arg(long, value_name = "BITS/S", default_value = "10G", value_parser = amount)]
    bandwidth: f64,
    /// Most streams on a node: so many clients come to the others at once when it dies
    #[arg(long, value_name = "N", default_value = "100k", value_parser = amount)]
    streams_per_node: f64,
    /// Percent of cores, memory and bandwidth that are to be used
    #[arg(long, value_name = "PERCENT", default_value = "60", value_parser = clap::value_parser!(u8).range(1..=100))]
    fill: u8,
    /// Percent of streams whose clients do not keep up, so that the kernel holds 128 KiB for each
    #[arg(long, value_name = "PERCENT", default_value = "1", value_parser = clap::value_parser!(u8).range(0..=100))]
    slow: u8,
    /// One JSON object instead of a table
    #[arg(long)]
    pub(super) json: bool,
}

/// How a stream comes to a node.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
#[value(rename_all = "kebab-case")]
pub(super) enum Way {
    /// HTTP/1.1, a connection a stream
    Http1,
    /// HTTP/2 without TLS, 100 streams a connection
    Http2,
    /// HTTP/1.1 over TLS
    Tls,
    /// HTTP/2 over TLS, 100 streams a connection
    TlsHttp2,
}

impl PlanArgs {
    pub(super) fn load(&self) -> Load {
        Load {
            streams: self.streams,
            rate: self.rate,
            // A pipeline that nobody reads costs a node nothing, and Redis only its history.
            pipelines: self.pipelines,
            payload: self.payload.as_u64() as f64,
            batch: f64::from(self.batch),
            history: f64::from(self.history),
            keepalive: self.keepalive.as_secs_f64(),
            way: self.over,
            slow: f64::from(self.slow) / 100.0,
        }
    }

    pub(super) fn machines(&self) -> Machines {
        Machines {
            cores: self.cores,
            memory: self.memory.as_u64() as f64,
            bandwidth: self.bandwidth,
            streams: self.streams_per_node,
            fill: f64::from(self.fill) / 100.0,
        }
    }
}

/// A number above zero, as people write large ones: `200`, `0.5`, `1e6`, `10M`.
fn amount(text: &str) -> Result<f64, String> {
    let (digits, factor) = match text.as_bytes().last() {
        Some(b'k') => (&text[..text.len() - 1], 1e3),
        Some(b'M') => (&text[..text.len() - 1], 1e6),
        Some(b'G') => (&text[..text.len() - 1], 1e9),
        _ => (text, 1.0),
    };
    match digits.parse::<f64>().map(|number| number * factor) {
        // Beyond that sums lose their small parts.
        Ok(number) if number > 0.0 && number <= 1e15 => Ok(number),
        _ => Err("write a number above 0, such as 200, 0.5, 1e6 or 10M".into()),
    }
}

fn keepalive(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(interval) if interval >= Duration::from_secs(1) => Ok(interval),
        _ => Err("write a time from 1s up, such as 15s".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_read_as_people_write_them() {
        assert_eq!(
            ["7", "0.5", "1e6", "10M", "1.5k", "10G"].map(amount).map(Result::ok),
            [7.0, 0.5, 1e6, 1e7, 1500.0, 1e10].map(Some)
        );
        for text in ["", "k", "-1", "0", "1e16", "inf", "nan", "1 000", "1K", "ä"] {
            assert!(amount(text).is_err(), "{text}");
        }
    }
}
