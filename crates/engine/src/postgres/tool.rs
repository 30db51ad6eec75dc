//! PostgreSQL's own tools: the programs of [`Binaries`] with the libraries that lie beside them.
//! How a tool runs is in [`crate::host::tool`].

use crate::postgres::Binaries;

pub use crate::host::tool::{Output, Tool, ToolError};

impl Tool {
    /// One of `binaries`' programs.
    #[must_use]
    pub fn new(binaries: &Binaries, name: &'static str) -> Self {
        Self::of(&binaries.program(name), name, binaries.library_path.as_deref())
    }
}
