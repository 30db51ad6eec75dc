//! `dauphin agent`: runs a member until it is asked to end.

use crate::cli::{Service, Target};
use crate::failure::{DONE, Failure, Outcome};
use crate::target;
use crate::verb::service;

pub(crate) fn run(target: &Target, options: &Service) -> Outcome {
    let path = target::config_path(target)?.to_owned();
    let file = target::load(&path)?;
    if file.local.is_none() {
        let text = format!("{} has no [local]: it does not say which member this machine is", path.display());
        return Err(Failure::usage(text, "dauphin init writes a file for each member"));
    }
    service::run(options, |stop| async move { Box::pin(dauphin_agent::run(&path, stop.asked())).await })?;
    Ok(DONE)
}
