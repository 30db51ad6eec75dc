//! PostgreSQL's protocol, versions 3.0 and 3.2. Called by the proxy; it never keeps more than the limits named here.

pub mod cancel;
pub mod frame;
pub mod lexer;
pub mod message;
pub mod scram;
pub mod shape;
pub mod sql;
pub mod startup;
pub mod warnings;
