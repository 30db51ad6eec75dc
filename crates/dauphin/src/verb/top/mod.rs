//! `dauphin top`: the cluster on the whole terminal, and keys for the same acts as the verbs'. This file is the terminal and
//! the loop; what the keys mean is `state`, how it looks is `screen`, who asks the agents is `feed`.

mod feed;
mod screen;
mod state;

use crate::cli::Target;
use crate::failure::{DONE, Failure, Outcome};
use crate::{say, target};
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use state::{Act, State};
use std::io::IsTerminal;
use std::sync::mpsc::TryRecvError;
use std::time::Duration;

/// How long a key is waited for before the screen is drawn again.
const DRAW_EVERY: Duration = Duration::from_millis(100);

pub(crate) fn run(target: &Target) -> Outcome {
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err(Failure::usage("top needs a terminal", "dauphin status --watch"));
    }
    let client = target::client(target)?;
    let (updates, feed) = feed::start(client);
    let mut state = State::new(say::colours_out());
    let mut terminal = ratatui::try_init().map_err(lost)?;
    let ended = loop {
        let heard = loop {
            match updates.try_recv() {
                Ok(update) => state.take(update),
                Err(ended) => break ended,
            }
        };
        if heard == TryRecvError::Disconnected {
            break Err(Failure::failed("nobody asks the agents any more", "dauphin top"));
        }
        if let Err(error) = terminal.draw(|frame| screen::draw(frame, &state)) {
            break Err(lost(error));
        }
        match next_key() {
            Ok(Some(key)) => match state.key(key) {
                Some(Act::Quit) => break Ok(DONE),
                Some(Act::Give(command)) => feed.give(command),
                Some(Act::Ask(question)) => feed.ask(question),
                None => {}
            },
            Ok(None) => {}
            Err(error) => break Err(lost(error)),
        }
    };
    ratatui::restore();
    ended
}

fn next_key() -> std::io::Result<Option<event::KeyEvent>> {
    if !event::poll(DRAW_EVERY)? {
        return Ok(None);
    }
    Ok(match event::read()? {
        Event::Key(key) if key.kind == KeyEventKind::Press => Some(key),
        _ => None,
    })
}

fn lost(error: std::io::Error) -> Failure {
    Failure::failed(format!("the terminal: {error}"), "dauphin status --watch")
}
