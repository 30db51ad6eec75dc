//! Points a replica at a source: everything received is applied first, TLS is written in every statement and read back, and
//! the receiver starts once. Nothing received is ever thrown away by it.

use crate::host::Secret;
use crate::mysql::client::literal;
use crate::mysql::observe::View;
use crate::mysql::semi_sync::Acknowledges;
use crate::mysql::threads::LOOK_LIMIT;
use crate::mysql::{Channel, Error, Flavour, Mysql, Reached, Refusal, Result, Thread, Version, accounts};
use dauphin_model::{Held, MariaPosition, MemberName};
use std::path::PathBuf;
use std::time::Duration;

const DOING: &str = "following another source";
/// How often the source says that it is there, in seconds; half of the silence after which it is given up.
const HEARTBEAT_S: u32 = 2;
/// How long a receiver waits before it tries again, in seconds; the servers know whole seconds only.
const RETRY_S: u32 = 1;
/// How often it tries: for as long as anybody waits.
const RETRIES: u32 = 1_000_000;

/// What of the source's certificate is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Check {
    /// That the cluster's CA signed it.
    Authority,
    /// That, and that it names the source's host.
    Host,
}

/// TLS to a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceTls {
    /// The cluster's CA, PEM.
    pub ca: PathBuf,
    /// What is checked.
    pub check: Check,
}

/// Whom to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Host, as this member reaches it.
    pub host: String,
    /// Port.
    pub port: u16,
    /// The source's version, where it is known.
    pub version: Option<Version>,
    /// The account there: [`REPLICATION`](crate::mysql::accounts::REPLICATION), or that of a [`voter`](crate::mysql::accounts::voter).
    pub account: String,
    /// Its password.
    pub password: Secret,
    /// TLS; `None`: none. It is written in every statement: a repoint never drops it.
    pub tls: Option<SourceTls>,
    /// How many seconds later than its commit a transaction is applied; 0: at once. Who is late acknowledges nothing.
    pub delay_s: u64,
}

/// Whether a server may follow another: of the same family, and not an older one under a newer.
///
/// # Errors
/// [`Refusal::SourceVersion`].
pub fn check_versions(own: &Version, source: &Version) -> std::result::Result<(), Refusal> {
    let refuse = |why| Err(Refusal::SourceVersion { own: own.clone(), source_version: source.clone(), why });
    if own.flavour != source.flavour {
        return refuse("MySQL and MariaDB do not read each other's GTIDs; members of one cluster run one of the two");
    }
    if is_older(own, source) {
        return refuse("an older server may not read what a newer one logs; upgrade replicas first, the leader last");
    }
    Ok(())
}

/// Whether a server's series is an older one than another's of its family.
pub(crate) fn is_older(own: &Version, other: &Version) -> bool {
    own.flavour == other.flavour && own.series() < other.series()
}

/// Whether a server may lead members of these versions, which would have to follow it.
///
/// # Errors
/// [`Refusal::Promotion`].
pub fn check_promotion(own: &Version, others: &[(MemberName, Version)]) -> std::result::Result<(), Refusal> {
    match others.iter().find(|(_, theirs)| check_versions(theirs, own).is_err()) {
        Some((member, theirs)) => {
            Err(Refusal::Promotion { own: own.clone(), member: member.to_string(), theirs: theirs.clone() })
        }
        None => Ok(()),
    }
}

impl Mysql {
    /// Follows `source` by GTID: stops receiving, applies what was received, points there, says whether it acknowledges, and
    /// starts both threads. A former leader goes on after its own log. Repeated, it changes nothing but the threads.
    ///
    /// # Errors
    /// [`Error::Unapplied`] before anything is changed; [`Refusal::SourceVersion`]; [`Error::NotTaken`]; [`Error::Sql`].
    pub async fn follow(&self, source: &Source, acknowledges: Acknowledges, limit: Duration) -> Result<()> {
        if let Some(version) = &source.version {
            check_versions(&self.instance.bin.version, version)?;
        }
        self.check_tls(source)?;
        self.freeze(limit).await?;
        let view = if self.is_late().await? { self.discard().await? } else { self.drain(DOING, limit).await? };
        self.stop_appliers().await?;
        self.go_on_after_own_log(&view).await?;
        self.set_acknowledges(acknowledges).await?;
        self.act(DOING, &self.change_statement(source)).await?;
        self.read_back(source).await?;
        self.start_receivers(limit).await?;
        self.start_appliers().await
    }

    /// Applies what was received, whoever stopped the applier. One that stopped on an error meets it again, and says so.
    pub(crate) async fn drain(&self, doing: &'static str, limit: Duration) -> Result<View> {
        for channel in self.look(LOOK_LIMIT).await?.channels {
            if channel.applier == Thread::Stopped && self.has_unapplied(&channel).await? {
                self.start_applier_of(&channel).await?;
            }
        }
        self.finish_rescue(doing, limit).await?;
        self.wait_applied(doing, limit).await
    }

    /// Whether it applies late on purpose. With a voter's account somebody else made it so, and what it received counts.
    pub(crate) async fn is_late(&self) -> Result<bool> {
        let late = |channel: &Channel| channel.delay_s > 0 && channel.user == accounts::REPLICATION;
        Ok(self.look(LOOK_LIMIT).await?.channels.iter().any(late))
    }

    /// Throws away what was received and is not applied: a server that applies late has acknowledged none of it, and receives it
    /// again from whomever it follows next.
    async fn discard(&self) -> Result<View> {
        self.stop_appliers().await?;
        for channel in self.look(LOOK_LIMIT).await?.channels {
            self.act(DOING, &self.for_channel(self.dialect().forget_received(), &channel.name)).await?;
        }
        self.look(LOOK_LIMIT).await
    }

    /// MariaDB replicates from `gtid_slave_pos`, in which a leader's own writes are not.
    async fn go_on_after_own_log(&self, view: &View) -> Result<()> {
        let Reached::Mariadb(executed) = &view.executed else { return Ok(()) };
        let applied = self.value(DOING, "SELECT @@GLOBAL.gtid_slave_pos").await?;
        let applied: MariaPosition =
            applied.parse().map_err(|_| Error::Answer { doing: DOING, answer: applied.clone() })?;
        if applied.holds(executed) {
            return Ok(());
        }
        self.act(DOING, &format!("SET GLOBAL gtid_slave_pos = '{executed}'")).await.map(|_| ())
    }

    fn check_tls(&self, source: &Source) -> Result<()> {
        let authority = source.tls.as_ref().is_some_and(|tls| tls.check == Check::Authority);
        if authority && self.dialect().flavour() == Flavour::Mariadb {
            let why =
                "MariaDB checks a certificate whole or not at all; issue it for the host's name and check the host";
            return Err(Error::Setting { key: "tls".to_owned(), why: why.to_owned() });
        }
        Ok(())
    }

    fn change_statement(&self, source: &Source) -> String {
        let (prefix, own) = match self.dialect().flavour() {
            Flavour::Mysql => (
                "SOURCE",
                format!("SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1, SOURCE_RETRY_COUNT = {RETRIES}"),
            ),
            Flavour::Mariadb => ("MASTER", "MASTER_USE_GTID = slave_pos".to_owned()),
        };
        let verb = match self.dialect().flavour() {
            Flavour::Mysql => "CHANGE REPLICATION SOURCE TO",
            Flavour::Mariadb => "CHANGE MASTER TO",
        };
        let (tls, ca, host) = match &source.tls {
            Some(tls) => (1, tls.ca.display().to_string(), u8::from(tls.check == Check::Host)),
            None => (0, String::new(), 0),
        };
        format!(
            "{verb} {prefix}_HOST = {host_name}, {prefix}_PORT = {port}, {prefix}_USER = {user}, {prefix}_PASSWORD = {password}, \
             {prefix}_CONNECT_RETRY = {RETRY_S}, {prefix}_HEARTBEAT_PERIOD = {HEARTBEAT_S}, {prefix}_SSL = {tls}, \
             {prefix}_SSL_CA = {ca}, {prefix}_SSL_VERIFY_SERVER_CERT = {host}, {prefix}_DELAY = {delay}, {own}",
            host_name = literal(&source.host),
            port = source.port,
            user = literal(&source.account),
            password = literal(source.password.expose()),
            ca = literal(&ca),
            delay = source.delay_s,
        )
    }

    /// Reads back what was written: a server that kept another source or dropped TLS is seen before it connects.
    async fn read_back(&self, source: &Source) -> Result<()> {
        let view = self.look(LOOK_LIMIT).await?;
        let channel = view.channels.iter().find(|c| c.name.is_empty());
        let found = channel.map(|c| (format!("{}@{}:{}", c.user, c.host, c.port), c.tls, c.by_gtid, c.delay_s));
        let address = format!("{}@{}:{}", source.account, source.host, source.port);
        let wanted = (address, source.tls.is_some(), true, source.delay_s);
        if found.as_ref() == Some(&wanted) {
            return Ok(());
        }
        Err(Error::NotTaken { key: "source".to_owned(), wanted: format!("{wanted:?}"), found: format!("{found:?}") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_servers_do_not_follow_newer_ones_and_families_do_not_mix() {
        let version = |text: &str| Version::parse(text).expect("a version");
        let may = |own: &str, source: &str| check_versions(&version(own), &version(source)).is_ok();
        assert!(may("9.7.4", "9.7.2") && may("9.7.4", "9.7.9"), "point releases mix");
        assert!(may("9.7.4", "8.4.1") && !may("8.4.1", "9.7.4"));
        assert!(may("11.8.9-MariaDB", "10.11.2-MariaDB") && !may("10.11.2-MariaDB", "11.8.9-MariaDB"));
        assert!(!may("9.7.4", "11.8.9-MariaDB") && !may("11.8.9-MariaDB", "9.7.4"));
        // the long-term series one after the other, and others' builds by their numbers
        assert!(may("8.4.3-3", "8.0.36") && may("9.7.4-2", "8.0.42") && !may("8.0.42", "8.4.3-3"));
        assert!(!may("8.0.42", "9.7.4-2") && !may("9.6.0", "9.7.4") && may("9.7.4", "9.6.0"));
        assert!(may("11.4.9-MariaDB", "11.4.2-MariaDB-log") && !may("11.4.9-MariaDB", "11.8.2-MariaDB"));
    }

    #[test]
    fn a_newer_server_is_not_promoted_above_older_ones() {
        let version = |text: &str| Version::parse(text).expect("a version");
        let may = |own: &str, others: &[&str]| {
            let named = |(n, text): (usize, &&str)| (MemberName::new(&format!("m{n}")).expect("a name"), version(text));
            let others: Vec<_> = others.iter().enumerate().map(named).collect();
            check_promotion(&version(own), &others).map_err(|refusal| refusal.to_string())
        };
        assert_eq!(may("9.7.4", &["9.7.1", "9.7.9"]), Ok(()), "point releases mix");
        assert_eq!(may("8.4.1", &["9.7.4", "8.4.9"]), Ok(()), "newer ones follow an older one");
        assert_eq!(may("9.7.4", &[]), Ok(()), "nobody is there that could not follow");
        for (own, others) in [
            ("9.7.4", ["9.7.4", "8.4.1"]),
            ("8.4.1", ["8.4.1", "8.0.42"]),
            ("11.8.9-MariaDB", ["11.8.9-MariaDB", "10.11.18-MariaDB"]),
        ] {
            let said = may(own, &others).expect_err(own);
            assert!(said.contains("m1") && said.contains(others[1]), "{said}");
        }
    }
}
