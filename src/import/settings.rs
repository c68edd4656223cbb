//! Settings of an input with their positions. Those that the mapping takes are marked, so that the rest can
//! be reported.

use std::fmt;

use super::{ImportError, MAX_SETTINGS, Named};

/// A position in the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    label: String,
    order: usize,
}

impl Position {
    /// A line of a file. `order` is the position among all inputs.
    pub(super) fn line(file: &str, line: usize, order: usize) -> Self {
        let label = format!("{}:{line}", super::document::one_line(file));
        Self { label, order }
    }

    /// A place without lines, such as the third argument.
    pub(super) fn labelled(label: String, order: usize) -> Self {
        Self { label, order }
    }

    pub(super) const fn order(&self) -> usize {
        self.order
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)
    }
}

/// A part of the input that settings may be limited to, such as a virtual host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scope(pub(super) usize);

/// A setting.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    /// The name in the table of options.
    pub(super) name: String,
    /// The name as written.
    pub(super) written: String,
    pub(super) values: Vec<SettingValue>,
    pub(super) at: Position,
    pub(super) scope: Option<Scope>,
}

/// A value of a setting.
#[derive(Clone, Debug)]
pub(super) struct SettingValue {
    /// The name of the setting as written.
    pub(super) written: String,
    pub(super) text: String,
    pub(super) at: Position,
}

impl Named for Setting {
    fn written(&self) -> &str {
        &self.written
    }

    fn position(&self) -> &Position {
        &self.at
    }
}

impl Named for SettingValue {
    fn written(&self) -> &str {
        &self.written
    }

    fn position(&self) -> &Position {
        &self.at
    }
}

impl Setting {
    /// The last value, or the empty text.
    pub(super) fn text(&self) -> &str {
        self.values.last().map_or("", |value| value.text.as_str())
    }

    /// The last value, if it is not empty.
    pub(super) fn last(&self) -> Option<&SettingValue> {
        self.values.last().filter(|value| !value.text.is_empty())
    }

    /// Whether no value has text.
    pub(super) fn is_blank(&self) -> bool {
        self.values.iter().all(|value| value.text.is_empty())
    }
}

/// All settings of an input.
#[derive(Debug, Default)]
pub(super) struct Settings {
    all: Vec<Tracked>,
}

#[derive(Debug)]
struct Tracked {
    setting: Setting,
    is_taken: bool,
}

impl Settings {
    /// Adds a setting.
    ///
    /// # Errors
    /// There are too many.
    pub(super) fn push(&mut self, setting: Setting) -> Result<(), ImportError> {
        if self.all.len() >= MAX_SETTINGS {
            return Err(ImportError::TooMany);
        }
        self.all.push(Tracked {
            setting,
            is_taken: false,
        });
        Ok(())
    }

    /// Adds a setting that replaces earlier ones of its name, which are returned.
    pub(super) fn replace(&mut self, setting: Setting) -> Result<Vec<Setting>, ImportError> {
        let is_same = |tracked: &mut Tracked| tracked.setting.name == setting.name;
        let replaced = self.all.extract_if(.., is_same);
        let replaced = replaced.map(|tracked| tracked.setting).collect();
        self.push(setting)?;
        Ok(replaced)
    }

    /// The setting of this name with values, without taking it.
    pub(super) fn peek(&self, name: &str) -> Option<&Setting> {
        let mut settings = self.all.iter().map(|tracked| &tracked.setting);
        settings.find(|setting| setting.name == name && !setting.is_blank())
    }

    /// Takes the last setting of this name. One without values is `None`.
    pub(super) fn take(&mut self, name: &str) -> Option<Setting> {
        self.take_all(name, None).pop()
    }

    /// Takes the last setting of this name in `scope`; outside of all scopes, if it has none.
    pub(super) fn take_in(&mut self, name: &str, scope: Option<Scope>) -> Option<Setting> {
        let own = scope.and_then(|_| self.take_all(name, scope).pop());
        let general = self.take_all(name, None).pop();
        own.or(general)
    }

    /// Takes every setting of this name in exactly this scope.
    pub(super) fn take_all(&mut self, name: &str, scope: Option<Scope>) -> Vec<Setting> {
        let mut found = Vec::new();
        for tracked in &mut self.all {
            if tracked.setting.name == name && tracked.setting.scope == scope {
                tracked.is_taken = true;
                if !tracked.setting.is_blank() {
                    found.push(tracked.setting.clone());
                }
            }
        }
        found
    }

    /// The last value of this name, if it is not empty.
    pub(super) fn take_value(&mut self, name: &str) -> Option<SettingValue> {
        self.take(name)?.last().cloned()
    }

    /// All values of this name.
    pub(super) fn take_values(&mut self, name: &str) -> Vec<SettingValue> {
        let values = self.take(name).map_or(Vec::new(), |setting| setting.values);
        let has_text = |value: &SettingValue| !value.text.is_empty();
        values.into_iter().filter(has_text).collect()
    }

    /// Whether the switch of this name is on.
    pub(super) fn take_switch(&mut self, name: &str, default: bool) -> bool {
        self.take(name)
            .map_or(default, |setting| is_true(setting.text()))
    }

    /// The settings that were not taken. A setting without values sets nothing.
    pub(super) fn rest(&self) -> Vec<Setting> {
        let rest = self.all.iter().filter(|tracked| !tracked.is_taken);
        rest.map(|tracked| tracked.setting.clone())
            .filter(|setting| !setting.is_blank())
            .collect()
    }
}

/// Whether the text means yes.
pub(super) fn is_true(text: &str) -> bool {
    ["true", "1", "t", "on"]
        .iter()
        .any(|yes| text.eq_ignore_ascii_case(yes))
}
