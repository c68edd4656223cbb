//! A page in the browser: the last response, the redirects before it, its forms and links.

use url::Url;

use super::browser::{Kind, RequestSpec};
use super::html::{self, Form};
use super::wire::Head;

/// One response.
#[derive(Clone, Debug)]
pub struct Redirect {
    pub url: Url,
    pub status: u16,
    pub location: Option<String>,
    pub set_cookies: Vec<String>,
    /// Cookies that the browser rejected, and why.
    pub refused: Vec<(String, &'static str)>,
}

/// The last response and the redirects before it.
#[derive(Clone, Debug)]
pub struct Page {
    pub url: Url,
    pub head: Head,
    pub body: Vec<u8>,
    /// All responses in order. The last is this page.
    pub chain: Vec<Redirect>,
    pub(super) request: RequestSpec,
}

impl Page {
    /// The response status.
    pub fn status(&self) -> u16 {
        self.head.status()
    }

    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// The target of a redirect or of an immediate refresh.
    pub fn target(&self) -> Option<&str> {
        target(&self.head)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {self}"))
    }

    /// The visible text.
    pub fn words(&self) -> String {
        html::text(&self.text())
    }

    /// The forms in the page.
    pub fn forms(&self) -> Vec<Form> {
        html::forms(&self.text())
    }

    /// The links in the page: target and text.
    pub fn links(&self) -> Vec<(String, String)> {
        html::links(&self.text())
    }

    /// Resolves `href` against this page.
    pub fn resolve(&self, href: &str) -> Url {
        self.url
            .join(href)
            .unwrap_or_else(|error| panic!("{href}: {error}"))
    }

    /// The hosts that responded, without duplicates.
    pub fn hosts(&self) -> Vec<&str> {
        let mut hosts: Vec<&str> = self
            .chain
            .iter()
            .filter_map(|hop| hop.url.host_str())
            .collect();
        hosts.dedup();
        hosts
    }

    /// The request that submits the form with all the named fields. With no `values`, the first
    /// form.
    pub fn filled(&self, values: &[(&str, &str)]) -> RequestSpec {
        let form = self
            .forms()
            .into_iter()
            .find(|form| values.iter().all(|(name, _)| form.has(name)));
        let form = form.unwrap_or_else(|| panic!("no form with {values:?}: {self}"));
        let pairs = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form.filled(values))
            .finish();
        let mut target = self.resolve(&form.action);
        if form.method == "POST" {
            let request = RequestSpec::new(Kind::Navigation, target.as_str())
                .method("POST")
                .from(&self.url);
            return request.body("application/x-www-form-urlencoded", pairs);
        }
        target.set_query(Some(&pairs));
        RequestSpec::new(Kind::Navigation, target.as_str()).from(&self.url)
    }

    /// The navigation that this page starts by itself, if it has a `Refresh` header.
    pub(super) fn refresh(&self) -> Option<RequestSpec> {
        let target = self.resolve(refresh(&self.head)?);
        let navigation = RequestSpec::new(Kind::Navigation, target.as_str()).from(&self.url);
        Some(navigation.following())
    }

    /// The request that follows this redirect, if it is one.
    pub(super) fn redirect(&self) -> Option<RequestSpec> {
        let location = self.header("location")?;
        let mut request = RequestSpec {
            url: self.resolve(location),
            ..self.request.clone()
        };
        let becomes_get = match self.status() {
            303 => true,
            301 | 302 => request.method == "POST",
            307 | 308 => false,
            _ => return None,
        };
        if becomes_get {
            request.method = "GET".to_owned();
            request.body.clear();
            request
                .headers
                .retain(|(name, _)| !name.eq_ignore_ascii_case("content-type"));
        }
        Some(request)
    }
}

/// The target of a redirect or of an immediate refresh.
pub(super) fn target(head: &Head) -> Option<&str> {
    head.header("location").or_else(|| refresh(head))
}

fn refresh(head: &Head) -> Option<&str> {
    head.header("refresh")?.strip_prefix("0; url=")
}

impl std::fmt::Display for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for hop in &self.chain {
            writeln!(
                f,
                "{} {} -> {}",
                hop.status,
                hop.url,
                hop.location.as_deref().unwrap_or("(here)")
            )?;
        }
        let shown: String = self.text().chars().take(2000).collect();
        write!(f, "{}\n{shown}", self.head.start)
    }
}
