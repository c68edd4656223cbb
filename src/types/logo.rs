//! Logos of providers: small images that a page contains as `data:` URLs (RFC 2397), so that it loads
//! nothing from another place.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The largest logo, in bytes. A page contains those of all providers of an app.
pub const MAX_LOGO: usize = 32 * 1024;

/// The signature of a PNG image, and its first chunk (PNG sections 5.2 and 11.2.1).
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR";

/// An SVG or PNG image without active content.
#[derive(Clone, PartialEq, Eq)]
pub struct Logo {
    url: Arc<str>,
}

/// Why a file is no logo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogoError {
    /// It is larger than [`MAX_LOGO`].
    #[error("it is larger than 32 KiB")]
    TooLarge,
    /// It is neither SVG nor PNG.
    #[error("it is neither an SVG nor a PNG image")]
    Format,
    /// The SVG has content that a browser could run or expand.
    #[error("the SVG image contains {0}")]
    Active(&'static str),
}

impl Logo {
    /// Accepts an image. Browsers run no scripts of an SVG image that is an `img`; one that has some is
    /// refused nevertheless.
    ///
    /// # Errors
    /// See [`LogoError`].
    pub fn parse(image: &[u8]) -> Result<Self, LogoError> {
        if image.len() > MAX_LOGO {
            return Err(LogoError::TooLarge);
        }
        let media_type = if image.starts_with(PNG) {
            "image/png"
        } else {
            let text = std::str::from_utf8(image).map_err(|_| LogoError::Format)?;
            check_svg(text)?;
            "image/svg+xml"
        };
        let url = format!("data:{media_type};base64,{}", STANDARD.encode(image));
        Ok(Self { url: url.into() })
    }

    /// The image as a `data:` URL.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl fmt::Debug for Logo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Logo({} bytes)", self.url.len())
    }
}

fn check_svg(text: &str) -> Result<(), LogoError> {
    const ACTIVE: [(&str, &str); 5] = [
        ("<!doctype", "a document type"),
        ("<!entity", "an entity"),
        ("script:", "a script"),
        ("foreignobject", "HTML"),
        ("@import", "a style from another place"),
    ];
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let text = text.to_ascii_lowercase();
    if !(text.starts_with("<svg") || text.starts_with("<?xml") && text.contains("<svg")) {
        return Err(LogoError::Format);
    }
    if let Some((_, name)) = ACTIVE.iter().find(|(mark, _)| text.contains(mark)) {
        return Err(LogoError::Active(name));
    }
    // An element may have a prefix, such as `svg:script`.
    let is_script = |rest: &str| rest.starts_with("script");
    if text.split(['<', ':']).skip(1).any(is_script) {
        return Err(LogoError::Active("a script"));
    }
    if text.split(is_before_attribute).any(is_event_handler) {
        return Err(LogoError::Active("an event handler"));
    }
    Ok(())
}

/// What can stand before an attribute: white space, the end of another, or a slash.
const fn is_before_attribute(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0c' | '"' | '\'' | '/')
}

/// Whether a part of a tag is an attribute such as `onload=`.
fn is_event_handler(part: &str) -> bool {
    let Some(rest) = part.strip_prefix("on") else {
        return false;
    };
    let name = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric());
    name.len() < rest.len() && (name.is_empty() || name.starts_with('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CIRCLE: &str =
        r##"<svg xmlns="http://www.w3.org/2000/svg"><circle r="4" fill="#0b5c7a"/></svg>"##;

    #[test]
    fn svg_and_png_become_data_urls() {
        let svg = Logo::parse(CIRCLE.as_bytes()).unwrap();
        assert!(svg.url().starts_with("data:image/svg+xml;base64,PHN2Zy"));
        let declared = format!("\u{feff}<?xml version=\"1.0\"?>\n{CIRCLE}");
        assert!(Logo::parse(declared.as_bytes()).is_ok());
        let png = Logo::parse(&[PNG, &[0xff; 20]].concat()).unwrap();
        assert!(png.url().starts_with("data:image/png;base64,iVBORw0KGgo"));
    }

    #[test]
    fn svg_with_active_content_is_refused() {
        for active in [
            "<script>alert(1)</script>",
            "<SCRIPT href='x'/>",
            "<s:script xmlns:s='http://www.w3.org/2000/svg'>alert(1)</s:script>",
            "<a href='javascript:alert(1)'/>",
            "<rect onload=\"alert(1)\"/>",
            "<rect\nONCLICK = \"alert(1)\"/>",
            "<rect/onload=\"alert(1)\"/>",
            "<foreignObject><p/></foreignObject>",
            "<style>@import url(https://x.example/)</style>",
        ] {
            let svg = CIRCLE.replace("</svg>", &format!("{active}</svg>"));
            let parsed = Logo::parse(svg.as_bytes());
            assert!(matches!(parsed, Err(LogoError::Active(_))), "{active}");
        }
        let entities = format!("<?xml version='1.0'?><!DOCTYPE svg [<!ENTITY a 'b'>]>{CIRCLE}");
        let parsed = Logo::parse(entities.as_bytes());
        assert_eq!(parsed, Err(LogoError::Active("a document type")));
    }

    #[test]
    fn other_files_are_refused() {
        for other in [
            &b""[..],
            b"<html><svg></svg></html>",
            b"GIF89a",
            &[0xff, 0xd8],
        ] {
            assert_eq!(Logo::parse(other), Err(LogoError::Format));
        }
        let large = CIRCLE.replace("4", &"4".repeat(MAX_LOGO));
        assert_eq!(Logo::parse(large.as_bytes()), Err(LogoError::TooLarge));
    }
}
