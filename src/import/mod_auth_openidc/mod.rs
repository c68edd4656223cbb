//! Import of mod_auth_openidc: an Apache configuration with its directives.

mod apache;
mod app;
pub mod options;
mod provider;
mod proxy_pass;
mod require;
mod sections;
mod store;

use self::apache::Node;
use self::options::DIRECTIVES;
use self::sections::{Sections, uses_module};
use super::document::list;
use super::settings::{Position, Scope, Setting, SettingValue, Settings};
use super::{Import, ImportError, Imported};

/// Directives of Apache that are about Apache itself, or that Doorward does without a setting.
const IRRELEVANT: [&str; 4] = ["LoadModule", "ProxyPassReverse", "AuthType", "AuthName"];
/// Containers whose content counts as if they were not there.
const TRANSPARENT: [&str; 2] = ["IfModule", "IfVersion"];

/// A virtual host, or the main server.
struct Host {
    scope: Option<Scope>,
    /// The arguments of `VirtualHost`.
    addresses: Vec<String>,
    at: Option<Position>,
    sections: Sections,
}

/// Imports a configuration.
///
/// # Errors
/// It is too large, or its containers do not match.
pub fn import(name: &str, text: &str) -> Result<Imported, ImportError> {
    let nodes = apache::parse(name, text)?;
    let mut reader = Reader {
        settings: Settings::default(),
        hosts: Vec::new(),
        unused: Vec::new(),
    };
    let mut main = Host {
        scope: None,
        addresses: Vec::new(),
        at: None,
        sections: Sections::default(),
    };
    reader.read(&nodes, &mut main)?;
    let Reader {
        settings,
        hosts,
        unused,
    } = reader;
    let mut import = Import::new(settings);
    for host in unused {
        import.not_mapped(&host, "no directive of this virtual host is about logins");
    }
    app::server(&mut import, &hosts);
    import
        .document
        .set(&["session"], "key_files", list(["doorward.key"]));
    import.left_to_do(
        "session.key_files",
        None,
        "run `doorward keygen --out doorward.key`; the passphrase is not used again".to_owned(),
    );
    let scopes: Vec<_> = hosts.iter().map(|host| host.scope).collect();
    store::map(&mut import, &scopes);
    let hosts = if hosts.is_empty() {
        vec![main]
    } else {
        with_main(hosts, &main)
    };
    let providers = provider::map(&mut import, &hosts);
    let mut names = Vec::new();
    for (host, provider) in hosts.iter().zip(providers) {
        app::map(&mut import, host, &provider, &mut names);
    }
    let title = "Imported from mod_auth_openidc by `doorward import`.";
    let unknown = "a directive of Apache, not of mod_auth_openidc 2.4.20";
    Ok(import.finish(title, &[DIRECTIVES], unknown))
}

/// The hosts with the sections of the main server, which come before their own.
fn with_main(hosts: Vec<Host>, main: &Host) -> Vec<Host> {
    let add = |mut host: Host| {
        let own = std::mem::take(&mut host.sections.nodes);
        host.sections.nodes = main.sections.nodes.iter().cloned().chain(own).collect();
        host
    };
    hosts.into_iter().map(add).collect()
}

/// Sorts nodes into settings, virtual hosts and sections.
struct Reader {
    settings: Settings,
    hosts: Vec<Host>,
    /// Virtual hosts without logins.
    unused: Vec<Node>,
}

impl Reader {
    fn read(&mut self, nodes: &[Node], host: &mut Host) -> Result<(), ImportError> {
        for node in nodes {
            match &node.children {
                None if IRRELEVANT.iter().any(|name| node.is(name)) => {}
                None => self.settings.push(setting(node, host.scope))?,
                Some(children) if TRANSPARENT.iter().any(|name| node.is(name)) => {
                    self.read(children, host)?;
                }
                Some(children) if node.is("VirtualHost") => {
                    if !uses_module(children) {
                        self.unused.push(node.clone());
                        continue;
                    }
                    let mut own = Host {
                        scope: Some(Scope(self.hosts.len())),
                        addresses: node.arguments.clone(),
                        at: Some(node.at.clone()),
                        sections: Sections::default(),
                    };
                    // Later hosts have later numbers, also if hosts were nested.
                    self.read(children, &mut own)?;
                    self.hosts.push(own);
                }
                Some(_) => host.sections.nodes.push(node.clone()),
            }
        }
        Ok(())
    }
}

fn setting(node: &Node, scope: Option<Scope>) -> Setting {
    let known = DIRECTIVES.iter().find(|known| node.is(known.name));
    let value = |text: &String| SettingValue {
        written: node.name.clone(),
        text: text.clone(),
        at: node.at.clone(),
    };
    Setting {
        name: known.map_or_else(
            || node.name.to_ascii_lowercase(),
            |known| known.name.to_owned(),
        ),
        written: node.name.clone(),
        values: node.arguments.iter().map(value).collect(),
        at: node.at.clone(),
        scope,
    }
}

#[cfg(test)]
mod tests;
