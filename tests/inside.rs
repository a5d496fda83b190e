//! What docs/inside.md, docs/constraints.md and the README show is what the program prints.
#![cfg(all(feature = "cli", feature = "default-model"))]

mod program;

/// The commands of a page with what stands below each, up to the end of its block.
fn shown(page: &str) -> Vec<(&str, &str)> {
    let blocks = page.split("\n```\n$ whit ").skip(1);
    blocks.filter_map(|block| block.split("\n```\n").next()?.split_once('\n')).collect()
}

/// The arguments of a command line with double quotes.
fn arguments(line: &str) -> Vec<String> {
    let parts = line.split('"').enumerate();
    let words = parts.flat_map(|(i, part)| if i % 2 == 1 { vec![part] } else { part.split_whitespace().collect() });
    words.map(str::to_owned).collect()
}

#[test]
fn every_view_prints_what_the_pages_show() {
    let pages =
        [include_str!("../docs/inside.md"), include_str!("../docs/constraints.md"), include_str!("../README.md")];
    let commands: Vec<_> = pages.iter().flat_map(|page| shown(page)).collect();
    assert!(commands.len() >= 16, "{} commands", commands.len());
    for (command, output) in commands {
        let ran = program::whit().args(arguments(command)).current_dir(env!("CARGO_MANIFEST_DIR")).output();
        let ran = ran.expect("whit starts");
        assert!(ran.status.success(), "{command}: {}", String::from_utf8_lossy(&ran.stderr));
        assert_eq!(String::from_utf8_lossy(&ran.stdout).trim_end_matches('\n'), output, "{command}");
    }
}
