//! The store: a public front page, a cart for people who are signed in, and a page for administrators.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{Method, StatusCode};
use minijinja::value::Serde;
use minijinja::{Value, context};
use serde::Serialize;
use tokio::net::TcpListener;
use url::form_urlencoded;

use super::render::Pages;
use super::visitor::Visitor;
use super::{Links, RunningApp};
use crate::demo::bounded::Bounded;
use crate::demo::serve::{
    Answer, Asked, Site, StartError, bare, method_not_allowed, redirect, serve, ticks, whole,
};

const MAX_CARTS: usize = 1_000;
const MAX_OF_A_KIND: u32 = 99;

const TEMPLATES: [(&str, &str); 6] = [
    ("layout.html", include_str!("pages/store/layout.html")),
    ("home.html", include_str!("pages/store/home.html")),
    ("cart.html", include_str!("pages/store/cart.html")),
    ("admin.html", include_str!("pages/store/admin.html")),
    ("clock.html", include_str!("pages/store/clock.html")),
    ("nobody.html", include_str!("pages/store/nobody.html")),
];

/// What is for sale.
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
        about: "60 × 40 cm, says nothing",
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

/// A person's cart: how many of each product, by its id.
#[derive(Default)]
struct Cart {
    owner: String,
    items: BTreeMap<&'static str, u32>,
}

struct Store {
    pages: Pages,
    carts: Mutex<Bounded<Cart>>,
}

/// Starts the store on `listener`, within the current Tokio runtime.
///
/// # Errors
/// The listener is not bound to a loopback address.
pub fn start(listener: TcpListener, links: Links) -> Result<RunningApp, StartError> {
    let pages = Pages::new(&TEMPLATES, links)?;
    let store = Store {
        pages,
        carts: Mutex::new(Bounded::new(MAX_CARTS)),
    };
    serve(listener, Arc::new(store)).map(RunningApp)
}

impl Site for Store {
    fn answer(&self, asked: &Asked) -> Answer {
        let visitor = Visitor::of(asked);
        let visitor = visitor.as_ref();
        match asked.path.as_str() {
            "/shopping-cart" if asked.method == Method::POST => self.change_cart(asked, visitor),
            "/shopping-cart" if !asked.reads() => method_not_allowed("GET, HEAD, POST"),
            "/headers" => self.pages.show_headers(asked, visitor),
            _ if !asked.reads() => method_not_allowed("GET, HEAD"),
            "/" => self.pages.show(
                StatusCode::OK,
                "Welcome",
                "home.html",
                visitor,
                context! { products => shelf() },
            ),
            "/shopping-cart" => self.show_cart(visitor),
            "/admin" => self.show_admin(visitor),
            "/clock" => self.pages.show(
                StatusCode::OK,
                "Shop clock",
                "clock.html",
                visitor,
                context! {},
            ),
            "/ticker" => {
                ticks(visitor.map_or_else(|| "nobody".to_owned(), |visitor| visitor.name.clone()))
            }
            "/assets/store.css" => whole(
                StatusCode::OK,
                "text/css; charset=utf-8",
                include_str!("pages/store/store.css"),
            ),
            "/assets/goods.svg" => whole(
                StatusCode::OK,
                "image/svg+xml",
                include_str!("pages/store/goods.svg"),
            ),
            "/assets/clock.js" => whole(
                StatusCode::OK,
                "text/javascript; charset=utf-8",
                include_str!("pages/store/clock.js"),
            ),
            "/favicon.ico" => whole(
                StatusCode::OK,
                "image/svg+xml",
                include_str!("pages/store/icon.svg"),
            ),
            _ => bare(StatusCode::NOT_FOUND),
        }
    }
}

impl Store {
    fn carts(&self) -> MutexGuard<'_, Bounded<Cart>> {
        self.carts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show_cart(&self, visitor: Option<&Visitor>) -> Answer {
        let Some(person) = visitor else {
            return self.nobody();
        };
        let carts = self.carts();
        let items = carts
            .get(&person.id)
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
        let values = context! { rows, total => price(total), products => shelf() };
        self.pages.show(
            StatusCode::OK,
            "Shopping cart",
            "cart.html",
            visitor,
            values,
        )
    }

    /// `POST /shopping-cart` with `product` and `action`, `add` or `remove`.
    fn change_cart(&self, asked: &Asked, visitor: Option<&Visitor>) -> Answer {
        let Some(person) = visitor else {
            return self.nobody();
        };
        let form: BTreeMap<_, _> = form_urlencoded::parse(&asked.body).collect();
        let wanted = form.get("product").map(AsRef::as_ref);
        let Some(product) = PRODUCTS.iter().find(|product| Some(product.id) == wanted) else {
            return bare(StatusCode::BAD_REQUEST);
        };
        let mut carts = self.carts();
        if carts.get(&person.id).is_none() {
            carts.insert(
                person.id.clone(),
                Cart {
                    owner: person.name.clone(),
                    items: BTreeMap::new(),
                },
            );
        }
        let Some(cart) = carts.get_mut(&person.id) else {
            return bare(StatusCode::INTERNAL_SERVER_ERROR);
        };
        let count = cart.items.entry(product.id).or_default();
        match form.get("action").map(AsRef::as_ref) {
            Some("add") => *count = count.saturating_add(1).min(MAX_OF_A_KIND),
            Some("remove") => *count = count.saturating_sub(1),
            Some(_) | None => return bare(StatusCode::BAD_REQUEST),
        }
        redirect(StatusCode::SEE_OTHER, "/shopping-cart")
    }

    /// The app itself does not ask for the role: that is the rule of whoever stands before it.
    fn show_admin(&self, visitor: Option<&Visitor>) -> Answer {
        if visitor.is_none() {
            return self.nobody();
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
            visitor,
            context! { carts },
        )
    }

    fn nobody(&self) -> Answer {
        self.pages.show(
            StatusCode::FORBIDDEN,
            "Who are you?",
            "nobody.html",
            None,
            context! {},
        )
    }
}

fn shelf() -> Vec<Value> {
    PRODUCTS
        .iter()
        .map(|product| context! { product => Value::from(Serde(product)), price => price(product.cents) })
        .collect()
}

fn price(cents: u32) -> String {
    format!("€ {}.{:02}", cents / 100, cents % 100)
}
