//! Paths of files below a folder.

use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;

/// The decoded path of a file below a folder: segments with a name. No segment begins with a dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FilePath(PathBuf);

impl FilePath {
    /// Decodes the path of a URL. `None` if no file may have it: for hidden files, empty segments, and
    /// segments with an encoded slash.
    pub(super) fn parse(path: &str) -> Option<Self> {
        let path = path.strip_prefix('/')?;
        let path = path.strip_suffix('/').unwrap_or(path);
        let mut file = PathBuf::new();
        if path.is_empty() {
            return Some(Self(file));
        }
        for segment in path.split('/') {
            let segment = percent_decode_str(segment).decode_utf8().ok()?;
            let is_hidden = segment.is_empty() || segment.starts_with('.');
            if is_hidden || segment.contains(['/', '\\', '\0']) {
                return None;
            }
            file.push(&*segment);
        }
        Some(Self(file))
    }

    /// Relative to the folder. Empty for the folder itself.
    pub(super) fn as_path(&self) -> &Path {
        &self.0
    }

    /// The path without the suffix of a precompressed variant, if it has one.
    pub(super) fn uncompressed(&self) -> Option<PathBuf> {
        let extension = self.0.extension()?;
        (extension == "gz" || extension == "br").then(|| self.0.with_extension(""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_has_only_visible_named_segments() {
        for (path, file) in [
            ("/", Some("")),
            ("/a", Some("a")),
            ("/a/b.html", Some("a/b.html")),
            ("/a/", Some("a")),
            ("/caf%C3%A9%20x", Some("café x")),
            ("/a;b", Some("a;b")),
            ("/a..b", Some("a..b")),
            ("", None),
            ("a", None),
            ("//a", None),
            ("/a//b", None),
            ("/a//", None),
            ("/.git/config", None),
            ("/a/.htpasswd", None),
            ("/%2Egit", None),
            ("/..", None),
            ("/a/..", None),
            ("/a/%2E%2E/b", None),
            ("/a%2Fb", None),
            ("/..%2Fb", None),
            ("/a%5Cb", None),
            ("/a%00", None),
            ("/%FF", None),
        ] {
            let parsed = FilePath::parse(path);
            let parsed = parsed.as_ref().map(|path| path.as_path().to_str().unwrap());
            assert_eq!(parsed, file, "{path}");
        }
    }

    #[test]
    fn precompressed_variants_are_recognized() {
        let uncompressed = |path| FilePath::parse(path).unwrap().uncompressed();
        assert_eq!(uncompressed("/a/b.js.gz"), Some("a/b.js".into()));
        assert_eq!(uncompressed("/b.br"), Some("b".into()));
        assert_eq!(uncompressed("/a.gz/b.js"), None);
        assert_eq!(uncompressed("/gz"), None);
    }
}
