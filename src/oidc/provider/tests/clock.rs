//! The provider's clock, as its answers show it.

use super::*;

#[tokio::test]
async fn the_providers_clock_is_read_off_its_answers() {
    let world = World::new().await;
    assert_eq!(world.provider.clock_skew(), None);
    for (date, skew) in [
        ("Fri, 15 Jan 2027 08:01:00 GMT", Some(60)),
        ("((((((not a date))))))", Some(60)),
        ("Fri, 15 Jan 2027 07:59:04 GMT", Some(-60)),
    ] {
        let answer = format!(
            "HTTP/1.1 500 X\r\ndate: {date}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        world.on("/d", move || Reply::Raw(answer.clone().into_bytes()));
        world.provider.metadata().await.unwrap_err();
        assert_eq!(world.provider.clock_skew(), skew, "{date}");
        world.clock.advance(Duration::from_secs(2));
        *world.script.lock().unwrap() = Box::new(|_| None);
    }
}

#[tokio::test]
async fn a_clock_that_is_too_far_off_is_logged_once_and_so_is_its_return() {
    let log = Sink::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _here = tracing::subscriber::set_default(subscriber);
    let world = World::new().await;
    for (date, age) in [
        ("Fri, 15 Jan 2027 08:00:30 GMT", 0),
        ("Fri, 15 Jan 2027 08:00:35 GMT", 0),
        ("Fri, 15 Jan 2027 07:00:00 GMT", 0),
        ("Fri, 15 Jan 2027 07:00:00 GMT", 3600),
        ("Fri, 15 Jan 2027 08:00:10 GMT", 0),
    ] {
        let head = format!(
            "HTTP/1.1 500 X\r\ndate: {date}\r\nage: {age}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        world.on("/token", move || Reply::Raw(head.clone().into_bytes()));
        world.refresh().await.unwrap_err();
    }
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let said: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("provider_clock"))
        .collect();
    let [skewed, agrees] = said.as_slice() else {
        panic!("{text}")
    };
    assert!(
        skewed.contains("WARN") && skewed.contains("provider_clock_skewed"),
        "{skewed}"
    );
    assert!(
        skewed.contains("provider=login") && skewed.contains("seconds_ahead=35"),
        "{skewed}"
    );
    assert!(
        agrees.contains("provider_clock_agrees") && agrees.contains("seconds_ahead=0"),
        "{agrees}"
    );
}

/// What is logged on this thread.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
