//! Several homeservers in one process, from one seed.
