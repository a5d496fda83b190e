//! M-31: what cannot be mapped is named, and nothing hangs.

#![cfg(unix)]

mod flat;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::process::Command;

use flat::Directory;
use whit::error::Kind;
use whit::os::Mapping;

#[test]
fn what_is_no_regular_file_is_named() {
    let directory = Directory::new("kinds");
    let at = |name: &str| directory.0.join(name);
    fs::write(at("empty"), b"").expect("write");
    fs::write(at("file"), b"x").expect("write");
    assert!(Command::new("mkfifo").arg(at("pipe")).status().expect("mkfifo").success());
    let _listener = UnixListener::bind(at("socket")).expect("bind");
    symlink(at("nowhere"), at("dangling")).expect("link");
    symlink(at("pipe"), at("to-pipe")).expect("link");
    symlink(at("loop"), at("loop")).expect("link");
    symlink(at("file"), at("to-file")).expect("link");

    let cases = [
        (at(""), Kind::NoInput, "a directory"),
        (at("pipe"), Kind::NoInput, "a pipe"),
        (at("to-pipe"), Kind::NoInput, "a pipe"),
        (at("socket"), Kind::NoInput, "a socket"),
        ("/dev/zero".into(), Kind::NoInput, "a device"),
        ("/dev/full".into(), Kind::NoInput, "a device"),
        (at("dangling"), Kind::NoInput, "a symbolic link to a file that does not exist"),
        (at("loop"), Kind::NoInput, "symbolic links"),
        (at("missing"), Kind::NoInput, "does not exist"),
        (at("file").join("below"), Kind::NoInput, "Not a directory"),
        (at("empty"), Kind::Data, "the file is empty"),
        ("".into(), Kind::NoInput, "does not exist"),
        ("x".repeat(5000).into(), Kind::NoInput, "too long"),
        ("a\0b".into(), Kind::NoInput, "nul"),
    ];
    for (path, kind, expected) in cases {
        let error = Mapping::open(&path).expect_err(expected);
        assert_eq!(error.kind(), kind, "{error}");
        let line = error.to_string();
        assert!(line.to_lowercase().contains(&expected.to_lowercase()), "{line}");
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
    assert_eq!(&Mapping::open(at("to-file")).expect("regular file")[..], b"x");

    fs::set_permissions(at("file"), fs::Permissions::from_mode(0o000)).expect("chmod");
    match Mapping::open(at("file")) {
        Err(error) => {
            assert_eq!(error.kind(), Kind::NoInput);
            assert!(error.to_string().contains("permission denied"), "{error}");
        }
        Ok(_) => eprintln!("SKIPPED: this user may read all files"),
    }
}

/// A file beyond the addresses of 32 bits is mapped, or told.
#[test]
fn five_gib_are_mapped_or_refused() {
    let directory = Directory::new("sparse");
    let path = directory.0.join("sparse");
    fs::File::create(&path).and_then(|file| file.set_len(5 << 30)).expect("a sparse file");
    match Mapping::open(&path) {
        Ok(mapping) => assert_eq!(mapping.len() as u64, 5 << 30),
        Err(error) => {
            assert_eq!((error.kind(), usize::BITS), (Kind::Resources, 32), "{error}");
            assert!(error.to_string().contains("use a 64-bit system"), "{error}");
        }
    }
}
