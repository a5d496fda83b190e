//! A disk with a block too little is refused before the first byte, one with just enough is not.

#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const BLOCK: u64 = 4096;
const TARGET: &str = "model.whit";

/// A file system that is unmounted when dropped.
struct Mounted(PathBuf);

impl Mounted {
    /// `None`, loudly, where nothing can be mounted.
    fn new(folder: &Path, arguments: &[&str]) -> Option<Mounted> {
        let mount = Command::new("mount").args(arguments).arg(folder).stderr(Stdio::null()).status();
        if mount.is_ok_and(|status| status.success()) {
            return Some(Mounted(folder.to_owned()));
        }
        eprintln!("SKIPPED: no file system can be mounted here (not root, no loop device)");
        None
    }

    /// Blocks free on it.
    fn free(&self) -> u64 {
        let output = Command::new("stat").args(["-f", "-c", "%a %S"]).arg(&self.0).output().expect("stat starts");
        let text = String::from_utf8(output.stdout).expect("numbers");
        let numbers: Vec<u64> = text.split_whitespace().map(|word| word.parse().expect("a number")).collect();
        assert_eq!(numbers[1], BLOCK, "{text}");
        numbers[0]
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.0).status().is_ok_and(|status| status.success());
        assert!(unmounted || std::thread::panicking(), "{} is still mounted", self.0.display());
    }
}

fn quantize(folder: &Path) -> Output {
    let input = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/llama");
    let mut command = Command::new(env!("CARGO_BIN_EXE_quantize"));
    command.arg(input).arg("-o").arg(folder.join(TARGET)).output().expect("quantize starts")
}

/// Bytes that the conversion needs.
fn needed() -> u64 {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(quantize(folder.path()).status.success());
    std::fs::metadata(folder.path().join(TARGET)).expect("converted").len()
}

/// Asserts that `disk`, with `blocks` free, is refused or takes a file of `bytes`.
fn check(disk: &Mounted, blocks: u64, bytes: u64) {
    assert_eq!(disk.free(), blocks);
    let result = quantize(&disk.0);
    let told = String::from_utf8_lossy(&result.stderr);
    if let Some(missing) = bytes.checked_sub(blocks * BLOCK).filter(|n| *n > 0) {
        let wanted = format!("{bytes} bytes are needed, {} are free on this disk: {missing} missing", blocks * BLOCK);
        assert!(result.status.code() == Some(73) && told.contains(&wanted) && told.contains(TARGET), "{result:?}");
        assert_eq!(disk.free(), blocks, "something was written");
    } else {
        assert!(result.status.success() && told.is_empty(), "{result:?}");
        assert_eq!(std::fs::metadata(disk.0.join(TARGET)).expect("whole").len(), bytes);
    }
}

#[test]
fn a_file_system_in_memory_a_block_too_small_is_refused() {
    let bytes = needed();
    let least = bytes.div_ceil(BLOCK);
    for blocks in [least - 1, least, least + 1] {
        let folder = tempfile::tempdir().expect("a folder");
        let size = format!("size={}", blocks * BLOCK);
        let Some(disk) = Mounted::new(folder.path(), &["-t", "tmpfs", "-o", &size, "whit-test"]) else { return };
        check(&disk, blocks, bytes);
    }
}

#[test]
fn an_ext4_a_block_too_full_is_refused() {
    let bytes = needed();
    let least = bytes.div_ceil(BLOCK);
    let scratch = tempfile::tempdir().expect("a folder");
    let (image, folder) = (scratch.path().join("image"), scratch.path().join("mount"));
    std::fs::create_dir(&folder).expect("a folder");
    for blocks in [least - 1, least, least + 1] {
        std::fs::File::create(&image).and_then(|file| file.set_len(8 << 20)).expect("an image");
        let made = Command::new("mkfs.ext4").args(["-q", "-b", "4096", "-m", "0"]).arg(&image).status();
        if !made.is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED: mkfs.ext4 is missing");
            return;
        }
        let source = image.to_str().expect("UTF-8");
        let Some(disk) = Mounted::new(&folder, &["-t", "ext4", "-o", "loop", source]) else { return };
        let filler = ((disk.free() - blocks) * BLOCK).to_string();
        let filled = Command::new("fallocate").args(["-l", &filler]).arg(folder.join("filler")).status();
        assert!(filled.expect("fallocate starts").success());
        check(&disk, blocks, bytes);
    }
}
