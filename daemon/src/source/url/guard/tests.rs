//! Where a guarded connection goes, and where it never does: a canary that listens on loopback has no visitor.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::RawQuery;
use axum::response::Redirect;
use axum::routing::get;
use tokio::net::TcpListener;

use super::super::cases::INSIDE;
use super::*;

/// Where the only server that may be connected to listens.
const ALLOWED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// A server on [`ALLOWED`]: `/audio` is audio, `/to?<target>` redirects.
struct Stage {
    port: u16,
    visitors: Arc<AtomicUsize>,
}

impl Stage {
    /// The canary listens on the server's port, on the loopback addresses of both families.
    async fn start() -> Stage {
        let redirect = |RawQuery(target): RawQuery| async move { Redirect::temporary(&target.unwrap()) };
        let router = Router::new().route("/to", get(redirect)).route("/audio", get(async || "audio"));
        let router = router.route("/circle", get(async || Redirect::temporary("circle")));
        let listener = TcpListener::bind((ALLOWED, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let visitors = Arc::<AtomicUsize>::default();
        for loopback in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
            let Ok(canary) = TcpListener::bind((loopback, port)).await else { continue };
            let visitors = Arc::clone(&visitors);
            tokio::spawn(async move {
                while canary.accept().await.is_ok() {
                    visitors.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        Stage { port, visitors }
    }

    /// A page of the server that redirects to `target`.
    fn to(&self, target: &str) -> String {
        format!("http://{ALLOWED}:{}/to?{target}", self.port)
    }
}

fn allow() -> AllowList {
    AllowList::parse(&[format!("{ALLOWED}/32")]).unwrap()
}

/// A look-up whose answers a test chooses, one after the other.
fn names(answer: impl Fn(&str, usize) -> Vec<IpAddr> + Send + Sync + 'static) -> Box<Lookup> {
    let asked = AtomicUsize::new(0);
    Box::new(move |name, port| {
        let addresses = answer(name, asked.fetch_add(1, Ordering::SeqCst));
        Box::pin(async move { Ok(addresses.into_iter().map(|address| (address, port).into()).collect()) })
    })
}

async fn outcome(url: &str, lookup: &Lookup) -> Result<String, Unfetched> {
    let response = Guard { allow: &allow(), lookup }.open(url, None).await?;
    response.text().await.map_err(not_now)
}

#[tokio::test]
async fn three_hundred_ways_to_an_inside_address_reach_nothing() {
    let stage = Stage::start().await;
    let port = stage.port;
    let address = |host: &str| match Url::parse(&format!("https://{host}/")).ok()?.host()? {
        Host::Ipv4(address) => Some(IpAddr::from(address)),
        Host::Ipv6(address) => Some(address.into()),
        Host::Domain(_) => None,
    };
    let mut cases: Vec<(String, Option<IpAddr>)> = Vec::new();
    for (number, host) in INSIDE.iter().enumerate() {
        let inside = format!("{host}:{port}/audio");
        cases.extend([format!("https://{inside}"), format!("http://{inside}")].map(|url| (url, None)));
        cases.push((stage.to(&format!("http://{inside}")), None));
        // A public name that resolves to it.
        let found = address(host);
        assert!(found.is_some(), "{host} is an address");
        cases.push((format!("https://name-{number}.example.com:{port}/audio"), found));
        if number % 3 == 0 {
            cases.push((stage.to(&format!("https://name-{number}.example.com:{port}/audio")), found));
        }
    }
    for target in [
        "file:///etc/passwd",
        "ftp://127.0.0.1/a",
        "gopher://127.0.0.1/",
        "//127.0.0.1/audio",
        "https://user:pw@example.com/",
        "http://localhost/audio",
        "https://localhost/audio",
        "http://example.com/audio",
        "https://metadata.google.internal/",
    ] {
        cases.push((stage.to(target), None));
    }
    assert!(cases.len() >= 300, "{}", cases.len());
    for (url, found) in &cases {
        let found = *found;
        let lookup = names(move |_, _| found.into_iter().collect());
        let failed = outcome(url, &*lookup).await.unwrap_err();
        assert!(matches!(failed, Unfetched::Forbidden(_)), "{url}: {failed}");
    }
    assert_eq!(stage.visitors.load(Ordering::SeqCst), 0, "visitors of the canary");
}

#[tokio::test]
async fn a_name_that_is_bound_anew_is_connected_to_where_it_was_vetted() {
    let stage = Stage::start().await;
    let canary = IpAddr::from(Ipv4Addr::LOCALHOST);
    // Vetted and connected to with one look-up; only the next connection asks again, and is refused.
    let rebinding = names(move |_, asked| vec![if asked == 0 { ALLOWED.into() } else { canary }]);
    let url = format!("https://rebinding.example.com:{}/audio", stage.port);
    let first = outcome(&url, &*rebinding).await.unwrap_err();
    assert!(matches!(&first, Unfetched::NotNow(_)), "a server without TLS was connected to: {first}");
    let second = outcome(&url, &*rebinding).await.unwrap_err();
    assert!(matches!(second, Unfetched::Forbidden(UrlRefused::ResolvesInside { .. })), "{second}");
    // One address that may be connected to does not excuse another one.
    let both = names(move |_, _| vec![ALLOWED.into(), canary]);
    let failed = outcome(&url, &*both).await.unwrap_err();
    assert!(matches!(failed, Unfetched::Forbidden(UrlRefused::ResolvesInside { .. })), "{failed}");
    assert_eq!(stage.visitors.load(Ordering::SeqCst), 0, "visitors of the canary");
}

#[tokio::test]
async fn redirects_are_followed_where_each_may_be_opened_and_they_end() {
    let stage = Stage::start().await;
    let nobody = names(|_, _| Vec::new());
    let audio = stage.to(&stage.to("/audio"));
    assert_eq!(outcome(&audio, &*nobody).await.unwrap(), "audio");
    let circle = outcome(&stage.to("/circle"), &*nobody).await;
    assert!(matches!(circle, Err(Unfetched::Refused(_))), "{circle:?}");
}
