//! Forming a transaction from what waits.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{Queued, Row, RowId, volatile::Item};
use crate::{
    RawJson,
    limits::{MAX_EDUS, MAX_PDUS},
    raw_json::ObjectWriter,
};

/// A transaction is closed when it has so many bytes.
pub const MAX_TRANSACTION_BYTES: usize = 2 * 1024 * 1024;

/// How many rows are read for one transaction.
pub(super) const MAX_ROWS: usize = MAX_PDUS + MAX_EDUS;

/// A transaction under way. If its outcome is open, it has to be the same under the same id when it is sent again.
#[derive(Clone, Debug)]
pub(super) struct InFlight {
    pub(super) txn_id: String,
    /// Whether it may have arrived some time.
    pub(super) may_have_arrived: bool,
    /// The last row in it, and how many rows there are up to there.
    pub(super) through: Option<(RowId, usize)>,
    /// When it was formed, in milliseconds since the Unix epoch.
    pub(super) formed_at: u64,
    /// The news in it.
    pub(super) items: Vec<Item>,
    /// The same as it is sent.
    pub(super) edus: Vec<RawJson>,
}

/// The rows that go into one transaction.
#[derive(Debug, Default)]
pub(super) struct Selected {
    pub(super) pdus: Vec<RawJson>,
    pub(super) edus: Vec<RawJson>,
    pub(super) through: Option<(RowId, usize)>,
}

impl Selected {
    /// As many of the first rows as one transaction takes.
    pub(super) fn from_rows(rows: Vec<Row>) -> Self {
        let mut selected = Self::default();
        let mut bytes = 0;
        for (index, row) in rows.into_iter().enumerate() {
            let (list, max, json) = match row.content {
                Queued::Pdu(pdu) => (&mut selected.pdus, MAX_PDUS, pdu),
                Queued::Edu(edu) => (&mut selected.edus, MAX_EDUS, edu),
                Queued::Gone => {
                    selected.through = Some((row.id, index + 1));
                    continue;
                }
            };
            bytes += json.as_bytes().len();
            if list.len() >= max || (bytes > MAX_TRANSACTION_BYTES && index > 0) {
                break;
            }
            list.push(json);
            selected.through = Some((row.id, index + 1));
        }
        selected
    }

    /// How many EDUs have room beside these.
    pub(super) fn free_edus(&self) -> usize {
        MAX_EDUS - self.edus.len()
    }

    /// The transaction's body.
    pub(super) fn body(&self, origin: &str, in_flight: &InFlight) -> Bytes {
        ObjectWriter::new()
            .list("edus", self.edus.iter().chain(&in_flight.edus))
            .value("origin", origin)
            .value("origin_server_ts", &in_flight.formed_at)
            .list("pdus", &self.pdus)
            .finish()
    }

    /// The transaction's id: the same for the same rows, also in another process; another one whenever there is news in it, since the
    /// same news may be told again later.
    pub(super) fn txn_id(&self, destination: &str, news: &[RawJson], nonce: [u8; 16]) -> String {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        part(destination.as_bytes());
        if let Some((id, count)) = self.through {
            part(&id.position.to_be_bytes());
            part(&id.ordinal.to_be_bytes());
            part(&(count as u64).to_be_bytes());
        }
        for json in self.pdus.iter().chain(&self.edus) {
            part(json.as_bytes());
        }
        if !news.is_empty() || self.through.is_none() {
            part(&nonce);
        }
        hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(position: u64, content: Queued) -> Row {
        Row { id: RowId { position, ordinal: 0 }, content }
    }

    fn json(text: &str) -> RawJson {
        RawJson::from_known(text.to_owned())
    }

    #[test]
    fn a_transaction_is_closed_before_the_row_that_does_not_fit() {
        let mut rows: Vec<_> = (0..MAX_PDUS as u64).map(|n| row(n, Queued::Pdu(json("{}")))).collect();
        rows.insert(3, row(1000, Queued::Edu(json("{}"))));
        rows.push(row(2000, Queued::Gone));
        rows.push(row(2001, Queued::Edu(json("{}"))));
        rows.push(row(2002, Queued::Pdu(json("{}"))));
        rows.push(row(2003, Queued::Edu(json("{}"))));
        let selected = Selected::from_rows(rows);
        assert_eq!((selected.pdus.len(), selected.edus.len()), (MAX_PDUS, 2));
        assert_eq!(selected.through, Some((RowId { position: 2001, ordinal: 0 }, 53)));
        assert_eq!(selected.free_edus(), 98);
    }

    #[test]
    fn bytes_are_bounded_but_one_row_always_fits() {
        let large = json(&format!("\"{}\"", "x".repeat(MAX_TRANSACTION_BYTES)));
        let rows = vec![row(1, Queued::Edu(large.clone())), row(2, Queued::Edu(large))];
        assert_eq!(Selected::from_rows(rows).edus.len(), 1);
    }

    #[test]
    fn ids_follow_the_contents() {
        let selected = |rows| Selected::from_rows(rows);
        let rows = || vec![row(1, Queued::Pdu(json("{\"a\":1}"))), row(2, Queued::Edu(json("{}")))];
        let id = |selected: Selected, destination: &str, news: &[RawJson], nonce: u8| {
            selected.txn_id(destination, news, [nonce; 16])
        };
        let first = id(selected(rows()), "x", &[], 1);
        assert_eq!(first, id(selected(rows()), "x", &[], 2), "the same rows");
        assert_ne!(first, id(selected(rows()), "y", &[], 1), "another destination");
        assert_ne!(first, id(selected(rows()[..1].to_vec()), "x", &[], 1), "fewer rows");
        let news = [json("{}")];
        assert_ne!(
            id(selected(rows()), "x", &news, 1),
            id(selected(rows()), "x", &news, 2),
            "the same news told again"
        );
        assert_ne!(id(selected(vec![]), "x", &[], 1), id(selected(vec![]), "x", &[], 2), "nothing, told again");
    }
}
