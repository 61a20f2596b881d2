//! Properties of the two codecs: tuples keep their order and come back; batches come back, and rubbish is refused in a sentence.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

mod common;

use common::{APPEND, RANGE, TABLES};
use proptest::{collection::vec, prelude::*};
use storage::{Batch, BatchId, Class, PositionedValue, StorageError, Topic, Version, key};

/// An element of a tuple, ordered as its kind is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Element {
    Id16([u8; 16]),
    U8(u8),
    U16(u16),
    U32(u32),
    U64(u64),
    I64(i64),
    Str(String),
    Bytes(Vec<u8>),
}

fn element(kind: usize) -> BoxedStrategy<Element> {
    // Bytes that the codec treats in a special way come up often.
    let byte = || prop_oneof![Just(0_u8), Just(1), Just(0xFE), Just(0xFF), any::<u8>()];
    match kind {
        0 => any::<[u8; 16]>().prop_map(Element::Id16).boxed(),
        1 => any::<u8>().prop_map(Element::U8).boxed(),
        2 => any::<u16>().prop_map(Element::U16).boxed(),
        3 => any::<u32>().prop_map(Element::U32).boxed(),
        4 => any::<u64>().prop_map(Element::U64).boxed(),
        5 => prop_oneof![any::<i64>(), -2..2_i64].prop_map(Element::I64).boxed(),
        6 => "[\0\u{1}a-c\u{ff}\u{10ffff}]{0,6}".prop_map(Element::Str).boxed(),
        _ => vec(byte(), 0..6).prop_map(Element::Bytes).boxed(),
    }
}

/// Two tuples of the same shape, as keys of one table are; often with a common beginning.
fn two_tuples() -> impl Strategy<Value = (Vec<Element>, Vec<Element>)> {
    vec(0..8_usize, 1..6).prop_flat_map(|kinds| {
        let tuple = || kinds.iter().map(|&kind| element(kind)).collect::<Vec<_>>();
        (tuple(), tuple(), 0..=kinds.len()).prop_map(|(left, mut right, common)| {
            right[..common].clone_from_slice(&left[..common]);
            (left, right)
        })
    })
}

fn encode(tuple: &[Element]) -> Vec<u8> {
    let write = |writer: key::Writer, element: &Element| match element {
        Element::Id16(id) => writer.id16(id),
        Element::U8(number) => writer.u8(*number),
        Element::U16(number) => writer.u16(*number),
        Element::U32(number) => writer.u32(*number),
        Element::U64(number) => writer.u64(*number),
        Element::I64(number) => writer.i64(*number),
        Element::Str(text) => writer.str(text),
        Element::Bytes(bytes) => writer.bytes(bytes),
    };
    tuple.iter().fold(key::Writer::new(), write).finish()
}

fn decode(shape: &[Element], bytes: &[u8]) -> Result<Vec<Element>, StorageError> {
    let mut reader = key::Reader::new(bytes);
    let tuple: Result<Vec<Element>, StorageError> = shape
        .iter()
        .map(|element| {
            Ok(match element {
                Element::Id16(_) => Element::Id16(reader.id16()?),
                Element::U8(_) => Element::U8(reader.u8()?),
                Element::U16(_) => Element::U16(reader.u16()?),
                Element::U32(_) => Element::U32(reader.u32()?),
                Element::U64(_) => Element::U64(reader.u64()?),
                Element::I64(_) => Element::I64(reader.i64()?),
                Element::Str(_) => Element::Str(reader.str()?),
                Element::Bytes(_) => Element::Bytes(reader.bytes()?),
            })
        })
        .collect();
    assert!(tuple.is_err() || reader.is_empty());
    tuple
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn keys_sort_as_their_tuples((left, right) in two_tuples()) {
        prop_assert_eq!(encode(&left).cmp(&encode(&right)), left.cmp(&right));
    }

    #[test]
    fn tuples_come_back((tuple, _) in two_tuples()) {
        prop_assert_eq!(decode(&tuple, &encode(&tuple)).unwrap(), tuple);
    }

    #[test]
    fn a_leading_part_is_a_prefix((tuple, _) in two_tuples(), length in 0..6_usize) {
        let whole = encode(&tuple);
        let prefix = encode(&tuple[..length.min(tuple.len())]);
        prop_assert!(whole.starts_with(&prefix));
        let end = key::prefix_end(&prefix);
        prop_assert!(end.is_empty() || (prefix < end && whole < end));
    }

    #[test]
    fn a_prefix_ends_behind_all_that_start_with_it(prefix in vec(prop_oneof![Just(0xFF_u8), any::<u8>()], 0..4), other in vec(any::<u8>(), 0..6)) {
        let end = key::prefix_end(&prefix);
        let before_end = end.is_empty() || other < end;
        prop_assert_eq!(other >= prefix && before_end, other.starts_with(&prefix));
    }

    #[test]
    fn short_and_broken_keys_are_refused((tuple, _) in two_tuples(), cut in 0..200_usize, at in 0..200_usize, to in any::<u8>()) {
        let mut bytes = encode(&tuple);
        if cut < bytes.len() {
            bytes.truncate(cut);
            prop_assert!(decode(&tuple, &bytes).is_err());
        } else {
            let at = at % bytes.len();
            bytes[at] = to;
            // Whatever it means now, or if it means nothing: no panic.
            let mut reader = key::Reader::new(&bytes);
            let _ = (reader.str(), reader.bytes(), reader.i64(), reader.id16(), reader.tail());
        }
    }

    #[test]
    fn batches_come_back(batch in any_batch()) {
        let bytes = batch.encode();
        prop_assert_eq!(bytes.len(), batch.encoded_len());
        let decoded = Batch::decode(&bytes).unwrap();
        prop_assert_eq!(decoded.encode(), bytes);
        prop_assert_eq!((decoded.id(), decoded.is_empty()), (batch.id(), batch.is_empty()));
    }

    #[test]
    fn a_truncated_batch_is_refused(batch in any_batch(), cut in any::<proptest::sample::Index>()) {
        let bytes = batch.encode();
        prop_assert!(Batch::decode(&bytes[..cut.index(bytes.len())]).is_err());
    }

    #[test]
    fn a_changed_batch_is_read_or_refused(batch in any_batch(), changes in vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4)) {
        let mut bytes = batch.encode();
        for (at, to) in changes {
            let at = at.index(bytes.len());
            bytes[at] = to;
        }
        match Batch::decode(&bytes) {
            Ok(read) => drop(read.encode()),
            Err(error) => prop_assert!(matches!(error, StorageError::Malformed(_))),
        }
    }
}

fn any_batch() -> impl Strategy<Value = Batch> {
    let key = || vec(any::<u8>(), 0..40);
    let write = (0..7_u8, 0..TABLES.len(), key(), key(), vec(any::<u8>(), 8..300));
    (any::<[u8; 16]>(), any::<Option<u64>>(), any::<bool>(), vec(write, 0..12), vec(any::<[u8; 16]>(), 0..5)).prop_map(
        |(id, made_at, logged, writes, topics)| {
            let mut batch = Batch::new(BatchId(id));
            if let Some(position) = made_at {
                batch.made_at(position);
            }
            if logged {
                batch.class(Class::Logged);
            }
            for (kind, table, key, end, value) in writes {
                let table = TABLES[table];
                match kind {
                    0 => batch.require_absent(table, &key),
                    1 => batch.require_version(table, &key, Version::of(&value)),
                    2 => batch.put(table, &key, &value),
                    3 => batch.delete(table, &key),
                    4 => batch.delete_range(table, &key, &end),
                    5 => batch.set_cursor("reader", 7),
                    _ => {
                        let slotted = key::Writer::new().bytes(&key).position_slot().finish_positioned();
                        let offset = value.len() / 2 - 4;
                        batch.put_at_position(table, slotted, PositionedValue::with_slot(value, offset))
                    }
                };
            }
            for topic in topics {
                batch.topic(Topic(topic));
            }
            batch
        },
    )
}

#[test]
fn a_batch_of_another_version_is_refused() {
    let mut bytes = Batch::new(BatchId([1; 16])).put(RANGE, b"k", b"v").encode();
    bytes[0] = Batch::ENCODING_VERSION + 1;
    let error = Batch::decode(&bytes).unwrap_err().to_string();
    assert_eq!(error, "malformed data: a batch has encoding version 2; this program knows version 1");
}

/// The bytes of version 1, so that a change of the encoding is noticed: whatever a log holds must stay readable.
#[test]
fn the_first_encoding_stays_readable() {
    let mut batch = Batch::new(BatchId([0xAB; 16]));
    batch
        .made_at(258)
        .require_absent(RANGE, b"a")
        .put(RANGE, b"k", b"value")
        .put_at_position(APPEND, key::Writer::new().u8(9).position_slot().finish_positioned(), b"x")
        .delete(RANGE, b"d")
        .delete_range(RANGE, b"e", b"")
        .topic(Topic([0xCD; 16]));
    let expected = [
        &[1, 0][..],
        &[0xAB; 16],
        &[1, 0, 0, 0, 0, 0, 0, 1, 2],
        &[4, 0, 2, 2, b'a'],
        &[34, 1, 2, 2, b'k', 5, b'v', b'a', b'l', b'u', b'e'],
        &[1, 10, 4, 9, 0, 0, 0, 0, 0, 0, 0, 0, 1, b'x'],
        &[2, 2, 2, b'd'],
        &[3, 2, 2, b'e', 1, 3],
        &[1, 14],
        &[1],
        &[0xCD; 16],
    ]
    .concat();
    assert_eq!(batch.encode(), expected);
    assert_eq!(Batch::decode(&expected).unwrap().encode(), expected);
}
