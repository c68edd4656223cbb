//! The apps at one origin, by the longest path that contains the requested one.

use std::collections::HashMap;
use std::sync::Arc;

use super::app::App;
use crate::types::loosest_reading::loosest_reading;
use crate::types::public_url::BasePath;
use crate::types::target::Target;

/// The apps at one origin, by their indices.
#[derive(Clone, Debug)]
pub(super) enum OriginApps {
    /// One app has all paths.
    One(usize),
    /// Apps have different paths.
    ByPath(Arc<AppsByPath>),
}

/// Apps by base path.
#[derive(Clone, Debug, Default)]
pub(super) struct AppsByPath {
    exact: HashMap<String, usize>,
    /// By the loosest reading of the base path.
    loosest: HashMap<String, usize>,
    /// The most segments of a base path.
    max_segments: usize,
}

impl OriginApps {
    /// Those of one origin, which are all of `indices`. The configuration check ensures that their base
    /// paths differ, also in the loosest reading.
    pub(super) fn new(indices: &[usize], apps: &[Arc<App>]) -> Option<Self> {
        let base = |index: usize| Some(&apps.get(index)?.paths.base);
        if let [only] = indices
            && base(*only)?.is_root()
        {
            return Some(Self::One(*only));
        }
        let mut by_path = AppsByPath::default();
        for index in indices {
            by_path.insert(base(*index)?, *index);
        }
        Some(Self::ByPath(Arc::new(by_path)))
    }

    /// The app that a target belongs to. `None` if no app has the path, or a server may read the path
    /// as one of another app.
    pub(super) fn at(&self, target: &Target) -> Option<usize> {
        match self {
            Self::One(index) => Some(*index),
            Self::ByPath(apps) => apps.find(target.path()),
        }
    }

    /// Any of the apps.
    pub(super) fn any(&self) -> Option<usize> {
        match self {
            Self::One(index) => Some(*index),
            Self::ByPath(apps) => apps.exact.values().copied().min(),
        }
    }
}

impl AppsByPath {
    fn insert(&mut self, base: &BasePath, index: usize) {
        self.exact.insert(base.as_str().to_owned(), index);
        self.loosest.insert(loosest_reading(base.as_str()), index);
        let segments = base.as_str().matches('/').count();
        self.max_segments = self.max_segments.max(segments);
    }

    fn find(&self, path: &str) -> Option<usize> {
        let found = self.longest(&self.exact, path)?;
        let loosest = self.longest(&self.loosest, &loosest_reading(path));
        (loosest == Some(found)).then_some(found)
    }

    /// The app with the longest of the paths that contain `path`.
    fn longest(&self, apps: &HashMap<String, usize>, path: &str) -> Option<usize> {
        let ends = path.match_indices('/').map(|(end, _)| end);
        let ends = ends.chain([path.len()]).take(self.max_segments + 1);
        let bases = ends.filter_map(|end| apps.get(path.get(..end)?));
        bases.last().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apps(bases: &[&str]) -> AppsByPath {
        let mut apps = AppsByPath::default();
        for (index, base) in bases.iter().enumerate() {
            apps.insert(&BasePath::parse(base).unwrap(), index);
        }
        apps
    }

    fn found<'b>(bases: &[&'b str], path: &str) -> Option<&'b str> {
        let target = Target::parse(path, None).unwrap();
        let index = apps(bases).find(target.path())?;
        bases.get(index).copied()
    }

    #[test]
    fn longest_base_path_on_segment_boundaries_is_found() {
        let bases = ["", "/shop", "/shop/admin", "/Wiki/v1.2"];
        for (path, expected) in [
            ("/", ""),
            ("/x", ""),
            ("/shop", "/shop"),
            ("/shop/", "/shop"),
            ("/shop/x/admin", "/shop"),
            ("/shop/admin", "/shop/admin"),
            ("/shop/admin/x/y/z", "/shop/admin"),
            ("/shop/administration", "/shop"),
            ("/shopping", ""),
            ("/sho", ""),
            ("/x/shop", ""),
            ("/%73hop/x", "/shop"),
            ("/Wiki/v1.2/x", "/Wiki/v1.2"),
            ("/Wiki/v1", ""),
        ] {
            assert_eq!(found(&bases, path), Some(expected), "{path}");
        }
        assert_eq!(found(&["/shop", "/forum"], "/"), None);
        assert_eq!(found(&["/shop", "/forum"], "/shopping"), None);
        assert_eq!(found(&["/shop"], "/shop/x"), Some("/shop"));
    }

    #[test]
    fn path_that_a_server_may_read_as_one_of_another_app_has_none() {
        let bases = ["", "/shop", "/shop/admin", "/forum"];
        for path in [
            "/SHOP/x",
            "/Shop",
            "//shop/x",
            "/shop//admin/x",
            "/shop%2Fx",
            "/%2Fshop/x",
            "/%2573hop/x",
            "/shop;a=b/x",
            "/shop%3Fx",
            "/shop%23x",
            "/shop./x",
            "/shop%20/x",
            "/shop::$DATA/x",
            "/%EF%BD%93hop/x",
            "/%C5%BFhop/x",
            "/shop%EF%BC%8Fx",
            "/shop%E2%88%95x",
            "/shop%C0%AFx",
            "/sh%C2%ADop/x",
            "/shop/Admin/x",
            "/shop/admin%2Fx",
            "/shop/%61dmin;x/y",
        ] {
            assert_eq!(found(&bases, path), None, "{path}");
        }
        for path in [
            "/shop/a//b",
            "/shop/a%2Fb",
            "/shop/a;b",
            "/shop/forum",
            "/shop/SHOP",
        ] {
            assert_eq!(found(&bases, path), Some("/shop"), "{path}");
        }
    }
}
