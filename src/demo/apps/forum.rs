//! The forum app: a public front page, and posts that signed-in users read and write.

use std::collections::{HashMap, VecDeque};
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
use crate::demo::serve::{
    Handler, HttpRequest, HttpResponse, StartError, empty, method_not_allowed, redirect, serve,
    with_body,
};

const MAX_POSTS: usize = 200;
const MAX_TITLE: usize = 120;
const MAX_TEXT: usize = 2_000;

const TEMPLATES: [(&str, &str); 4] = [
    ("layout.html", include_str!("pages/forum/layout.html")),
    ("home.html", include_str!("pages/forum/home.html")),
    ("posts.html", include_str!("pages/forum/posts.html")),
    (
        "signed_out.html",
        include_str!("pages/forum/signed_out.html"),
    ),
];

#[derive(Clone, Serialize)]
struct Post {
    author: String,
    title: String,
    text: String,
}

struct Forum {
    pages: Pages,
    /// Newest first.
    posts: Mutex<VecDeque<Post>>,
}

/// Starts the forum on `listener`, within the current Tokio runtime.
///
/// # Errors
/// The listener is not bound to a loopback address.
pub fn start(listener: TcpListener, links: Links) -> Result<RunningApp, StartError> {
    let forum = Forum {
        pages: Pages::new(&TEMPLATES, links)?,
        posts: Mutex::new(first_posts()),
    };
    serve(listener, Arc::new(forum)).map(RunningApp)
}

impl Handler for Forum {
    fn handle(&self, request: &HttpRequest) -> HttpResponse {
        let user = CurrentUser::of(request);
        let user = user.as_ref();
        match request.path.as_str() {
            "/posts" if request.method == Method::POST => self.write(request, user),
            "/posts" if !request.is_get_or_head() => method_not_allowed("GET, HEAD, POST"),
            "/headers" => self.pages.show_headers(request, user),
            _ if !request.is_get_or_head() => method_not_allowed("GET, HEAD"),
            "/" => {
                let titles: Vec<String> = self
                    .posts()
                    .iter()
                    .take(5)
                    .map(|post| post.title.clone())
                    .collect();
                self.pages.show(
                    StatusCode::OK,
                    "Welcome",
                    "home.html",
                    user,
                    context! { titles },
                )
            }
            "/posts" => self.show_posts(StatusCode::OK, user, None),
            "/assets/forum.css" => with_body(
                StatusCode::OK,
                "text/css; charset=utf-8",
                include_str!("pages/forum/forum.css"),
            ),
            "/favicon.ico" => with_body(
                StatusCode::OK,
                "image/svg+xml",
                include_str!("pages/forum/icon.svg"),
            ),
            _ => empty(StatusCode::NOT_FOUND),
        }
    }
}

impl Forum {
    fn posts(&self) -> MutexGuard<'_, VecDeque<Post>> {
        self.posts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show_posts(
        &self,
        status: StatusCode,
        user: Option<&CurrentUser>,
        problem: Option<&str>,
    ) -> HttpResponse {
        if user.is_none() {
            return self.signed_out_page();
        }
        let posts: Vec<Post> = self.posts().iter().cloned().collect();
        self.pages.show(
            status,
            "Posts",
            "posts.html",
            user,
            context! { posts => Value::from(Serde(posts)), problem },
        )
    }

    /// `POST /posts` with `title` and `text`.
    fn write(&self, request: &HttpRequest, user: Option<&CurrentUser>) -> HttpResponse {
        let Some(user) = user else {
            return self.signed_out_page();
        };
        let form: HashMap<_, _> = form_urlencoded::parse(&request.body).collect();
        let field = |name: &str| {
            form.get(name)
                .map(|value| value.trim().to_owned())
                .unwrap_or_default()
        };
        let post = Post {
            author: user.name.clone(),
            title: field("title"),
            text: field("text"),
        };
        let fits = |text: &str, limit: usize| !text.is_empty() && text.chars().count() <= limit;
        if !fits(&post.title, MAX_TITLE) || !fits(&post.text, MAX_TEXT) {
            let problem = "A post needs a title of at most 120 letters and a text of at most 2000.";
            return self.show_posts(StatusCode::UNPROCESSABLE_ENTITY, Some(user), Some(problem));
        }
        let mut posts = self.posts();
        posts.push_front(post);
        posts.truncate(MAX_POSTS);
        redirect(StatusCode::SEE_OTHER, "/posts")
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

fn first_posts() -> VecDeque<Post> {
    let post = |author: &str, title: &str, text: &str| Post {
        author: author.to_owned(),
        title: title.to_owned(),
        text: text.to_owned(),
    };
    VecDeque::from([
        post(
            "mira",
            "The lantern on Mill Street is back",
            "It was repaired over the weekend. Thank you!",
        ),
        post(
            "jonas",
            "Which doormat survives a dog?",
            "We are on our third this year. Coir sheds, rubber gets eaten. Ideas?",
        ),
        post(
            "mira",
            "Welcome to the Porch",
            "Be kind, knock first, and say where you found it.",
        ),
    ])
}
