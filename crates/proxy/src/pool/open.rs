//! Opens connections for clients: one login at a time for each turn, and warnings audible. Pools and sessions call it.

use crate::hub::Hub;
use crate::server::{OpenError, Server};
use dauphin_model::Target;
use dauphin_wire::postgres::scram::Secret;
use dauphin_wire::postgres::startup::Startup;
use dauphin_wire::postgres::warnings;

/// The setting that may hide warnings, and the highest level that does not.
const MESSAGES: &str = "client_min_messages";
const AUDIBLE: &str = "warning";

/// How a client logs in to servers.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub(crate) startup: Startup,
}

impl Login {
    /// As the client asked, but that warnings reach it.
    pub(crate) fn new(mut startup: Startup) -> Self {
        for (name, value) in &mut startup.parameters {
            if name == MESSAGES && warnings::hides(value) {
                AUDIBLE.clone_into(value);
            } else if let Some(text) = warnings::audible(value.as_bytes()).filter(|_| name == "options") {
                *value = String::from_utf8_lossy(&text).into_owned();
            }
        }
        Self { startup }
    }

    /// The packet for a server that would hide warnings by itself.
    fn audible(&self) -> Vec<u8> {
        let mut startup = self.startup.clone();
        startup.parameters.push((MESSAGES.to_owned(), AUDIBLE.to_owned()));
        startup.encode()
    }
}

/// Opens a connection to this member, which has to lead if so said.
///
/// # Errors
/// [`OpenError`], by what to do next.
pub(crate) async fn open(
    hub: &Hub,
    target: &Target,
    leads: bool,
    login: &Login,
    secret: &Secret,
) -> Result<Server, OpenError> {
    let _turn = hub.opening.acquire().await;
    let mut server = Server::open(&hub.dial, target, &login.startup.encode(), secret).await?;
    // A role or a database may have warnings hidden: the one that matters would be, too.
    let level = server.ask("SHOW client_min_messages").await?;
    if level.is_some_and(|level| warnings::hides(&level)) {
        server = Server::open(&hub.dial, target, &login.audible(), secret).await?;
    }
    if leads && server.parameter("in_hot_standby") == Some("on") {
        return Err(OpenError::NotYet(format!("{} is still in recovery", target.member)));
    }
    Ok(server)
}
