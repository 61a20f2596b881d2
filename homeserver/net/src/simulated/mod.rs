//! Several machines in one process, from one seed.
