//! The program under test.

use std::process::Command;

/// `whit`, behind the words of `WHIT_TEST_RUNNER` where another CPU is emulated.
pub(crate) fn whit() -> Command {
    let runner = std::env::var("WHIT_TEST_RUNNER").unwrap_or_default();
    let mut words = runner.split_whitespace().chain([env!("CARGO_BIN_EXE_whit")]);
    let mut command = Command::new(words.next().expect("the program itself at least"));
    command.args(words);
    command
}
