//! A server as a service: it takes over a socket that listens already, says when it is ready and when it ends, and its unit files
//! are what systemd reads.
#![cfg(all(feature = "serve", target_os = "linux"))]

mod program;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(120);

/// A process, ended when it is dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder of a test, removed when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder = std::env::temp_dir().join(format!("whit-service-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
        Folder(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn units() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/release")
}

#[test]
fn it_says_when_it_is_ready_well_and_about_to_end() {
    let folder = Folder::new("notify");
    let place = folder.0.join("notify");
    let told = UnixDatagram::bind(&place).expect("a socket");
    told.set_read_timeout(Some(PATIENCE)).expect("a time");
    let state = || {
        let mut bytes = [0; 64];
        let n = told.recv(&mut bytes).expect("it is told");
        String::from_utf8_lossy(&bytes[..n]).into_owned()
    };
    let mut command = program::whit();
    command.args(["serve", "--port", "0", "-t", "1", "-q", "--no-cache"]);
    command.env("NOTIFY_SOCKET", &place).env("WATCHDOG_USEC", "200000");
    let server = Ended(command.stderr(Stdio::null()).spawn().expect("the program starts"));
    assert_eq!(state(), "READY=1");
    assert_eq!((state(), state()), ("WATCHDOG=1".into(), "WATCHDOG=1".into()));
    let id = server.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().expect("kill").success());
    let last = std::iter::repeat_with(state).find(|state| state != "WATCHDOG=1");
    assert_eq!(last.as_deref(), Some("STOPPING=1"));
}

/// By Python, as a shell cannot hand over a socket.
#[test]
fn it_serves_at_a_socket_that_listens_already() {
    const STARTER: &str = "import os, socket, sys\n\
        s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(8)\n\
        print(s.getsockname()[1], flush=True)\n\
        os.dup2(s.fileno(), 3); os.set_inheritable(3, True)\n\
        os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))\n\
        os.execv(sys.argv[1], sys.argv[1:])\n";
    if std::env::var_os("WHIT_TEST_RUNNER").is_some() || Command::new("python3").arg("-V").output().is_err() {
        println!("SKIPPED: python3 hands the socket over");
        return;
    }
    let program = program::whit().get_program().to_owned();
    let mut command = Command::new("python3");
    command.args(["-c", STARTER]).arg(program).args(["serve", "-t", "1", "-q", "--no-cache"]);
    let mut server = Ended(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("python"));
    let mut port = String::new();
    let stdout = server.0.stdout.take().expect("standard output");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut port).expect("a port");
    // The connection waits while the server starts.
    let mut stream = TcpStream::connect(("127.0.0.1", port.trim().parse().expect("a port"))).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok\n"), "{answer}");
}

#[test]
fn systemd_reads_the_units() {
    let unit = fs::read_to_string(units().join("whit.service")).expect("a unit");
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/whit ")).expect("a command");
    let help = program::whit().args(["serve", "--help"]).output().expect("the program starts");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    for word in start.split(' ').filter(|word| word.starts_with("--")) {
        assert!(help.contains(word), "there is no {word}");
    }
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        println!("SKIPPED: there is no systemd-analyze");
        return;
    }
    // The program need not be installed to read the unit.
    let folder = Folder::new("units");
    for name in ["whit.service", "whit.socket"] {
        let text = fs::read_to_string(units().join(name)).expect("a unit");
        fs::write(folder.0.join(name), text.replace("/usr/bin/whit ", "/bin/true ")).expect("written");
    }
    let files = ["whit.service", "whit.socket"].map(|name| folder.0.join(name));
    let output = Command::new("systemd-analyze").arg("verify").args(&files).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && !said.contains("whit.s"), "{said}");
}
