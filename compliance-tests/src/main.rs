//! `causeway-compliance`: checks and measures any homeserver from outside.

fn main() {}
