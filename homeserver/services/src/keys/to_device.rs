//! Messages to single devices (client-server API, "Send-to-Device messaging"): each is delivered once, in order of arrival.
//!
//! A request may be too large for one batch. It then goes in steps, each of which writes down how far it came, so that a repetition, also
//! after a crash, goes on where the last step ended.

use super::{Keys, device_prefix};
use crate::accounts::{DeviceRecord, MAX_COMMIT_ATTEMPTS, Session, commit, names::split_user_id, record};
use crate::error::{Error, Result};
use crate::names::{MAX_NAME_BYTES, check_name, server_of};
use crate::rooms::user_topic;
use crate::{json_text, outbox, tables};
use federation::Edu;
use federation::edu::DirectToDevice;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use state_res::ids::UserKey;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use storage::{Batch, Class, Position, Snapshot, Table, Version, key};

/// Bytes of one message's content.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// Messages in one sync answer.
const MAX_MESSAGES_IN_SYNC: usize = 100;
/// Bytes of messages in one sync answer, after which no further one is added.
const MAX_BYTES_IN_SYNC: usize = 1024 * 1024;
/// Bytes after which a step ends.
const STEP_BYTES: usize = 256 * 1024;
/// Messages after which a step ends.
const STEP_UNITS: usize = 256;
/// Bytes of contents after which the next EDU to the same server begins.
const EDU_BYTES: usize = 48 * 1024;
/// Days for which a received EDU is remembered.
const REMEMBERED_DAYS: u32 = 8;
const MILLIS_PER_DAY: u64 = 24 * 60 * 60 * 1000;
/// What stands for all of a user's devices.
const ALL_DEVICES: &str = "*";

/// For each user, for each device (or `*`), the content.
pub type ToDeviceMessages = BTreeMap<String, BTreeMap<String, Box<RawValue>>>;

/// One message to one device of ours, or one EDU to a server.
enum Unit<'a> {
    Local { user_id: &'a str, device_id: String, device: Version, content: &'a RawValue },
    Remote { server: &'a str, edu: Vec<u8> },
}

/// What is being sent.
struct Sending<'a> {
    sender: &'a str,
    event_type: &'a str,
    messages: &'a ToDeviceMessages,
    /// Makes the message ids of EDUs.
    seed: &'a str,
    /// Where it is written down how far the sending came.
    marker: (Table, Vec<u8>),
    /// Whether users of other servers are served too.
    forwards: bool,
}

impl Keys {
    /// `PUT /sendToDevice/{eventType}/{txnId}`. A transaction id that the device has used before for this type does nothing.
    ///
    /// # Errors
    ///
    /// 400 `M_INVALID_PARAM` for names that cannot be, 400 `M_BAD_JSON` for a content that is no object, 400 `M_NOT_JSON` for one with
    /// a string or number that cannot be read, 413 `M_TOO_LARGE`; nothing is sent
    /// then.
    pub async fn send_to_device(
        &self,
        sender: &str,
        device_id: &str,
        event_type: &str,
        transaction_id: &str,
        messages: &ToDeviceMessages,
    ) -> Result<()> {
        check_name("event type", event_type)?;
        check_name("transaction id", transaction_id)?;
        for (user_id, devices) in messages {
            split_user_id(user_id)?;
            for (device, content) in devices {
                if !content.get().starts_with('{') {
                    return Err(Error::bad_json(format!("The message to {device:?} of {user_id} is no object.")));
                }
                // It is passed on as text, so that nobody else would refuse it before its receiver.
                if let Err(cause) = json_text::check(content.get()) {
                    return Err(Error::new(
                        400,
                        "M_NOT_JSON",
                        format!("The message to {device:?} of {user_id} is not JSON: {cause}."),
                    ));
                }
                if content.get().len() > MAX_MESSAGE_BYTES {
                    return Err(Error::too_large(format!(
                        "The message to {device:?} of {user_id} has more than {MAX_MESSAGE_BYTES} bytes."
                    )));
                }
            }
        }
        let marker = key::Writer::new()
            .id16(UserKey::of(sender).as_bytes())
            .str(device_id)
            .str(&format!("sendToDevice/{event_type}"))
            .str(transaction_id)
            .finish();
        let seed = format!("{sender}\0{device_id}\0{event_type}\0{transaction_id}");
        let marker = (tables::TRANSACTIONS, marker);
        self.send(&Sending { sender, event_type, messages, seed: &seed, marker, forwards: true }).await
    }

    /// Receives an EDU `m.direct_to_device`. One that came before, one about a user of another server than `origin`, and messages to
    /// users and devices that are not here are ignored.
    ///
    /// # Errors
    ///
    /// 500 if the store fails; it can be sent again then.
    pub async fn on_to_device(&self, origin: &str, edu: DirectToDevice) -> Result<()> {
        if server_of(&edu.sender) != Some(origin)
            || edu.message_id.len() > MAX_NAME_BYTES
            || edu.event_type.is_empty()
            || edu.event_type.len() > MAX_NAME_BYTES
        {
            tracing::debug!(origin, sender = edu.sender, "to-device EDU ignored: its sender or a name in it cannot be");
            return Ok(());
        }
        let today = self.today();
        let row = |day: u32| key::Writer::new().u32(day).str(origin).str(&edu.message_id).finish();
        let snapshot = self.store.snapshot();
        for day in today.saturating_sub(REMEMBERED_DAYS)..today {
            let Some(progress) = snapshot.get(tables::TO_DEVICE_RECEIVED, &row(day))? else { continue };
            if *progress == DONE[..] {
                return Ok(());
            }
            // It began before midnight and did not end; it goes on where it was.
            return self.receive(&edu, row(day)).await;
        }
        drop(snapshot);
        self.sweep_received(today).await?;
        self.receive(&edu, row(today)).await
    }

    async fn receive(&self, edu: &DirectToDevice, marker: Vec<u8>) -> Result<()> {
        let mut messages = ToDeviceMessages::new();
        for (user_id, devices) in edu.messages.iter().filter(|(user_id, _)| self.is_local(user_id)) {
            for (device, content) in devices {
                let content = RawValue::from_string(Value::Object(content.clone()).to_string());
                if let Ok(content) = content
                    && content.get().len() <= MAX_MESSAGE_BYTES
                {
                    messages.entry(user_id.clone()).or_default().insert(device.clone(), content);
                }
            }
        }
        let marker = (tables::TO_DEVICE_RECEIVED, marker);
        let (sender, event_type) = (edu.sender.as_str(), edu.event_type.as_str());
        self.send(&Sending { sender, event_type, messages: &messages, seed: "", marker, forwards: false }).await
    }

    /// Deletes what a device has received.
    pub(super) async fn acknowledge_to_device(&self, session: &Session, position: Position) -> Result<()> {
        let known = session.received.load(Ordering::Relaxed);
        // Nothing was left up to there, and what came since would have touched the user's topic.
        if known > 0 && (position <= known || self.store.untouched_since(user_topic(session.user)) <= known) {
            return Ok(());
        }
        let start = device_prefix(session.user, &session.device_id);
        let end = until(&start, position);
        if self.store.snapshot().scan(tables::TO_DEVICE, &start..&end).next().transpose()?.is_some() {
            let mut batch = Batch::with_random_id(&self.world);
            batch.class(Class::Logged).delete_range(tables::TO_DEVICE, &start, &end);
            commit(&self.store, batch).await?;
        }
        session.received.fetch_max(position, Ordering::Relaxed);
        Ok(())
    }

    async fn send(&self, sending: &Sending<'_>) -> Result<()> {
        let (table, marker) = (sending.marker.0, &sending.marker.1);
        let mut conflicts = 0;
        while conflicts < MAX_COMMIT_ATTEMPTS {
            let snapshot = self.store.snapshot();
            let mut batch = Batch::with_random_id(&self.world);
            let progress = snapshot.get(table, marker)?;
            match &progress {
                Some(progress) if **progress == DONE[..] => return Ok(()),
                Some(progress) => batch.require_version(table, marker, Version::of(progress)),
                None => batch.require_absent(table, marker),
            };
            let done = progress.as_deref().unwrap_or_default();
            let mut units = self.units(&snapshot, sending)?;
            let mut rest = units.split_off(&[done, &[0]].concat());
            let (mut bytes, mut taken, mut last) = (0, 0, Vec::new());
            while bytes < STEP_BYTES
                && taken < STEP_UNITS
                && let Some((place, unit)) = rest.pop_first()
            {
                bytes += write_unit(&mut batch, sending, u16::try_from(taken).unwrap_or(u16::MAX), &unit);
                taken += 1;
                last = place;
            }
            let finished = rest.is_empty();
            batch.put(table, marker, if finished { DONE } else { &last });
            if commit(&self.store, batch).await?.is_none() {
                conflicts += 1;
            } else if finished {
                return Ok(());
            } else {
                conflicts = 0;
            }
        }
        Err(Error::contended())
    }

    /// What there is to write, in an order that does not depend on which devices come and go.
    fn units<'a>(&self, snapshot: &Snapshot, sending: &'a Sending<'_>) -> Result<BTreeMap<Vec<u8>, Unit<'a>>> {
        let mut units = BTreeMap::new();
        let mut remote: BTreeMap<&str, Vec<(&str, &str, &RawValue)>> = BTreeMap::new();
        for (user_id, devices) in sending.messages {
            if !self.is_local(user_id) {
                if let Some(server) = server_of(user_id).filter(|_| sending.forwards) {
                    let messages =
                        devices.iter().map(|(device, content)| (user_id.as_str(), device.as_str(), &**content));
                    remote.entry(server).or_default().extend(messages);
                }
                continue;
            }
            let user = UserKey::of(user_id);
            let mut add = |device_id: &str, device: Version, content: &'a RawValue| {
                let place = key::Writer::new().u8(0).str(user_id).str(device_id).finish();
                units.insert(place, Unit::Local { user_id, device_id: device_id.to_owned(), device, content });
            };
            if let Some(content) = devices.get(ALL_DEVICES) {
                for row in snapshot.scan_prefix(tables::DEVICES, user.as_bytes()) {
                    let (_, row) = row?;
                    let device: DeviceRecord = record::from_bytes(tables::DEVICES, &row)?;
                    add(&device.device_id, Version::of(&row), content);
                }
            }
            // A message to one device goes before one to all of them.
            for (device_id, content) in devices.iter().filter(|(device_id, _)| *device_id != ALL_DEVICES) {
                if let Some(device) = DeviceRecord::read(snapshot, user, device_id)? {
                    add(device_id, device.version, content);
                }
            }
        }
        for (server, messages) in remote {
            for (index, edu) in edus(sending, server, &messages).into_iter().enumerate() {
                let place = key::Writer::new().u8(1).str(server).u64(index as u64).finish();
                units.insert(place, Unit::Remote { server, edu });
            }
        }
        Ok(units)
    }

    fn today(&self) -> u32 {
        u32::try_from(self.world.now().millis() / MILLIS_PER_DAY).unwrap_or(u32::MAX)
    }

    /// Forgets EDUs received long ago, once a day.
    async fn sweep_received(&self, today: u32) -> Result<()> {
        if std::mem::replace(&mut *self.swept.lock(), today) == today {
            return Ok(());
        }
        let end = today.saturating_sub(REMEMBERED_DAYS).to_be_bytes();
        let mut batch = Batch::with_random_id(&self.world);
        batch.class(Class::Logged).delete_range(tables::TO_DEVICE_RECEIVED, &[], &end);
        commit(&self.store, batch).await?;
        Ok(())
    }
}

/// Messages for a device after `since` and up to `end`, and the position up to which that is all.
pub(super) fn pending(
    snapshot: &Snapshot,
    user_id: &str,
    device_id: &str,
    since: Position,
    end: Position,
) -> Result<(Vec<String>, Position)> {
    let prefix = device_prefix(UserKey::of(user_id), device_id);
    let (mut messages, mut bytes, mut last) = (Vec::new(), 0, since);
    for row in snapshot.scan(tables::TO_DEVICE, until(&prefix, since)..until(&prefix, end)) {
        let (row, event) = row?;
        let position = key::Reader::new(row.get(prefix.len()..).unwrap_or_default()).u64()?;
        // The token says only positions, so that those of one position go together.
        if position != last && (messages.len() >= MAX_MESSAGES_IN_SYNC || bytes >= MAX_BYTES_IN_SYNC) {
            return Ok((messages, last));
        }
        bytes += event.len();
        last = position;
        let event = std::str::from_utf8(&event).map_err(|_| Error::internal("a row of TO_DEVICE is damaged"))?;
        messages.push(event.to_owned());
    }
    Ok((messages, end))
}

/// The key after all messages up to `position`.
fn until(prefix: &[u8], position: Position) -> Vec<u8> {
    match position.checked_add(1) {
        Some(next) => [prefix, &next.to_be_bytes()].concat(),
        None => key::prefix_end(prefix),
    }
}

/// In the marker's row once all is sent. Sorts after every place, though it is never compared.
const DONE: &[u8] = &[0xFF];

/// Writes one unit; gives about how many bytes it took.
fn write_unit(batch: &mut Batch, sending: &Sending<'_>, ordinal: u16, unit: &Unit<'_>) -> usize {
    match unit {
        Unit::Local { user_id, device_id, device, content } => {
            let user = UserKey::of(user_id);
            let event = format!(
                "{{\"content\":{},\"sender\":{},\"type\":{}}}",
                content.get(),
                json!(sending.sender),
                json!(sending.event_type)
            );
            // A device that goes takes its messages along; none may come after it.
            batch.require_version(tables::DEVICES, &device_prefix(user, device_id), *device);
            let row = key::Writer::new().id16(user.as_bytes()).str(device_id).position_slot().u16(ordinal);
            batch.put_at_position(tables::TO_DEVICE, row.finish_positioned(), event.as_bytes());
            batch.topic(user_topic(user));
            event.len() + user_id.len() + device_id.len()
        }
        Unit::Remote { server, edu } => {
            outbox::put_edu(batch, server, ordinal, edu);
            edu.len() + server.len()
        }
    }
}

/// The EDUs for the users of one server.
fn edus(sending: &Sending<'_>, server: &str, messages: &[(&str, &str, &RawValue)]) -> Vec<Vec<u8>> {
    let mut edus = Vec::new();
    let mut rest = messages;
    while !rest.is_empty() {
        let mut bytes = 0;
        let mut contents: BTreeMap<String, BTreeMap<String, Map<String, Value>>> = BTreeMap::new();
        while let Some(((user_id, device, content), others)) = rest.split_first()
            && (bytes == 0 || bytes + content.get().len() <= EDU_BYTES)
        {
            bytes += content.get().len();
            let content = serde_json::from_str(content.get()).unwrap_or_default();
            contents.entry((*user_id).to_owned()).or_default().insert((*device).to_owned(), content);
            rest = others;
        }
        let edu = DirectToDevice {
            sender: sending.sender.to_owned(),
            event_type: sending.event_type.to_owned(),
            message_id: message_id(sending.seed, server, edus.len()),
            messages: contents,
        };
        edus.push(Edu::DirectToDevice(edu).to_raw().as_bytes().to_vec());
    }
    edus
}

/// 32 characters, the same whenever the same request is repeated.
fn message_id(seed: &str, server: &str, index: usize) -> String {
    let digest = Sha256::digest(format!("{seed}\0{server}\0{index}"));
    digest.iter().take(16).fold(String::with_capacity(32), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
