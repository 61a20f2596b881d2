//! A black-box suite and load tool for any Matrix homeserver.
