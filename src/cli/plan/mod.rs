//! `pipecast plan`: how many nodes, how much Redis and bandwidth a load takes.

mod args;
mod costs;
mod load;
mod report;
mod size;

pub(super) use args::PlanArgs;
use costs::Costs;

use super::{Failure, Outcome, print_error, print_out};

pub(super) fn plan(args: &PlanArgs) -> Outcome {
    let costs = Costs::measured().map_err(|error| {
        print_error(format!("the costs that this program was built with cannot be read: {error}"));
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
