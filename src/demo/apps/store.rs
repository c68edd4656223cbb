//! The store app: a public front page, a cart for signed-in users, and a page for administrators.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{Method, StatusCode};
use minijinja::value::Serde;
use minijinja::{Value, context};
use serde::Serialize;
use tokio::net::TcpListener;
use url::form_urlencoded;

use super::current_user::CurrentUser;
use super::render::Pages;
use super::{Links, RunningApp};
use crate::demo::bounded::BoundedMap;
use crate::demo::serve::{
    Handler, HttpRequest, HttpResponse, StartError, empty, event_stream, method_not_allowed,
    redirect, serve, with_body,
};

const MAX_CARTS: usize = 1_000;
const MAX_OF_A_KIND: u32 = 99;

const TEMPLATES: [(&str, &str); 6] = [
    ("layout.html", include_str!("pages/store/layout.html")),
    ("home.html", include_str!("pages/store/home.html")),
    ("cart.html", include_str!("pages/store/cart.html")),
    ("admin.html", include_str!("pages/store/admin.html")),
    ("clock.html", include_str!("pages/store/clock.html")),
    (
        "signed_out.html",
        include_str!("pages/store/signed_out.html"),
    ),
];

/// The products for sale.
const PRODUCTS: [Product; 6] = [
    Product {
        id: "knocker",
        name: "Lion door knocker",
        about: "Cast brass, 14 cm",
        cents: 3_950,
    },
    Product {
        id: "lantern",
        name: "Porch lantern",
        about: "Copper, for E27 bulbs",
        cents: 6_400,
    },
    Product {
        id: "doormat",
        name: "Coir doormat",
        about: "60 × 40 cm, plain",
        cents: 1_890,
    },
    Product {
        id: "key",
        name: "Spare key",
        about: "Cut while you wait",
        cents: 650,
    },
    Product {
        id: "bell",
        name: "Pull bell",
        about: "With a spring, quite loud",
        cents: 4_275,
    },
    Product {
        id: "letterbox",
        name: "Letter box",
        about: "Powder-coated steel",
        cents: 5_120,
    },
];

#[derive(Clone, Copy, Serialize)]
struct Product {
    id: &'static str,
    name: &'static str,
    about: &'static str,
    cents: u32,
}

/// A user's cart: the number of items by product id.
#[derive(Default)]
struct Cart {
    owner: String,
    items: BTreeMap<&'static str, u32>,
}

struct Store {
    pages: Pages,
    carts: Mutex<BoundedMap<Cart>>,
}

/// Starts the store on `listener`, within the current Tokio runtime.
///
/// # Errors
/// The listener is not bound to a loopback address.
pub fn start(listener: TcpListener, links: Links) -> Result<RunningApp, StartError> {
    let pages = Pages::new(&TEMPLATES, links)?;
    let store = Store {
        pages,
        carts: Mutex::new(BoundedMap::new(MAX_CARTS)),
    };
    serve(listener, Arc::new(store)).map(RunningApp)
}

impl Handler for Store {
    fn handle(&self, request: &HttpRequest) -> HttpResponse {
        let user = CurrentUser::of(request);
        let user = user.as_ref();
        match request.path.as_str() {
            "/shopping-cart" if request.method == Method::POST => self.change_cart(request, user),
            "/shopping-cart" if !request.is_get_or_head() => method_not_allowed("GET, HEAD, POST"),
            "/headers" => self.pages.show_headers(request, user),
            _ if !request.is_get_or_head() => method_not_allowed("GET, HEAD"),
            "/" => self.pages.show(
                StatusCode::OK,
                "Welcome",
                "home.html",
                user,
                context! { products => products() },
            ),
            "/shopping-cart" => self.show_cart(user),
            "/admin" => self.show_admin(user),
            "/clock" => self.pages.show(
                StatusCode::OK,
                "Shop clock",
                "clock.html",
                user,
                context! {},
            ),
            "/ticker" => {
                event_stream(user.map_or_else(|| "nobody".to_owned(), |user| user.name.clone()))
            }
            "/assets/store.css" => with_body(
                StatusCode::OK,
                "text/css; charset=utf-8",
                include_str!("pages/store/store.css"),
            ),
            "/assets/goods.svg" => with_body(
                StatusCode::OK,
                "image/svg+xml",
                include_str!("pages/store/goods.svg"),
            ),
            "/assets/clock.js" => with_body(
                StatusCode::OK,
                "text/javascript; charset=utf-8",
                include_str!("pages/store/clock.js"),
            ),
            "/favicon.ico" => with_body(
                StatusCode::OK,
                "image/svg+xml",
                include_str!("pages/store/icon.svg"),
            ),
            _ => empty(StatusCode::NOT_FOUND),
        }
    }
}

impl Store {
    fn carts(&self) -> MutexGuard<'_, BoundedMap<Cart>> {
        self.carts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show_cart(&self, user: Option<&CurrentUser>) -> HttpResponse {
        let Some(user) = user else {
            return self.signed_out_page();
        };
        let carts = self.carts();
        let items = carts
            .get(&user.id)
            .map(|cart| cart.items.clone())
            .unwrap_or_default();
        drop(carts);
        let count = |product: &Product| items.get(product.id).copied().unwrap_or_default();
        let total = PRODUCTS
            .iter()
            .map(|product| product.cents.saturating_mul(count(product)))
            .sum();
        let rows: Vec<Value> = PRODUCTS
            .iter()
            .filter(|product| count(product) > 0)
            .map(|product| {
                let count = count(product);
                context! { product => Value::from(Serde(product)), count, price => price(product.cents.saturating_mul(count)) }
            })
            .collect();
        let values = context! { rows, total => price(total), products => products() };
        self.pages.show(
            StatusCode::OK,
            "Shopping cart",
            "cart.html",
            Some(user),
            values,
        )
    }

    /// `POST /shopping-cart` with `product` and `action`, `add` or `remove`.
    fn change_cart(&self, request: &HttpRequest, user: Option<&CurrentUser>) -> HttpResponse {
        let Some(user) = user else {
            return self.signed_out_page();
        };
        let form: BTreeMap<_, _> = form_urlencoded::parse(&request.body).collect();
        let wanted = form.get("product").map(AsRef::as_ref);
        let Some(product) = PRODUCTS.iter().find(|product| Some(product.id) == wanted) else {
            return empty(StatusCode::BAD_REQUEST);
        };
        let mut carts = self.carts();
        if carts.get(&user.id).is_none() {
            carts.insert(
                user.id.clone(),
                Cart {
                    owner: user.name.clone(),
                    items: BTreeMap::new(),
                },
            );
        }
        let Some(cart) = carts.get_mut(&user.id) else {
            return empty(StatusCode::INTERNAL_SERVER_ERROR);
        };
        let count = cart.items.entry(product.id).or_default();
        match form.get("action").map(AsRef::as_ref) {
            Some("add") => *count = count.saturating_add(1).min(MAX_OF_A_KIND),
            Some("remove") => *count = count.saturating_sub(1),
            Some(_) | None => return empty(StatusCode::BAD_REQUEST),
        }
        redirect(StatusCode::SEE_OTHER, "/shopping-cart")
    }

    /// The app does not check the role: the proxy's access rules do.
    fn show_admin(&self, user: Option<&CurrentUser>) -> HttpResponse {
        if user.is_none() {
            return self.signed_out_page();
        }
        let carts: Vec<Value> = self
            .carts()
            .values_mut()
            .map(
                |cart| context! { owner => &cart.owner, count => cart.items.values().sum::<u32>() },
            )
            .collect();
        self.pages.show(
            StatusCode::OK,
            "Administration",
            "admin.html",
            user,
            context! { carts },
        )
    }

    fn signed_out_page(&self) -> HttpResponse {
        self.pages.show(
            StatusCode::FORBIDDEN,
            "Not signed in",
            "signed_out.html",
            None,
            context! {},
        )
    }
}

fn products() -> Vec<Value> {
    PRODUCTS
        .iter()
        .map(|product| context! { product => Value::from(Serde(product)), price => price(product.cents) })
        .collect()
}

fn price(cents: u32) -> String {
    format!("€ {}.{:02}", cents / 100, cents % 100)
}
