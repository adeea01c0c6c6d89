//! A plan, as a table for people or as one JSON object.

use std::fmt::Write;

use super::load::Load;
use super::machines::Machines;
use super::size::{OneNode, Plan, Redis};
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

/// A label, empty where a line continues the one above, and its text.
type Row = (&'static str, String);

fn rows(machines: &Machines, plan: &Plan) -> Vec<Row> {
    let mut rows = nodes(machines, plan);
    rows.extend(one_node(&plan.node));
    rows.push(redis(&plan.redis));
    rows
}

fn nodes(machines: &Machines, plan: &Plan) -> Vec<Row> {
    let (needed, cores) = (&plan.nodes_needed, plan.cores);
    let (nodes, spare) = (whole(plan.nodes), whole(plan.spare_nodes));
    let Machines { memory, bandwidth, utilization, .. } = machines;
    let (memory, bandwidth, used) = (bytes(*memory), bits(*bandwidth), percent(*utilization));
    let each = format!("{} cores, {memory} and {bandwidth}, used up to {used}", machines.cores);
    let parts = [
        ("delivering", cores.delivering),
        ("publishing", cores.publishing),
        ("receiving", cores.receiving),
        ("keepalives", cores.keepalives),
    ];
    let parts = parts.map(|(name, cores)| format!("{name} {}", small(cores))).join(", ");
    vec![
        ("nodes", format!("{nodes} including {spare} spare, each with {each}")),
        ("  by CPU", format!("{} for {} busy cores: {parts}", whole(needed.by_cpu), small(cores.sum()))),
        ("  by memory", whole(needed.by_memory)),
        ("  by network", whole(needed.by_bandwidth)),
        ("  by streams", format!("{}, with up to {} per node", whole(needed.by_streams), whole(machines.streams))),
    ]
}

fn one_node(node: &OneNode) -> [Row; 3] {
    let (streams, pipelines) = (of(node.streams, "stream"), of(node.pipelines, "pipeline"));
    let (cores, memory, bandwidth) = (small(node.cores), bytes(node.memory_bytes), bits(node.bits_per_second));
    let (last, recovery) = (time(node.last_reader_seconds * 1e6), time(node.recovery_seconds * 1e6));
    [
        ("per node", format!("{streams} on {pipelines}, {cores} busy cores, {memory}, {bandwidth}")),
        ("", format!("an event reaches its last subscriber there {last} after the first")),
        ("", format!("if it fails, its clients are back after {recovery}")),
    ]
}

fn redis(redis: &Redis) -> Row {
    let primaries =
        if redis.primaries > 1.0 { format!("{} primaries", whole(redis.primaries)) } else { "1 primary".into() };
    let (cores, memory, bandwidth) = (small(redis.cores), bytes(redis.memory_bytes), bits(redis.bits_per_second));
    let connections = whole(redis.connections);
    let text =
        format!("{primaries}: {cores} busy cores, {memory} of histories, {bandwidth}, {connections} connections");
    ("Redis", text)
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
