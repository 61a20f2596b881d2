//! Matrix rooms as pure functions: events, authorisation, state resolution.
