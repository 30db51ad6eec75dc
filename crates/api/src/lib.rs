//! The HTTP face: what is said over it (`dto`), who answers (`Operations`, implemented by the agent), the server, and
//! a small blocking client for the command line and the lab. It never decides anything about the cluster.

pub mod access;
pub mod client;
mod console;
pub mod dto;
pub mod error;
pub mod health;
pub mod operations;
mod request;
pub mod server;

pub use access::{Access, Token};
pub use client::{Client, ClientError};
pub use error::{ApiError, Kind};
pub use health::HealthView;
pub use operations::{Operations, Progress, Suppose};
pub use server::{serve, serve_metrics};

/// The description of every route, kept beside the types and checked against them by tests.
pub const OPENAPI: &str = include_str!("openapi.json");
