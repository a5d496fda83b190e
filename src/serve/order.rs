//! What the thread that computes is told to do.

use super::house::Admitted;
use super::job::Job;
use super::offered::Offered;
use serde_json::Value;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use tokio::sync::oneshot;
use whit::error::Result;
use whit::generate::{Scheduler, Writer};
use whit::inspect::Pooling;
use whit::model::State;
use whit::{Compute, TokenId};

/// What the thread that computes is told.
pub(super) enum Order {
    Text(Waiting),
    Vectors(Vectors),
    Look(Look),
    /// A state that was lent comes back, for this text.
    Fetched(Box<(State, Waiting)>),
    /// A model comes into memory at a place.
    Load {
        place: usize,
        offered: Arc<Offered>,
        scheduler: Box<Scheduler<Job>>,
    },
    /// The model at a place goes, which has no texts; when it has gone this is told.
    Unload {
        place: usize,
        done: SyncSender<()>,
    },
    /// Memory is short: what can be given back is.
    Relieve,
    /// More can be kept on disk again.
    Room,
    /// Nobody orders anything any more.
    End,
}

/// A text that waits for a place.
pub(super) struct Waiting {
    /// The place of its model.
    pub(super) model: usize,
    pub(super) writer: Box<Writer>,
    pub(super) job: Box<Job>,
}

/// Texts that are to become vectors.
pub(super) struct Vectors {
    /// The place of their model.
    pub(super) model: usize,
    pub(super) texts: Vec<Vec<TokenId>>,
    pub(super) pooling: Pooling,
    pub(super) reply: oneshot::Sender<Result<Vec<f32>>>,
    pub(super) room: Option<Admitted>,
}

/// A look into a model.
pub(super) struct Look {
    /// The place of the model.
    pub(super) model: usize,
    pub(super) work: Work,
    pub(super) reply: oneshot::Sender<Result<Value>>,
    pub(super) room: Option<Admitted>,
}

/// What a look computes. After each of its passes it calls what it is given, in which texts go on; false says that nobody waits any
/// more.
pub(super) type Work = Box<dyn FnOnce(&Arc<Compute>, &mut dyn FnMut() -> bool) -> Result<Value> + Send>;
