//! What the demo tells, step by step. Every number in it was measured in this run.

use super::clients::{CLIENTS, Clients};
use super::sql::{self, Login};
use crate::failure::Failure;
use crate::say::{self, Progress, Tone};
use crate::verb::explain;
use crate::verb::status;
use dauphin_api::dto::{Cluster, Done, Explanation, Member, SwitchoverRequest};
use dauphin_api::{Client, Token};
use dauphin_lab::{Engine, Lab, LabProxy, Options, ProcessFault};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// Longest wait for any step after a fault.
const STEP_WAIT_MAX: Duration = Duration::from_secs(60);
/// How often the cluster is asked meanwhile.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// Rows by which a step is judged to have settled.
const SETTLED_ROWS: usize = 200;

/// What the steps share.
struct Stage<'a> {
    began: Instant,
    engine: Engine,
    lab: Lab,
    client: Client,
    runtime: &'a Handle,
}

/// Tells it all.
pub(super) fn tell(options: &Options, runtime: &Handle) -> Result<(), Failure> {
    let began = Instant::now();
    title(&format!("A replicated {} cluster that survives its leader", options.engine.name()));
    say::line("Three database servers on this machine: one leader that takes writes, two replicas that copy it.");
    let lab = come_up(options)?;
    let client = Client::new(lab.endpoints(), Token::new(&lab.token));
    let stage = Stage { began, engine: options.engine, lab, client, runtime };
    stage.done(&format!("three servers configured, cloned and healthy, behind a proxy: {}", seconds(began.elapsed())));
    stage.show()?;
    let clients = stage.table_and_clients()?;
    stage.rows_on_a_replica()?;
    let old = stage.takeover(&clients)?;
    let why: Explanation = stage.client.get("/v1/explain")?;
    stage.rejoin(&old)?;
    stage.switchover(&old, &clients)?;
    stage.count(clients)?;
    title("Why did a replica take over? (dauphin explain)");
    explain::lines(&why, say::colours_out()).iter().for_each(|line| say::line(&format!("    {line}")));
    say::line("");
    Ok(())
}

fn title(text: &str) {
    say::line("");
    say::line(&Tone::Bold.paint(&format!("== {text}"), say::colours_out()));
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

fn come_up(options: &Options) -> Result<Lab, Failure> {
    let mut progress = Progress::new();
    Ok(dauphin_lab::up(options, &mut |text| progress.say(text))?)
}

impl Stage<'_> {
    fn done(&self, text: &str) {
        let at = Tone::Dim.paint(&format!("[{:5.1} s]", self.began.elapsed().as_secs_f64()), say::colours_out());
        say::line(&format!("{at} {text}"));
    }

    fn show(&self) -> Result<(), Failure> {
        status::lines(&self.client.cluster()?, say::colours_out())
            .iter()
            .for_each(|line| say::line(&format!("    {line}")));
        Ok(())
    }

    fn proxy(&self) -> Result<&LabProxy, Failure> {
        self.lab.proxy.as_ref().ok_or_else(|| Failure::failed("the demo's cluster has no proxy", ""))
    }

    fn login(&self, port: u16) -> Result<Login, Failure> {
        let app = &self.lab.app;
        Ok(Login::new(self.engine, self.proxy()?.host.as_str(), port, &app.user, &app.password))
    }

    /// Runs a query through this port; the first column of its rows.
    fn ask(&self, port: u16, query: &str) -> Result<Vec<String>, Failure> {
        let login = self.login(port)?;
        let failed = |why: String| Failure::failed(format!("the query through port {port} failed: {why}"), "");
        self.runtime.block_on(async {
            let mut session = login.connect().await.ok_or_else(|| failed("no connection".into()))?;
            session.rows(query).await.map_err(failed)
        })
    }

    /// The same of a query that gives one line.
    fn ask_one(&self, port: u16, query: &str) -> Result<String, Failure> {
        Ok(self.ask(port, query)?.into_iter().next().unwrap_or_default())
    }

    /// Waits for the cluster to be as `wanted`; how long it took.
    fn until(&self, what: &str, wanted: impl Fn(&Cluster) -> bool) -> Result<(Cluster, Duration), Failure> {
        let since = Instant::now();
        loop {
            if let Ok(cluster) = self.client.cluster()
                && wanted(&cluster)
            {
                return Ok((cluster, since.elapsed()));
            }
            if since.elapsed() > STEP_WAIT_MAX {
                let text = format!("{what} did not happen within {} s", STEP_WAIT_MAX.as_secs());
                return Err(Failure::failed(text, "KEEP=1 make demo, then look: dauphin lab show, dauphin explain"));
            }
            std::thread::sleep(ASK_EVERY);
        }
    }

    fn table_and_clients(&self) -> Result<Clients, Failure> {
        title("A table, and eight clients that write");
        let port = self.proxy()?.write_port;
        self.ask(port, sql::table(self.engine))?;
        self.done(&format!("created the table orders through the proxy's write port {port}: it leads to the leader"));
        let clients = Clients::start(self.runtime, &self.login(port)?);
        self.settle(&clients, Instant::now())?;
        self.done(&format!(
            "{CLIENTS} clients insert rows without pause; {} acknowledged so far",
            clients.acknowledged()
        ));
        Ok(clients)
    }

    /// Waits until clients write again.
    fn settle(&self, clients: &Clients, since: Instant) -> Result<(), Failure> {
        let deadline = Instant::now() + STEP_WAIT_MAX;
        while clients.acknowledged_since(since) < SETTLED_ROWS {
            if Instant::now() > deadline {
                return Err(Failure::failed("the clients cannot write", "see the logs in the lab's folder"));
            }
            std::thread::sleep(ASK_EVERY);
        }
        Ok(())
    }

    fn rows_on_a_replica(&self) -> Result<(), Failure> {
        title("The rows are on the replicas");
        let port = self.proxy()?.read_port;
        let count = self.ask_one(port, sql::count(self.engine))?;
        self.done(&format!("through the read port {port}: {count}"));
        Ok(())
    }

    /// Kills the leader; returns its name.
    fn takeover(&self, clients: &Clients) -> Result<String, Failure> {
        title("The takeover: the leader dies");
        let before = self.client.cluster()?;
        let old = before.leader.unwrap_or_default();
        let killed = Instant::now();
        dauphin_lab::fault(&self.lab, &old, ProcessFault::KillNode)?;
        self.done(&format!("killed {old}, the leader: its agent, its guard and its server, with SIGKILL"));
        let (after, _) = self.until("the takeover", |c| c.open && c.leader.as_ref().is_some_and(|l| *l != old))?;
        let took = killed.elapsed();
        let new = after.leader.clone().unwrap_or_default();
        self.settle(clients, Instant::now())?;
        self.done(&format!(
            "takeover: {new} is the leader of term {}, open {} after the kill",
            after.term.unwrap_or_default(),
            seconds(took)
        ));
        let gap = clients.longest_gap(killed);
        self.done(&format!(
            "write gap seen by the clients: {}; they write on, now to {new}",
            Tone::Bold.paint(&seconds(gap), say::colours_out())
        ));
        let port = self.proxy()?.write_port;
        let writable = self.ask_one(port, sql::writable(self.engine))?;
        self.done(&format!("{new} was a replica; promoted, it is {writable}"));
        Ok(old)
    }

    fn rejoin(&self, old: &str) -> Result<(), Failure> {
        title("The rejoin: the old leader comes back as a replica");
        dauphin_lab::heal(&self.lab, Some(old))?;
        self.done(&format!("started {old}'s agent again, as a machine that boots would"));
        let vouches =
            |m: &Member| m.name == old && m.role == "replica" && m.state == "running" && m.sync_state.is_some();
        let back = |c: &Cluster| c.health == "healthy" && c.members.iter().any(vouches);
        let (_, took) = self.until("the rejoin", back)?;
        self.done(&format!(
            "rejoin: {old} is a replica that commits count on again, {} after its start",
            seconds(took)
        ));
        self.show()
    }

    fn switchover(&self, to: &str, clients: &Clients) -> Result<(), Failure> {
        title("A planned switchover");
        let (errors, since) = (clients.errors(), Instant::now());
        let request = SwitchoverRequest { to: Some(to.to_owned()) };
        let done: Done = self.client.post("/v1/switchover", &request, &mut |_| {})?;
        let took = since.elapsed();
        self.settle(clients, Instant::now())?;
        self.done(&format!("{} ({} in all)", done.message, seconds(took)));
        self.done(&format!(
            "write gap seen by the clients: {}; errors they saw: {}",
            Tone::Bold.paint(&seconds(clients.longest_gap(since)), say::colours_out()),
            clients.errors() - errors
        ));
        Ok(())
    }

    /// Stops the clients and looks for every row that was acknowledged to them.
    fn count(&self, clients: Clients) -> Result<(), Failure> {
        title("Nothing acknowledged is lost");
        let acknowledged = clients.stop(self.runtime);
        let port = self.proxy()?.write_port;
        let rows = self.ask(port, sql::ALL)?;
        let there: BTreeSet<(i32, i32)> = rows
            .iter()
            .filter_map(|pair| pair.split_once(':').and_then(|(c, n)| Some((c.parse().ok()?, n.parse().ok()?))))
            .collect();
        let lost = acknowledged.difference(&there).count();
        self.done(&format!(
            "{} rows were acknowledged to the clients, {} are in the table: {lost} acknowledged writes lost",
            acknowledged.len(),
            there.len()
        ));
        if lost > 0 {
            return Err(Failure::failed(
                format!("{lost} acknowledged writes are lost"),
                "KEEP=1 make demo, and report it",
            ));
        }
        Ok(())
    }
}
