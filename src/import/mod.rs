//! Import of other proxies' configurations. PURE: text in, a configuration and notices out.
//!
//! Each product has a parser, which makes `settings` with positions, and functions that map them to
//! a `document`. Other settings are reported from the product's table of options. Secrets
//! are never copied: the configuration names a file for each.

mod algorithms;
mod document;
mod duration;
pub mod mod_auth_openidc;
pub mod oauth2_proxy;
pub mod options;
mod path_regex;
mod redirect_uri;
mod redis_url;
mod rules;
mod settings;
mod upstream_route;

use std::fmt;

pub use self::settings::Position;

use self::document::Document;
use self::options::KnownOption;
use self::rules::EarlierRule;
use self::settings::Settings;

/// The largest input file.
pub const MAX_BYTES: usize = 1024 * 1024;
/// The most settings of an input.
const MAX_SETTINGS: usize = 10_000;

/// An imported configuration.
#[derive(Debug)]
pub struct Imported {
    /// The configuration, with the notices as comments.
    pub config: String,
    /// The notices, in the order of the input.
    pub notices: Vec<Notice>,
}

impl Imported {
    /// Whether everything was mapped and nothing is left to decide.
    pub fn is_complete(&self) -> bool {
        let mut notices = self.notices.iter();
        notices.all(|notice| !matches!(notice.kind, NoticeKind::NotMapped | NoticeKind::Decide))
    }
}

/// One remark about the import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Its kind.
    pub kind: NoticeKind,
    /// The position in the input; `None` if it is about something absent.
    pub at: Option<Position>,
    /// The name of the setting as written in the input, or the key of the configuration.
    pub name: String,
    /// The reason or the instruction, without values that may be secrets.
    pub message: String,
}

/// The kinds of notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    /// The setting has no equivalent in the configuration.
    NotMapped,
    /// The operator must decide. The place in the configuration is marked.
    Decide,
    /// The setting is mapped, with a difference.
    Changed,
    /// Something to do before the first start.
    ToDo,
}

impl fmt::Display for NoticeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotMapped => "not mapped",
            Self::Decide => "decide",
            Self::Changed => "changed",
            Self::ToDo => "to do",
        })
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, name, .. } = self;
        let message = document::one_line(&self.message);
        let name = document::one_line(name);
        match &self.at {
            Some(at) => write!(f, "{kind}: {at}: {name}: {message}"),
            None => write!(f, "{kind}: {name}: {message}"),
        }
    }
}

/// Why an input cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It has more than [`MAX_BYTES`] bytes.
    #[error("{0} is larger than 1 MiB")]
    TooLarge(String),
    /// It has too many settings.
    #[error("there are more than {MAX_SETTINGS} settings")]
    TooMany,
    /// It has another format.
    #[error("{at}: {message}")]
    Malformed {
        /// Where the error is.
        at: Position,
        /// A description of the error, without text of the input.
        message: String,
    },
}

/// An import in progress.
struct Import {
    settings: Settings,
    document: Document,
    notices: Vec<Notice>,
    earlier_rules: Vec<EarlierRule>,
}

impl Import {
    fn new(settings: Settings) -> Self {
        Self {
            settings,
            document: Document::default(),
            notices: Vec::new(),
            earlier_rules: Vec::new(),
        }
    }

    fn note(&mut self, kind: NoticeKind, source: &impl Named, message: impl Into<String>) {
        self.notices.push(Notice {
            kind,
            at: Some(source.position().clone()),
            name: source.written().to_owned(),
            message: message.into(),
        });
    }

    fn not_mapped(&mut self, source: &impl Named, message: impl Into<String>) {
        self.note(NoticeKind::NotMapped, source, message);
    }

    fn changed(&mut self, source: &impl Named, message: impl Into<String>) {
        self.note(NoticeKind::Changed, source, message);
    }

    /// Marks the place in the configuration where the operator must set `key`.
    fn decide(
        &mut self,
        section: &[&str],
        key: &str,
        at: Option<&Position>,
        message: impl Into<String>,
    ) {
        let message = message.into();
        let mark = format!("DECIDE `{key}`: {message}");
        self.document.comment(section, mark);
        let path = [section, &[key]].concat().join(".");
        self.notices.push(Notice {
            kind: NoticeKind::Decide,
            at: at.cloned(),
            name: path,
            message,
        });
    }

    fn left_to_do(&mut self, name: impl Into<String>, at: Option<&Position>, message: String) {
        self.notices.push(Notice {
            kind: NoticeKind::ToDo,
            at: at.cloned(),
            name: name.into(),
            message,
        });
    }

    /// Reports what was not taken, and writes the configuration. `unknown` is the reason for settings
    /// that are not in the tables of known options.
    fn finish(mut self, title: &str, known: &[&[KnownOption]], unknown: &str) -> Imported {
        for setting in self.settings.rest() {
            let reason = match options::find(known, &setting.name) {
                Some(option) if option.loses_nothing(&setting) => continue,
                Some(option) => option.reason(),
                None => unknown.to_owned(),
            };
            self.not_mapped(&setting, reason);
        }
        // Notices about absent settings come last.
        let order = |notice: &Notice| notice.at.as_ref().map_or(usize::MAX, Position::order);
        self.notices.sort_by_key(order);
        Imported {
            config: self.document.render(title, &self.notices),
            notices: self.notices,
        }
    }
}

/// Something of the input that has a name and a position.
trait Named {
    fn written(&self) -> &str;
    fn position(&self) -> &Position;
}
