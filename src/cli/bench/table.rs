//! A report as a table for people.

use std::fmt::Write;

use pipecast_bench::report::{
    Delivered, MemoryReport, OwnLoad, Published, Quantiles, Replay, Report, ServerCpu, Streams,
};

use super::measured::Measured;
use crate::cli::number_format::{bytes, count, percent, rate, time};
use crate::visible::visible;

/// Above this share of time without a CPU, times depend more on the machine than on the server.
const DISTURBED: f64 = 0.05;

/// As a table.
pub(super) fn table(measured: &Measured) -> String {
    let report = &measured.report;
    let mut text = format!("{}\n{} at {}\n\n", measured.what, measured.preset, measured.urls.join(", "));
    for (label, value) in rows(report) {
        let _ = writeln!(text, "  {label:<12}  {value}");
    }
    let times = times(report);
    if !times.is_empty() {
        let _ = writeln!(text, "\n  {:28}{:>10}{:>10}{:>10}{:>10}{:>10}", "", "p50", "p90", "p99", "p99.9", "max");
    }
    for (label, quantiles) in times {
        let Quantiles { p50_us, p90_us, p99_us, p99_9_us, max_us, .. } = quantiles;
        let _ = write!(text, "  {label:<28}");
        for value in [p50_us, p90_us, p99_us, p99_9_us, max_us] {
            let _ = write!(text, "{:>10}", time(value));
        }
        text.push('\n');
    }
    for warning in warnings(report) {
        let _ = write!(text, "\n  {warning}\n");
    }
    text
}

/// A label, empty where a line continues the one above, and its text.
type Row = (&'static str, String);

fn rows(report: &Report) -> Vec<Row> {
    let mut rows = Vec::new();
    rows.extend(report.streams.iter().map(streams));
    rows.extend(report.published.iter().flat_map(published));
    rows.extend(report.delivered.iter().flat_map(delivered));
    rows.extend(report.replay.iter().flat_map(replay));
    rows.extend(report.memory.iter().flat_map(memory));
    rows.extend(report.server.iter().map(server_cpu));
    rows.extend(report.bench.iter().map(own_load));
    rows
}

fn streams(s: &Streams) -> Row {
    let (opened, wanted, after) = (count(s.opened as u64), count(s.wanted as u64), time(s.open_seconds * 1e6));
    ("streams", format!("{opened} of {wanted} open after {after}, {} failed, {} ended", s.failed, s.ended))
}

fn published(p: &Published) -> [Row; 2] {
    let (events, errors, unsent) = (count(p.events), count(p.errors), count(p.unsent));
    let first = format!("{events} events, {errors} requests failed, {unsent} events not sent in time");
    let (requests, events) = (rate(p.requests_per_second), rate(p.events_per_second));
    [("published", first), ("", format!("{requests} requests/s, {events} events/s"))]
}

fn delivered(d: &Delivered) -> [Row; 2] {
    let per_second = d.deliveries_per_second.map(|number| format!(", {}/s", rate(number)));
    let (lost, doubled, reordered) = (count(d.lost), count(d.doubled), count(d.reordered));
    let others = if d.others > 0 { format!(", {} not ours", count(d.others)) } else { String::new() };
    let gaps = if d.gaps > 0 { format!(" ({} gaps reported)", count(d.gaps)) } else { String::new() };
    [
        ("deliveries", count(d.deliveries) + &per_second.unwrap_or_default()),
        ("", format!("{lost} lost{gaps}, {doubled} duplicated, {reordered} reordered{others}")),
    ]
}

fn replay(r: &Replay) -> [Row; 2] {
    let (served, events, all) = (count(r.served as u64), r.events_per_client, time(r.seconds * 1e6));
    let (sent, speed) = (bytes(r.bytes as f64), bytes(r.bytes as f64 / r.seconds));
    [("replay", format!("{served} clients had {events} events each after {all}")), ("", format!("{sent}, {speed}/s"))]
}

fn memory(m: &MemoryReport) -> Vec<Row> {
    let mut rows = Vec::new();
    if let (Some(before), Some(now)) = (m.server_before, m.server) {
        let (pss, rss) = (m.pss_bytes_per_stream.unwrap_or_default(), m.rss_bytes_per_stream.unwrap_or_default());
        let (from, to) = (bytes(before.pss_bytes as f64), bytes(now.pss_bytes as f64));
        rows.push(("memory", format!("{} PSS per stream ({} RSS); {from} -> {to}", bytes(pss), bytes(rss))));
    }
    let (from, to) = (bytes(m.kernel_before.slab_bytes as f64), bytes(m.kernel.slab_bytes as f64));
    let each = bytes(m.kernel_bytes_per_stream);
    rows.push(("kernel", format!("{each} per stream, both ends; slab {from} -> {to}")));
    rows
}

fn server_cpu(s: &ServerCpu) -> Row {
    let each = s.us_per_unit.map(|us| format!(", {us:.2} µs per {}", s.unit)).unwrap_or_default();
    ("server CPU", format!("{:.2} s, {} of a core{each}", s.cpu_seconds, percent(s.cpus)))
}

fn own_load(b: &OwnLoad) -> Row {
    let (busy, cpu, queued) = (percent(b.busy), percent(b.cpu), percent(b.queued));
    ("bench", format!("busy {busy}, on a core {cpu}, waiting for a core {queued}"))
}

fn times(report: &Report) -> Vec<(&'static str, Quantiles)> {
    let delivered = report.delivered.as_ref();
    let times = [
        ("publisher to subscriber", delivered.and_then(|d| d.latency)),
        ("publisher to last subscriber", delivered.and_then(|d| d.last_reader)),
        ("publisher to answer", report.published.as_ref().and_then(|p| p.latency)),
        ("connection to caught up", report.replay.as_ref().and_then(|r| r.catch_up)),
        ("of which within the bench <", report.bench.and_then(|b| b.delay)),
    ];
    times.into_iter().filter_map(|(label, quantiles)| Some((label, quantiles?))).collect()
}

fn warnings(report: &Report) -> Vec<String> {
    let mut warnings = Vec::new();
    if report.interrupted {
        warnings.push("Stopped early: these are the results until then.".into());
    }
    if report.bench.is_some_and(|bench| bench.was_bottleneck) {
        warnings.push("THE BENCH WAS THE BOTTLENECK: the server can do more than these numbers show.".into());
    }
    if report.bench.is_some_and(|bench| bench.queued > DISTURBED) {
        warnings.push("Another process ran on the bench's CPU: times are longer than they should be.".into());
    }
    if report.published.as_ref().is_some_and(|published| published.unsent > 0) {
        warnings.push("The rate was too high: no publisher was free when events were due.".into());
    }
    let problem =
        |kind: &str, problem: &Option<String>| problem.as_ref().map(|text| format!("{kind}: {}", visible(text)));
    warnings.extend(
        report.streams.as_ref().and_then(|streams| problem("First stream that failed", &streams.first_problem)),
    );
    warnings.extend(report.published.as_ref().and_then(|p| problem("First request that failed", &p.first_problem)));
    warnings
}
