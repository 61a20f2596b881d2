//! The real outbound client against peers on loopback.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

mod rig;

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderValue, Method, StatusCode, Uri, Version, header};
use net::{NameServers, OutboundRequest, RealOptions, Redirects, SendError, TlsRoots, World};
use rig::{
    authority::Authority,
    loopback,
    peer::{Peer, Reply, redirect, text},
};

const BOTH: &[&str] = &["h2", "http/1.1"];

fn world(authority: &Authority) -> World {
    open_world(authority, true)
}

fn open_world(authority: &Authority, allow_private_addresses: bool) -> World {
    World::real(RealOptions {
        allow_private_addresses,
        extra_ca_files: vec![authority.file()],
        roots: TlsRoots::ExtraOnly,
        // Nothing listens there: these tests need no DNS.
        name_servers: NameServers::At(vec!["127.0.0.1:9".parse().unwrap()]),
        user_agent: Some("Causeway test".to_owned()),
        ..RealOptions::default()
    })
    .unwrap()
}

fn any() -> SocketAddr {
    (loopback(), 0).into()
}

fn get(uri: &str) -> OutboundRequest {
    OutboundRequest::get(uri.parse().unwrap())
}

async fn send(world: &World, request: OutboundRequest) -> Result<(StatusCode, Bytes), SendError> {
    let answer = world.http().send(request).await?;
    let status = answer.status;
    Ok((status, answer.bytes(1024 * 1024).await?))
}

#[tokio::test]
async fn address_certificate_name_and_host_header_are_independent() {
    let authority = Authority::new();
    let world = world(&authority);
    for (alpn, version) in [(BOTH, Version::HTTP_2), (&["http/1.1"], Version::HTTP_11), (&[], Version::HTTP_11)] {
        let peer = Peer::start(any(), Some(authority.server(&["proved.example"], alpn)), |_| text(200, "here")).await;
        let mut request =
            get("https://url.example:1234/a%20path/%2F?q=%C3%A4+b").connect_to(vec![peer.at], "proved.example");
        request.method = Method::PUT;
        let request =
            request.header(header::HOST, HeaderValue::from_static("header.example:99")).json_body(r#"{"some":"body"}"#);
        assert_eq!(send(&world, request).await.unwrap(), (StatusCode::OK, Bytes::from("here")));
        let seen = peer.seen().remove(0);
        assert_eq!(seen.sni.as_deref(), Some("proved.example"));
        assert_eq!(seen.host, "header.example:99");
        assert_eq!((seen.version, seen.method), (version, Method::PUT));
        assert_eq!(seen.target, "/a%20path/%2F?q=%C3%A4+b", "the target is signed, so it must arrive as it is");
        assert_eq!(seen.body, r#"{"some":"body"}"#);
        assert_eq!(seen.headers[header::CONTENT_TYPE], "application/json");
        assert_eq!(seen.headers[header::USER_AGENT], "Causeway test");
    }
}

#[tokio::test]
async fn an_ip_address_is_proved_without_sni() {
    let authority = Authority::new();
    let world = world(&authority);
    let at = any();
    let peer = Peer::start(at, Some(authority.server(&[&at.ip().to_string()], BOTH)), |_| text(200, "")).await;
    send(&world, get(&format!("https://{}/", peer.at))).await.unwrap();
    assert_eq!((peer.seen()[0].sni.clone(), peer.seen()[0].host.clone()), (None, peer.at.to_string()));

    if let Ok(six) = std::net::TcpListener::bind("[::1]:0") {
        let at = six.local_addr().unwrap();
        drop(six);
        let peer = Peer::start(at, Some(authority.server(&["::1"], BOTH)), |_| text(200, "")).await;
        send(&world, get(&format!("https://{at}/"))).await.unwrap();
        assert_eq!((peer.seen()[0].sni.clone(), peer.seen()[0].host.clone()), (None, at.to_string()));
    }
}

#[tokio::test]
async fn every_address_is_tried_until_the_right_server_answers() {
    let authority = Authority::new();
    let stranger = Authority::new();
    let world = world(&authority);
    let closed = any();
    let wrong_name = Peer::start(any(), Some(authority.server(&["other.example"], BOTH)), |_| text(200, "wrong")).await;
    let wrong_authority = Peer::start(any(), Some(stranger.server(&["a.example"], BOTH)), |_| text(200, "wrong")).await;
    let no_tls = Peer::start(any(), None, |_| text(200, "wrong")).await;
    let right = Peer::start(any(), Some(authority.server(&["a.example"], BOTH)), |_| text(200, "right")).await;
    let bad = vec![(closed.ip(), 1).into(), wrong_name.at, wrong_authority.at, no_tls.at];
    let mut all = bad.clone();
    all.push(right.at);

    let (_, body) = send(&world, get("https://a.example/").connect_to(all, "a.example")).await.unwrap();
    assert_eq!(body, "right");
    assert_eq!(right.seen().len(), 1);

    let error = send(&world, get("https://b.example/").connect_to(bad.clone(), "b.example")).await.unwrap_err();
    assert!(error.is_unsent());
    let SendError::Connect { attempts, .. } = &error else { panic!("{error}") };
    let mut tried: Vec<SocketAddr> = attempts.iter().map(|attempt| attempt.address).collect();
    tried.sort();
    let mut expected = bad.clone();
    expected.sort();
    assert_eq!(tried, expected, "{error}");
    let sentence = error.to_string();
    assert!(sentence.contains("refused") && sentence.contains("certificate"), "{sentence}");
    for peer in [&wrong_name, &wrong_authority, &no_tls] {
        assert!(peer.seen().is_empty(), "nothing may be sent to a server that has not proved its name");
    }
}

#[tokio::test]
async fn addresses_that_are_not_public_are_refused_whoever_leads_there() {
    let authority = Authority::new();
    let strict = open_world(&authority, false);
    let peer = Peer::start(any(), Some(authority.server(&["a.example"], BOTH)), |_| text(200, "")).await;
    let plain = Peer::start(any(), None, |_| text(200, "")).await;
    for request in [
        get("https://a.example/").connect_to(vec![peer.at], "a.example"),
        get(&format!("https://{}/", peer.at)),
        get(&format!("http://{}/", plain.at)),
        get(&format!("http://[::ffff:{}]:{}/", plain.at.ip(), plain.at.port())),
        get(&format!("http://localhost:{}/", plain.at.port())),
        get("http://[::1]:80/"),
        get("http://169.254.169.254/latest/meta-data"),
        get("http://10.0.0.1/"),
    ] {
        let uri = request.uri.clone();
        let error = send(&strict, request).await.unwrap_err();
        assert!(matches!(error, SendError::Refused { .. }), "{uri}: {error}");
        assert!(error.to_string().contains("federation.allow_private_addresses"), "{error}");
    }
    assert_eq!(peer.connections() + plain.connections(), 0);
}

#[tokio::test]
async fn redirects_are_followed_as_far_as_the_caller_says() {
    let authority = Authority::new();
    let world = world(&authority);
    let target = Peer::start(any(), None, |_| text(200, "there")).await;
    let there = format!("http://{}/there", target.at);
    let away = there.clone();
    let start = Peer::start(any(), None, move |seen| match seen.target.as_str() {
        "/relative" => redirect(302, "step?x=1"),
        "/step?x=1" => redirect(308, &away),
        "/circle" => redirect(301, "/circle"),
        "/ftp" => redirect(302, "ftp://example.org/"),
        _ => text(404, ""),
    })
    .await;
    let url = |path: &str| format!("http://{}{path}", start.at);

    let secret = HeaderValue::from_static("secret");
    let request = get(&url("/relative")).header(header::AUTHORIZATION, secret.clone()).redirects(Redirects::Follow(2));
    let answer = world.http().send(request).await.unwrap();
    assert_eq!(answer.uri, there.parse::<Uri>().unwrap());
    assert_eq!(answer.bytes(100).await.unwrap(), "there");
    assert_eq!(start.seen()[1].headers[header::AUTHORIZATION], secret, "still the same host");
    assert_eq!(target.seen()[0].headers.get(header::AUTHORIZATION), None, "another host does not get it");
    assert_eq!(target.seen()[0].host, target.at.to_string());

    let error = send(&world, get(&url("/relative")).redirects(Redirects::Follow(1))).await.unwrap_err();
    assert!(matches!(error, SendError::Redirect { .. }), "{error}");
    let before = start.seen().len();
    let error = send(&world, get(&url("/circle")).redirects(Redirects::Follow(255))).await.unwrap_err();
    assert!(matches!(error, SendError::Redirect { .. }), "{error}");
    assert_eq!(start.seen().len() - before, usize::from(net::MAX_REDIRECTS) + 1);
    let error = send(&world, get(&url("/ftp")).redirects(Redirects::Follow(5))).await.unwrap_err();
    assert!(error.to_string().contains("ftp"), "{error}");

    let (status, _) = send(&world, get(&url("/relative"))).await.unwrap();
    assert_eq!(status, StatusCode::FOUND, "without leave, a redirect is an answer");
    let mut post = get(&url("/relative")).redirects(Redirects::Follow(5));
    post.method = Method::POST;
    let (status, _) = send(&world, post).await.unwrap();
    assert_eq!(status, StatusCode::FOUND, "a POST is not sent elsewhere");
}

#[tokio::test]
async fn a_redirect_never_leaves_https() {
    let authority = Authority::new();
    let world = world(&authority);
    let plain = Peer::start(any(), None, |_| text(200, "plain")).await;
    let to = format!("http://{}/", plain.at);
    let secure = Peer::start(any(), Some(authority.server(&["a.example"], BOTH)), move |_| redirect(302, &to)).await;
    let request = get("https://a.example/").connect_to(vec![secure.at], "a.example").redirects(Redirects::Follow(3));
    let error = send(&world, request).await.unwrap_err();
    assert!(error.to_string().contains("https to http"), "{error}");
    assert_eq!(plain.connections(), 0);
}

#[tokio::test]
async fn a_peer_that_stalls_is_given_up_on() {
    let authority = Authority::new();
    let world = world(&authority);
    let peer = Peer::start(any(), None, |seen| match seen.target.as_str() {
        "/hang" => Reply::Hang,
        _ => Reply::Pieces { pieces: vec![Bytes::from("some")], stall: true },
    })
    .await;
    let short = Duration::from_millis(200);
    let request = get(&format!("http://{}/hang", peer.at)).timeout(short);
    let error = send(&world, request).await.unwrap_err();
    assert!(matches!(error, SendError::Timeout { unsent: false, .. }), "{error}");
    assert!(!error.is_unsent());

    let request = get(&format!("http://{}/stall", peer.at)).body_timeout(short);
    let mut answer = world.http().send(request).await.unwrap();
    assert_eq!(answer.chunk().await.unwrap().unwrap(), "some");
    let error = answer.chunk().await.unwrap_err();
    assert!(matches!(error, SendError::Timeout { .. }), "{error}");

    // A port that takes connections and never says a word.
    let silent = tokio::net::TcpListener::bind(any()).await.unwrap();
    let at = silent.local_addr().unwrap();
    let request = get("https://a.example/").connect_to(vec![at], "a.example").timeout(short);
    let error = send(&world, request).await.unwrap_err();
    assert!(matches!(error, SendError::Timeout { unsent: true, .. }), "{error}");
}

#[tokio::test]
async fn bodies_are_bounded_and_stream() {
    let authority = Authority::new();
    let world = world(&authority);
    let peer = Peer::start(any(), None, |seen| match seen.target.as_str() {
        "/whole" => text(200, &"x".repeat(1000)),
        _ => Reply::Pieces { pieces: vec![Bytes::from("x".repeat(400)), Bytes::from("y".repeat(600))], stall: false },
    })
    .await;
    for path in ["/whole", "/pieces"] {
        let request = || get(&format!("http://{}{path}", peer.at));
        let answer = world.http().send(request()).await.unwrap();
        assert_eq!(answer.bytes(1000).await.unwrap().len(), 1000);
        let answer = world.http().send(request()).await.unwrap();
        let error = answer.bytes(999).await.unwrap_err();
        assert!(matches!(error, SendError::BodyTooLarge { limit: 999, .. }), "{error}");
        let stream = world.http().send(request()).await.unwrap().into_stream();
        let length: usize = stream.map(|piece| piece.unwrap().len()).collect::<Vec<_>>().await.iter().sum();
        assert_eq!(length, 1000);
    }
}

#[tokio::test]
async fn connections_are_used_again_for_the_same_name_only() {
    let authority = Authority::new();
    let world = world(&authority);
    for alpn in [BOTH, &["http/1.1"]] {
        let tls = authority.server(&["a.example", "b.example"], alpn);
        let peer = Peer::start(any(), Some(tls), |_| text(200, "body")).await;
        let request = |name: &str| get(&format!("https://{name}/")).connect_to(vec![peer.at], name);
        for _ in 0..5 {
            send(&world, request("a.example")).await.unwrap();
        }
        assert_eq!(peer.connections(), 1, "{alpn:?}");
        send(&world, request("b.example")).await.unwrap();
        assert_eq!(peer.connections(), 2, "what proved one name has not proved another");

        // The peer closes idle connections, as it may.
        peer.close_connections();
        for _ in 0..3 {
            let mut post = request("a.example");
            post.method = Method::POST;
            // Whether the client has noticed yet is a matter of luck; that the request arrives once is not.
            if let Err(error) = send(&world, post).await {
                assert!(matches!(error, SendError::Broken { .. }), "{error}");
            }
            send(&world, request("a.example")).await.unwrap();
        }
        assert!(peer.seen().iter().filter(|seen| seen.method == Method::POST).count() <= 3);
    }
}

#[tokio::test]
async fn only_what_does_no_harm_twice_is_sent_twice() {
    let authority = Authority::new();
    let world = world(&authority);
    // Each connection answers its first request and closes at the second.
    let peer = Peer::start(any(), None, {
        let served = std::sync::Mutex::new(std::collections::BTreeSet::new());
        move |seen| if served.lock().unwrap().insert(seen.connection) { text(200, "") } else { Reply::Close }
    })
    .await;
    let request = |method: Method| {
        let mut request = get(&format!("http://{}/", peer.at));
        request.method = method;
        request
    };
    send(&world, request(Method::GET)).await.unwrap();
    send(&world, request(Method::PUT)).await.unwrap();
    assert_eq!(peer.seen().len(), 3, "the PUT was sent again over a new connection");
    let error = send(&world, request(Method::POST)).await.unwrap_err();
    assert!(matches!(error, SendError::Broken { .. }) && !error.is_unsent(), "{error}");
    assert_eq!(peer.seen().iter().filter(|seen| seen.method == Method::POST).count(), 1);
}

#[tokio::test]
async fn requests_that_make_no_sense_are_not_sent() {
    let authority = Authority::new();
    let world = world(&authority);
    for uri in ["ftp://a.example/", "/path", "https://user:secret@127.0.0.1/"] {
        let error = send(&world, get(uri)).await.unwrap_err();
        assert!(matches!(error, SendError::Request { .. }), "{uri}: {error}");
    }
    let error = send(&world, get("https://a.example/").connect_to(vec![], "a.example")).await.unwrap_err();
    assert!(error.to_string().contains("no address"), "{error}");
}

#[tokio::test]
async fn ca_files_that_cannot_be_used_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().join("empty.pem");
    std::fs::write(&empty, "no certificate").unwrap();
    for file in [empty, directory.path().join("missing.pem")] {
        let options =
            RealOptions { extra_ca_files: vec![file.clone()], roots: TlsRoots::ExtraOnly, ..RealOptions::default() };
        let error = World::real(options).unwrap_err().to_string();
        assert!(error.contains(file.to_str().unwrap()) && error.contains("federation.extra_ca_files"), "{error}");
    }
}
