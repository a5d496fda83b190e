//! The target of a conversion is the whole old file, the whole new file, or absent; memory stays bounded.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::{Converted, root, shared};
use whit::format::File;
use whit::os::Mapping;
use whit::quant::Dtype;

fn quantize(input: &Path, output: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quantize"));
    command.arg(input).arg("-o").arg(output).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn fixture() -> PathBuf {
    root().join("tests/fixtures/llama")
}

/// Names in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("the folder");
    let mut names: Vec<_> = entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Whatever the number of threads, the language, the zone, and what the heap held before.
#[test]
fn same_input_gives_the_same_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let surroundings = [
        ("RAYON_NUM_THREADS", "1"),
        ("RAYON_NUM_THREADS", "2"),
        ("RAYON_NUM_THREADS", "8"),
        ("LC_ALL", "tr_TR.UTF-8"),
        ("TZ", "Pacific/Kiritimati"),
        // The C library fills what it gives out with this byte or its complement.
        ("MALLOC_PERTURB_", "90"),
        ("MALLOC_PERTURB_", "255"),
    ];
    for input in ["llama", "gpt2", "qwen3"] {
        let input = root().join("tests/fixtures").join(input);
        let outputs = surroundings.map(|(name, value)| {
            let output = folder.path().join(value.replace('/', "-"));
            let status = quantize(&input, &output).arg("--force").env(name, value).status();
            assert!(status.expect("quantize starts").success());
            std::fs::read(output).expect("the output")
        });
        for (output, (name, value)) in outputs.iter().zip(surroundings) {
            assert!(*output == outputs[0], "{}: {name}={value}", input.display());
        }
    }
}

#[test]
fn the_embedded_model_is_what_its_checkpoint_gives() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("stories.whit");
    let mut command = quantize(&root().join("models/stories"), &output);
    assert!(command.args(["--effort", "fast"]).status().expect("quantize starts").success());
    let (built, shipped) = (std::fs::read(&output), std::fs::read(root().join("models/stories.whit")));
    assert!(
        built.expect("built") == shipped.expect("shipped"),
        "quantize models/stories -o models/stories.whit --effort fast --force"
    );
}

/// L-04
#[test]
fn an_existing_file_is_kept_without_force() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("model.whit");
    std::fs::write(&output, "precious").expect("written");
    let result = quantize(&fixture(), &output).output().expect("quantize starts");
    assert_eq!(result.status.code(), Some(73));
    assert!(String::from_utf8_lossy(&result.stderr).contains("--force"), "{result:?}");
    assert_eq!(std::fs::read(&output).expect("kept"), b"precious");
    assert!(quantize(&fixture(), &output).arg("--force").status().expect("quantize starts").success());
    assert!(File::open(&Mapping::open(&output).expect("new")).is_ok());
}

/// An error has the parts that whit's have (tests/failing_files.rs).
#[test]
fn errors_are_json_where_json_is_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = folder.path().join("missing");
    for (input, more, code) in [(&missing, "-q", 66), (&fixture(), "--nope", 64)] {
        let result = quantize(input, &folder.path().join("out.whit")).args(["--json", more]).output();
        let result = result.expect("quantize starts");
        let told: serde_json::Value = serde_json::from_slice(&result.stderr).expect("one line of JSON");
        let parts: Vec<_> = told["error"].as_object().expect("an error").keys().cloned().collect();
        assert_eq!(parts, ["kind", "exit_code", "file", "field", "offset", "message", "hint"], "{told}");
        assert_eq!((told["error"]["exit_code"].as_i64(), result.status.code()), (Some(code), Some(code as i32)));
    }
}

/// L-05
#[test]
fn a_partial_file_of_a_killed_run_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join(".model.whit.1.partial"), "half").expect("written");
    let result = quantize(&fixture(), &folder.path().join("model.whit")).output().expect("quantize starts");
    let told = String::from_utf8_lossy(&result.stderr);
    assert!(result.status.success() && told.contains(".model.whit.1.partial was left by a killed run"), "{told}");
}

/// L-08
#[test]
fn a_killed_run_leaves_the_old_file_or_the_new_one() {
    let Some(input) = shared("models/SmolLM2-135M-Instruct.Q4_1.gguf") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("model.whit");
    let mut kept = 0;
    for step in 0..8 {
        std::fs::write(&output, "precious").expect("written");
        let mut child = quantize(&input, &output).args(["--weights", "fp16", "--force"]).spawn().expect("starts");
        std::thread::sleep(Duration::from_millis(20 + 60 * step));
        child.kill().expect("killed");
        child.wait().expect("reaped");
        let bytes = std::fs::read(&output).expect("never absent");
        if bytes == b"precious" {
            kept += 1;
        } else {
            let mapping = Mapping::open(&output).expect("whole");
            File::open(&mapping).expect("whole").verify(&mut |_| {}).expect("whole");
        }
        for name in names(folder.path()).into_iter().filter(|name| name != "model.whit") {
            std::fs::remove_file(folder.path().join(name)).expect("a partial file");
        }
    }
    assert!(kept > 0, "no run was killed before its end");
}

/// Whether this process was started with SIGHUP ignored, as by nohup: its children ignore it too.
fn ignores_hangups() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.is_some_and(|bits| u64::from_str_radix(bits.trim(), 16).is_ok_and(|bits| bits & 1 == 1))
}

/// L-08
#[test]
fn an_interrupt_removes_the_partial_file() {
    let Some(input) = shared("models/SmolLM2-135M-Instruct.Q4_1.gguf") else { return };
    for (name, code) in [("-INT", 130), ("-TERM", 143), ("-HUP", 129)] {
        if name == "-HUP" && ignores_hangups() {
            eprintln!("SKIPPED: SIGHUP is ignored here");
            continue;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let output = folder.path().join("model.whit");
        std::fs::write(&output, "precious").expect("written");
        let child = quantize(&input, &output).args(["--weights", "f32", "--force"]).spawn().expect("starts");
        let start = Instant::now();
        while names(folder.path()).len() < 2 {
            assert!(start.elapsed() < Duration::from_secs(300), "no partial file");
            std::thread::sleep(Duration::from_millis(1));
        }
        // Some of the weights are on their way.
        std::thread::sleep(Duration::from_millis(50));
        assert!(Command::new("kill").args([name, &child.id().to_string()]).status().expect("kill").success());
        let result = child.wait_with_output().expect("ends");
        let told = String::from_utf8_lossy(&result.stderr);
        let line = told.lines().last().expect("a line");
        assert_eq!(result.status.code(), Some(code), "{told}");
        assert!(line.starts_with("error[interrupted]: ") && line.contains("the output is as it was"), "{told}");
        assert_eq!(names(folder.path()), ["model.whit"]);
        assert_eq!(std::fs::read(&output).expect("kept"), b"precious");
    }
}

#[test]
fn a_full_disk_leaves_the_old_file_and_says_how_much_is_missing() {
    let folder = tempfile::tempdir().expect("a folder");
    let mount = |args: &[&str]| Command::new("mount").args(args).arg(folder.path()).stderr(Stdio::null()).status();
    if !mount(&["-t", "tmpfs", "-o", "size=64k", "whit-test"]).is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: a small file system cannot be mounted (not root)");
        return;
    }
    let output = folder.path().join("model.whit");
    std::fs::write(&output, "precious").expect("written");
    let input = root().join("models/stories");
    let result = quantize(&input, &output).arg("--force").output().expect("quantize starts");
    let (kept, left) = (std::fs::read(&output), names(folder.path()));
    let unmounted = Command::new("umount").arg(folder.path()).status();
    assert_eq!(result.status.code(), Some(73), "{result:?}");
    assert!(String::from_utf8_lossy(&result.stderr).contains("free"), "{result:?}");
    assert_eq!(kept.expect("kept"), b"precious");
    assert_eq!(left, ["model.whit"]);
    assert!(unmounted.is_ok_and(|status| status.success()));
}

/// L-22: a header of a length that may be, and of more values than there is memory for.
#[cfg(target_os = "linux")]
#[test]
fn a_header_that_no_memory_holds_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let checkpoint = folder.path().join("checkpoint");
    std::fs::create_dir(&checkpoint).expect("a folder");
    std::fs::copy(root().join("models/stories/config.json"), checkpoint.join("config.json")).expect("copied");
    let mut header = String::from("{\"__metadata__\":{\"a\":\"b\"}");
    for i in 0..200_000 {
        header +=
            &format!(",\"tensor.{i}\":{{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[{},{}]}}", 4 * i, 4 * i + 4);
    }
    header += "}";
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + 800_000, 0);
    std::fs::write(checkpoint.join("model.safetensors"), bytes).expect("written");
    let mut n_ended = 0;
    for kib in (30_000..110_000).step_by(8_000) {
        let inner = quantize(&checkpoint, &folder.path().join("model.whit"));
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -v {kib}; exec \"$@\""), "sh"]).arg(inner.get_program());
        let result = command.args(inner.get_args()).output().expect("sh starts");
        let told = String::from_utf8_lossy(&result.stderr);
        let code = result.status.code();
        assert!(matches!(code, Some(64..=66 | 71 | 74)), "{kib}: {:?} {told}", result.status);
        if told.contains("there is no memory for another") {
            assert!(code == Some(71) && told.starts_with("error[resources]: ") && told.lines().count() == 1, "{told}");
            n_ended += 1;
        }
    }
    assert!(n_ended > 2, "{n_ended} runs ended without memory");
    assert_eq!(names(folder.path()), ["checkpoint"]);
}

/// Peak of private bytes (RssAnon) of a process, sampled until it ends.
fn peak_private_bytes(mut child: Child) -> u64 {
    let status = format!("/proc/{}/status", child.id());
    let start = Instant::now();
    let mut peak = 0;
    while child.try_wait().expect("a child").is_none() {
        assert!(start.elapsed() < Duration::from_secs(300), "the conversion hangs");
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib: u64 = line.and_then(|l| l.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0);
        peak = peak.max(kib << 10);
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(child.wait().expect("reaped").success());
    peak
}

/// SmolLM2 as a Hugging Face directory of 538 MB: converted within bounded memory, to the weights that the GGUF gives.
#[test]
fn private_memory_stays_under_64_mib() {
    let Some(gguf) = shared("models/SmolLM2-135M-Instruct.Q4_1.gguf") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let exact = Converted::new(&gguf, Dtype::F32);
    support::write_hugging_face(&exact, folder.path());
    assert!(std::fs::metadata(folder.path().join("model.safetensors")).expect("written").len() > 530_000_000);
    for dtype in ["int8", "f32"] {
        let output = folder.path().join(dtype);
        let child = quantize(folder.path(), &output).args(["--weights", dtype]).spawn().expect("starts");
        let peak = peak_private_bytes(child);
        eprintln!("{dtype}: {} MiB private at most", peak >> 20);
        assert!(peak > 1 << 20 && peak < 64 << 20, "{dtype}: {peak} bytes");
    }
    let again = Mapping::open(folder.path().join("f32")).expect("converted");
    let (again, exact) = (File::open(&again).expect("valid"), File::open(&exact.bytes).expect("valid"));
    let checksums = |file: &File<'_>| file.tensors().iter().map(|t| (t.name.to_owned(), t.hash)).collect::<Vec<_>>();
    assert!(checksums(&again) == checksums(&exact), "GGUF and Hugging Face directory give other weights");
}

/// Neither by its name nor by a link to it does an output take the place of an input.
#[test]
#[cfg(unix)]
fn an_input_is_never_the_output() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("checkpoint");
    std::fs::create_dir(&input).expect("a folder");
    for entry in std::fs::read_dir(fixture()).expect("the fixture") {
        let path = entry.expect("an entry").path();
        std::fs::copy(&path, input.join(path.file_name().expect("a name"))).expect("copied");
    }
    let words = folder.path().join("words.txt");
    std::fs::write(&words, "one 1 2\ntwo 3 4\n").expect("written");
    let (hard, soft) = (folder.path().join("hard"), folder.path().join("soft"));
    std::fs::hard_link(input.join("config.json"), &hard).expect("a link");
    std::os::unix::fs::symlink(input.join("model.safetensors"), &soft).expect("a link");
    let dotted = input.join("../checkpoint/model.safetensors");
    let weights = input.join("model.safetensors");
    for (input, output) in [(&input, &weights), (&input, &hard), (&input, &soft), (&input, &dotted), (&words, &words)] {
        let before = std::fs::read(output).expect("the file");
        let run = quantize(input, output).arg("--force").output().expect("quantize starts");
        let told = String::from_utf8_lossy(&run.stderr);
        assert!(run.status.code() == Some(64) && told.contains("also the input"), "{}: {told}", output.display());
        assert!(std::fs::read(output).expect("the file") == before, "{}", output.display());
    }
}

/// Notes and errors for which there is no room are lost; what was to be done is done.
#[test]
#[cfg(target_os = "linux")]
fn a_full_standard_error_stops_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("m.whit");
    let full = || Stdio::from(std::fs::File::options().write(true).open("/dev/full").expect("a full device"));
    let code = |input: &Path| quantize(input, &output).stderr(full()).status().expect("quantize starts").code();
    // One with notes, one that is refused.
    assert_eq!(code(&fixture()), Some(0));
    assert!(File::open(&Mapping::open(&output).expect("written")).is_ok());
    assert_eq!(code(&fixture()), Some(73), "it exists");
    assert_eq!(code(&folder.path().join("nowhere")), Some(66));
}

/// The limit of a file's size is told like a full disk.
#[test]
#[cfg(target_os = "linux")]
fn a_file_beyond_the_limit_of_the_process_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("m.whit");
    for limit in ["--fsize=0", "--fsize=4096", "--fsize=20000"] {
        let mut command = Command::new("prlimit");
        command.arg(limit).arg(env!("CARGO_BIN_EXE_quantize")).arg(fixture()).arg("-o").arg(&output);
        let run = command.output().expect("prlimit");
        let told = String::from_utf8_lossy(&run.stderr);
        assert!(
            run.status.code() == Some(73) && told.contains("larger than this process may write"),
            "{limit}: {told}"
        );
        assert_eq!(names(folder.path()), [""; 0], "{limit}");
    }
}

/// A hub's cache, whose files are links into another of its folders; an output behind a link; a tokenizer elsewhere.
#[cfg(target_os = "linux")]
#[test]
fn a_confined_conversion_finds_all_its_files() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().expect("a folder");
    let at = |path: &str| folder.path().join(path);
    for path in ["models--a--b/blobs", "models--a--b/snapshots/1", "other"] {
        std::fs::create_dir_all(at(path)).expect("a folder");
    }
    for (i, entry) in std::fs::read_dir(fixture()).expect("the fixture").flatten().enumerate() {
        std::fs::copy(entry.path(), at(&format!("models--a--b/blobs/{i}"))).expect("copied");
        symlink(format!("../../blobs/{i}"), at("models--a--b/snapshots/1").join(entry.file_name())).expect("a link");
    }
    symlink(at("other/real.whit"), at("link.whit")).expect("a link");
    std::fs::write(at("other/real.whit"), "old").expect("a file");
    let convert = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quantize"));
        command.current_dir(folder.path()).arg("models--a--b/snapshots/1").arg("-q").args(arguments);
        let output = command.output().expect("quantize starts");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    convert(&["--no-sandbox", "-o", "free.whit"]);
    convert(&["-o", "confined.whit"]);
    convert(&["-o", "link.whit", "--force"]);
    let expected = std::fs::read(at("free.whit")).expect("written");
    for path in ["confined.whit", "other/real.whit"] {
        assert!(std::fs::read(at(path)).expect("written") == expected, "{path}");
    }
}
