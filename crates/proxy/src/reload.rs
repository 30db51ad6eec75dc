//! Reads the configuration again and takes over what can be changed while clients are there. One task does it, for SIGHUP and for the
//! console; a file with a fault changes nothing. It ends no session.

use crate::config::Config;
use crate::hub::Hub;
use crate::settings::{Setting, settings};
use crate::source::Agents;
use crate::tls::Clients;
use std::sync::{Arc, Weak};
use tokio::sync::{mpsc, oneshot, watch};

/// Reads the configuration anew; an error is for people and says where the fault is.
pub type Reader = Arc<dyn Fn() -> Result<Config, String> + Send + Sync>;

/// Most reloads that wait for their turn.
pub(crate) const RELOADS_MAX: usize = 16;

/// What a reload found changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reloaded {
    /// What is so from now on.
    pub applied: Vec<Change>,
    /// What is so after a restart.
    pub restart: Vec<Change>,
}

/// One setting that was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its name in the file.
    pub key: &'static str,
    /// What it was.
    pub from: String,
    /// What the file says.
    pub to: String,
}

/// Where the answer to a reload goes.
pub(crate) type Answer = oneshot::Sender<Result<Reloaded, String>>;

/// How clients are let in.
#[derive(Clone)]
pub(crate) struct Front {
    pub(crate) clients: Option<Arc<Clients>>,
    required: bool,
}

impl Front {
    /// As the configuration says.
    ///
    /// # Errors
    /// When certificate or key cannot be used.
    pub(crate) fn new(config: &Config) -> Result<Self, crate::ProxyError> {
        let clients = config.tls.as_ref().map(Clients::new).transpose()?.map(Arc::new);
        Ok(Self { clients, required: config.tls.as_ref().is_some_and(|tls| tls.required) })
    }

    /// Whether clients without TLS are refused.
    pub(crate) fn requires_tls(&self) -> bool {
        self.required || self.clients.as_ref().is_some_and(|clients| clients.demanded)
    }
}

/// Does reloads, one after the other.
pub(crate) struct Reloader {
    pub(crate) hub: Weak<Hub>,
    pub(crate) reader: Option<Reader>,
    pub(crate) front: watch::Sender<Front>,
    pub(crate) agents: Option<Agents>,
    pub(crate) cluster: dauphin_model::ClusterName,
}

impl Reloader {
    /// Until the proxy is gone.
    pub(crate) async fn run(mut self, mut asked: mpsc::Receiver<Answer>) {
        while let Some(answer) = asked.recv().await {
            let reloaded = self.reload().await;
            match &reloaded {
                Ok(reloaded) => tell(reloaded),
                Err(why) => tracing::warn!("the configuration stays as it was: {why}"),
            }
            // Who asked may be gone.
            let _ = answer.send(reloaded);
        }
    }

    async fn reload(&mut self) -> Result<Reloaded, String> {
        let reader = self.reader.clone().ok_or("this proxy was started without a file")?;
        let read = tokio::task::spawn_blocking(move || {
            let config = reader()?;
            // Everything that may be wrong is tried before anything is changed.
            let front = Front::new(&config).map_err(|error| error.to_string())?;
            Ok::<_, String>((config, front))
        });
        let (config, front) = read.await.map_err(|error| error.to_string())??;
        if config.cluster != self.cluster {
            return Err(format!("the file is of cluster {}, and this proxy serves {}", config.cluster, self.cluster));
        }
        let Some(hub) = self.hub.upgrade() else { return Err("the proxy stops".into()) };
        let trust = hub.dial.renewed(&config).map_err(|error| error.to_string())?;
        if let Some(agents) = &mut self.agents {
            agents.change(&config).await.map_err(|error| error.to_string())?;
        }
        hub.dial.trust(trust);
        let required = self.front.borrow().required;
        self.front.send_replace(Front { required, ..front });
        let (shown, reloaded) = compare(&hub.settings(), settings(&config));
        hub.set(config.rules, shown);
        Ok(reloaded)
    }
}

/// What is shown from now on, and what has changed.
fn compare(before: &[Setting], now: Vec<Setting>) -> (Vec<Setting>, Reloaded) {
    let mut reloaded = Reloaded::default();
    let shown = now.into_iter().map(|setting| {
        let Some(old) = before.iter().find(|old| old.key == setting.key) else { return setting };
        if old.value != setting.value {
            let change = Change { key: setting.key, from: old.value.clone(), to: setting.value.clone() };
            if setting.live { &mut reloaded.applied } else { &mut reloaded.restart }.push(change);
        }
        if setting.live { setting } else { old.clone() }
    });
    (shown.collect(), reloaded)
}

fn tell(reloaded: &Reloaded) {
    let list = |changes: &[Change]| {
        let one = |change: &Change| format!("{} from \"{}\" to \"{}\"", change.key, change.from, change.to);
        if changes.is_empty() { "nothing".to_owned() } else { changes.iter().map(one).collect::<Vec<_>>().join(", ") }
    };
    tracing::info!("the configuration was read again: changed {}", list(&reloaded.applied));
    if !reloaded.restart.is_empty() {
        tracing::warn!("only a restart changes {}", list(&reloaded.restart));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_a_restart_is_told_and_shown_as_it_was() {
        let of = |key, value: &str, live| Setting { key, value: value.into(), live };
        let before = [of("threads", "2", false), of("pool_size", "20", true), of("wait_limit", "30s", true)];
        let now = vec![of("threads", "4", false), of("pool_size", "30", true), of("wait_limit", "30s", true)];
        let (shown, reloaded) = compare(&before, now);
        let change = |key, from: &str, to: &str| Change { key, from: from.into(), to: to.into() };
        assert_eq!(reloaded.applied, [change("pool_size", "20", "30")]);
        assert_eq!(reloaded.restart, [change("threads", "2", "4")]);
        assert_eq!(shown.iter().map(|setting| setting.value.as_str()).collect::<Vec<_>>(), ["2", "30", "30s"]);
    }
}
