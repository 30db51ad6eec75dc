//! The supervisor's connections: who is let in, who hung up, what was said. A part of the supervisor; what an order
//! means is in `orders`.

use super::{CONNECTIONS_MAX, HELLO_WAIT_MAX, Ready, Supervisor, told};
use crate::boottime;
use crate::connection::Connection;
use crate::protocol::{NumberedReply, OnAgentDeath, Reply};

impl Supervisor {
    /// Hears everybody who has something to say, then opens the door.
    pub(super) fn talk(&mut self, ready: &Ready) {
        let waiting: Vec<u64> = self
            .connections
            .iter_mut()
            .zip(&ready.connections)
            .filter(|(_, ready)| **ready)
            .map(|(connection, _)| {
                connection.flush();
                connection.fill();
                connection.id
            })
            .collect();
        for id in waiting {
            self.listen_to(id);
        }
        self.hang_up();
        if ready.knock {
            self.let_in();
        }
    }

    fn let_in(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            if self.connections.len() >= CONNECTIONS_MAX {
                self.log.line("a connection was turned away: too many are open");
                continue;
            }
            match Connection::new(self.next_connection, stream, boottime()) {
                Ok(connection) => self.connections.push(connection),
                Err(error) => self.log.line(&format!("a connection was turned away: {error}")),
            }
            self.next_connection += 1;
        }
    }

    /// Forgets connections that have ended. When the agent's is among them, the agent is dead or has left.
    fn hang_up(&mut self) {
        let now = boottime();
        let agent = self.agent;
        self.connections.retain(|connection| {
            let late = Some(connection.id) != agent && now.since(connection.since) > HELLO_WAIT_MAX;
            !connection.closed && !late
        });
        if agent.is_none() || self.connections.iter().any(|connection| Some(connection.id) == agent) {
            return;
        }
        self.agent = None;
        self.idle_since = now;
        match (&self.server, self.on_agent_death) {
            (None, _) => self.log.line("the agent is gone; no server runs"),
            (Some(_), OnAgentDeath::Keep) => self.log.line("the agent is gone; the server runs on, for the next agent"),
            (Some(_), OnAgentDeath::KillNow) => {
                let killed = self.kill();
                self.log.line(&format!("the agent is gone: the server was killed ({})", told(&killed)));
            }
        }
    }

    fn listen_to(&mut self, id: u64) {
        loop {
            let Some(connection) = self.connections.iter_mut().find(|connection| connection.id == id) else { return };
            match connection.next() {
                Ok(Some(message)) => {
                    let reply = self.answer(id, message.request);
                    self.say(id, &NumberedReply { id: message.id, reply });
                }
                Ok(None) => return,
                Err(error) => {
                    connection.closed = true;
                    self.log.line(&format!("a connection spoke nonsense and was ended: {error}"));
                    return;
                }
            }
        }
    }

    fn say(&mut self, connection: u64, message: &NumberedReply) {
        let quiet = message.id == 0 && matches!(message.reply, Reply::Done | Reply::Pong { .. });
        if quiet {
            return;
        }
        if let Some(connection) = self.connections.iter_mut().find(|c| c.id == connection) {
            connection.say(message);
        }
    }

    /// Tells the agent of something that it did not ask for.
    pub(super) fn tell(&mut self, reply: Reply) {
        if let Some(agent) = self.agent {
            self.say(agent, &NumberedReply { id: 0, reply });
        }
    }
}
