//! Dauphin's roles in the database, with least privilege, and their passwords. Made on the leader while it is closed.
//! A clear password never reaches the server: verifiers are computed here. Secrets never show in Debug output.

use crate::postgres::session::SUPERUSER;
use crate::postgres::{Error, Postgres, Result, files};
use std::path::Path;
use std::time::Duration;

pub use crate::host::Secret;

/// Streams the log to replicas and clones.
pub const REPLICATION: &str = "dauphin_replication";
/// Reads files for pg_rewind.
pub const REWIND: &str = "dauphin_rewind";
/// Reads statistics.
pub const MONITOR: &str = "dauphin_monitor";
/// Reads verifiers of ordinary roles for the proxy.
pub const PROXY: &str = "dauphin_proxy";
/// How long making the roles may take.
const ROLES_LIMIT: Duration = Duration::from_secs(20);

fn verifier(secret: &Secret) -> String {
    postgres_protocol::password::scram_sha_256(secret.expose().as_bytes())
}

/// Passwords of Dauphin's own roles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Of [`REPLICATION`].
    pub replication: Secret,
    /// Of [`REWIND`].
    pub rewind: Secret,
    /// Of [`MONITOR`].
    pub monitor: Secret,
    /// Of [`PROXY`].
    pub proxy: Secret,
}

impl Credentials {
    /// Writes the passfile that replication and pg_rewind read, for its owner alone.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn write_passfile(&self, path: &Path) -> Result<()> {
        let line = |role: &str, secret: &Secret| {
            format!("*:*:*:{role}:{}\n", secret.expose().replace('\\', "\\\\").replace(':', "\\:"))
        };
        let text = line(REPLICATION, &self.replication) + &line(REWIND, &self.rewind);
        if files::read_or_empty(path).ok().as_deref() == Some(text.as_str()) {
            return Ok(());
        }
        Ok(files::replace(path, &text, true)?)
    }
}

/// A text as an SQL literal.
pub(crate) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

/// A name as an SQL identifier.
pub(crate) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn role(name: &str, attributes: &str, secret: &Secret) -> String {
    format!(
        "DO $dauphin$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {lit}) THEN CREATE ROLE {id}; END IF; \
         END $dauphin$; ALTER ROLE {id} NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS INHERIT LOGIN {attributes} \
         PASSWORD {verifier};",
        lit = literal(name),
        id = identifier(name),
        verifier = literal(&verifier(secret)),
    )
}

/// What the proxy may ask: the verifier of a role that may log in, is nobody's superuser and not ours.
const VERIFIER: &str = "CREATE SCHEMA IF NOT EXISTS dauphin; REVOKE ALL ON SCHEMA dauphin FROM PUBLIC; \
     CREATE OR REPLACE FUNCTION dauphin.scram_verifier(name) RETURNS text LANGUAGE sql STABLE STRICT SECURITY DEFINER \
     SET search_path = pg_catalog, pg_temp AS $$ SELECT rolpassword FROM pg_catalog.pg_authid \
     WHERE rolname = $1 AND rolcanlogin AND NOT rolsuper AND NOT rolreplication \
     AND (rolvaliduntil IS NULL OR rolvaliduntil > now()) AND left(rolname, 8) <> 'dauphin_' $$; \
     REVOKE ALL ON FUNCTION dauphin.scram_verifier(name) FROM PUBLIC; \
     GRANT USAGE ON SCHEMA dauphin TO dauphin_proxy; \
     GRANT EXECUTE ON FUNCTION dauphin.scram_verifier(name) TO dauphin_proxy;";

/// What pg_rewind needs of its source.
const REWIND_GRANTS: &str = "GRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_dir(text, boolean, boolean) TO dauphin_rewind; \
     GRANT EXECUTE ON FUNCTION pg_catalog.pg_stat_file(text, boolean) TO dauphin_rewind; \
     GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_binary_file(text) TO dauphin_rewind; \
     GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean) TO dauphin_rewind;";

impl Postgres {
    /// Makes Dauphin's roles on the leader, or corrects them. Waits for no replica, so it works before the barrier.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn ensure_roles(&self, credentials: &Credentials) -> Result<()> {
        let sql = [
            "BEGIN;".to_owned(),
            role(REPLICATION, "REPLICATION", &credentials.replication),
            role(REWIND, "NOREPLICATION", &credentials.rewind),
            role(MONITOR, "NOREPLICATION", &credentials.monitor),
            role(PROXY, "NOREPLICATION", &credentials.proxy),
            format!("GRANT pg_monitor TO {MONITOR};"),
            REWIND_GRANTS.to_owned(),
            VERIFIER.to_owned(),
            "COMMIT;".to_owned(),
        ]
        .concat();
        self.run_quietly("making Dauphin's roles", &sql).await
    }

    /// Makes a user with a database of its own, or sets its password. For the lab and `init`.
    ///
    /// # Errors
    /// [`Error::Sql`]; [`Error::Setting`] for a name of Dauphin's own.
    pub async fn ensure_app(&self, user: &str, database: &str, secret: &Secret) -> Result<()> {
        refuse_ours(user)?;
        let sql = role(user, "NOREPLICATION", secret);
        self.run_quietly("making the application's user", &sql).await?;
        let there = format!("SELECT FROM pg_database WHERE datname = {}", literal(database));
        let doing = "making the application's database";
        let found = self.acts.query(&there, ROLES_LIMIT).await.map_err(Error::sql(doing))?;
        if found.rows.is_empty() {
            let sql = format!("CREATE DATABASE {} OWNER {}", identifier(database), identifier(user));
            self.run_quietly(doing, &sql).await?;
        }
        let sql = format!("REVOKE ALL ON DATABASE {} FROM PUBLIC", identifier(database));
        self.run_quietly(doing, &sql).await
    }

    /// Makes a superuser for people, or sets its password.
    ///
    /// # Errors
    /// [`Error::Sql`]; [`Error::Setting`] for a name of Dauphin's own.
    pub async fn ensure_admin(&self, user: &str, secret: &Secret) -> Result<()> {
        refuse_ours(user)?;
        let sql = format!("{} ALTER ROLE {} SUPERUSER;", role(user, "NOREPLICATION", secret), identifier(user));
        self.run_quietly("making the administrator", &sql).await
    }

    async fn run_quietly(&self, doing: &'static str, sql: &str) -> Result<()> {
        self.acts.query(sql, ROLES_LIMIT).await.map(|_| ()).map_err(Error::sql(doing))
    }
}

fn refuse_ours(user: &str) -> Result<()> {
    if user == SUPERUSER || user.starts_with("dauphin_") {
        let why = "names that begin with dauphin are Dauphin's own; choose another".to_owned();
        return Err(Error::Setting { key: user.to_owned(), why });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clear_password_never_reaches_the_server() {
        let secret = Secret::new("hunter2".to_owned());
        assert!(verifier(&secret).starts_with("SCRAM-SHA-256$4096:"));
        assert!(!role("app", "NOREPLICATION", &secret).contains("hunter2"));
    }

    #[test]
    fn names_and_texts_are_quoted() {
        assert_eq!(identifier("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("a'b"), "'a''b'");
        assert_eq!(literal("a\\'b"), "E'a\\\\''b'");
    }
}
