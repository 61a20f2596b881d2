//! The Matrix server-server protocol.
