//! Which cluster a verb is about: the agents' addresses and the token, from `--config` or `--api`.

use crate::cli::Target;
use crate::failure::Failure;
use dauphin_api::{Client, Token};
use dauphin_model::ClusterFile;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

const HOW: &str = "name the cluster: --config FILE (or DAUPHIN_CONFIG), or --api http://HOST:PORT";

/// A client of the cluster's agents.
pub(crate) fn client(target: &Target) -> Result<Client, Failure> {
    let given = target.token_file.as_deref().map(|path| token(path, true)).transpose()?.flatten();
    if let Some(url) = &target.api {
        let endpoint = Client::endpoint_of(url).map_err(|text| Failure::usage(text, HOW))?;
        return Ok(Client::new(vec![endpoint], given));
    }
    let path = config_path(target)?;
    let file = load(path)?;
    let token = match (given, token_path(&file, path)) {
        (Some(token), _) => Some(token),
        // reading needs none: a reader of the file need not be able to read the token
        (None, Some(path)) => token(&path, false)?,
        (None, None) => None,
    };
    Ok(Client::new(endpoints(&file), token))
}

/// The file that says which cluster is meant.
pub(crate) fn config_path(target: &Target) -> Result<&Path, Failure> {
    target.config.as_deref().ok_or_else(|| Failure::usage("no cluster is named", HOW))
}

/// Reads a configuration file, its paths made whole.
pub(crate) fn load(path: &Path) -> Result<ClusterFile, Failure> {
    let text = fs::read_to_string(path).map_err(|e| {
        let what = if e.kind() == ErrorKind::NotFound {
            "there is no such file".to_owned()
        } else if e.kind() == ErrorKind::PermissionDenied {
            "this user may not read it".to_owned()
        } else {
            e.to_string()
        };
        Failure::usage(format!("{}: {what}", path.display()), HOW)
    })?;
    let mut file = ClusterFile::parse(&path.display().to_string(), &text)
        .map_err(|e| Failure::usage(e.to_string(), "docs/configuration.md lists every key"))?;
    file.resolve(&folder_of(path));
    Ok(file)
}

/// The absolute folder that a file lies in.
pub(crate) fn folder_of(path: &Path) -> PathBuf {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned())
}

/// The agents' HTTP addresses, this machine's member first.
pub(crate) fn endpoints(file: &ClusterFile) -> Vec<String> {
    let here = file.local.as_ref().map(|l| &l.member);
    let mut members: Vec<_> = file.spec.members.iter().collect();
    members.sort_by_key(|m| Some(&m.name) != here);
    members.iter().map(|m| address(&m.host, m.api_port)).collect()
}

fn address(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// The file with the token: named by the configuration, or `token` beside an operator's file.
fn token_path(file: &ClusterFile, path: &Path) -> Option<PathBuf> {
    let local = file.local.as_ref().map(|l| l.token_file.clone());
    let named = local.or_else(|| file.proxy.as_ref().and_then(|p| p.token_file.clone()));
    named.or_else(|| Some(folder_of(path).join("token")).filter(|p| p.exists()))
}

fn token(path: &Path, must: bool) -> Result<Option<Token>, Failure> {
    match fs::read_to_string(path) {
        Ok(text) => match Token::new(&text) {
            Some(token) => Ok(Some(token)),
            None => {
                Err(Failure::usage(format!("the token file {} is empty", path.display()), "dauphin init makes one"))
            }
        },
        Err(_) if !must => Ok(None),
        Err(error) => Err(Failure::usage(format!("--token-file {}: {error}", path.display()), "")),
    }
}
