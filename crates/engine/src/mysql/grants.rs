//! Accounts that a leader makes for its whole cluster: those of voters, the application's, an administrator's. They are logged,
//! so that every member has them; only what is missing is written. Statements in the log hold no password, but its hash.

use crate::host::Secret;
use crate::mysql::client::literal;
use crate::mysql::server::ACT_LIMIT;
use crate::mysql::threads::LOOK_LIMIT;
use crate::mysql::{Credentials, Error, Flavour, Mysql, Result, accounts};
use dauphin_model::MemberName;

const DOING: &str = "making accounts";

/// Rights that would let an administrator in where clients are kept out, or past the log.
const fn withheld(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::Mysql => "SUPER, CONNECTION_ADMIN",
        Flavour::Mariadb => "SUPER, CONNECTION ADMIN, READ_ONLY ADMIN, BINLOG ADMIN, BINLOG REPLAY",
    }
}

impl Mysql {
    /// Makes the accounts of voters that are missing, one for each member, locked: whose acknowledgements count is set by
    /// [`Mysql::set_sync`]. Only on a leader.
    ///
    /// # Errors
    /// [`Error::CommitsWait`] while commits wait: these would only wait with them. [`Error::Setting`], [`Error::Sql`].
    pub async fn ensure_accounts(&self, credentials: &Credentials, members: &[MemberName]) -> Result<()> {
        credentials.check()?;
        let known = self.accounts().await?;
        for member in members {
            let user = accounts::voter(member);
            if !known.iter().any(|(name, _)| *name == user) {
                let rights = format!("REPLICATION SLAVE, {}", accounts::passes(self.dialect().flavour()));
                self.create(&user, &credentials.replication).await?;
                self.log(&format!("GRANT {rights} ON *.* TO {}@'%'", literal(&user))).await?;
            }
        }
        Ok(())
    }

    /// Makes a database and an account that may do everything in it, where they are missing. Only on a leader.
    ///
    /// # Errors
    /// [`Error::CommitsWait`], [`Error::Setting`], [`Error::Sql`].
    pub async fn ensure_app(&self, user: &str, database: &str, secret: &Secret) -> Result<()> {
        let name = database.replace('`', "``");
        let known = format!("SELECT 1 FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = {}", literal(database));
        if self.value(DOING, &known).await?.is_empty() {
            self.log(&format!("CREATE DATABASE IF NOT EXISTS `{name}`")).await?;
        }
        // in a grant these two stand for anything
        let pattern = name.replace('\\', "\\\\").replace('_', "\\_").replace('%', "\\%");
        self.ensure(user, secret, &[format!("GRANT ALL PRIVILEGES ON `{pattern}`.* TO {}@'%'", literal(user))]).await
    }

    /// Makes an account that may do everything but come in where clients are kept out, where it is missing. Only on a leader.
    ///
    /// # Errors
    /// [`Error::CommitsWait`], [`Error::Setting`], [`Error::Sql`].
    pub async fn ensure_admin(&self, user: &str, secret: &Secret) -> Result<()> {
        let account = format!("{}@'%'", literal(user));
        let grants = [
            format!("GRANT ALL PRIVILEGES ON *.* TO {account} WITH GRANT OPTION"),
            format!("REVOKE {} ON *.* FROM {account}", withheld(self.dialect().flavour())),
        ];
        self.ensure(user, secret, &grants).await
    }

    /// The account is locked until it has its rights: half of them are never in force.
    async fn ensure(&self, user: &str, secret: &Secret, grants: &[String]) -> Result<()> {
        if self.accounts().await?.iter().any(|(name, locked)| name == user && !locked) {
            return Ok(());
        }
        self.create(user, secret).await?;
        for grant in grants {
            self.log(grant).await?;
        }
        self.log(&format!("ALTER USER {}@'%' ACCOUNT UNLOCK", literal(user))).await
    }

    async fn create(&self, user: &str, secret: &Secret) -> Result<()> {
        let text = secret.expose();
        if text.is_empty() || text.chars().any(char::is_control) {
            let why = "it is empty or holds a control character; take printable characters".to_owned();
            return Err(Error::Setting { key: format!("password of {user}"), why });
        }
        let password = match self.dialect().flavour() {
            // the server logs its hash
            Flavour::Mysql => format!("BY {}", literal(text)),
            Flavour::Mariadb => {
                let hash = self.value(DOING, &format!("SELECT PASSWORD({})", literal(text))).await?;
                format!("VIA mysql_native_password USING {}", literal(&hash))
            }
        };
        self.log(&format!("CREATE USER IF NOT EXISTS {}@'%' IDENTIFIED {password} ACCOUNT LOCK", literal(user))).await
    }

    /// Runs a statement that replicas shall have too.
    async fn log(&self, sql: &str) -> Result<()> {
        let waiting = self.look(LOOK_LIMIT).await?.semi_sync.waiting;
        if waiting > 0 {
            return Err(Error::CommitsWait { sessions: waiting as usize });
        }
        self.writes.query(sql, ACT_LIMIT).await.map(|_| ()).map_err(Error::sql(DOING))
    }
}
