//! `dauphin proxy`: runs a proxy until it is asked to end.

use crate::cli::{Service, Target};
use crate::failure::{DONE, Failure, Outcome};
use crate::target;
use crate::verb::service;

pub(crate) fn run(target: &Target, options: &Service) -> Outcome {
    let path = target::config_path(target)?.to_owned();
    let file = target::load(&path)?;
    if file.proxy.is_none() {
        let text = format!("{} has no [proxy]: it does not say where to listen", path.display());
        return Err(Failure::usage(text, "add [proxy] with listen_write to it"));
    }
    service::run(options, |_stop| async move { Err(Failure::failed("the proxy is not built yet", "")) })?;
    Ok(DONE)
}
