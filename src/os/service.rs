//! A service of systemd: it hands over a socket at which it listens already, and wants to be told how the service is. Elsewhere
//! there is no socket, and nobody is told.

use crate::error::{Error, Kind, Result};
use std::env;
use std::net::TcpListener;
use std::time::Duration;

/// Whom the service tells how it is.
#[derive(Debug)]
pub struct Notifier {
    #[cfg(unix)]
    socket: std::os::unix::net::UnixDatagram,
}

impl Notifier {
    /// Who started this process, if it wants to be told (`NOTIFY_SOCKET`).
    #[cfg(unix)]
    pub fn of_environment() -> Option<Notifier> {
        use std::os::unix::ffi::OsStrExt;
        let place = env::var_os("NOTIFY_SOCKET")?;
        let socket = std::os::unix::net::UnixDatagram::unbound().ok()?;
        match place.as_bytes() {
            #[cfg(target_os = "linux")]
            [b'@', name @ ..] => {
                use std::os::linux::net::SocketAddrExt;
                let address = std::os::unix::net::SocketAddr::from_abstract_name(name).ok()?;
                socket.connect_addr(&address).ok()?;
            }
            _ => socket.connect(&place).ok()?,
        }
        Some(Notifier { socket })
    }

    /// Nobody wants to be told here.
    #[cfg(not(unix))]
    pub fn of_environment() -> Option<Notifier> {
        None
    }

    /// Tells it a state such as `READY=1`. Where nobody listens any more, nobody is told.
    pub fn tell(&self, state: &str) {
        #[cfg(unix)]
        let _ = self.socket.send(state.as_bytes());
        #[cfg(not(unix))]
        let _ = state;
    }
}

/// In which time the service wants to be told again that it is well (`WATCHDOG_USEC`); `None` where it does not.
pub fn watchdog() -> Option<Duration> {
    let is_ours = env::var("WATCHDOG_PID").map_or(true, |id| id == std::process::id().to_string());
    let micros = env::var("WATCHDOG_USEC").ok()?.parse().ok().filter(|micros| *micros > 0)?;
    is_ours.then_some(Duration::from_micros(micros))
}

/// The socket that was handed over, at which the service listens (`LISTEN_FDS`); `None` where there is none. Fails where it is
/// another kind of socket, or more than one.
pub fn listener() -> Result<Option<TcpListener>> {
    let of_us = env::var("LISTEN_PID").is_ok_and(|id| id == std::process::id().to_string());
    let n = env::var("LISTEN_FDS").ok().filter(|_| of_us);
    let failed = |what: String| Error::new(Kind::Unavailable, what).field("LISTEN_FDS");
    match n.as_deref() {
        None | Some("0") => Ok(None),
        Some("1") => {
            let listener = super::sys::inherited_listener().ok_or_else(|| failed("it is no socket".into()))?;
            let address = listener.local_addr();
            address.map_err(|error| failed(format!("it is no socket of an address: {error}")))?;
            Ok(Some(listener))
        }
        Some(n) => Err(failed(format!("{n} sockets were handed over, and one is served"))),
    }
}
