//! Opens connections for clients: one login at a time for each turn, and warnings audible. Pools and sessions call it.

use crate::hub::Hub;
use crate::server::{OpenError, Server};
use crate::track::own::{self, Asked, MESSAGES};
use dauphin_model::Target;
use dauphin_wire::postgres::scram::Secret;
use dauphin_wire::postgres::startup::{MINOR_MAX, Startup};
use dauphin_wire::postgres::warnings;

/// The highest level of messages that does not hide warnings.
const AUDIBLE: &str = "warning";

/// How a client logs in to servers.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub(crate) startup: Startup,
}

impl Login {
    /// As the client asked, but that warnings reach it, and in the protocol's version that is spoken to servers.
    pub(crate) fn new(mut startup: Startup) -> Self {
        startup.minor = MINOR_MAX;
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

/// Opens a connection to this member, which has to lead if so said; also gives how the role or the database wants to read.
///
/// # Errors
/// [`OpenError`], by what to do next.
pub(crate) async fn open(
    hub: &Hub,
    target: &Target,
    leads: bool,
    login: &Login,
    secret: &Secret,
) -> Result<(Server, Asked), OpenError> {
    let _turn = hub.opening.acquire().await;
    let mut server = Server::open(&hub.dial, target, &login.startup.encode(), secret).await?;
    let answer = server.ask(own::OF_ROLE).await?.unwrap_or_default();
    let (messages, asked, wrong) = Asked::of_role(&answer);
    if let Some(wrong) = wrong {
        let user = login.startup.user();
        tracing::warn!(
            user,
            wrong,
            "a setting of the role or the database makes no sense: ALTER ROLE or ALTER DATABASE"
        );
    }
    // A role or a database may have warnings hidden: the one that matters would be, too.
    if warnings::hides(messages) {
        server = Server::open(&hub.dial, target, &login.audible(), secret).await?;
    }
    if leads && server.parameter("in_hot_standby") == Some("on") {
        return Err(OpenError::NotYet(format!("{} is still in recovery", target.member)));
    }
    Ok((server, asked))
}
