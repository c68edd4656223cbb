//! Import of oauth2-proxy: its configuration file, its environment variables, and its flags.

mod access;
mod alpha;
mod app;
mod input;
pub mod options;
mod provider;
mod routes;
mod server;
mod store;
mod upstreams;

use self::options::OPTIONS;
use super::settings::Settings;
use super::{Import, ImportError, Imported};

/// A source of options. Later ones have precedence.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// The configuration file.
    Config {
        /// The name for positions.
        name: &'a str,
        /// The text: TOML.
        text: &'a str,
    },
    /// The alpha configuration.
    Alpha {
        /// The name for positions.
        name: &'a str,
        /// The text: YAML.
        text: &'a str,
    },
    /// A file of environment variables, one `NAME=value` in each line.
    VariableFile {
        /// The name for positions.
        name: &'a str,
        /// The text.
        text: &'a str,
    },
    /// Environment variables.
    Variables(&'a [(String, String)]),
    /// Command line arguments.
    Arguments(&'a [String]),
}

/// Imports the sources.
///
/// # Errors
/// A source is too large or malformed.
pub fn import(sources: &[Source<'_>]) -> Result<Imported, ImportError> {
    let mut settings = Settings::default();
    for source in sources {
        input::read(*source, &mut settings)?;
    }
    let mut import = Import::new(settings);
    let app = app::name(&import);
    server::map(&mut import);
    import.document.set(
        &["session"],
        "key_files",
        super::document::list(["doorward.key"]),
    );
    import.left_to_do(
        "session.key_files",
        None,
        "run `doorward keygen --out doorward.key`; the cookie secret is not used again".to_owned(),
    );
    app::session(&mut import);
    store::map(&mut import);
    let kind = provider::map(&mut import);
    app::map(&mut import, &app);
    routes::map(&mut import, &app);
    access::map(&mut import, &app, kind);
    let title = "Imported from oauth2-proxy by `doorward import`.";
    Ok(import.finish(
        title,
        &[OPTIONS, alpha::OPTIONS],
        "not an option of oauth2-proxy 7.15",
    ))
}

#[cfg(test)]
mod tests;
