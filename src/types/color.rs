//! Colors of pages and their contrast (WCAG 2.2).

use std::fmt;

/// An sRGB color.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Color([u8; 3]);

/// A text that is not a color.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a color is `#` and six hexadecimal digits")]
pub struct ParseColorError;

impl Color {
    /// Black.
    pub const BLACK: Self = Self([0; 3]);
    /// White.
    pub const WHITE: Self = Self([0xff; 3]);

    /// The color with these parts of red, green and blue.
    pub const fn rgb(red: u8, green: u8, blue: u8) -> Self {
        Self([red, green, blue])
    }

    /// Parses a color such as `#0b5c7a`.
    ///
    /// # Errors
    /// [`ParseColorError`].
    pub fn parse(text: &str) -> Result<Self, ParseColorError> {
        let digits = text.strip_prefix('#').ok_or(ParseColorError)?;
        if digits.len() != 6 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(ParseColorError);
        }
        let number = u32::from_str_radix(digits, 16).map_err(|_| ParseColorError)?;
        let [_, red, green, blue] = number.to_be_bytes();
        Ok(Self([red, green, blue]))
    }

    /// The contrast ratio, from 1 to 21 (WCAG 2.2, contrast ratio).
    pub fn contrast(self, other: Self) -> f64 {
        let luminance = self.luminance();
        let of_other = other.luminance();
        (luminance.max(of_other) + 0.05) / (luminance.min(of_other) + 0.05)
    }

    /// Black or white, whichever is easier to read on this color. The contrast is at least 4.58.
    pub fn legible_text(self) -> Self {
        if self.contrast(Self::WHITE) >= self.contrast(Self::BLACK) {
            Self::WHITE
        } else {
            Self::BLACK
        }
    }

    /// WCAG 2.2, relative luminance.
    fn luminance(self) -> f64 {
        let [red, green, blue] = self.0.map(|part| {
            let part = f64::from(part) / 255.0;
            if part <= 0.040_45 {
                part / 12.92
            } else {
                ((part + 0.055) / 1.055).powf(2.4)
            }
        });
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }
}

impl fmt::Display for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [red, green, blue] = self.0;
        write!(f, "#{red:02x}{green:02x}{blue:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_six_digits_are_a_color() {
        assert_eq!(Color::parse("#0B5c7a"), Ok(Color::rgb(0x0b, 0x5c, 0x7a)));
        assert_eq!(Color::rgb(0x0b, 0x5c, 0x7a).to_string(), "#0b5c7a");
        for text in [
            "",
            "#",
            "0b5c7a",
            "#0b5",
            "#0b5c7aff",
            "#0b5c7g",
            "#+b5c7a",
            "red",
            "#é5c7a",
            "#fff;}",
        ] {
            assert_eq!(Color::parse(text), Err(ParseColorError), "{text}");
        }
    }

    /// Ratios of the WCAG's own examples.
    #[test]
    fn contrast_is_that_of_the_wcag() {
        let color = |text| Color::parse(text).unwrap();
        for (one, two, ratio) in [
            ("#000000", "#ffffff", 21.0),
            ("#777777", "#ffffff", 4.48),
            ("#767676", "#ffffff", 4.54),
            ("#ff0000", "#ffffff", 4.0),
            ("#123456", "#123456", 1.0),
        ] {
            for (one, two) in [(one, two), (two, one)] {
                let found = color(one).contrast(color(two));
                assert!((found - ratio).abs() < 0.01, "{one} {two}: {found}");
            }
        }
    }

    #[test]
    fn legible_text_has_sufficient_contrast_on_every_color() {
        for number in (0..=0xff_ff_ff_u32).step_by(997) {
            let [_, red, green, blue] = number.to_be_bytes();
            let color = Color::rgb(red, green, blue);
            let contrast = color.contrast(color.legible_text());
            assert!(contrast >= 4.5, "{color}: {contrast}");
        }
    }
}
