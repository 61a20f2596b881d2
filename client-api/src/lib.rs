//! The Matrix client-server protocol: one endpoint, one small file.
