//! A backend with odd habits, one for each path: authentication that is bound to the connection,
//! many interim responses, and a demand for another protocol.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpStream;

use super::listening::Listening;
use super::wire::{Head, Wire};

/// A running backend. Its response body is the name of the connection's user, or `nobody`.
pub struct QuirkyBackend {
    listening: Listening,
    received: Arc<Mutex<Vec<Request>>>,
}

/// A received request.
#[derive(Clone, Debug)]
pub struct Request {
    pub head: Head,
    /// The index of its connection, from 0.
    pub connection: usize,
}

/// The backend's behavior for a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Habit {
    /// Authenticates the connection: `Negotiate USER` at once, `NTLM hello USER` and
    /// `NTLM proof USER` on the same connection. After that, the connection is that user's.
    ConnectionAuth,
    /// Sends so many interim responses at this interval before the final one.
    Interim { count: usize, every: Duration },
    /// Demands a WebSocket.
    UpgradeRequired,
}

/// The backend's state of one connection.
#[derive(Default)]
struct Connection {
    /// The client that has begun to authenticate.
    greeted: Option<String>,
    user: Option<String>,
}

impl Habit {
    /// `/public/interim/40/50` sends 40 interim responses, one each 50 ms.
    fn of(target: &str) -> Self {
        let numbers = target.strip_prefix("/public/interim/").unwrap_or_default();
        match (target, numbers.split_once('/')) {
            (_, Some((count, every))) => Self::Interim {
                count: count.parse().expect("a count"),
                every: Duration::from_millis(every.parse().expect("an interval")),
            },
            ("/public/upgrade-required", None) => Self::UpgradeRequired,
            (_, None) => Self::ConnectionAuth,
        }
    }
}

impl Connection {
    /// The challenges of a request that is not authenticated.
    fn challenges(&mut self, authorization: Option<&str>) -> &'static [&'static str] {
        let words: Vec<&str> = authorization.unwrap_or_default().split(' ').collect();
        match words.as_slice() {
            ["Negotiate", user] => self.user = Some((*user).to_owned()),
            ["NTLM", "hello", user] => {
                self.greeted = Some((*user).to_owned());
                return &["NTLM challenge"];
            }
            ["NTLM", "proof", user] if self.greeted.as_deref() == Some(user) => {
                self.user = self.greeted.take();
            }
            _ => {}
        }
        if self.user.is_some() {
            &[]
        } else {
            &["Negotiate", "NTLM"]
        }
    }
}

impl QuirkyBackend {
    /// Starts it on a free port.
    pub fn start() -> Self {
        let received = Arc::new(Mutex::new(Vec::new()));
        let (shared, connections) = (Arc::clone(&received), Arc::new(Mutex::new(0)));
        let listening = Listening::start(0, move |stream| {
            let shared = Arc::clone(&shared);
            let connection = {
                let mut connections = connections.lock().expect("no test panicked inside");
                *connections += 1;
                *connections - 1
            };
            async move {
                // A client that disconnects ends only its own connection.
                let _gone = serve(stream, connection, &shared).await;
            }
        });
        Self {
            listening,
            received,
        }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.listening.port())
    }

    /// All requests so far.
    pub fn received(&self) -> Vec<Request> {
        self.received
            .lock()
            .expect("no test panicked inside")
            .clone()
    }
}

async fn serve(
    stream: TcpStream,
    connection: usize,
    received: &Mutex<Vec<Request>>,
) -> io::Result<()> {
    let mut wire = Wire::new(stream);
    let mut state = Connection::default();
    while let Some(head) = wire.read_head().await? {
        wire.read_body(head.request_framing()).await?;
        received
            .lock()
            .expect("no test panicked inside")
            .push(Request {
                head: head.clone(),
                connection,
            });
        let target = head.start.split(' ').nth(1).unwrap_or_default();
        let (status, fields) = match Habit::of(target) {
            Habit::ConnectionAuth => match state.challenges(head.header("authorization")) {
                [] => ("200 OK", Vec::new()),
                challenges => {
                    let fields = challenges.iter();
                    let fields = fields.map(|one| format!("WWW-Authenticate: {one}\r\n"));
                    ("401 Unauthorized", fields.collect())
                }
            },
            Habit::Interim { count, every } => {
                for _ in 0..count {
                    wire.write(b"HTTP/1.1 102 Processing\r\n\r\n").await?;
                    tokio::time::sleep(every).await;
                }
                ("200 OK", Vec::new())
            }
            Habit::UpgradeRequired => (
                "426 Upgrade Required",
                vec!["Connection: Upgrade\r\nUpgrade: websocket\r\n".to_owned()],
            ),
        };
        let body = state.user.as_deref().unwrap_or("nobody");
        let response = format!(
            "HTTP/1.1 {status}\r\n{}Content-Length: {}\r\n\r\n{body}",
            fields.concat(),
            body.len()
        );
        wire.write(response.as_bytes()).await?;
    }
    Ok(())
}
