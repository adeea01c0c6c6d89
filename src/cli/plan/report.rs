//! A plan, as a table for people or as one JSON object.

use std::fmt::Write;

use super::load::Load;
use super::machines::Machines;
use super::size::Plan;
use crate::cli::number_format::{bits, bytes, count, percent, rate, time};

/// As one JSON object on a line.
pub(super) fn json(plan: &Plan) -> String {
    // Only numbers: this cannot fail.
    serde_json::to_string(plan).unwrap_or_default() + "\n"
}

/// As a table.
pub(super) fn table(load: &Load, machines: &Machines, plan: &Plan) -> String {
    let mut text = format!(
        "{} on {}, {} events/s of {}: {} deliveries/s\n\n",
        of(load.streams, "stream"),
        of(load.pipelines, "pipeline"),
        if load.rate < 100.0 { load.rate.to_string() } else { rate(load.rate) },
        bytes(load.payload),
        rate(plan.deliveries_per_second)
    );
    for (label, value) in rows(machines, plan) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {label:<14}{value}");
    }
    if plan.redis.primaries > 1.0 {
        let _ = write!(
            text,
            "\n  More than one primary needs a Redis Cluster, which this version does not support. Until it does, run {}\n  \
             installations, each with its own Redis and its share of the pipelines.\n",
            whole(plan.redis.primaries)
        );
    }
    text
}

fn rows(machines: &Machines, plan: &Plan) -> Vec<(&'static str, String)> {
    let (needed, node, redis, cores) = (&plan.nodes_needed, &plan.node, &plan.redis, plan.cores);
    let (nodes, spare) = (whole(plan.nodes), whole(plan.spare_nodes));
    let of_machine = format!(
        "{} cores, {} and {}, used up to {}",
        machines.cores,
        bytes(machines.memory),
        bits(machines.bandwidth),
        percent(machines.utilization)
    );
    vec![
        ("nodes", format!("{nodes} including {spare} spare, each with {of_machine}")),
        ("  by CPU", {
            let parts = [
                ("delivering", cores.delivering),
                ("publishing", cores.publishing),
                ("receiving", cores.receiving),
                ("keepalives", cores.keepalives),
            ];
            let parts = parts.map(|(name, cores)| format!("{name} {}", small(cores)));
            format!("{} for {} busy cores: {}", whole(needed.by_cpu), small(cores.sum()), parts.join(", "))
        }),
        ("  by memory", whole(needed.by_memory)),
        ("  by network", whole(needed.by_bandwidth)),
        ("  by streams", format!("{}, with up to {} per node", whole(needed.by_streams), whole(machines.streams))),
        (
            "per node",
            format!(
                "{} on {}, {} busy cores, {}, {}",
                of(node.streams, "stream"),
                of(node.pipelines, "pipeline"),
                small(node.cores),
                bytes(node.memory_bytes),
                bits(node.bits_per_second)
            ),
        ),
        (
            "",
            format!(
                "an event reaches its last subscriber there {} after the first",
                time(node.last_reader_seconds * 1e6)
            ),
        ),
        ("", format!("if it fails, its clients are back after {}", time(node.recovery_seconds * 1e6))),
        (
            "Redis",
            format!(
                "{}: {} busy cores, {} of histories, {}, {} connections",
                if redis.primaries > 1.0 {
                    format!("{} primaries", whole(redis.primaries))
                } else {
                    "1 primary".into()
                },
                small(redis.cores),
                bytes(redis.memory_bytes),
                bits(redis.bits_per_second),
                whole(redis.connections)
            ),
        ),
    ]
}

/// A number of things.
fn of(number: f64, thing: &str) -> String {
    format!("{} {thing}{}", whole(number), if whole(number) == "1" { "" } else { "s" })
}

/// A number without a fraction.
fn whole(number: f64) -> String {
    let text = format!("{number:.0}");
    text.parse().map_or(text, count)
}

/// A number whose fraction matters as long as it is small.
fn small(number: f64) -> String {
    if number < 10.0 { format!("{number:.2}") } else { rate(number) }
}
