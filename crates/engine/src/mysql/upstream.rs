//! Follows a member as a member: closed to writes, with the account that says whether its acknowledgements count. The agent says
//! whom and whether; done again with nothing new, it changes nothing.

use crate::host::Secret;
use crate::mysql::client::literal;
use crate::mysql::follow::{Source, SourceTls};
use crate::mysql::threads::LOOK_LIMIT;
use crate::mysql::{Acknowledges, Channel, Flavour, Mysql, Result, SemiSync, Thread, Version, accounts};
use dauphin_model::Voter;
use std::time::Duration;

/// Whom a member follows, and as what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Host, as this member reaches it.
    pub host: String,
    /// Port.
    pub port: u16,
    /// The upstream's version, where it is known: an older server does not follow a newer one.
    pub version: Option<Version>,
    /// The follower itself.
    pub voter: Voter,
    /// Whether the leader counts it: only then may it acknowledge.
    pub acknowledges: bool,
    /// TLS; `None`: none.
    pub tls: Option<SourceTls>,
    /// How many seconds later than its commit a transaction is applied; 0: at once.
    pub delay_s: u64,
    /// Password of the accounts that replicate.
    pub secret: Secret,
}

impl Upstream {
    fn source(&self) -> Source {
        let account =
            if self.acknowledges { accounts::voter(&self.voter.name) } else { accounts::REPLICATION.to_owned() };
        let Self { host, port, version, tls, secret, delay_s, .. } = self.clone();
        Source { host, port, version, account, password: secret, tls, delay_s }
    }
}

impl Mysql {
    /// Follows `upstream`, which takes at most `limit` for what was received and is not applied; where only the account is another
    /// one, MySQL waits for none of it. A server that led is closed to writes first.
    ///
    /// # Errors
    /// Those of [`Mysql::follow`]; [`Error::Sql`](crate::mysql::Error::Sql) when writes under way do not end.
    pub async fn follow_as(&self, upstream: &Upstream, limit: Duration) -> Result<()> {
        let source = upstream.source();
        let acknowledges = if upstream.acknowledges { Acknowledges::Yes } else { Acknowledges::No };
        if self.follows(&source, acknowledges).await? {
            return Ok(());
        }
        if self.dialect().flavour() == Flavour::Mysql && self.goes_on(&source).await? {
            return self.change_account(&source, acknowledges, limit).await;
        }
        if self.look(LOOK_LIMIT).await?.writes != self.closed() {
            self.close_writes(limit).await?;
        }
        self.set_semi_sync(SemiSync::Off).await?;
        self.follow(&source, acknowledges, limit).await
    }

    /// Whether it is pointed there already, as that, with both threads at work.
    async fn follows(&self, source: &Source, acknowledges: Acknowledges) -> Result<bool> {
        let view = self.look(LOOK_LIMIT).await?;
        let [channel] = &view.channels[..] else { return Ok(false) };
        let there = is_at(channel, source) && channel.user == source.account;
        let at_work = channel.receiver != Thread::Stopped && channel.applier != Thread::Stopped;
        Ok(there && at_work && view.writes == self.closed() && self.acknowledges().await? == acknowledges)
    }

    /// Whether it is pointed there, and applies what it received.
    async fn goes_on(&self, source: &Source) -> Result<bool> {
        let view = self.look(LOOK_LIMIT).await?;
        let [channel] = &view.channels[..] else { return Ok(false) };
        Ok(is_at(channel, source) && channel.applier == Thread::Running && view.writes == self.closed())
    }

    /// Receives under another account from where it is: nothing is waited for, and MySQL keeps what it received as long as the
    /// applier runs.
    async fn change_account(&self, source: &Source, acknowledges: Acknowledges, limit: Duration) -> Result<()> {
        let doing = "following as another account";
        self.freeze(limit).await?;
        self.set_acknowledges(acknowledges).await?;
        let (user, password) = (literal(&source.account), literal(source.password.expose()));
        let change = format!("CHANGE REPLICATION SOURCE TO SOURCE_USER = {user}, SOURCE_PASSWORD = {password}");
        self.act(doing, &change).await?;
        self.start_receivers(limit).await
    }
}

/// Whether a channel leads to that server, by GTID.
fn is_at(channel: &Channel, source: &Source) -> bool {
    let there = channel.host == source.host && channel.port == source.port;
    there && channel.tls == source.tls.is_some() && channel.by_gtid && channel.delay_s == source.delay_s
}
