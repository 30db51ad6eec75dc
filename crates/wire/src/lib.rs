//! Bytes of database protocols in and out: framing, authentication, what a statement leaves behind in its session.
//! The proxy and the agent's own connections call it. It never does I/O, never reads a clock, never rolls dice, and
//! takes every byte, from a client or from a server, as hostile.

#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod postgres;
