//! Tables of the options of other products: each is mapped, built in, left to the operator, refused
//! or missing. The migration guides have the same tables.

use super::settings::{Setting, is_true};

/// An option of another product.
#[derive(Clone, Copy, Debug)]
pub struct KnownOption {
    /// Its name.
    pub name: &'static str,
    /// Its treatment by the import.
    pub treatment: Treatment,
    /// The values without which nothing is lost, though the option is not mapped; `*` is any value.
    lossless: &'static [&'static str],
    /// The equivalent, in Markdown.
    pub equivalent: &'static str,
    /// A remark, in Markdown; may be empty.
    pub note: &'static str,
}

/// The treatment of an option by the import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// It is mapped.
    Mapped,
    /// Doorward does the same without a setting.
    BuiltIn,
    /// There is an equivalent, which only the operator can choose.
    ByHand,
    /// Doorward does not do this, because it is dangerous.
    Refused,
    /// Doorward does not have this.
    Missing,
}

impl Treatment {
    /// The word in the migration guides.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Mapped => "mapped",
            Self::BuiltIn => "built in",
            Self::ByHand => "by hand",
            Self::Refused => "refused",
            Self::Missing => "missing",
        }
    }
}

impl KnownOption {
    pub(super) const fn new(
        name: &'static str,
        treatment: Treatment,
        lossless: &'static [&'static str],
        equivalent: &'static str,
        note: &'static str,
    ) -> Self {
        Self {
            name,
            treatment,
            lossless,
            equivalent,
            note,
        }
    }

    /// Whether Doorward behaves as the setting says, though it is not mapped.
    pub(super) fn loses_nothing(&self, setting: &Setting) -> bool {
        let is_lossless = |text: &str| {
            self.lossless.iter().any(|lossless| match *lossless {
                "*" => true,
                "true" => is_true(text),
                _ => text.eq_ignore_ascii_case(lossless),
            })
        };
        setting.values.iter().all(|value| is_lossless(&value.text))
    }

    /// Why it is not mapped, as plain text.
    pub(super) fn reason(&self) -> String {
        let subject = match self.treatment {
            // The mapping did not take it, because something that it needs is not set.
            Treatment::Mapped => "has no effect here; see",
            Treatment::BuiltIn => "this value is not supported:",
            Treatment::ByHand => "set by hand:",
            Treatment::Refused => "refused:",
            Treatment::Missing => "missing:",
        };
        let parts = [self.equivalent, self.note];
        let parts: Vec<String> = parts
            .into_iter()
            .filter(|part| !part.is_empty())
            .map(plain)
            .collect();
        format!("{subject} {}", parts.join(". "))
    }
}

/// The option of this name in one of the tables.
pub(super) fn find<'o>(tables: &[&'o [KnownOption]], name: &str) -> Option<&'o KnownOption> {
    let mut options = tables.iter().flat_map(|options| options.iter());
    options.find(|option| option.name == name)
}

/// Markdown without the targets of its links.
fn plain(markdown: &str) -> String {
    let mut text = String::new();
    let mut rest = markdown;
    while let Some((before, link)) = rest.split_once('[') {
        let Some((label, after)) = link.split_once("](") else {
            break;
        };
        let (_, after) = after.split_once(')').unwrap_or(("", after));
        text.push_str(before);
        text.push_str(label);
        rest = after;
    }
    text.push_str(rest);
    text
}

/// Declares a table of options: name, treatment, lossless values, equivalent, note.
macro_rules! options {
    ($($name:literal $treatment:ident [$($lossless:literal),*] $equivalent:literal, $note:literal;)+) => {
        &[$($crate::import::options::KnownOption::new(
            $name,
            $crate::import::options::Treatment::$treatment,
            &[$($lossless),*],
            $equivalent,
            $note,
        ),)+]
    };
}
pub(super) use options;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_no_link_targets() {
        let reason = |note| KnownOption::new("a", Treatment::Missing, &[], "no equivalent", note);
        assert_eq!(
            reason("See [Keycloak](../keycloak.md#a) and [one]").reason(),
            "missing: no equivalent. See Keycloak and [one]"
        );
        assert_eq!(reason("").reason(), "missing: no equivalent");
    }
}
