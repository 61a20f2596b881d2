//! `GET /_matrix/key/v2/server`: our keys. Not signed by the asker.

use std::{sync::Arc, time::Duration};

use axum::{extract::State, response::Response, routing::get};
use bytes::Bytes;
use net::Timestamp;
use parking_lot::Mutex;

use super::{Routes, Shared, reply};

/// How long one signed document is handed out; it is valid for much longer.
const SIGNED_ANEW_AFTER: Duration = Duration::from_secs(60 * 60);

/// The document signed last, and when.
#[derive(Default)]
pub(super) struct Published {
    last: Mutex<Option<(Timestamp, Bytes)>>,
}

pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/_matrix/key/v2/server", get(server))
        .route("/_matrix/key/v2/server/", get(server))
        // Servers older than version 1.6 of the specification may name a key; the answer has all of them.
        .route("/_matrix/key/v2/server/{keyId}", get(server))
}

async fn server(State(shared): State<Arc<Shared>>) -> Response {
    let now = shared.inbound.world.now();
    let mut last = shared.published.last.lock();
    let document = match &*last {
        Some((signed_at, document)) if *signed_at <= now && now.since(*signed_at) < SIGNED_ANEW_AFTER => {
            document.clone()
        }
        _ => {
            let document = shared.inbound.keys.own().document_text(now);
            *last = Some((now, document.clone()));
            document
        }
    };
    reply::text(document)
}
