//! The `whit` command.

mod cli;
mod requests;
#[cfg(feature = "server")]
mod serve;

use std::process::{ExitCode, exit};
use whit::error::Kind;
use whit::failure;
use whit::os::{fault, interrupt, terminal};

#[global_allocator]
static ALLOCATOR: whit::os::allocator::Telling = whit::os::allocator::Telling;

fn main() -> ExitCode {
    // Before the first thread.
    whit::os::memory::use_one_heap();
    fault::watch_files(cli::line_amid_text, failure::exit_code(Kind::Io));
    fault::watch_memory(cli::line_amid_text, failure::exit_code(Kind::Resources));
    ExitCode::from(cli::run(|| {
        // Without a handler Ctrl-C still ends the process, only without statistics.
        let _ = ctrlc::set_handler(|| {
            if !interrupt::request() {
                terminal::restore();
                exit(failure::exit_code(Kind::Interrupted).into());
            }
        });
    }))
}
