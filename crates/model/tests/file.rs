//! `dauphin.toml`, story by story: what is read, what is refused and in which words, what is written.

use dauphin_model::file::{ClusterFile, check, keys};
use dauphin_model::{
    ClientCertificates, Durability, EngineKind, Level, MailTls, MemberKind, MemberName, OnShortage, Pooling, Profile,
    ReadLevel, Span,
};
use expect_test::{Expect, expect, expect_file};
use std::path::Path;

const THREE: &str = r#"
[cluster]
name = "shop"

[[member]]
name = "m1"
host = "10.0.0.1"
sql_port = 5432
api_port = 8008
link_port = 8009

[[member]]
name = "m2"
host = "10.0.0.2"
sql_port = 5432
api_port = 8008
link_port = 8009

[[member]]
name = "m3"
host = "10.0.0.3"
sql_port = 5432
api_port = 8008
link_port = 8009
"#;

/// `THREE` with each line of the first column replaced by what stands in the second.
fn three(changes: &[(&str, &str)]) -> String {
    changes.iter().fold(THREE.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "nothing to replace: {from}");
        text.replacen(from, to, 1)
    })
}

#[track_caller]
fn refused(text: &str, expected: Expect) {
    match ClusterFile::parse("dauphin.toml", text) {
        Ok(_) => expected.assert_eq("(accepted)"),
        Err(errors) => expected.assert_eq(&errors.to_string()),
    }
}

fn accepted(text: &str) -> ClusterFile {
    ClusterFile::parse("dauphin.toml", text).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn the_shortest_file_gets_every_default() {
    let file = accepted(THREE);
    assert_eq!(file.spec.durability, Durability::Quorum);
    assert_eq!(file.spec.required, None);
    assert_eq!(file.spec.on_shortage, OnShortage::Wait);
    assert_eq!(file.spec.profile, Profile::Standard);
    assert_eq!(file.spec.read_lag_max_bytes, 16 << 20);
    assert_eq!(file.spec.postgres.slot_wal_keep_mib, 8 << 10);
    assert_eq!(file.spec.postgres.locale, "C.UTF-8");
    assert!(file.spec.postgres.sql_tls, "secure by default");
    assert!(!file.spec.allow_reclone, "nothing is thrown away by default");
    assert_eq!(file.spec.members.iter().map(|member| member.priority).collect::<Vec<_>>(), [100; 3]);
    assert_eq!((file.local, file.proxy), (None, None));
}

const WHOLE: &str = r#"
[cluster]
name = "shop"
durability = "sync"
required = 1
on_shortage = "degrade"
profile = "wan"
allow_reclone = true
read_lag_max = "1MiB"
[postgres]
replication_networks = ["10.0.0.0/24"]
client_networks = ["0.0.0.0/0", "::/0"]
sql_tls = "off"
slot_wal_keep = "512MiB"
locale = "de_DE.UTF-8"
[postgres.parameters]
shared_buffers = "1GB"
max_connections = 200
jit = false
random_page_cost = 1.1
"pg_stat_statements.track" = "all"
wal_level = "logical"
[alerts]
lag = ["2s", "20s", "1h"]
lag_bytes = ["1MiB", "1GiB", "1TiB"]
disk = ["50%", "60%", "99%"]
disk_full_in = ["7d", "1d", "10min"]
log_size = ["1GiB", "2GiB", "3GiB"]
clocks_apart = "500ms"
replicas = 1
raise_after = "3s"
clear_after = "1min"
group_within = "2s"
remind_every = "0s"
[health]
fix = ["replay", "query"]
replay_after = "1h"
query_after = "20s"
[[notify]]
name = "ops"
kind = "webhook"
url = "https://hooks.example.org/dauphin?a=b"
secret_file = "/etc/dauphin/hook-key"
token_file = "/etc/dauphin/hook-token"
ca_file = "/etc/dauphin/hook-ca.pem"
[[notify]]
name = "chat"
kind = "slack"
url_file = "/etc/dauphin/slack-url"
level = "critical"
[[notify]]
name = "pager"
kind = "command"
command = "/usr/local/bin/page-me"
level = "emergency"
[[notify]]
name = "mail"
kind = "email"
server = "[fd00::25]:465"
tls = "implicit"
from = "dauphin@example.org"
to = ["ops@example.org", "eva+db@example.org"]
user = "dauphin"
password_file = "/etc/dauphin/mail-password"
ca_file = "/etc/dauphin/mail-ca.pem"
[[member]]
name = "m1"
host = "db1.example.org"
sql_port = 5432
api_port = 8008
link_port = 8009
zone = "a"
[[member]]
name = "m2"
host = "10.0.0.2"
sql_port = 5432
api_port = 8008
link_port = 8009
priority = 50
[[member]]
name = "m3"
host = "10.0.0.2"
sql_port = 5433
api_port = 8010
link_port = 8011
reporting = true
follow = "m2"
delay = "90min"
alert_lag = ["1h", "2h", "6h"]
alert_lag_bytes = ["1GiB", "4GiB", "16GiB"]
[[member]]
name = "w"
kind = "witness"
host = "10.0.0.9"
api_port = 8008
link_port = 8009
[local]
member = "m1"
data_dir = "data"
state_dir = "state"
run_dir = "/run/dauphin"
bin_dir = "/usr/lib/postgresql/15/bin"
listen = "0.0.0.0"
watchdog = "/dev/watchdog"
[proxy]
listen_write = "127.0.0.1:6432"
listen_read = "[::1]:6433"
wait_limit = "1500ms"
clients_max = 10
clients_max_user = 4
clients_max_database = 6
notice_after = "0s"
pool = "session"
pool_size = 7
client_keepalive = "10s"
client_certificates = "require-user"
client_ca = "clients.pem"
zone = "a"
read_level = "bounded(250)"
read_wait = "5ms"
admin_users = ["postgres", "Ops"]
stats_users = ["monitor"]
metrics_listen = "127.0.0.1:6434"
log_slow = "250ms"
drain_limit = "10min"
run_dir = "run"
threads = 3
"#;

#[test]
fn every_key_is_read() {
    let mut file = accepted(WHOLE);
    file.resolve(Path::new("/etc/dauphin"));
    let local = file.local.as_ref().expect("given");
    assert_eq!(local.data_dir.as_deref(), Some(Path::new("/etc/dauphin/data")));
    assert_eq!(local.secrets, Path::new("/etc/dauphin/state/secrets.toml"));
    assert_eq!(local.run_dir, Path::new("/run/dauphin"));
    assert_eq!(file.member().expect("a member").zone.as_deref(), Some("a"));
    let witness = file.spec.members.last().expect("four");
    assert_eq!((witness.kind, witness.sql_port), (MemberKind::Witness, 0));
    let alerts = &file.spec.alerts;
    assert_eq!(alerts.lag, [2_000, 20_000, 3_600_000].map(Span::ms));
    assert_eq!((alerts.lag_bytes, alerts.replicas), ([1 << 20, 1 << 30, 1 << 40], Some(1)));
    let health = &file.spec.health;
    assert_eq!(health.fix.iter().map(|kind| kind.word()).collect::<Vec<_>>(), ["replay", "query"]);
    assert_eq!((health.replay_after, health.query_after), (Span::ms(3_600_000), Span::ms(20_000)));
    assert_eq!((alerts.disk, alerts.clocks_apart), ([50, 60, 99], Span::ms(500)));
    assert_eq!(alerts.disk_full_in, [7 * 86_400_000, 86_400_000, 600_000].map(Span::ms));
    assert_eq!(alerts.log_size, [1 << 30, 2 << 30, 3 << 30]);
    assert_eq!((alerts.raise_after, alerts.clear_after), (Span::ms(3_000), Span::ms(60_000)));
    assert_eq!((alerts.group_within, alerts.remind_every), (Span::ms(2_000), Span::ZERO));
    let places: Vec<_> = file.spec.notify.iter().map(|t| (t.name.as_str(), t.kind.word(), t.level)).collect();
    let expected = [
        ("ops", "webhook", Level::Warning),
        ("chat", "slack", Level::Critical),
        ("pager", "command", Level::Emergency),
        ("mail", "email", Level::Warning),
    ];
    assert_eq!(places, expected);
    let mail = file.spec.notify.last().and_then(|t| t.email.clone()).expect("it is e-mail");
    assert_eq!((mail.host.as_str(), mail.port, mail.tls, mail.to.len()), ("fd00::25", 465, MailTls::Implicit, 2));
    let reports = file.spec.members.get(2).expect("four");
    assert_eq!(alerts.lag_of(reports), [1, 2, 6].map(|h| Span::ms(h * 3_600_000)));
    assert_eq!(alerts.lag_bytes_of(reports), [1 << 30, 4 << 30, 16 << 30]);
    assert_eq!(alerts.lag_of(witness), alerts.lag);
    let parameters = &file.spec.postgres.parameters;
    let value = |name: &str| parameters.get(name).map(String::as_str);
    assert_eq!(value("max_connections"), Some("200"));
    assert_eq!(value("jit"), Some("off"));
    assert_eq!(value("random_page_cost"), Some("1.1"));
    assert_eq!(value("pg_stat_statements.track"), Some("all"));
    let proxy = file.proxy.expect("given");
    assert_eq!((proxy.wait_limit, proxy.clients_max), (Span::ms(1_500), 10));
    assert_eq!((proxy.clients_max_user, proxy.clients_max_database), (Some(4), Some(6)));
    assert_eq!((proxy.notice_after, proxy.zone.as_deref()), (Span::ms(0), Some("a")));
    assert_eq!((proxy.drain_limit, proxy.run_dir.as_deref()), (Span::ms(600_000), Some(Path::new("/etc/dauphin/run"))));
    assert_eq!((proxy.pool, proxy.pool_size, proxy.threads), (Pooling::Session, 7, Some(3)));
    assert_eq!(proxy.client_keepalive, Span::ms(10_000));
    assert_eq!(proxy.client_certificates, ClientCertificates::RequireUser);
    assert_eq!(proxy.client_ca.as_deref(), Some(Path::new("/etc/dauphin/clients.pem")));
    assert_eq!((proxy.read_level, proxy.read_wait), (ReadLevel::Bounded(Span::ms(250)), Span::ms(5)));
    assert_eq!((proxy.admin_users, proxy.stats_users), (vec!["postgres".into(), "Ops".into()], vec!["monitor".into()]));
    assert_eq!((proxy.metrics_listen.map(|at| at.port()), proxy.log_slow), (Some(6434), Some(Span::ms(250))));
}

#[test]
fn what_is_written_is_read_back_the_same() {
    for text in [THREE, WHOLE] {
        let file = accepted(text);
        let written = file.render();
        assert_eq!(accepted(&written), file, "{written}");
        assert_eq!(accepted(&written).render(), written);
    }
}

#[test]
fn a_written_file_explains_itself() {
    expect_file!["data/written.toml"].assert_eq(&accepted(WHOLE).render());
}

#[test]
fn the_reference_page_is_up_to_date() {
    expect_file!["../../../docs/configuration.md"].assert_eq(&keys::reference());
}

#[test]
fn every_example_and_default_of_the_reference_is_itself_accepted() {
    let local = "member = \"m1\"\ndata_dir = \"d\"\nstate_dir = \"s\"\nrun_dir = \"r\"";
    let whole = format!(
        "{THREE}\n[local]\n{local}\n[proxy]\nlisten_write = \"0.0.0.0:6432\"\n[postgres]\n[alerts]\n[health]\n[[notify]]\nname = \"x\"\nkind = \"webhook\"\nurl = \"http://a\"\n"
    );
    for key in keys::KEYS {
        assert!(!key.about.is_empty() && !key.example.is_empty(), "{}.{}", key.section, key.name);
        let mut file: toml::Table = whole.parse().expect("TOML");
        if key.section == "mysql" {
            for section in ["postgres", "proxy"] {
                file.remove(section);
            }
            file.insert("mysql".to_owned(), toml::Table::new().into());
            file["cluster"].as_table_mut().expect("a table").insert("engine".to_owned(), "mysql".into());
        }
        let value: toml::Table = format!("value = {}", key.example).parse().expect("TOML");
        let table = file.get_mut(key.section).expect("every table is there");
        let section = if table.is_array() { table.get_mut(0).expect("a member") } else { table };
        let section = section.as_table_mut().expect("a table");
        if ["url_file", "command"].contains(&key.name) {
            section.remove("url");
        }
        if key.name == "command" {
            section.insert("kind".to_owned(), "command".into());
        }
        if key.section == "notify" && ["server", "tls", "from", "to", "user", "password_file"].contains(&key.name) {
            section.remove("url");
            let mail = "kind = \"email\"\nserver = \"a:25\"\nfrom = \"a@b\"\nto = [\"a@b\"]\nuser = \"a\"\npassword_file = \"/a\"";
            section.extend(mail.parse::<toml::Table>().expect("TOML"));
        }
        section.insert(key.name.to_owned(), value["value"].clone());
        let text = file.to_string();
        if let Err(errors) = ClusterFile::parse("example", &text) {
            panic!("{}.{}: {errors}\n{text}", key.section, key.name);
        }
    }
}

#[test]
fn every_fault_is_told_at_once_with_its_place() {
    let text = r#"
[cluster]
name = "Shop!"
durabilty = "quorum"
profile = "quick"
allow_reclone = "yes"
read_lag_max = 16

[postgres]
client_networks = ["10.0.0.1/24", "everywhere", 7]
sql_tls = true
slot_wal_keep = "4GB"
parameters = { fsync = "off", Work_Mem = "4MB", wal_level = "minimal", max_wal_senders = 1, port = 5433 }

[[member]]
name = "m1"
host = "10.0.0.1:5432"
sql_port = 70000
api_port = "8008"
priority = -1

[proxi]
listen_write = "6432"
"#;
    refused(
        text,
        expect![[r#"
            dauphin.toml:3:8: `name`: "Shop!" is not a name: 1 to 32 characters, a-z, 0-9 and _, starting with a letter
            dauphin.toml:4:1: unknown key `durabilty`; did you mean `durability`?
            dauphin.toml:5:11: `profile` is "quick"; allowed: "fast", "standard" or "wan"
            dauphin.toml:6:17: `allow_reclone` is "yes"; allowed: true or false, as in allow_reclone = false
            dauphin.toml:7:16: `read_lag_max` is 16; allowed: a size, as in read_lag_max = "16MiB"
            dauphin.toml:10:20: `client_networks`: "10.0.0.1/24" has bits set behind its prefix; for one address write /32
            dauphin.toml:10:35: `client_networks`: "everywhere" is not a network: a network is an address and a prefix length, as in "10.0.0.0/24" or "fd00::/8"
            dauphin.toml:10:49: `client_networks` is 7; allowed: networks (CIDR), as in client_networks = ["10.0.0.0/16"]
            dauphin.toml:11:11: `sql_tls` is true; allowed: "require" or "off"
            dauphin.toml:12:17: `slot_wal_keep`: "4GB" has no known unit: a size is a whole number and one of B, KiB, MiB, GiB, TiB, as in "16MiB"; did you mean "4GiB"?
            dauphin.toml:13:16: `fsync` is Dauphin's own setting: without it no log is safe; it is always on
            dauphin.toml:13:31: "Work_Mem" is not the name of a setting: a-z, 0-9, _ and at most one dot
            dauphin.toml:13:49: `wal_level` is "minimal"; allowed: "replica" or "logical", replication needs one of them
            dauphin.toml:13:72: `max_wal_senders` is Dauphin's own setting: it follows from the number of members
            dauphin.toml:13:93: `port` is Dauphin's own setting: set `sql_port` of the member
            dauphin.toml:15:1: `link_port` is missing: a port, 1 to 65535, as in link_port = 8009
            dauphin.toml:17:8: `host`: "10.0.0.1:5432" is neither an address nor a host name; the port has a key of its own
            dauphin.toml:18:12: `sql_port` is 70000; allowed: a port, 1 to 65535
            dauphin.toml:19:12: `api_port` is "8008"; allowed: a port, 1 to 65535
            dauphin.toml:20:12: `priority` is -1; allowed: a whole number, 0 to 1000
            dauphin.toml:22:2: unknown table `proxi`; did you mean [proxy]?"#]],
    );
}

#[test]
fn limits_of_alerts_grow_and_stay_within_bounds() {
    let text = format!(
        "{THREE}alert_lag = [\"1h\", \"1h\", \"2h\"]\n[alerts]\nlag = [\"10s\", \"60s\"]\nlag_bytes = [\"1MiB\", 5, \"1GiB\"]\n\
         replicas = 31\nraise_after = \"500ms\"\nclear_after = \"2h\"\nremind_every = \"5s\"\nremind = \"5s\"\n\
         disk = [\"80%\", \"100%\", \"95%\"]\ndisk_full_in = [\"1h\", \"4h\", \"1d\"]\nclocks_apart = \"1ms\"\n\
         [health]\nfix = [\"receivers\"]\nquery_after = \"1ms\"\n"
    );
    refused(
        &text,
        expect![[r#"
            dauphin.toml:25:13: `alert_lag` is "1h", "1h", "2h"; each must be worse than the one before: three durations that grow
            dauphin.toml:27:7: `lag` is a array; allowed: three durations that grow, as in lag = ["10s", "1min", "5min"]
            dauphin.toml:28:13: `lag_bytes` is a array; allowed: three sizes that grow, as in lag_bytes = ["256MiB", "1GiB", "4GiB"]
            dauphin.toml:29:12: `replicas` is 31; allowed: a whole number, 0 to 30
            dauphin.toml:30:15: `raise_after` is 500ms; allowed: a duration, 1 s to 1 h
            dauphin.toml:31:15: `clear_after` is 2h; allowed: a duration, 1 s to 1 h
            dauphin.toml:32:16: `remind_every` is 5s; allowed: a duration, 0 s or 1 min to 30 d
            dauphin.toml:33:1: unknown key `remind`; did you mean `remind_every`?
            dauphin.toml:34:8: `disk`: "100%" is not a percentage: 1% to 99%, as in "80%"
            dauphin.toml:35:16: `disk_full_in` is "1h", "4h", "1d"; each must be worse than the one before: three durations that shrink
            dauphin.toml:36:16: `clocks_apart` is 1ms; allowed: a duration, 100 ms to 1 d
            dauphin.toml:38:8: `fix`: "receivers" is nothing that can be mended; there are receiver, replay, query
            dauphin.toml:39:15: `query_after` is 1ms; allowed: a duration, 1 s to 7 d"#]],
    );
    let lags = accepted(THREE).spec;
    let m1 = MemberName::new("m1").expect("a name");
    let beyond = |seconds: u64, mib: u64| lags.lag_beyond(&m1, Some(Span::ms(seconds * 1_000)), Some(mib << 20));
    assert_eq!(beyond(10, 256), None, "the limits themselves are still fine");
    use Level::{Critical, Emergency, Warning};
    assert_eq!([beyond(11, 0), beyond(61, 0), beyond(301, 0)], [Warning, Critical, Emergency].map(Some));
    let worse = [beyond(11, 1025), beyond(301, 257), beyond(0, 5000)];
    assert_eq!(worse, [Critical, Emergency, Emergency].map(Some), "the worse counts");
}

#[test]
fn who_is_late_on_purpose_neither_leads_nor_votes_and_is_behind_only_beyond_that() {
    let spec = accepted(&format!("{THREE}delay = \"1h\"\n")).spec;
    let m3 = MemberName::new("m3").expect("a name");
    let member = spec.member(&m3).expect("it");
    assert!(!member.may_lead() && !member.may_vote());
    let beyond = |seconds: u64| spec.lag_beyond(&m3, Some(Span::ms(seconds * 1_000)), Some(u64::MAX));
    assert_eq!([beyond(3_610), beyond(3_611)], [None, Some(Level::Warning)]);
    let mysql = three(&[("name = \"shop\"", "name = \"shop\"\nengine = \"mysql\"")]);
    let m4 = "[[member]]\nname = \"m4\"\nhost = \"10.0.0.4\"\nsql_port = 1\napi_port = 2\nlink_port = 3\n";
    refused(
        &format!("{mysql}delay = \"49h\"\n{m4}follow = \"m3\"\n"),
        expect![[r#"
        dauphin.toml:2:1: "quorum" needs 2 replicas to hold a commit, and there is 1 that can: add members, choose "async", or on_shortage = "degrade"
        dauphin.toml:26:9: `delay` is at most 2d on this engine
        dauphin.toml:33:10: "m3" applies late on purpose (`delay`): follow another one"#]],
    );
    refused(
        &format!("{THREE}delay = \"8d\"\n"),
        expect!["dauphin.toml:25:9: `delay` is 8d; allowed: a duration, 1 s to 7 d"],
    );
}

#[test]
fn places_that_notices_cannot_be_sent_to_are_refused() {
    let text = format!(
        r#"{THREE}
[[notify]]
name = "ops"
kind = "webhok"
url = "ftp://example.org"
[[notify]]
name = "ops"
kind = "slack"
url = "https://me:word@example.org/x"
secret_file = "key"
[[notify]]
name = "ops"
kind = "webhook"
level = "loud"
[[notify]]
name = "both"
kind = "webhook"
url = "https://example.org/x"
url_file = "/etc/url"
[[notify]]
name = "both"
kind = "alertmanager"
url = "http://127.0.0.1:9093"
[[notify]]
name = "pager"
kind = "command"
url = "https://example.org/x"
"#
    );
    refused(
        &text,
        expect![[r#"
            dauphin.toml:28:8: `kind` is "webhok"; allowed: "webhook", "slack", "alertmanager", "command" or "email"; did you mean "webhook"?
            dauphin.toml:29:7: `url`: "ftp://example.org" is no such address: an address is http:// or https://, a host and a path, as in "https://hooks.example.org/dauphin"
            dauphin.toml:33:7: `url`: an address holds no password: an address is http:// or https://, a host and a path, as in "https://hooks.example.org/dauphin"; see `token_file`
            dauphin.toml:34:15: `secret_file` means nothing for kind "slack": take it out
            dauphin.toml:34:15: `secret_file`: "key" is no absolute path; it is the same on all machines
            dauphin.toml:35:1: one of `url` and `url_file` is needed, and not both
            dauphin.toml:38:9: `level` is "loud"; allowed: "warning", "critical" or "emergency"
            dauphin.toml:39:1: one of `url` and `url_file` is needed, and not both
            dauphin.toml:45:8: there are two places "both"; names must differ
            dauphin.toml:48:1: `command` is missing: an absolute path, as in command = "/usr/local/bin/page-me"
            dauphin.toml:51:7: `url` means nothing for kind "command": take it out"#]],
    );
    let text = format!(
        r#"{THREE}
[[notify]]
name = "bare"
kind = "email"
[[notify]]
name = "wrong"
kind = "email"
server = "mail.example.org"
tls = "ssl"
from = "Dauphin <dauphin@example.org>"
to = ["ops", "eva@example.org\nBcc: x@example.org"]
user = "dauphin"
url = "https://example.org/x"
[[notify]]
name = "clear"
kind = "email"
server = "mail.example.org:25"
tls = "off"
from = "dauphin@example.org"
to = ["ops@example.org"]
user = "dauphin"
password_file = "/etc/dauphin/mail-password"
[[notify]]
name = "hook"
kind = "webhook"
url = "https://example.org/x"
to = ["ops@example.org"]
"#
    );
    refused(
        &text,
        expect![[r#"
        dauphin.toml:26:1: `server`, `from` and `to` are needed for e-mail: to = ["ops@example.org"]
        dauphin.toml:29:1: `user` and `password_file` go together: give both, or neither
        dauphin.toml:32:10: `server`: "mail.example.org" is no host with a port, as in "mail.example.org:587"
        dauphin.toml:33:7: `tls` is "ssl"; allowed: "starttls", "implicit" or "off"
        dauphin.toml:34:8: `from`: "Dauphin <dauphin@example.org>" is no e-mail address, as in "ops@example.org"
        dauphin.toml:35:7: `to`: "ops" is no e-mail address, as in "ops@example.org"
        dauphin.toml:35:14: `to`: "eva@example.org\nBcc: x@example.org" is no e-mail address, as in "ops@example.org"
        dauphin.toml:37:7: `url` means nothing for kind "email": take it out
        dauphin.toml:42:7: with tls = "off" the password would be read on its way: use "starttls" or "implicit"
        dauphin.toml:51:6: `to` means nothing for kind "webhook": take it out"#]],
    );
    refused(
        &format!("{THREE}[notify]\nname = \"x\"\n"),
        expect!["dauphin.toml:25:1: `notify` must be written as [[notify]], one for each place"],
    );
}

#[test]
fn a_syntax_error_has_its_place() {
    refused(
        "[cluster]\nname = \"shop\nprofile = 7 8\n",
        expect![[r#"
        dauphin.toml:2:13: this is not TOML: invalid basic string, expected `"`
        dauphin.toml:3:11: this is not TOML: string values must be quoted, expected literal string"#]],
    );
    refused(
        "",
        expect![[r#"
        dauphin.toml:1:1: [cluster] is missing: it needs at least `name`
        dauphin.toml:1:1: no member: at least one [[member]] is needed"#]],
    );
    refused(
        "member = 3\ncluster = 4\n",
        expect![[r#"
        dauphin.toml:1:10: `member` must be written as [[member]], one for each member
        dauphin.toml:2:11: `cluster` is 4; it must be a table: [cluster]"#]],
    );
    refused(
        "[cluster]\nname = \"shop\"\nmember = [1]\n",
        expect![[r#"
        dauphin.toml:1:1: no member: at least one [[member]] is needed
        dauphin.toml:3:1: unknown key `member` here; it belongs under [local]"#]],
    );
}

#[test]
fn keys_in_the_wrong_table_are_sent_home() {
    refused(
        &three(&[("[cluster]", "data_dir = \"x\"\n[cluster]\nsql_tls = \"off\"\nkind = 3\nflavour = 4")]),
        expect![[r#"
            dauphin.toml:2:1: unknown key `data_dir`; it belongs under [local]
            dauphin.toml:4:1: unknown key `sql_tls` here; it belongs under [postgres]
            dauphin.toml:5:1: unknown key `kind` here; it belongs under [member]
            dauphin.toml:6:1: unknown key `flavour`; this table has: name, engine, durability, required, on_shortage, profile, allow_reclone, read_lag_max"#]],
    );
}

#[test]
fn members_that_cannot_stand_side_by_side_are_refused() {
    refused(
        &three(&[("\"m3\"", "\"m1\"")]),
        expect![[r#"dauphin.toml:20:8: there are two members "m1"; names must differ"#]],
    );
    refused(
        &three(&[("10.0.0.3", "10.0.0.2")]),
        expect![[r#"
        dauphin.toml:22:12: `sql_port` 5432 on 10.0.0.2 is taken by `sql_port` of "m2"; ports on one host must differ
        dauphin.toml:23:12: `api_port` 8008 on 10.0.0.2 is taken by `api_port` of "m2"; ports on one host must differ
        dauphin.toml:24:13: `link_port` 8009 on 10.0.0.2 is taken by `link_port` of "m2"; ports on one host must differ"#]],
    );
    refused(
        &three(&[("link_port = 8009", "link_port = 8008")]),
        expect![[
            r#"dauphin.toml:10:13: `link_port` 8008 on 10.0.0.1 is taken by `api_port` of "m1"; ports on one host must differ"#
        ]],
    );
}

#[test]
fn following_leads_somewhere() {
    let follow = |who: &str, whom: &str| {
        three(&[(&format!("name = \"{who}\""), &format!("name = \"{who}\"\nfollow = \"{whom}\""))])
    };
    refused(&follow("m2", "m2"), expect![[r#"dauphin.toml:14:10: "m2" cannot follow itself"#]]);
    refused(
        &follow("m2", "m11"),
        expect![[
            r#"dauphin.toml:14:10: there is no member "m11" to follow; there are m1, m2, m3; did you mean "m1"?"#
        ]],
    );
    let circle = three(&[
        ("name = \"m2\"", "name = \"m2\"\nfollow = \"m3\""),
        ("name = \"m3\"", "name = \"m3\"\nfollow = \"m2\""),
    ]);
    refused(
        &circle,
        expect![[r#"
        dauphin.toml:2:1: "quorum" needs 1 replica to hold a commit, and there are 0 that can: add members, choose "async", or on_shortage = "degrade"
        dauphin.toml:14:10: they follow each other in a circle: m2 -> m3 -> m2
        dauphin.toml:22:10: they follow each other in a circle: m3 -> m2 -> m3"#]],
    );
    accepted(&follow("m3", "m2"));
}

#[test]
fn promises_that_cannot_be_kept_are_refused() {
    let one = THREE.split("[[member]]").take(2).collect::<Vec<_>>().join("[[member]]");
    let two = THREE.split("[[member]]").take(3).collect::<Vec<_>>().join("[[member]]");
    refused(
        &one,
        expect![[
            r#"dauphin.toml:2:1: "quorum" needs 1 replica to hold a commit, and there are 0 that can: add members, choose "async", or on_shortage = "degrade""#
        ]],
    );
    accepted(&one.replace("[cluster]", "[cluster]\ndurability = \"async\""));
    accepted(&one.replace("[cluster]", "[cluster]\non_shortage = \"degrade\""));
    refused(
        &two,
        expect![[
            r#"dauphin.toml:2:1: two data members need `on_shortage`: "wait" (commits wait while the other is gone) or "degrade" (they go on with one copy)"#
        ]],
    );
    accepted(&two.replace("[cluster]", "[cluster]\non_shortage = \"wait\""));
    accepted(&two.replace("[cluster]", "[cluster]\ndurability = \"async\""));
    refused(
        &three(&[("[cluster]", "[cluster]\nrequired = 3")]),
        expect![
            "dauphin.toml:3:12: `required` is 3, but only 2 replicas can hold a commit (not the leader, a witness, a reporting member, or one that follows another)"
        ],
    );
    refused(
        &three(&[("[cluster]", "[cluster]\nrequired = 0")]),
        expect!["dauphin.toml:3:12: `required` is 0; allowed: a whole number from 1"],
    );
    refused(
        &three(&[("[cluster]", "[cluster]\nrequired = 1\ndurability = \"async\"")]),
        expect![[
            r#"dauphin.toml:3:12: `required` means nothing with durability "async": take it out, or choose "quorum""#
        ]],
    );
    let reporting = THREE
        .replace("name = \"m2\"", "name = \"m2\"\nreporting = true")
        .replace("name = \"m3\"", "name = \"m3\"\nreporting = true");
    refused(
        &reporting,
        expect![[
            r#"dauphin.toml:2:1: "quorum" needs 1 replica to hold a commit, and there are 0 that can: add members, choose "async", or on_shortage = "degrade""#
        ]],
    );
    let nobody = THREE.replace("[[member]]", "[[member]]\nnever_leader = true");
    refused(
        &nobody,
        expect![
            "dauphin.toml:3:8: no member may become leader: take `never_leader`, `reporting` or `delay` off one of them"
        ],
    );
}

#[test]
fn a_witness_has_no_data() {
    let witness = three(&[("name = \"m3\"", "name = \"m3\"\nkind = \"witness\"\npriority = 3")]);
    refused(
        &witness,
        expect![[r#"
        dauphin.toml:22:12: a witness has no data, so `priority` means nothing: take it out
        dauphin.toml:24:12: a witness has no data, so `sql_port` means nothing: take it out"#]],
    );
    let good = three(&[
        ("host = \"10.0.0.3\"\nsql_port = 5432", "host = \"10.0.0.3\"\nkind = \"witness\""),
        ("[cluster]", "[cluster]\non_shortage = \"wait\""),
    ]);
    accepted(&good);
    refused(
        &format!("{good}[local]\nmember = \"m3\"\ndata_dir = \"d\"\nstate_dir = \"s\"\nrun_dir = \"r\"\n"),
        expect![[r#"dauphin.toml:28:12: "m3" is a witness and holds no data: take `data_dir` out"#]],
    );
    let all = good.replace("sql_port = 5432", "kind = \"witness\"");
    refused(
        &all,
        expect![[r#"
        dauphin.toml:2:1: "quorum" needs 1 replica to hold a commit, and there are 0 that can: add members, choose "async", or on_shortage = "degrade"
        dauphin.toml:4:8: no member holds data: at least one [[member]] of kind "data" is needed"#]],
    );
}

#[test]
fn the_local_part_fits_the_members() {
    refused(
        &format!("{THREE}[local]\nmember = \"m9\"\nstate_dir = \"\"\n"),
        expect![[r#"
        dauphin.toml:25:1: `run_dir` is missing: a path, as in run_dir = "/run/dauphin"
        dauphin.toml:26:10: `member` is "m9", which no [[member]] is; there are m1, m2, m3
        dauphin.toml:27:13: `state_dir`: it is empty"#]],
    );
    refused(
        &format!("{THREE}[local]\nmember = \"m1\"\nstate_dir = \"s\"\nrun_dir = \"r\"\n"),
        expect![[r#"dauphin.toml:25:1: `data_dir` is missing: "m1" holds data"#]],
    );
    refused(
        &format!("{THREE}[proxy]\nlisten_write = \"6432\"\nwait_limit = \"10\"\nclients_max = 0\n"),
        expect![[r#"
            dauphin.toml:26:16: `listen_write`: "6432" is not an address with a port, as in "0.0.0.0:6432" or "[::]:6432"
            dauphin.toml:27:14: `wait_limit`: "10" has no unit: a duration is a whole number and one of ms, s, min, h, d, as in "30s"
            dauphin.toml:28:15: `clients_max` is 0; allowed: a whole number, 1 to 100000"#]],
    );
    refused(
        &format!("{THREE}[proxy]\nlisten_write = \"[::]:1\"\nlisten_read = \"[::]:1\"\n"),
        expect!["dauphin.toml:27:15: `listen_read` and `listen_write` are the same address"],
    );
    refused(
        &format!(
            "{THREE}[proxy]\nlisten_write = \"[::]:1\"\nmetrics_listen = \"[::]:1\"\nadmin_users = [\"\"]\nlog_slow = 5\n"
        ),
        expect![[r#"
            dauphin.toml:27:18: `metrics_listen` is an address that clients come to
            dauphin.toml:28:16: `admin_users`: "" is no role; a name has 1 to 63 bytes
            dauphin.toml:29:12: `log_slow` is 5; allowed: a duration, as in log_slow = "250ms""#]],
    );
    refused(
        &format!("{THREE}[proxy]\nlisten_write = \"[::]:1\"\nclient_certificates = \"require\"\n"),
        expect![
            "dauphin.toml:27:23: `client_certificates` needs `client_ca`: the file with the CAs that clients' certificates may be of"
        ],
    );
    refused(
        &format!("{THREE}[proxy]\nlisten_write = \"[::]:1\"\nclient_ca = \"ca.pem\"\nclient_certificates = \"off\"\n"),
        expect![[
            r#"dauphin.toml:27:13: `client_ca` is of no use while `client_certificates` is "off": "allow", "require" or "require-user""#
        ]],
    );
    refused(
        &format!("{THREE}[proxy]\nlisten_write = \"[::]:1\"\nclient_keepalive = \"3s\"\n"),
        expect!["dauphin.toml:27:20: `client_keepalive` is 3s; allowed: a duration, 5 s to 2 h"],
    );
}

#[test]
fn a_changed_specification_is_checked_like_a_file() {
    let mut spec = accepted(THREE).spec;
    assert_eq!(check::problems(&spec), []);
    spec.required = Some(5);
    spec.postgres.parameters.insert("fsync".to_owned(), "off".to_owned());
    let found: Vec<String> = check::problems(&spec).iter().map(ToString::to_string).collect();
    expect![[r#"
        cluster.required: `required` is 5, but only 2 replicas can hold a commit (not the leader, a witness, a reporting member, or one that follows another)
        postgres.parameters: `fsync` is Dauphin's own setting: without it no log is safe; it is always on"#]].assert_eq(&found.join("\n"));
}

/// `THREE` with another engine, more keys of `[cluster]`, and what comes after the members.
fn of_engine(engine: &str, cluster: &str, rest: &str) -> String {
    let three = THREE.replacen("[cluster]\n", &format!("[cluster]\nengine = \"{engine}\"\n{cluster}"), 1);
    format!("{three}{rest}")
}

#[test]
fn mysql_and_mariadb_have_a_section_of_their_own() {
    for engine in [EngineKind::Mysql, EngineKind::Mariadb] {
        let text = of_engine(
            engine.word(),
            "",
            "[mysql]\nsql_tls = \"off\"\nparameters = { max_connections = 300, innodb_buffer_pool_size = \"64M\" }\n",
        );
        let file = accepted(&text);
        assert_eq!((file.spec.engine, file.spec.sql_tls()), (engine, false));
        assert_eq!(file.spec.mysql.parameters["max_connections"], "300");
        assert_eq!(accepted(&file.render()), file);
        assert!(!file.render().contains("[postgres]"), "{}", file.render());
    }
    assert!(accepted(&of_engine("mysql", "", "")).spec.sql_tls(), "secure by default");
    assert_eq!(accepted(THREE).spec.engine, EngineKind::Postgres);
}

#[test]
fn what_another_engine_means_or_cannot_do_is_refused_with_what_to_choose() {
    let said = |text: &str| ClusterFile::parse("f", text).expect_err("a fault").to_string();
    let check = |text: &str, words: &[&str]| {
        let said = said(text);
        assert!(words.iter().all(|word| said.contains(word)), "{words:?} are not in: {said}");
    };
    check(&of_engine("mysql", "", "[postgres]\n"), &["[postgres] means nothing with engine \"mysql\"", "[mysql]"]);
    check(&format!("{THREE}[mysql]\n"), &["[mysql] means nothing with engine \"postgres\"", "[postgres]"]);
    check(
        &of_engine("mysql", "", "[proxy]\nlisten_write = \"0.0.0.0:6432\"\npool_size = 5\n"),
        &["`pool_size` means nothing for MySQL", "listen_write, listen_read"],
    );
    let by_port = of_engine("mysql", "", "[proxy]\nlisten_write = \"0.0.0.0:6432\"\nzone = \"a\"\n");
    assert!(accepted(&by_port).proxy.is_some());
    check(&of_engine("oracle", "", ""), &["`engine` is \"oracle\"", "\"mariadb\""]);
    check(&of_engine("mysql", "", "[mysql]\nparameters = { Bad = 1 }\n"), &["not the name of a setting"]);
    check(
        &of_engine("mariadb", "durability = \"sync\"\n", ""),
        &[
            "makes a commit wait for all of 2 replicas",
            "MariaDB waits for 1 only",
            "choose \"quorum\" with `required` = 1",
        ],
    );
    check(&of_engine("mariadb", "required = 2\n", ""), &["\"quorum\" asks for 2 replicas here", "set `required` = 1"]);
    // what it can do is taken
    for (engine, cluster) in [
        ("mariadb", ""),
        ("mariadb", "required = 1\n"),
        ("mariadb", "durability = \"async\"\n"),
        ("mysql", "durability = \"sync\"\n"),
    ] {
        accepted(&of_engine(engine, cluster, ""));
    }
}

#[test]
fn no_text_makes_it_panic() {
    // Every prefix, and every single byte taken out: a file that is being edited.
    for end in 0..WHOLE.len() {
        let _ = ClusterFile::parse("cut", &WHOLE[..end]);
        let _ = ClusterFile::parse("holed", &format!("{}{}", &WHOLE[..end], &WHOLE[end + 1..]));
    }
}
