//! PostgreSQL's protocol, version 3.0. Called by the proxy; it never keeps more than the limits named here.

pub mod frame;
pub mod lexer;
pub mod message;
pub mod scram;
pub mod shape;
pub mod sql;
pub mod startup;
pub mod warnings;
