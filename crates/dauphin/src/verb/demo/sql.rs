//! How the demo speaks to the servers of each engine: connections, rows as text, and the few statements that differ.

use dauphin_lab::Engine;
use mysql_async::OptsBuilder;
use mysql_async::prelude::Queryable;
use std::time::Duration;
use tokio_postgres::{NoTls, SimpleQueryMessage};

/// Longest wait for one connection or statement.
pub(super) const STATEMENT_WAIT_MAX: Duration = Duration::from_secs(10);

/// Whom to connect to, and as whom.
#[derive(Clone)]
pub(super) enum Login {
    Postgres(Box<tokio_postgres::Config>),
    Mysql(Box<OptsBuilder>),
}

/// A connection.
pub(super) enum Session {
    Postgres(tokio_postgres::Client),
    Mysql(Box<mysql_async::Conn>),
}

impl Login {
    pub(super) fn new(engine: Engine, host: &str, port: u16, user: &str, password: &str) -> Self {
        match engine {
            Engine::Postgres => {
                let mut config = tokio_postgres::Config::new();
                config.host(host).port(port).dbname("app").application_name("demo").user(user).password(password);
                Self::Postgres(Box::new(config))
            }
            Engine::Mysql | Engine::Mariadb => {
                let opts = OptsBuilder::default().ip_or_hostname(host).tcp_port(port).prefer_socket(false);
                Self::Mysql(Box::new(opts.user(Some(user)).pass(Some(password)).db_name(Some("app"))))
            }
        }
    }

    /// A connection; `None` when there is none in time.
    pub(super) async fn connect(&self) -> Option<Session> {
        tokio::time::timeout(STATEMENT_WAIT_MAX, self.connected()).await.ok()?
    }

    async fn connected(&self) -> Option<Session> {
        match self {
            Self::Postgres(config) => {
                let (client, connection) = config.connect(NoTls).await.ok()?;
                tokio::spawn(async move {
                    let _ = connection.await;
                });
                Some(Session::Postgres(client))
            }
            Self::Mysql(opts) => {
                let conn = mysql_async::Conn::new((**opts).clone()).await.ok()?;
                Some(Session::Mysql(Box::new(conn)))
            }
        }
    }
}

impl Session {
    /// The first column of every row, as text.
    pub(super) async fn rows(&mut self, sql: &str) -> Result<Vec<String>, String> {
        match self {
            Self::Postgres(client) => {
                let said = client.simple_query(sql).await.map_err(|e| e.to_string())?;
                let text = |message: &SimpleQueryMessage| {
                    let SimpleQueryMessage::Row(row) = message else { return None };
                    row.get(0).map(str::to_owned)
                };
                Ok(said.iter().filter_map(text).collect())
            }
            Self::Mysql(conn) => conn.query(sql).await.map_err(|e| e.to_string()),
        }
    }
}

/// The statements that make the clients' table.
pub(super) const fn table(engine: Engine) -> &'static str {
    match engine {
        Engine::Postgres => {
            "CREATE TABLE orders (client int, number int, at timestamptz DEFAULT now(), PRIMARY KEY (client, number))"
        }
        Engine::Mysql | Engine::Mariadb => {
            "CREATE TABLE orders (client int, number int, at timestamp(6) DEFAULT now(6), PRIMARY KEY (client, number))"
        }
    }
}

/// How many rows there are, and who says so.
pub(super) const fn count(engine: Engine) -> &'static str {
    match engine {
        Engine::Postgres => {
            "SELECT count(*) || ' rows; this server is ' || \
             CASE WHEN pg_is_in_recovery() THEN 'a replica' ELSE 'the leader' END FROM orders"
        }
        Engine::Mysql | Engine::Mariadb => {
            "SELECT CONCAT(count(*), ' rows; this server is ', IF(@@read_only, 'a replica', 'the leader')) FROM orders"
        }
    }
}

/// Whether it may be written to.
pub(super) const fn writable(engine: Engine) -> &'static str {
    match engine {
        Engine::Postgres => "SELECT CASE WHEN pg_is_in_recovery() THEN 'read only' ELSE 'writable' END",
        Engine::Mysql | Engine::Mariadb => "SELECT IF(@@read_only, 'read only', 'writable')",
    }
}

/// Every row, as `client:number`.
pub(super) const ALL: &str = "SELECT concat(client, ':', number) FROM orders";
