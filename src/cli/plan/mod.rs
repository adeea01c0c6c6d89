//! `pipecast plan`: the nodes, the Redis and the bandwidth that a load needs.
//!
//! Arithmetic only: `load` is what clients do, `machines` what nodes run on, `costs` what things were measured to cost, and `size`
//! combines them. It talks to no node.

mod args;
mod costs;
mod load;
mod machines;
mod protocol;
mod report;
mod size;

pub(super) use args::PlanArgs;
use costs::Costs;

use super::{Failure, Outcome, print_error, print_out};

pub(super) fn plan(args: &PlanArgs) -> Outcome {
    let costs = Costs::measured().map_err(|error| {
        print_error(format!("cannot read the costs that this program was built with: {error}"));
        Failure::Failed
    })?;
    let (load, machines) = (args.load(), args.machines());
    let plan = size::plan(&load, &machines, &costs).map_err(|error| {
        print_error(error);
        Failure::Failed
    })?;
    print_out(if args.json { report::json(&plan) } else { report::table(&load, &machines, &plan) });
    Ok(())
}
