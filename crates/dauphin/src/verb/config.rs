//! `dauphin config`: the shared settings: shown, changed after a check and a difference, taken back.

use crate::cli::{Config as Verb, ConfigSet, Target};
use crate::failure::{DONE, Failure, Outcome};
use crate::look::{Table, dash};
use crate::say::{self, Progress, Tone};
use crate::target;
use dauphin_api::Client;
use dauphin_api::dto::{Config, ConfigChange, ConfigHistory, ConfigSetRequest, Difference, NoArguments};
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::Path;

pub(crate) fn run(target: &Target, verb: Verb) -> Outcome {
    let client = target::client(target)?;
    match verb {
        Verb::Show => show(target, &client),
        Verb::Set(options) => set(target, &client, options),
        Verb::Edit => edit(target, &client),
        Verb::Undo => {
            let mut progress = Progress::new();
            let change = client.post("/v1/config/undo", &NoArguments {}, &mut |text| progress.say(text))?;
            drop(progress);
            report(target, &change)
        }
        Verb::History => history(target, &client),
    }
}

fn show(target: &Target, client: &Client) -> Outcome {
    let config: Config = client.get("/v1/config")?;
    if target.json {
        say::json(&config)?;
        return Ok(DONE);
    }
    say::line(&format!("# version {}", config.version));
    say::line(config.text.trim_end());
    for (member, settings) in &config.pending_restart {
        say::note(&format!("{member} must restart for {} (dauphin restart {member})", settings.join(", ")));
    }
    Ok(DONE)
}

fn set(target: &Target, client: &Client, options: ConfigSet) -> Outcome {
    let mut request =
        ConfigSetRequest { unset: options.unset, dry_run: options.dry_run, ..ConfigSetRequest::default() };
    for pair in options.set {
        let Some((key, value)) = pair.split_once('=') else {
            let next = "dauphin config set postgres.parameters.work_mem=64MB";
            return Err(Failure::usage(format!("{pair:?} is not KEY=VALUE"), next));
        };
        request.set.insert(key.trim().to_owned(), value.trim().to_owned());
    }
    apply(target, client, &request)
}

fn apply(target: &Target, client: &Client, request: &ConfigSetRequest) -> Outcome {
    let mut progress = Progress::new();
    let change: ConfigChange = client.post("/v1/config", request, &mut |text| progress.say(text))?;
    drop(progress);
    report(target, &change)
}

fn report(target: &Target, change: &ConfigChange) -> Outcome {
    if target.json {
        say::json(change)?;
        return Ok(DONE);
    }
    differences(&change.differences).iter().for_each(|line| say::line(line));
    say::line(&change.message);
    Ok(DONE)
}

fn differences(list: &[Difference]) -> Vec<String> {
    let colours = say::colours_out();
    let line = |d: &Difference| {
        let value = |v: &Option<String>| v.clone().unwrap_or_else(|| "(default)".to_owned());
        let from = Tone::Bad.paint(&value(&d.from), colours);
        let to = Tone::Good.paint(&value(&d.to), colours);
        format!("  {}: {from} -> {to}  ({})", d.key, d.applies)
    };
    list.iter().map(line).collect()
}

/// Lets a person change the text, shows the difference, asks, applies.
fn edit(target: &Target, client: &Client) -> Outcome {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return Err(Failure::usage("config edit needs a terminal", "dauphin config set KEY=VALUE"));
    }
    let before: Config = client.get("/v1/config")?;
    let text = in_editor(&before.text)?;
    if text == before.text {
        say::line("nothing was changed");
        return Ok(DONE);
    }
    let mut request = ConfigSetRequest {
        text: Some(text),
        expect_version: Some(before.version),
        dry_run: true,
        ..ConfigSetRequest::default()
    };
    let change: ConfigChange = client.post("/v1/config", &request, &mut |_| {})?;
    if change.differences.is_empty() {
        say::line("nothing was changed");
        return Ok(DONE);
    }
    differences(&change.differences).iter().for_each(|line| say::line(line));
    if !confirmed("apply? [y/N] ") {
        say::line("left as it was");
        return Ok(DONE);
    }
    request.dry_run = false;
    apply(target, client, &request)
}

fn in_editor(text: &str) -> Result<String, Failure> {
    let folder = std::env::temp_dir().join(format!("dauphin-config-{}", std::process::id()));
    let file = folder.join("dauphin.toml");
    dauphin_lab::make_private(&folder)?;
    dauphin_lab::write_private(&file, text.as_bytes())?;
    let edited = run_editor(&file);
    let _ = std::fs::remove_dir_all(&folder);
    edited
}

fn run_editor(file: &Path) -> Result<String, Failure> {
    let named = ["VISUAL", "EDITOR"].iter().find_map(|name| std::env::var_os(name).filter(|v| !v.is_empty()));
    let editor = named.unwrap_or_else(|| OsString::from("vi"));
    let failed = |why: String| Failure::failed(format!("the editor {}: {why}", editor.display()), "set EDITOR");
    // an editor's name may carry options
    let mut words = editor.to_str().unwrap_or("vi").split_whitespace();
    let status = std::process::Command::new(words.next().unwrap_or("vi")).args(words).arg(file).status();
    match status {
        Ok(status) if status.success() => std::fs::read_to_string(file).map_err(|e| failed(e.to_string())),
        Ok(status) => Err(failed(format!("ended with {status}; nothing was changed"))),
        Err(error) => Err(failed(error.to_string())),
    }
}

fn confirmed(question: &str) -> bool {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(question.as_bytes()).and_then(|()| out.flush());
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

fn history(target: &Target, client: &Client) -> Outcome {
    let history: ConfigHistory = client.get("/v1/config/history")?;
    if target.json {
        say::json(&history)?;
        return Ok(DONE);
    }
    let mut table = Table::new(&["VERSION", "AT", "KEY", "FROM", "TO"]);
    for version in &history.versions {
        let row = |key: String, from: String, to: String| {
            let at = version.at.chars().take(19).collect();
            let cells = [version.version.to_string(), at, key, from, to];
            cells.into_iter().map(|text| (text, Tone::Plain)).collect::<Vec<_>>()
        };
        if version.differences.is_empty() {
            table.row(row("-".into(), "-".into(), "-".into()));
        }
        for d in &version.differences {
            table.row(row(d.key.clone(), dash(d.from.as_ref()), dash(d.to.as_ref())));
        }
    }
    table.lines(say::colours_out()).iter().for_each(|line| say::line(line));
    Ok(DONE)
}
