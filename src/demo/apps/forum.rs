//! The forum: a public front page, and posts to read and write for people who are signed in.

use std::collections::{HashMap, VecDeque};
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
use crate::demo::serve::{
    Answer, Asked, Site, StartError, bare, method_not_allowed, redirect, serve, whole,
};

const MAX_POSTS: usize = 200;
const MAX_TITLE: usize = 120;
const MAX_TEXT: usize = 2_000;

const TEMPLATES: [(&str, &str); 4] = [
    ("layout.html", include_str!("pages/forum/layout.html")),
    ("home.html", include_str!("pages/forum/home.html")),
    ("posts.html", include_str!("pages/forum/posts.html")),
    ("nobody.html", include_str!("pages/forum/nobody.html")),
];

#[derive(Clone, Serialize)]
struct Post {
    author: String,
    title: String,
    text: String,
}

struct Forum {
    pages: Pages,
    /// The newest first.
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

impl Site for Forum {
    fn answer(&self, asked: &Asked) -> Answer {
        let visitor = Visitor::of(asked);
        let visitor = visitor.as_ref();
        match asked.path.as_str() {
            "/posts" if asked.method == Method::POST => self.write(asked, visitor),
            "/posts" if !asked.reads() => method_not_allowed("GET, HEAD, POST"),
            "/headers" => self.pages.show_headers(asked, visitor),
            _ if !asked.reads() => method_not_allowed("GET, HEAD"),
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
                    visitor,
                    context! { titles },
                )
            }
            "/posts" => self.show_posts(StatusCode::OK, visitor, None),
            "/assets/forum.css" => whole(
                StatusCode::OK,
                "text/css; charset=utf-8",
                include_str!("pages/forum/forum.css"),
            ),
            "/favicon.ico" => whole(
                StatusCode::OK,
                "image/svg+xml",
                include_str!("pages/forum/icon.svg"),
            ),
            _ => bare(StatusCode::NOT_FOUND),
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
        visitor: Option<&Visitor>,
        problem: Option<&str>,
    ) -> Answer {
        if visitor.is_none() {
            return self.nobody();
        }
        let posts: Vec<Post> = self.posts().iter().cloned().collect();
        self.pages.show(
            status,
            "Posts",
            "posts.html",
            visitor,
            context! { posts => Value::from(Serde(posts)), problem },
        )
    }

    /// `POST /posts` with `title` and `text`.
    fn write(&self, asked: &Asked, visitor: Option<&Visitor>) -> Answer {
        let Some(person) = visitor else {
            return self.nobody();
        };
        let form: HashMap<_, _> = form_urlencoded::parse(&asked.body).collect();
        let field = |name: &str| {
            form.get(name)
                .map(|value| value.trim().to_owned())
                .unwrap_or_default()
        };
        let post = Post {
            author: person.name.clone(),
            title: field("title"),
            text: field("text"),
        };
        let fits = |text: &str, limit: usize| !text.is_empty() && text.chars().count() <= limit;
        if !fits(&post.title, MAX_TITLE) || !fits(&post.text, MAX_TEXT) {
            let problem = "A post needs a title of at most 120 letters and a text of at most 2000.";
            return self.show_posts(StatusCode::UNPROCESSABLE_ENTITY, visitor, Some(problem));
        }
        let mut posts = self.posts();
        posts.push_front(post);
        posts.truncate(MAX_POSTS);
        redirect(StatusCode::SEE_OTHER, "/posts")
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
            "Somebody mended it over the weekend. Thank you, whoever you are!",
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
