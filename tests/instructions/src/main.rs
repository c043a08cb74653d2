//! `instructions PATH ROUNDS`: prepares a hot path of the pure crates from a fixed seed and runs it. Without
//! arguments it lists the paths. The budgets (`budgets.rs`) run this under callgrind.

mod definitions;
mod paths;
mod random;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let all = paths::all();
    let [name, rounds] = arguments.as_slice() else {
        for path in &all {
            println!("{}\t{}\t{}", path.name, path.operations, path.operation);
        }
        return ExitCode::SUCCESS;
    };
    let (Some(path), Ok(rounds)) = (
        all.iter().find(|path| path.name == name),
        rounds.parse::<u32>(),
    ) else {
        eprintln!("usage: instructions [PATH ROUNDS]");
        return ExitCode::FAILURE;
    };
    let mut round = (path.prepare)();
    // What happens once is not what an operation costs.
    round();
    for _ in 0..rounds {
        measured(&mut *round);
    }
    println!("{}", path.operations);
    ExitCode::SUCCESS
}

/// Callgrind counts while this runs, and knows it by its name.
#[inline(never)]
fn measured(round: &mut dyn FnMut()) {
    round();
}
