//! Clock skew of the provider.

use super::*;

#[tokio::test]
async fn clock_skew_comes_from_response_dates() {
    let test = TestProvider::new().await;
    assert_eq!(test.provider.clock_skew(), None);
    for (date, skew) in [
        ("Fri, 15 Jan 2027 08:01:00 GMT", Some(60)),
        ("((((((not a date))))))", Some(60)),
        ("Fri, 15 Jan 2027 07:59:04 GMT", Some(-60)),
    ] {
        let reply = format!(
            "HTTP/1.1 500 X\r\ndate: {date}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        test.on("/d", move || Reply::Raw(reply.clone().into_bytes()));
        test.provider.metadata().await.unwrap_err();
        assert_eq!(test.provider.clock_skew(), skew, "{date}");
        test.clock.advance(Duration::from_secs(2));
        *test.script.lock().unwrap() = Box::new(|_| None);
    }
}

#[tokio::test]
async fn clock_skew_is_logged_once_per_change() {
    let log = LogCapture::start();
    let test = TestProvider::new().await;
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
        test.on("/token", move || Reply::Raw(head.clone().into_bytes()));
        test.refresh().await.unwrap_err();
    }
    let text = log.text();
    let entries: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("provider_clock"))
        .collect();
    let [skewed, agrees] = entries.as_slice() else {
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
