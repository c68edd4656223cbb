//! Branding: the operator's name, logo, contact and colors on pages.

use minijinja::context;
use minijinja::value::Value;
use url::Url;

use crate::types::color::Color;
use crate::types::logo::Logo;

/// The sheet that contains the text of a page, in light and dark mode.
const SHEET: Shades = Shades {
    light: Color::WHITE,
    dark: Color::rgb(0x1a, 0x22, 0x29),
};
/// The secondary text, part of which is on the background.
const SECONDARY_TEXT: Shades = Shades {
    light: Color::rgb(0x52, 0x61, 0x6d),
    dark: Color::rgb(0xa5, 0xb3, 0xbe),
};
/// The least contrast of text (WCAG 2.2, success criterion 1.4.3).
const MIN_CONTRAST: f64 = 4.5;

/// The operator's name, logo and colors on pages.
#[derive(Clone, Debug, Default)]
pub struct Branding {
    /// The name of the site. Default: its host.
    pub name: Option<String>,
    /// The logo, in place of the name above each page.
    pub logo: Option<Logo>,
    /// Where users get help.
    pub contact: Option<Contact>,
    /// The start page. Default: the app's root.
    pub home: Option<Url>,
    /// The colors.
    pub colors: Colors,
}

/// A link to the people who help users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// The `mailto:` or `https:` URL.
    pub href: String,
    /// Its address without the scheme.
    pub label: String,
}

/// Colors in place of those of the style.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Colors {
    /// Buttons and symbols.
    pub accent: OptionalShades,
    /// The background of the page.
    pub background: OptionalShades,
}

/// A color in light and dark mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shades {
    light: Color,
    dark: Color,
}

/// A color that may be set in light and in dark mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OptionalShades {
    /// In light mode.
    pub light: Option<Color>,
    /// In dark mode.
    pub dark: Option<Color>,
}

impl Branding {
    /// The values for the templates.
    pub(super) fn values(&self) -> Value {
        let none = || Value::from(());
        let logo = self.logo.as_ref();
        let contact = self.contact.as_ref().map(|contact| {
            context! { href => contact.href.as_str(), label => contact.label.as_str() }
        });
        context! {
            name => self.name.as_deref().map_or_else(none, Value::from),
            logo => logo.map_or_else(none, |logo| {
                Value::from_safe_string(logo.data_url().to_owned())
            }),
            contact => contact.unwrap_or_else(none),
            home => self.home.as_ref().map_or_else(none, |home| Value::from(home.as_str())),
        }
    }
}

impl Colors {
    /// The contrast of `accent` with the sheet, in light mode, if it is not sufficient.
    pub fn low_contrast_of_accent(&self) -> LowContrast {
        LowContrast::between(self.accent, SHEET)
    }

    /// The contrast of the text on `background`, if it is not sufficient.
    pub fn low_contrast_of_background(&self) -> LowContrast {
        LowContrast::between(self.background, SECONDARY_TEXT)
    }

    /// These colors, and the others where none is set.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        Self {
            accent: self.accent.or(others.accent),
            background: self.background.or(others.background),
        }
    }

    /// The rules that follow the style.
    pub(super) fn style(&self) -> String {
        let light = declarations(self.accent.light, self.background.light);
        let dark = declarations(self.accent.dark, self.background.dark);
        let mut style = String::new();
        if !light.is_empty() {
            style.push_str(&format!(
                "@media (prefers-color-scheme: light) {{\n  :root {{\n{light}  }}\n}}\n"
            ));
        }
        if !dark.is_empty() {
            style.push_str(&format!(
                "@media (prefers-color-scheme: dark) {{\n  :root {{\n{dark}  }}\n}}\n"
            ));
        }
        style
    }
}

impl OptionalShades {
    fn or(self, others: Self) -> Self {
        Self {
            light: self.light.or(others.light),
            dark: self.dark.or(others.dark),
        }
    }
}

/// Contrast ratios below that of WCAG AA.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LowContrast {
    /// In light mode.
    pub light: Option<f64>,
    /// In dark mode.
    pub dark: Option<f64>,
}

impl LowContrast {
    fn between(color: OptionalShades, other: Shades) -> Self {
        let low = |color: Option<Color>, other: Color| {
            color
                .map(|color| color.contrast(other))
                .filter(|contrast| *contrast < MIN_CONTRAST)
        };
        Self {
            light: low(color.light, other.light),
            dark: low(color.dark, other.dark),
        }
    }
}

fn declarations(accent: Option<Color>, background: Option<Color>) -> String {
    let mut text = String::new();
    if let Some(accent) = accent {
        let on_accent = accent.legible_text();
        text.push_str(&format!(
            "    --main: {accent};\n    --on-main: {on_accent};\n    \
             --tint: color-mix(in srgb, {accent} 12%, transparent);\n"
        ));
    }
    if let Some(background) = background {
        text.push_str(&format!("    --ground: {background};\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::templates::STYLE;
    use super::*;

    /// The contrast is computed with the colors of the style.
    #[test]
    fn colors_are_those_of_the_style() {
        let (light, dark) = STYLE
            .split_once("@media (prefers-color-scheme: dark)")
            .unwrap();
        for (name, shades) in [("--sheet", SHEET), ("--soft", SECONDARY_TEXT)] {
            assert!(
                light.contains(&format!("{name}: {};", shades.light)),
                "{name}"
            );
            assert!(
                dark.contains(&format!("{name}: {};", shades.dark)),
                "{name}"
            );
        }
        for (style, shade) in [(light, SHEET.light), (dark, SHEET.dark)] {
            let color = |name: &str| {
                let after = style.split_once(&format!("{name}: ")).unwrap().1;
                Color::parse(after.split(';').next().unwrap()).unwrap()
            };
            assert!(color("--main").contrast(shade) >= MIN_CONTRAST);
            assert!(color("--main").contrast(color("--on-main")) >= MIN_CONTRAST);
            assert!(color("--ground").contrast(color("--soft")) >= MIN_CONTRAST);
        }
    }

    #[test]
    fn low_contrast_is_found_in_each_mode() {
        let yellow = Color::parse("#ffdd00").ok();
        let gray = Color::parse("#888888").ok();
        let colors = Colors {
            accent: OptionalShades {
                light: yellow,
                dark: yellow,
            },
            background: OptionalShades {
                light: gray,
                dark: gray,
            },
        };
        let accent = colors.low_contrast_of_accent();
        assert!(accent.light.is_some_and(|contrast| contrast < 1.4));
        assert_eq!(accent.dark, None);
        let background = colors.low_contrast_of_background();
        assert!(background.light.is_some() && background.dark.is_some());
        assert_eq!(
            Colors::default().low_contrast_of_accent(),
            LowContrast::default()
        );
    }
}
