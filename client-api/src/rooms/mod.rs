//! Client-server API, "Rooms" and "Events": making rooms, sending to them and looking at them.

mod aliases;
mod context;
mod create;
mod event;
mod hierarchy;
mod initial_sync;
mod joined_members;
mod members;
mod messages;
mod redact;
mod relations;
mod send;
mod set_state;
mod state;
mod state_event;
mod summary;
mod threads;
mod timestamp_to_event;
mod upgrade;

use crate::frame::Router;

pub(crate) fn routes(router: Router) -> Router {
    let router = aliases::route(router);
    let router = context::route(router);
    let router = create::route(router);
    let router = event::route(router);
    let router = hierarchy::route(router);
    let router = initial_sync::route(router);
    let router = joined_members::route(router);
    let router = members::route(router);
    let router = messages::route(router);
    let router = redact::route(router);
    let router = relations::route(router);
    let router = send::route(router);
    let router = set_state::route(router);
    let router = state::route(router);
    let router = state_event::route(router);
    let router = summary::route(router);
    let router = threads::route(router);
    let router = timestamp_to_event::route(router);
    upgrade::route(router)
}

/// `dir`.
#[derive(Debug, Clone, Copy, serde::Deserialize)]
enum Dir {
    #[serde(rename = "b")]
    Backward,
    #[serde(rename = "f")]
    Forward,
}

impl From<Dir> for services::rooms::timeline::Direction {
    fn from(dir: Dir) -> Self {
        match dir {
            Dir::Backward => Self::Backward,
            Dir::Forward => Self::Forward,
        }
    }
}

/// The filter that `/messages` and `/context` take as JSON.
fn event_filter(filter: Option<&str>) -> services::Result<services::rooms::filter::EventFilter> {
    match filter {
        None | Some("") => Ok(services::rooms::filter::EventFilter::default()),
        Some(json) => services::rooms::filter::EventFilter::parse(json.as_bytes()),
    }
}
