//! A room of which something cannot be read does not keep its users from the rest.

use super::server::{Login, Server};
use net::{RealOptions, World};
use serde_json::{Value, json};
use services::{Config, config::RegistrationMode, tables};
use state_res::ids::{EventKey, RoomKey};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;
use storage::{Batch, Options, Outcome, Store, Table};

/// A server on a disk, as after a start.
async fn start(folder: &Path) -> Server {
    let world = World::real(RealOptions::default()).unwrap();
    let mut config = Config::new("example.org");
    config.registration.mode = RegistrationMode::Open;
    config.rate_limits_enabled = false;
    for _ in 0..200 {
        let options = Options { sync: false, ..Options::default() };
        // The one before may still be ending.
        match Store::open_rocksdb(folder, &tables::SCHEMA, world.clone(), options) {
            Ok(store) => return Server::start(config, world, store),
            Err(_) => world.sleep(Duration::from_millis(50)).await,
        }
    }
    panic!("the store does not open");
}

async fn room(server: &Server, alice: &Login, name: &str) -> String {
    let made = server.post("/createRoom", &alice.token, json!({ "name": name })).await;
    made.body["room_id"].as_str().unwrap().to_owned()
}

async fn say(server: &Server, alice: &Login, room: &str, text: &str) -> String {
    let path = format!("/rooms/{room}/send/m.room.message/{text}");
    let sent = server.put(&path, &alice.token, json!({ "msgtype": "m.text", "body": text })).await;
    sent.body["event_id"].as_str().unwrap().to_owned()
}

async fn sync(server: &Server, alice: &Login, since: Option<&str>) -> Value {
    let since = since.map(|since| format!("&since={since}")).unwrap_or_default();
    let answer = server.get(&format!("/sync?timeout=0{since}"), &alice.token).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    answer.body
}

fn token(synced: &Value) -> String {
    synced["next_batch"].as_str().unwrap().to_owned()
}

fn bodies(synced: &Value, room: &str) -> BTreeSet<String> {
    let events = synced["rooms"]["join"][room]["timeline"]["events"].as_array().cloned().unwrap_or_default();
    events.iter().filter_map(|event| event["content"]["body"].as_str().map(str::to_owned)).collect()
}

async fn write(server: &Server, table: Table, key: &[u8], value: &[u8]) {
    let store = &server.services.store;
    let mut batch = Batch::with_random_id(store.world());
    batch.put(table, key, value);
    assert!(matches!(store.commit(batch).await, Outcome::Committed(_)));
}

/// A row that a sync of the room has to read.
fn row(server: &Server, table: Table, room: &str, last: &str) -> (Vec<u8>, Vec<u8>) {
    let (room, last) = (RoomKey::of(room), EventKey::of(last));
    let key = match table {
        tables::PDUS => last.as_bytes().to_vec(),
        tables::HEAD => room.as_bytes().to_vec(),
        tables::STANDING => [room.as_bytes().as_slice(), last.as_bytes()].concat(),
        _ => {
            let snapshot = server.services.store.snapshot();
            let rows = snapshot.scan_prefix_rev(table, room.as_bytes());
            rows.map(|row| row.unwrap().0.to_vec()).next().unwrap()
        }
    };
    let value = server.services.store.snapshot().get(table, &key).unwrap().unwrap().to_vec();
    (key, value)
}

async fn story(table: Table) {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await;
    let alice = server.user("alice").await;
    let (sound, damaged) = (room(&server, &alice, "sound").await, room(&server, &alice, "damaged").await);
    say(&server, &alice, &damaged, "before").await;
    let before = token(&sync(&server, &alice, None).await);
    let last = say(&server, &alice, &damaged, "lost").await;
    let (key, value) = row(&server, table, &damaged, &last);
    write(&server, table, &key, b"\xff?").await;
    drop(server);

    // Nothing in memory hides the damage.
    let server = start(folder.path()).await;
    say(&server, &alice, &sound, "heard").await;
    let (mut late, mut fresh) = (before.clone(), None);
    for _ in 0..3 {
        let synced = sync(&server, &alice, Some(&late)).await;
        assert!(synced["rooms"]["join"][&damaged].is_null(), "{synced}");
        late = token(&synced);
        let synced = sync(&server, &alice, fresh.as_deref()).await;
        assert!(synced["rooms"]["join"][&damaged].is_null(), "{synced}");
        fresh = Some(token(&synced));
    }
    assert!(bodies(&sync(&server, &alice, Some(&before)).await, &sound).contains("heard"), "{}", table.name);
    say(&server, &alice, &sound, "again").await;
    let synced = sync(&server, &alice, Some(&late)).await;
    assert_eq!(bodies(&synced, &sound), BTreeSet::from(["again".to_owned()]));
    late = token(&synced);

    // Mended, the room is shown from where it broke off: nothing new has to happen in it.
    write(&server, table, &key, &value).await;
    drop(server);
    let server = start(folder.path()).await;
    let synced = sync(&server, &alice, Some(&late)).await;
    assert_eq!(bodies(&synced, &damaged), BTreeSet::from(["lost".to_owned()]), "{}: {synced}", table.name);
    let synced_again = sync(&server, &alice, Some(&token(&synced))).await;
    assert!(synced_again["rooms"].is_null(), "once: {synced_again}");
    let synced = sync(&server, &alice, fresh.as_deref()).await;
    assert!(
        bodies(&synced, &damaged).is_superset(&BTreeSet::from(["before".to_owned(), "lost".to_owned()])),
        "{synced}"
    );
    let state = synced["rooms"]["join"][&damaged]["state"]["events"].as_array().unwrap().len()
        + synced["rooms"]["join"][&damaged]["timeline"]["events"].as_array().unwrap().len();
    assert!(state > 5, "a client that never saw the room gets all of it: {synced}");
}

#[test]
fn a_damaged_room_is_left_out_until_it_can_be_read() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for table in [tables::PDUS, tables::STANDING, tables::HEAD, tables::ROOTS] {
            story(table).await;
        }
    });
}
