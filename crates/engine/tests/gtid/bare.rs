//! A server with nothing of ours in it, to be asked what its own functions say: made in a moment, killed at the end.

use crate::run::{self, engine, until};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, OptsBuilder, Row};
use std::path::Path;
use std::process::{Child, Command, Stdio};

pub struct Bare {
    pub dir: tempfile::TempDir,
    pub conn: Conn,
    server: Child,
}

impl Bare {
    /// MySQL, as `.engines/NAME` has it; `None`: not to be had here, which was said.
    pub async fn mysql(name: &str) -> Option<Self> {
        let prefix = engine(name)?.join("usr");
        let options = |dir: &Path| {
            vec![
                format!("--basedir={}", prefix.display()),
                format!("--lc-messages-dir={}", prefix.join("share/mysql").display()),
                format!("--plugin-dir={}", prefix.join("lib/mysql/plugin").display()),
                format!("--datadir={}", dir.join("data").display()),
                "--secure-file-priv=".to_owned(),
                "--mysqlx=OFF".to_owned(),
                "--gtid-mode=ON".to_owned(),
                "--enforce-gtid-consistency=ON".to_owned(),
            ]
        };
        let dir = folder();
        let mut made = Command::new(prefix.join("sbin/mysqld"));
        made.arg("--no-defaults").arg("--initialize-insecure").args(options(dir.path()));
        run_quietly(&mut made);
        Some(Self::start(&prefix.join("sbin/mysqld"), dir, &options).await)
    }

    /// MariaDB likewise.
    pub async fn mariadb(name: &str) -> Option<Self> {
        let prefix = engine(name)?.join("usr");
        let options = |dir: &Path| {
            vec![
                format!("--basedir={}", prefix.display()),
                format!("--lc-messages-dir={}", prefix.join("share/mysql").display()),
                format!("--datadir={}", dir.join("data").display()),
            ]
        };
        let dir = folder();
        let mut made = Command::new(prefix.join("bin/mariadb-install-db"));
        made.arg("--no-defaults").args(["--auth-root-authentication-method=normal", "--skip-test-db"]);
        run_quietly(
            made.arg(format!("--basedir={}", prefix.display()))
                .arg(format!("--datadir={}", dir.path().join("data").display())),
        );
        Some(Self::start(&prefix.join("sbin/mariadbd"), dir, &options).await)
    }

    async fn start(program: &Path, dir: tempfile::TempDir, options: &dyn Fn(&Path) -> Vec<String>) -> Self {
        let socket = dir.path().join("s");
        let mut command = Command::new(program);
        command.arg("--no-defaults").args(options(dir.path())).args([
            "--skip-networking",
            "--server-id=1",
            "--log-bin=binlog",
            "--sync-binlog=0",
            "--innodb-flush-log-at-trx-commit=0",
        ]);
        command.arg(format!("--socket={}", socket.display())).stdin(Stdio::null());
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let server = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let opts = OptsBuilder::default().socket(Some(socket.display().to_string())).user(Some("root"));
        let mut conn = None;
        until("a connection", async || {
            conn = Conn::new(opts.clone()).await.ok();
            conn.is_some()
        })
        .await;
        Self { dir, conn: conn.unwrap(), server }
    }

    /// The first row's texts; NULL is empty.
    pub async fn ask(&mut self, sql: &str) -> Vec<String> {
        self.try_ask(sql).await.unwrap_or_else(|(code, text)| panic!("{sql}: {code} {text}"))
    }

    /// The same, or the server's error.
    pub async fn try_ask(&mut self, sql: &str) -> Result<Vec<String>, (u16, String)> {
        let row: Result<Option<Row>, Error> = self.conn.query_first(sql).await;
        match row {
            Ok(row) => {
                let values = row.map(Row::unwrap).unwrap_or_default();
                Ok(values
                    .into_iter()
                    .map(|v| mysql_async::from_value::<Option<String>>(v).unwrap_or_default())
                    .collect())
            }
            Err(Error::Server(error)) => Err((error.code, error.message)),
            Err(other) => panic!("{sql}: {other}"),
        }
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("dauphin-gtid").tempdir_in("/tmp").unwrap()
}

fn run_quietly(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}{}", run::text(&output.stdout), run::text(&output.stderr));
}
