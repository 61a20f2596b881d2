//! Request authentication (server-server API, "Request Authentication").

mod header;
mod signature;

pub use header::{HeaderError, SCHEME, XMatrix};
pub use signature::{MAX_NESTING, RequestToSign, SignatureProblem, verify};
