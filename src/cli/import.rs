//! `doorward import`: writes a configuration from that of another product, and names everything that
//! is not mapped.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args, Subcommand};

use super::{Exit, Output, fail};
use crate::import::oauth2_proxy::{self, Source};
use crate::import::{ImportError, Imported, MAX_BYTES, mod_auth_openidc};

/// The options of `doorward import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    #[command(subcommand)]
    product: Product,
}

/// The products.
#[derive(Debug, Subcommand)]
enum Product {
    /// Import from oauth2-proxy: its configuration file, environment variables and flags
    #[command(name = "oauth2-proxy")]
    OAuth2Proxy(OAuth2ProxyArgs),
    /// Import from mod_auth_openidc: an Apache configuration
    #[command(name = "mod_auth_openidc")]
    ModAuthOpenidc(ModAuthOpenidcArgs),
}

/// The options of `doorward import oauth2-proxy`. Flags replace variables, and variables replace the
/// file.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("source").required(true).multiple(true)))]
struct OAuth2ProxyArgs {
    /// The configuration file of oauth2-proxy (TOML)
    #[arg(group = "source")]
    file: Option<PathBuf>,
    /// The alpha configuration of oauth2-proxy (YAML)
    #[arg(long, value_name = "FILE", group = "source")]
    alpha_config: Option<PathBuf>,
    /// A file with environment variables, one `OAUTH2_PROXY_NAME=value` in each line
    #[arg(long, value_name = "FILE", group = "source")]
    env_file: Option<PathBuf>,
    /// Read the variables `OAUTH2_PROXY_…` of this process too
    #[arg(long, group = "source")]
    env: bool,
    /// The flags of oauth2-proxy, after `--`
    #[arg(last = true, value_name = "FLAGS", group = "source")]
    flags: Vec<String>,
    #[command(flatten)]
    to: OutputArgs,
}

/// The options of `doorward import mod_auth_openidc`.
#[derive(Debug, Args)]
struct ModAuthOpenidcArgs {
    /// The configuration file of Apache. Files that it includes are not read
    file: PathBuf,
    #[command(flatten)]
    to: OutputArgs,
}

/// Where the configuration goes.
#[derive(Debug, Args)]
struct OutputArgs {
    /// The file to write, which must not exist [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// `doorward import`: writes a configuration. The notices go to standard error.
///
/// # Errors
/// The output cannot be written.
pub fn import(
    arguments: &ImportArgs,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    output: &mut Output<'_>,
) -> io::Result<Exit> {
    let (to, imported) = match &arguments.product {
        Product::OAuth2Proxy(arguments) => {
            (&arguments.to, import_oauth2_proxy(arguments, variables))
        }
        Product::ModAuthOpenidc(arguments) => {
            let text = read(&arguments.file);
            let imported =
                text.and_then(|text| Ok(mod_auth_openidc::import(&name(&arguments.file), &text)?));
            (&arguments.to, imported)
        }
    };
    match imported {
        Ok(imported) => write(&imported, to.output.as_deref(), output),
        Err(error) => fail(output, &error),
    }
}

/// Why an input cannot be imported.
#[derive(Debug, thiserror::Error)]
enum InputError {
    #[error("cannot read {name}: {error}")]
    Unreadable { name: String, error: io::Error },
    #[error(transparent)]
    Import(#[from] ImportError),
}

fn import_oauth2_proxy(
    arguments: &OAuth2ProxyArgs,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Imported, InputError> {
    let config = named_text(arguments.file.as_deref())?;
    let alpha = named_text(arguments.alpha_config.as_deref())?;
    let variable_file = named_text(arguments.env_file.as_deref())?;
    let text = |variable: OsString| variable.into_string().ok();
    let variables = variables.into_iter().filter(|_| arguments.env);
    let variables: Vec<(String, String)> = variables
        .filter_map(|(name, value)| Some((text(name)?, text(value)?)))
        .collect();
    let config = config
        .as_ref()
        .map(|NamedText { name, text }| Source::Config { name, text });
    let alpha = alpha
        .as_ref()
        .map(|NamedText { name, text }| Source::Alpha { name, text });
    let variable_file = variable_file
        .as_ref()
        .map(|NamedText { name, text }| Source::VariableFile { name, text });
    let sources: Vec<Source<'_>> = config
        .into_iter()
        .chain(alpha)
        .chain(variable_file)
        .chain([
            Source::Variables(&variables),
            Source::Arguments(&arguments.flags),
        ])
        .collect();
    Ok(oauth2_proxy::import(&sources)?)
}

/// A file's name and text.
struct NamedText {
    name: String,
    text: String,
}

fn named_text(file: Option<&Path>) -> Result<Option<NamedText>, InputError> {
    let Some(file) = file else {
        return Ok(None);
    };
    let (name, text) = (name(file), read(file)?);
    Ok(Some(NamedText { name, text }))
}

fn name(file: &Path) -> String {
    file.display().to_string()
}

/// Reads a file of at most [`MAX_BYTES`]; of a larger one, a byte more.
fn read(file: &Path) -> Result<String, InputError> {
    let limit = u64::try_from(MAX_BYTES)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    let mut text = String::new();
    let opened = File::open(file);
    let read = opened.and_then(|file| file.take(limit).read_to_string(&mut text));
    match read {
        Ok(_) => Ok(text),
        Err(error) => Err(InputError::Unreadable {
            name: name(file),
            error,
        }),
    }
}

fn write(imported: &Imported, file: Option<&Path>, output: &mut Output<'_>) -> io::Result<Exit> {
    match file {
        None => output.out.write_all(imported.config.as_bytes())?,
        Some(file) => {
            let created = OpenOptions::new().write(true).create_new(true).open(file);
            let written = created.and_then(|mut file| file.write_all(imported.config.as_bytes()));
            match written {
                Ok(()) => writeln!(output.out, "wrote {}", file.display())?,
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    let file = file.display();
                    return fail(
                        output,
                        &format_args!("{file} exists already, and is not overwritten"),
                    );
                }
                Err(error) => {
                    let file = file.display();
                    return fail(output, &format_args!("cannot write {file}: {error}"));
                }
            }
        }
    }
    for notice in &imported.notices {
        writeln!(output.err, "{notice}")?;
    }
    Ok(if imported.is_complete() {
        Exit::Success
    } else {
        Exit::Incomplete
    })
}
