//! The `whit` command.

mod cli;

#[global_allocator]
static ALLOCATOR: whit::os::budget::Budgeted = whit::os::budget::Budgeted;

use std::process::{ExitCode, exit};

fn main() -> ExitCode {
    // Before the first thread.
    whit::os::memory::use_one_heap();
    whit::os::fault::install();
    // Without a handler Ctrl-C still ends the process, only without statistics.
    let _ = ctrlc::set_handler(|| {
        if !cli::interrupt::request() {
            exit(130);
        }
    });
    ExitCode::from(cli::run())
}
