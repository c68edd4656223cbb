//! Logos: small images that are parts of pages.
//!
//! A page shows a logo as an image from a `data:` URL. Browsers run no scripts and load no resources of
//! such an image, also if it is SVG.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Maximum size of a logo in bytes. Each page contains it.
pub const MAX_LOGO: usize = 32 * 1024;
/// Maximum width and height of a PNG image in pixels.
const MAX_PIXELS: u32 = 2048;

const PNG_BEGIN: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
const PNG_END: &[u8] = b"\0\0\0\0IEND\xaeB`\x82";
const SVG_NAMESPACE: &str = "http://www.w3.org/2000/svg";
/// Content that a logo does not need, and that might harm a user who opens the file itself, in lower
/// case, and its name.
const REFUSED_IN_SVG: [(&str, &str); 5] = [
    ("<!doctype", "a document type"),
    ("<!entity", "an entity"),
    ("script:", "a script"),
    ("foreignobject", "HTML"),
    ("@import", "a style from another place"),
];

/// A valid PNG or SVG image.
#[derive(Clone, PartialEq, Eq)]
pub struct Logo {
    data_url: String,
}

/// Why a file is not a logo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseLogoError {
    /// It is too large.
    #[error("it is larger than {} KiB", MAX_LOGO / 1024)]
    TooLarge,
    /// It has another format.
    #[error("it is neither PNG nor SVG")]
    Format,
    /// A PNG image without its end.
    #[error("the PNG image is incomplete")]
    Incomplete,
    /// A PNG image without pixels, or with too many.
    #[error("the PNG image is not 1 to {MAX_PIXELS} pixels wide and high")]
    Pixels,
    /// An SVG image that browsers do not show as an image.
    #[error("the SVG image has no `xmlns=\"{SVG_NAMESPACE}\"`")]
    Namespace,
    /// An SVG image with parts that a logo does not need.
    #[error("the SVG image contains {0}")]
    Refused(&'static str),
}

impl Logo {
    /// Recognizes the image by its content.
    ///
    /// # Errors
    /// See [`ParseLogoError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseLogoError> {
        if bytes.len() > MAX_LOGO {
            return Err(ParseLogoError::TooLarge);
        }
        let media_type = if let Some(rest) = bytes.strip_prefix(PNG_BEGIN) {
            check_png(rest)?;
            "image/png"
        } else {
            check_svg(bytes)?;
            "image/svg+xml"
        };
        let encoded = STANDARD.encode(bytes);
        Ok(Self {
            data_url: format!("data:{media_type};base64,{encoded}"),
        })
    }

    /// The image as a `data:` URL (RFC 2397), which needs no escaping in HTML.
    pub fn data_url(&self) -> &str {
        &self.data_url
    }
}

impl fmt::Debug for Logo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logo").finish_non_exhaustive()
    }
}

/// Checks what follows the begin of the header: width and height (PNG section 11.2.1).
fn check_png(rest: &[u8]) -> Result<(), ParseLogoError> {
    if !rest.ends_with(PNG_END) {
        return Err(ParseLogoError::Incomplete);
    }
    let (width, rest) = rest.split_first_chunk().ok_or(ParseLogoError::Incomplete)?;
    let (height, _) = rest.split_first_chunk().ok_or(ParseLogoError::Incomplete)?;
    let allowed = 1..=MAX_PIXELS;
    let is_allowed = |number: &[u8; 4]| allowed.contains(&u32::from_be_bytes(*number));
    if is_allowed(width) && is_allowed(height) {
        Ok(())
    } else {
        Err(ParseLogoError::Pixels)
    }
}

fn check_svg(bytes: &[u8]) -> Result<(), ParseLogoError> {
    let text = str::from_utf8(bytes).map_err(|_| ParseLogoError::Format)?;
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let is_markup = ["<svg", "<?xml", "<!"]
        .iter()
        .any(|begin| text.starts_with(begin));
    if !is_markup || !text.contains("<svg") {
        return Err(ParseLogoError::Format);
    }
    let lower = text.to_ascii_lowercase();
    let refused = REFUSED_IN_SVG.iter().find(|(part, _)| lower.contains(part));
    if let Some((_, name)) = refused {
        return Err(ParseLogoError::Refused(name));
    }
    if has_script_element(&lower) {
        return Err(ParseLogoError::Refused("a script"));
    }
    if has_event_handler(&lower) {
        return Err(ParseLogoError::Refused("an event handler"));
    }
    if !text.contains(SVG_NAMESPACE) {
        return Err(ParseLogoError::Namespace);
    }
    Ok(())
}

/// Whether an element is a script. Its name may have a prefix, such as `svg:script`.
fn has_script_element(svg: &str) -> bool {
    let mut names = svg.split(['<', ':']).skip(1);
    names.any(|name| name.starts_with("script"))
}

/// Whether an attribute is an event handler, such as `onload`.
fn has_event_handler(svg: &str) -> bool {
    let is_before_name = |c: char| c.is_ascii_whitespace() || matches!(c, '"' | '\'' | '/');
    let before_values = svg.split('=').map(str::trim_end);
    let mut names = before_values.filter_map(|text| text.rsplit(is_before_name).next());
    names.any(|name| name.starts_with("on"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(width: u32, height: u32) -> Vec<u8> {
        let sizes = [width.to_be_bytes(), height.to_be_bytes()].concat();
        [PNG_BEGIN, &sizes, b"\x08\x06\0\0\0crc.data", PNG_END].concat()
    }

    fn svg(content: &str) -> String {
        format!(
            "<?xml version='1.0'?><!-- A logo --><svg xmlns=\"{SVG_NAMESPACE}\">{content}</svg>"
        )
    }

    #[test]
    fn png_and_svg_become_data_urls() {
        let url = |bytes: &[u8]| Logo::parse(bytes).unwrap().data_url().to_owned();
        let encoded = STANDARD.encode(png(1, 2048));
        assert_eq!(
            url(&png(1, 2048)),
            format!("data:image/png;base64,{encoded}")
        );
        let svg = svg("<path d='M0 0'/>");
        let encoded = STANDARD.encode(&svg);
        assert_eq!(
            url(svg.as_bytes()),
            format!("data:image/svg+xml;base64,{encoded}")
        );
        // A byte order mark does not matter.
        assert!(Logo::parse(format!("\u{feff}{svg}").as_bytes()).is_ok());
    }

    #[test]
    fn other_files_are_refused() {
        let error = |bytes: &[u8]| Logo::parse(bytes).unwrap_err();
        for other in [
            &b""[..],
            b"GIF89a",
            b"\xff\xd8\xff\xe0",
            b"<html></html>",
            b"<html><svg></svg></html>",
            b"text <svg",
            b"\x89PNG",
        ] {
            assert_eq!(error(other), ParseLogoError::Format, "{other:?}");
        }
        for (width, height) in [(0, 1), (1, 0), (2049, 1), (1, u32::MAX)] {
            assert_eq!(error(&png(width, height)), ParseLogoError::Pixels);
        }
        let whole = png(8, 8);
        let cut = &whole[..whole.len() - 1];
        assert_eq!(error(cut), ParseLogoError::Incomplete);
        assert_eq!(
            error(&[PNG_BEGIN, PNG_END].concat()),
            ParseLogoError::Pixels
        );
        assert_eq!(error(&[b' '; MAX_LOGO + 1]), ParseLogoError::TooLarge);
        assert_eq!(error(b"<svg></svg>"), ParseLogoError::Namespace);
    }

    #[test]
    fn svg_with_active_content_is_refused() {
        let error = |content: &str| Logo::parse(content.as_bytes()).unwrap_err();
        for (content, name) in [
            ("<script>alert(1)</script>", "a script"),
            ("<SCRIPT href='x'/>", "a script"),
            ("<s:script>alert(1)</s:script>", "a script"),
            ("<a href='JavaScript:alert(1)'/>", "a script"),
            ("<rect onload=\"alert(1)\"/>", "an event handler"),
            ("<rect\nONCLICK = \"alert(1)\"/>", "an event handler"),
            ("<rect/onload=\"alert(1)\"/>", "an event handler"),
            ("<foreignObject><p/></foreignObject>", "HTML"),
            (
                "<style>@import url(https://x.example/)</style>",
                "a style from another place",
            ),
        ] {
            let refused = ParseLogoError::Refused(name);
            assert_eq!(error(&svg(content)), refused, "{content}");
        }
        let entities = format!("<!DOCTYPE svg [<!ENTITY a 'b'>]>{}", svg(""));
        let refused = ParseLogoError::Refused("a document type");
        assert_eq!(error(&entities), refused);
        // Text that is no attribute.
        let harmless = "<title>Once only</title><path id=\"one\" class='on'/>";
        assert!(Logo::parse(svg(harmless).as_bytes()).is_ok());
    }
}
