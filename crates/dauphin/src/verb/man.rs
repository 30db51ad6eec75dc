//! `dauphin man DIR`: the manual pages, one for each verb. For packagers.

use crate::cli::{Cli, Man};
use crate::failure::{DONE, Failure, Outcome};
use clap::CommandFactory;

pub(crate) fn run(options: &Man) -> Outcome {
    std::fs::create_dir_all(&options.dir)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), &options.dir))
        .map_err(|e| Failure::failed(format!("cannot write manual pages to {}: {e}", options.dir.display()), ""))?;
    Ok(DONE)
}
