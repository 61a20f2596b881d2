//! `/_synapse/admin/v1/register`.

use crate::server::{Server, password_login, with_config, with_server};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha1::Sha1;
use std::time::Duration;

const PATH: &str = "/_synapse/admin/v1/register";

fn mac(secret: &str, parts: &[&str]) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(parts.join("\0").as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn nonce(server: &Server) -> String {
    server.ask(PATH).await.ok()["nonce"].as_str().unwrap().to_owned()
}

fn request(nonce: &str, name: &str, mac: String) -> Value {
    json!({ "nonce": nonce, "username": name, "password": "p", "admin": true, "displayname": "Root", "mac": mac })
}

#[test]
fn whoever_knows_the_secret_makes_accounts_where_registration_is_closed() {
    let closed = |config: &mut services::Config| {
        config.registration.mode = services::config::RegistrationMode::Closed;
        config.registration.shared_secret = Some("s3cret".to_owned());
    };
    with_config(closed, async |server| {
        let first = nonce(&server).await;
        let right = mac("s3cret", &[&first, "root", "p", "admin"]);
        let login = server.tell(PATH, request(&first, "root", right.clone())).await.login();
        assert_eq!(login.user_id, "@root:example.org");
        server.get("/account/whoami", &login.token).await.ok();
        assert_eq!(server.ask("/profile/@root:example.org").await.ok(), json!({ "displayname": "Root" }));
        assert!(server.services.accounts.is_administrator("@root:example.org").unwrap());
        server.tell("/login", password_login("root", "p")).await.ok();
        // A nonce serves once.
        server.tell(PATH, request(&first, "root", right)).await.error(400, "M_UNKNOWN");
        let second = nonce(&server).await;
        let not_admin = mac("s3cret", &[&second, "eve", "p", "notadmin"]);
        server.tell(PATH, request(&second, "eve", not_admin)).await.error(403, "M_FORBIDDEN");
        for wrong in ["", "zz", "00", &mac("other", &["x"])] {
            let nonce = nonce(&server).await;
            server.tell(PATH, request(&nonce, "eve", wrong.to_owned())).await.error(403, "M_FORBIDDEN");
        }
        let third = nonce(&server).await;
        let taken = mac("s3cret", &[&third, "root", "p", "admin"]);
        server.tell(PATH, request(&third, "root", taken)).await.error(400, "M_USER_IN_USE");
        let late = nonce(&server).await;
        server.wait(Duration::from_secs(120)).await;
        let right = mac("s3cret", &[&late, "late", "p", "admin"]);
        server.tell(PATH, request(&late, "late", right)).await.error(400, "M_UNKNOWN");
        server.tell(PATH, json!({})).await.error(400, "M_BAD_JSON");
        assert_eq!(server.services.accounts.list_users().await.unwrap().len(), 1);
    });
}

#[test]
fn without_a_secret_nobody_does() {
    with_server(async |server| {
        server.ask(PATH).await.error(400, "M_UNKNOWN");
        let right = mac("", &["n", "root", "p", "admin"]);
        server.tell(PATH, request("n", "root", right)).await.error(400, "M_UNKNOWN");
    });
}
