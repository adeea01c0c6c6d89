//! The size of an installation for a load: how many nodes and Redis primaries, and what each of them does.

use serde::Serialize;

use super::costs::Costs;
use super::load::Load;
use super::machines::Machines;
use crate::store::redis::OWN_CONNECTIONS;

/// More than any real installation has.
const MAX_NODES: f64 = 10_000.0;
/// One spare per this many nodes, for deployments and failures; at least one.
const NODES_PER_SPARE: f64 = 20.0;
/// What the kernel buffers for a client that does not keep up: `stream.send_buffer`, which the kernel doubles.
const SLOW_STREAM_BYTES: f64 = 128.0 * 1024.0;
/// Connections per node: `redis.pool_size` by default, and those that a node keeps for itself.
const REDIS_CONNECTIONS: f64 = (8 + OWN_CONNECTIONS) as f64;
/// Seconds until the last client reconnects: the longest `retry:`.
const LONGEST_RETRY: f64 = 3.0;

/// The size of an installation.
#[derive(Serialize, Debug)]
pub(super) struct Plan {
    /// Including the spare ones.
    pub(super) nodes: f64,
    pub(super) spare_nodes: f64,
    pub(super) nodes_needed: NodesNeeded,
    pub(super) deliveries_per_second: f64,
    pub(super) cores: CoresOfNodes,
    /// One of the nodes that are not spare.
    pub(super) node: OneNode,
    pub(super) redis: Redis,
}

/// How many nodes each resource needs by itself.
#[derive(Serialize, Debug)]
pub(super) struct NodesNeeded {
    pub(super) by_cpu: f64,
    pub(super) by_memory: f64,
    pub(super) by_bandwidth: f64,
    pub(super) by_streams: f64,
}

/// Busy cores, summed over all nodes.
#[derive(Serialize, Debug, Clone, Copy)]
pub(super) struct CoresOfNodes {
    pub(super) publishing: f64,
    /// Receiving notifications from Redis.
    pub(super) receiving: f64,
    pub(super) delivering: f64,
    pub(super) keepalives: f64,
}

impl CoresOfNodes {
    pub(super) fn sum(self) -> f64 {
        self.publishing + self.receiving + self.delivering + self.keepalives
    }
}

#[derive(Serialize, Debug)]
pub(super) struct OneNode {
    pub(super) streams: f64,
    pub(super) pipelines: f64,
    pub(super) cores: f64,
    pub(super) memory_bytes: f64,
    pub(super) bits_per_second: f64,
    /// From the first subscriber of an event on this node to the last, when all of them keep up.
    pub(super) last_reader_seconds: f64,
    /// When it fails: until its clients have caught up on other nodes.
    pub(super) recovery_seconds: f64,
}

#[derive(Serialize, Debug)]
pub(super) struct Redis {
    /// More than one is a cluster.
    pub(super) primaries: f64,
    /// Busy cores, summed over all primaries; each uses one for commands.
    pub(super) cores: f64,
    pub(super) memory_bytes: f64,
    pub(super) bits_per_second: f64,
    pub(super) connections: f64,
}

/// No installation carries the load.
#[derive(thiserror::Error, Debug, PartialEq, Eq)]
pub(super) enum PlanError {
    #[error(
        "no number of such nodes is enough: each would receive nearly every event, and that by itself is more than a node can do. Use nodes with more --cores, or publish events in batches (--batch)"
    )]
    TooManyEvents,
    #[error(
        "the events of a single pipeline are more than one Redis can process, and a pipeline cannot be split. Spread the events over more --pipelines, or publish them in batches (--batch)"
    )]
    PipelineTooBusy,
}

/// The smallest installation that carries the load.
///
/// # Errors
/// When none does.
pub(super) fn plan(load: &Load, machines: &Machines, costs: &Costs) -> Result<Plan, PlanError> {
    let by_cpu =
        fewest(|nodes| cores_of_nodes(load, costs, nodes).sum() <= nodes * machines.cores * machines.utilization)?;
    let by_memory = fewest(|nodes| memory(load, costs, nodes) <= machines.memory * machines.utilization)?;
    let by_bandwidth = (load.bits_to_clients() / (machines.bandwidth * machines.utilization)).ceil().max(1.0);
    let by_streams = (load.streams / machines.streams).ceil().max(1.0);
    let working = by_cpu.max(by_memory).max(by_bandwidth).max(by_streams);
    let spare_nodes = (working / NODES_PER_SPARE).ceil();
    let cores = cores_of_nodes(load, costs, working);
    Ok(Plan {
        nodes: working + spare_nodes,
        spare_nodes,
        nodes_needed: NodesNeeded { by_cpu, by_memory, by_bandwidth, by_streams },
        deliveries_per_second: load.deliveries(),
        cores,
        node: one_node(load, machines, costs, working, spare_nodes),
        redis: redis(load, machines, costs, working + spare_nodes)?,
    })
}

/// The smallest number of nodes that is enough. The work of all nodes together grows more slowly than their number, so a binary
/// search finds it.
fn fewest(is_enough: impl Fn(f64) -> bool) -> Result<f64, PlanError> {
    if !is_enough(MAX_NODES) {
        return Err(PlanError::TooManyEvents);
    }
    let (mut too_few, mut enough) = (0.0, MAX_NODES);
    while enough - too_few > 1.0 {
        let middle = f64::floor((too_few + enough) / 2.0);
        if is_enough(middle) { enough = middle } else { too_few = middle }
    }
    Ok(enough)
}

fn cores_of_nodes(load: &Load, costs: &Costs, nodes: f64) -> CoresOfNodes {
    let cores = |times_per_second: f64, us: f64| times_per_second * us / 1e6;
    CoresOfNodes {
        publishing: cores(load.rate, costs.publishing_us(load.batch)),
        receiving: cores(load.rate * load.reach(nodes), costs.receiving_us()),
        delivering: cores(load.deliveries(), costs.delivery_us(load.protocol, load.payload)),
        keepalives: cores(load.keepalives(), costs.keepalive_us(load.protocol)),
    }
}

/// Pipelines that one of the nodes has open.
fn pipelines_of_node(load: &Load, nodes: f64) -> f64 {
    load.pipelines * load.reach(nodes) / nodes
}

/// Memory of one of the nodes, including kernel memory for its connections.
fn memory(load: &Load, costs: &Costs, nodes: f64) -> f64 {
    let stream = costs.stream(load.protocol).stream_bytes
        + costs.kernel_bytes(load.protocol)
        + load.slow_clients * SLOW_STREAM_BYTES;
    let history = &costs.histories.node;
    let pipeline = history.pipeline_bytes + load.history * (history.event_bytes + load.frame());
    costs.base.node + load.streams / nodes * stream + pipelines_of_node(load, nodes) * pipeline
}

fn one_node(load: &Load, machines: &Machines, costs: &Costs, nodes: f64, spare: f64) -> OneNode {
    let streams = load.streams / nodes;
    let subscribers = load.subscribers() / load.reach(nodes);
    // The others also carry their own load.
    let idle_cores = (nodes + spare - 1.0) * machines.cores * (1.0 - machines.utilization);
    OneNode {
        streams,
        pipelines: pipelines_of_node(load, nodes),
        cores: cores_of_nodes(load, costs, nodes).sum() / nodes,
        memory_bytes: memory(load, costs, nodes),
        bits_per_second: load.bits_to_clients() / nodes,
        last_reader_seconds: subscribers * costs.delivery_us(load.protocol, load.payload) / 1e6 / machines.cores,
        recovery_seconds: LONGEST_RETRY + streams * costs.replay_us / 1e6 / idle_cores.max(1.0),
    }
}

fn redis(load: &Load, machines: &Machines, costs: &Costs, nodes: f64) -> Result<Redis, PlanError> {
    let publishing = load.rate * costs.redis_us(load.batch, load.reach(nodes)) / 1e6;
    let cores = publishing + load.checks(nodes) * costs.checking.redis_us / 1e6;
    let bits_per_second = load.bits_from_redis(nodes) + load.checks(nodes) * costs.checking.redis_bytes * 8.0;
    let primaries = (cores / machines.utilization)
        .max(bits_per_second / (machines.bandwidth * machines.utilization))
        .ceil()
        .max(1.0);
    if primaries > load.pipelines.max(1.0) {
        return Err(PlanError::PipelineTooBusy);
    }
    let history = &costs.histories.redis;
    let pipeline = history.pipeline_bytes + load.history * (history.event_bytes + load.frame());
    Ok(Redis {
        primaries,
        cores,
        memory_bytes: primaries * costs.base.redis + load.pipelines * pipeline,
        bits_per_second,
        connections: nodes * REDIS_CONNECTIONS,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::plan::protocol::Protocol;

    fn load(streams: f64, pipelines: f64, rate: f64) -> Load {
        let (payload, batch, history, keepalive) = (256.0, 1.0, 100.0, 15.0);
        Load {
            streams,
            rate,
            pipelines,
            payload,
            batch,
            history,
            keepalive,
            protocol: Protocol::Http1,
            slow_clients: 0.01,
        }
    }

    fn machines() -> Machines {
        Machines { cores: 4.0, memory: 8e9, bandwidth: 1e10, streams: 1e5, utilization: 0.6 }
    }

    fn planned(load: &Load) -> Plan {
        plan(load, &machines(), &Costs::measured().unwrap()).unwrap()
    }

    #[test]
    fn planned_nodes_carry_the_load_and_one_less_would_not() {
        let costs = Costs::measured().unwrap();
        for load in
            [load(1e6, 1.0, 20.0), load(1e6, 1e4, 2e4), load(1e5, 1e5, 5e3), load(500.0, 5.0, 1.0), load(1e7, 1e5, 1e4)]
        {
            let plan = planned(&load);
            let fits = |nodes: f64| {
                cores_of_nodes(&load, &costs, nodes).sum() <= nodes * 2.4
                    && memory(&load, &costs, nodes) <= 4.8e9
                    && load.bits_to_clients() <= nodes * 6e9
                    && load.streams <= nodes * 1e5
            };
            let working = plan.nodes - plan.spare_nodes;
            assert!(fits(working), "{plan:?}");
            assert!(working == 1.0 || !fits(working - 1.0), "{plan:?}");
            assert!(plan.spare_nodes >= 1.0);
        }
    }

    #[test]
    fn larger_load_never_needs_less() {
        let plain = planned(&load(1e6, 100.0, 100.0));
        let more = [
            planned(&load(2e6, 100.0, 100.0)),
            planned(&load(1e6, 100.0, 200.0)),
            planned(&Load { payload: 8192.0, ..load(1e6, 100.0, 100.0) }),
            planned(&Load { keepalive: 1.0, ..load(1e6, 100.0, 100.0) }),
            planned(&Load { protocol: Protocol::Tls, ..load(1e6, 100.0, 100.0) }),
        ];
        for plan in more {
            assert!(plan.cores.sum() >= plain.cores.sum() && plan.nodes >= plain.nodes, "{plan:?}");
        }
        let batched = planned(&Load { batch: 100.0, ..load(1e6, 100.0, 100.0) });
        assert!(batched.cores.publishing < plain.cores.publishing && batched.redis.cores < plain.redis.cores);
    }

    #[test]
    fn impossible_loads_are_errors() {
        let plan = |load: &Load| plan(load, &machines(), &Costs::measured().unwrap()).unwrap_err();
        assert_eq!(plan(&load(1e9, 1e3, 1e9)), PlanError::TooManyEvents);
        assert_eq!(plan(&Load { protocol: Protocol::Http1, ..load(10.0, 1.0, 2e5) }), PlanError::PipelineTooBusy);
    }
}
