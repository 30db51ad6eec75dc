//! The form of every record on disk: format, CRC32, payload. The checksum covers the record's own place too, so that a
//! record read from another place is noticed. Used by the disk and for snapshots on the wire.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Format of the records that this version writes.
const FORMAT: u8 = 1;
/// Bytes before the payload: the format and the checksum.
const HEADER_BYTES: usize = 5;

fn checksum(place: &[u8], payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&(place.len() as u64).to_le_bytes());
    crc.update(place);
    crc.update(payload);
    crc.finalize()
}

/// The record of `value` at `place`.
pub(crate) fn seal<T: Serialize>(place: &[u8], value: &T) -> Result<Vec<u8>, String> {
    let payload = postcard::to_stdvec(value).map_err(|e| format!("cannot encode: {e}"))?;
    let mut record = Vec::with_capacity(HEADER_BYTES + payload.len());
    record.push(FORMAT);
    record.extend_from_slice(&checksum(place, &payload).to_le_bytes());
    record.extend_from_slice(&payload);
    Ok(record)
}

/// What was sealed at `place`; otherwise what is wrong.
pub(crate) fn open<T: DeserializeOwned>(place: &[u8], record: &[u8]) -> Result<T, String> {
    let Some((&format, rest)) = record.split_first() else {
        return Err("it is empty".to_owned());
    };
    if format != FORMAT {
        return Err(format!("its format is {format}, this version reads {FORMAT}"));
    }
    let Some((sum, payload)) = rest.split_first_chunk::<4>() else {
        return Err("it is cut short".to_owned());
    };
    if u32::from_le_bytes(*sum) != checksum(place, payload) {
        return Err("its checksum does not match".to_owned());
    }
    postcard::from_bytes(payload).map_err(|e| format!("it cannot be read: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_changed_bit_is_noticed() {
        let record = seal(b"vote", &("m1".to_owned(), 7_u64)).expect("encodes");
        assert_eq!(open::<(String, u64)>(b"vote", &record), Ok(("m1".to_owned(), 7)));
        assert!(open::<(String, u64)>(b"tail", &record).is_err());
        for at in 0..record.len() * 8 {
            let mut bad = record.clone();
            bad[at / 8] ^= 1 << (at % 8);
            assert!(open::<(String, u64)>(b"vote", &bad).is_err(), "bit {at}");
        }
        for cut in 0..record.len() {
            assert!(open::<(String, u64)>(b"vote", &record[..cut]).is_err(), "cut at {cut}");
        }
    }
}
