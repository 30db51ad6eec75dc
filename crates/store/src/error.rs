//! What can go wrong, told so that the reader knows whether a change may have happened and what to do next.

use std::path::PathBuf;

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Certainly not applied, and it will not be: it can be asked again at once.
    #[error("the store is not available ({why}); nothing was changed: try again when most of its members are up")]
    Unavailable {
        /// What was missing.
        why: String,
    },
    /// May have been applied, may be applied later, may never be: read before deciding anything.
    #[error("the store did not say whether the change happened ({why}): read the key again before you decide")]
    Unknown {
        /// Where the trace was lost.
        why: String,
    },
    /// Refused for what it asks; asking again changes nothing.
    #[error("refused by the store: {why}")]
    Refused {
        /// What is wrong and what to do.
        why: String,
    },
    /// The member's own copy cannot be trusted. It may not vote or lead.
    #[error(transparent)]
    Corrupt(#[from] Corruption),
    /// An empty folder and no word on how to start.
    #[error(
        "{} holds no store: say whether this member founds the cluster (bootstrap) or is added to one (join). \
         If it held one before, remove the member from the cluster and add it again",
        dir.display()
    )]
    Empty {
        /// The folder.
        dir: PathBuf,
    },
    /// The folder is another member's.
    #[error("{} belongs to member {found}, not to {wanted}: give this member its own folder", dir.display())]
    Foreign {
        /// The folder.
        dir: PathBuf,
        /// Whose it is.
        found: String,
        /// Who asked.
        wanted: String,
    },
    /// Another process has the folder open.
    #[error("{} is open in another process: stop the other agent of this member first", file.display())]
    InUse {
        /// The file.
        file: PathBuf,
    },
    /// The disk failed.
    #[error("the disk failed on {}: free space or replace the disk, then restart the agent", file.display())]
    Disk {
        /// The file.
        file: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The store has stopped, by [`crate::Store::shutdown`] or by a failure.
    #[error("the store on this member has stopped ({why}): restart the agent")]
    Stopped {
        /// What stopped it.
        why: String,
    },
}

/// A record that is not what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} is damaged: {what}. This member may not vote with it. Remove the member from the cluster \
     (dauphin store remove), delete the file, and add the member again (dauphin store add)",
    file.display()
)]
pub struct Corruption {
    /// The file.
    pub file: PathBuf,
    /// Which record, and what is wrong with it.
    pub what: String,
}

impl StoreError {
    pub(crate) fn unavailable(why: impl ToString) -> Self {
        Self::Unavailable { why: why.to_string() }
    }

    pub(crate) fn unknown(why: impl ToString) -> Self {
        Self::Unknown { why: why.to_string() }
    }

    pub(crate) fn refused(why: impl ToString) -> Self {
        Self::Refused { why: why.to_string() }
    }

    pub(crate) fn stopped(why: impl ToString) -> Self {
        Self::Stopped { why: why.to_string() }
    }

    /// Whether the change certainly did not happen and never will.
    #[must_use]
    pub fn certainly_not_applied(&self) -> bool {
        !matches!(self, Self::Unknown { .. })
    }
}
