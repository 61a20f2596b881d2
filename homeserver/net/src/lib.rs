//! The world as arguments: clock, timers, tasks, randomness, DNS and the guarded outbound HTTP client.
