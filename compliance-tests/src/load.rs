//! What a message, a delivery and a sync cost a homeserver.
