//! The bodies of requests, of which a bounded number of bytes is in memory, whoever sends them.

use super::super::desk::Received;
use super::super::limits::{BODY_BYTES, BODY_TIME, MOST_BODY_BYTES};
use super::super::reply::Refusal;
use hyper::body::{Body, Bytes, Incoming};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time;

/// The body, if it is not too long, comes in time, and there is `room` for it. Room is taken for what has come, not for what is promised:
/// who sends slowly keeps little of it.
pub(super) async fn read(mut body: Incoming, room: &Arc<Semaphore>) -> Result<Received, Refusal> {
    let too_long = || Refusal::new(413, format!("a body has {MOST_BODY_BYTES} bytes at most"));
    if body.size_hint().lower() > MOST_BODY_BYTES as u64 {
        return Err(too_long());
    }
    let (mut bytes, mut taken) = (Vec::new(), None);
    let all = async {
        loop {
            let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
            let Some(frame) = frame else { return Ok::<(), Refusal>(()) };
            let frame = frame.map_err(|_| Refusal::new(400, "the body ended early"))?;
            if let Ok(part) = frame.into_data() {
                if bytes.len() + part.len() > MOST_BODY_BYTES {
                    return Err(too_long());
                }
                take(&mut taken, bytes.len() + part.len(), room)?;
                bytes.extend_from_slice(&part);
            }
        }
    };
    time::timeout(BODY_TIME, all).await.map_err(|_| Refusal::new(408, "the body did not come in time"))??;
    Ok(Received { bytes: Bytes::from(bytes), _room: taken })
}

/// Has `taken` hold room for a body of `n` bytes.
fn take(taken: &mut Option<OwnedSemaphorePermit>, n: usize, room: &Arc<Semaphore>) -> Result<(), Refusal> {
    let held = taken.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
    let more = n.saturating_sub(BODY_BYTES).saturating_sub(held);
    if more == 0 {
        return Ok(());
    }
    let more = u32::try_from(more).ok().and_then(|more| Arc::clone(room).try_acquire_many_owned(more).ok());
    let more = more.ok_or_else(Refusal::crowded)?;
    match taken {
        Some(taken) => taken.merge(more),
        None => *taken = Some(more),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_taken_for_what_is_long_and_given_back() {
        let room = Arc::new(Semaphore::new(1000));
        let mut taken = None;
        assert!(take(&mut taken, BODY_BYTES, &room).is_ok() && taken.is_none());
        assert!(take(&mut taken, BODY_BYTES + 10, &room).is_ok());
        assert!(take(&mut taken, BODY_BYTES + 900, &room).is_ok());
        assert_eq!(room.available_permits(), 100);
        let mut other = None;
        assert_eq!(take(&mut other, BODY_BYTES + 101, &room).expect_err("no room").status, 503);
        drop(taken);
        assert!(take(&mut other, BODY_BYTES + 1000, &room).is_ok());
        assert_eq!(room.available_permits(), 0);
    }
}
