//! What is said: messages as a client would put them together, and scripts of them by name.

use dauphin_wire::postgres::message::{put, put_parts, put_query};

/// What a client sends at once, and how many messages of which type it waits for then.
pub(crate) struct Step {
    pub(crate) bytes: Vec<u8>,
    pub(crate) until: (u8, usize),
}

/// Messages of a client.
#[derive(Default)]
struct Send(Vec<u8>);

impl Send {
    fn query(mut self, sql: &str) -> Self {
        put_query(&mut self.0, sql);
        self
    }

    fn parse(mut self, name: &str, sql: &str) -> Self {
        put_parts(&mut self.0, b'P', |out| {
            for text in [name, sql] {
                out.extend_from_slice(text.as_bytes());
                out.push(0);
            }
            out.extend_from_slice(&[0, 0]);
        });
        self
    }

    /// Parameters and results as text.
    fn bind(mut self, portal: &str, statement: &str, values: &[Option<&str>]) -> Self {
        put_parts(&mut self.0, b'B', |out| {
            for text in [portal, statement] {
                out.extend_from_slice(text.as_bytes());
                out.push(0);
            }
            out.extend_from_slice(&[0, 0]);
            out.extend_from_slice(&u16::try_from(values.len()).expect("few").to_be_bytes());
            for value in values {
                match value {
                    None => out.extend_from_slice(&(-1_i32).to_be_bytes()),
                    Some(text) => {
                        out.extend_from_slice(&u32::try_from(text.len()).expect("short").to_be_bytes());
                        out.extend_from_slice(text.as_bytes());
                    }
                }
            }
            out.extend_from_slice(&[0, 0]);
        });
        self
    }

    fn describe(self, kind: u8, name: &str) -> Self {
        self.named(b'D', kind, name)
    }

    fn close(self, kind: u8, name: &str) -> Self {
        self.named(b'C', kind, name)
    }

    fn named(mut self, tag: u8, kind: u8, name: &str) -> Self {
        put(&mut self.0, tag, &[&[kind], name.as_bytes(), &[0]].concat());
        self
    }

    fn execute(mut self, portal: &str, rows: u32) -> Self {
        put(&mut self.0, b'E', &[portal.as_bytes(), &[0], &rows.to_be_bytes()].concat());
        self
    }

    fn sync(self) -> Self {
        self.bare(b'S', &[])
    }

    fn bare(mut self, tag: u8, body: &[u8]) -> Self {
        put(&mut self.0, tag, body);
        self
    }

    /// Waits for as many servers' "ready" as there are queries and Syncs in it.
    fn ready(self) -> Step {
        let (mut at, mut count) = (0, 0);
        while let Some([tag, a, b, c, d]) = self.0.get(at..at + 5).and_then(|header| header.first_chunk::<5>()).copied()
        {
            count += usize::from(matches!(tag, b'Q' | b'S' | b'F'));
            at += u32::from_be_bytes([a, b, c, d]) as usize + 1;
        }
        Step { bytes: self.0, until: (b'Z', count) }
    }

    fn until(self, tag: u8) -> Step {
        Step { bytes: self.0, until: (tag, 1) }
    }
}

fn send() -> Send {
    Send::default()
}

fn queries(texts: &[&str]) -> Vec<Step> {
    texts.iter().map(|sql| send().query(sql).ready()).collect()
}

/// What is said, by name.
pub(crate) fn scripts() -> Vec<(&'static str, Vec<Step>)> {
    let row = [Some("7")];
    let long = "x".repeat(200_000);
    vec![
        (
            "simple",
            queries(&[
                "select 1, 'a', null",
                "",
                ";",
                "select 1; select 2; select 'c' where false",
                "selec 1",
                "select 1/0; select 2",
            ]),
        ),
        (
            "notices",
            queries(&[
                "do $$ begin raise notice 'n %', 1; raise warning 'w'; end $$",
                "drop table if exists nobody_has_it",
            ]),
        ),
        (
            "transactions",
            queries(&[
                "begin",
                "select 1",
                "select 1/0",
                "select 2",
                "commit",
                "begin; insert into t values (1)",
                "savepoint a",
                "insert into t values ('x')",
                "rollback to a",
                "release a",
                "rollback",
                "begin",
                "begin",
                "commit",
                "commit",
                "rollback",
                "start transaction read only",
                "insert into t values (2)",
                "rollback",
                "begin; rollback and chain",
                "commit and chain",
                "abort",
            ]),
        ),
        (
            "settings",
            queries(&[
                "set application_name = 'same'",
                "set timezone = 'Asia/Tokyo'",
                "show timezone",
                "begin",
                "set timezone = 'UTC'",
                "rollback",
                "show timezone",
                "set local timezone = 'UTC'",
                "set no.such = 1",
                "show no.such",
                "reset timezone",
                "set nothing = 1",
                "set client_encoding = 'latin1'",
                "select 'ä'",
                "reset all",
                "discard all",
                "show application_name",
                "select set_config('my.own', 'v', false)",
                "select current_setting('my.own')",
                "select set_config('my.own', 'v', true)",
            ]),
        ),
        (
            "prepared in SQL",
            queries(&[
                "prepare p as select 1",
                "execute p",
                "prepare p as select 2",
                "deallocate p",
                "execute p",
                "deallocate all",
                "deallocate p",
                "declare c cursor with hold for select generate_series(1, 3)",
                "fetch 2 from c",
                "fetch all from c",
                "close c",
                "fetch c",
            ]),
        ),
        (
            "extended",
            vec![
                send()
                    .parse("", "select $1::int + 1")
                    .bind("", "", &row)
                    .describe(b'P', "")
                    .execute("", 0)
                    .sync()
                    .ready(),
                send().bind("", "", &[Some("x")]).execute("", 0).sync().ready(),
                send().bind("", "", &[]).execute("", 0).sync().ready(),
                send().parse("s", "select $1::text || '!'").describe(b'S', "s").sync().ready(),
                send().bind("", "s", &[None]).execute("", 0).sync().ready(),
                send().bind("", "s", &row).execute("", 0).bind("", "s", &[Some("8")]).execute("", 0).sync().ready(),
                send().parse("s", "select 2").sync().ready(),
                send().close(b'S', "s").parse("s", "select 3").bind("", "s", &[]).execute("", 0).sync().ready(),
                send().close(b'S', "s").bind("", "s", &[]).execute("", 0).sync().ready(),
                send().close(b'S', "never").close(b'P', "never").sync().ready(),
                send().bind("", "never", &[]).sync().ready(),
                send().describe(b'S', "never").sync().ready(),
                send().execute("never", 0).sync().ready(),
                send().parse("e", "selec").sync().ready(),
                send().bind("", "e", &[]).sync().ready(),
                send().parse("", "").bind("", "", &[]).describe(b'P', "").execute("", 0).sync().ready(),
                send().sync().ready(),
            ],
        ),
        (
            "portals",
            vec![
                send().query("begin").ready(),
                send().parse("g", "select generate_series(1, 5)").bind("p", "g", &[]).execute("p", 2).sync().ready(),
                send().execute("p", 2).execute("p", 2).sync().ready(),
                send().bind("p", "g", &[]).sync().ready(),
                send().query("rollback").ready(),
                send().bind("q", "g", &[]).execute("q", 1).sync().ready(),
                send().execute("q", 1).sync().ready(),
            ],
        ),
        (
            "pipelines",
            vec![
                send().parse("a", "select 1").parse("b", "select 1/0").parse("c", "select 3").sync().ready(),
                send()
                    .bind("", "a", &[])
                    .execute("", 0)
                    .sync()
                    .bind("", "b", &[])
                    .execute("", 0)
                    .bind("", "c", &[])
                    .execute("", 0)
                    .sync()
                    .bind("", "c", &[])
                    .execute("", 0)
                    .sync()
                    .ready(),
                send()
                    .parse("", "insert into t values (10)")
                    .bind("", "", &[])
                    .execute("", 0)
                    .parse("", "insert into t values (1/0)")
                    .bind("", "", &[])
                    .execute("", 0)
                    .sync()
                    .query("select count(*) from t")
                    .ready(),
                send().query("select 1").query("select 1/0").query("select 3").ready(),
                send().parse("d", "select 4").bind("", "d", &[]).execute("", 0).query("select 5").ready(),
                send().sync().sync().sync().ready(),
                send().parse("f", "select 6").describe(b'S', "f").bare(b'H', &[]).until(b'T'),
                send().bind("", "f", &[]).execute("", 0).bare(b'H', &[]).until(b'C'),
                send().sync().ready(),
            ],
        ),
        (
            "copy",
            vec![
                send().query("insert into t select generate_series(1, 4)").ready(),
                send().query("copy t to stdout").ready(),
                send().query("copy (select i, 'a' from t) to stdout (format csv, header)").ready(),
                send().query("copy t from stdin").until(b'G'),
                send().bare(b'd', b"11\n12\n").bare(b'd', b"13\n").bare(b'c', &[]).until(b'Z'),
                send().query("copy t from stdin").until(b'G'),
                send().bare(b'd', b"14\n").bare(b'f', b"no more\0").until(b'Z'),
                send().query("copy t from stdin").until(b'G'),
                send().bare(b'd', b"not a number\n").bare(b'c', &[]).until(b'Z'),
                send().query("copy no_such from stdin").ready(),
                send().query("select count(*) from t; copy t to stdout; select 2").ready(),
                send().parse("", "copy t to stdout").bind("", "", &[]).execute("", 0).sync().ready(),
                send().query("truncate t").ready(),
            ],
        ),
        (
            "plans that are stale",
            vec![
                send().query("create table stale (a int); insert into stale values (1)").ready(),
                send().parse("s", "select * from stale").bind("", "s", &[]).execute("", 0).sync().ready(),
                send().query("alter table stale add b text").ready(),
                send().bind("", "s", &[]).execute("", 0).sync().ready(),
                send().close(b'S', "s").sync().ready(),
                send().parse("s", "select * from stale").bind("", "s", &[]).execute("", 0).sync().ready(),
                send().query("drop table stale").ready(),
                send().bind("", "s", &[]).execute("", 0).sync().ready(),
            ],
        ),
        (
            "long",
            vec![
                send().query(&format!("select length('{long}')")).ready(),
                send().query("select repeat('y', 300000)").ready(),
                send().parse("", "select length($1)").bind("", "", &[Some(&long)]).execute("", 0).sync().ready(),
                send()
                    .parse("l", &format!("select '{long}', $1::text"))
                    .sync()
                    .bind("", "l", &row)
                    .execute("", 0)
                    .sync()
                    .ready(),
            ],
        ),
        // abs(int4), by its number, with one binary argument and a binary result
        (
            "functions by number",
            vec![
                send().bare(b'F', &[0, 0, 5, 0x75, 0, 1, 0, 1, 0, 1, 0, 0, 0, 4, 255, 255, 255, 251, 0, 1]).ready(),
                send().bare(b'F', &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0]).ready(),
            ],
        ),
        ("nonsense in order", vec![send().bare(b'c', &[]).query("select 1").ready()]),
    ]
}
