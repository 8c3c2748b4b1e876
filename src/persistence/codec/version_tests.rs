//! How a layout changes, shown on an entity nobody sells: version 1 is frozen, version 2 is written, 3 is unknown.

use serde::{Deserialize, Serialize};

use super::*;
use crate::domain::entity::Versioned;
use crate::domain::registry::{AnyEvent, AnyReply, AnyState};
use crate::persistence::testkit::{record, stock};

/// What happened, as it is written today: the cause is told, units come first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Happened {
    Counted { units: u64, cause: Option<String> },
    Emptied,
}

/// What happened, as the first release wrote it: another order of variants, a smaller number, no cause.
#[derive(Debug, Serialize, Deserialize)]
enum HappenedV1 {
    Emptied,
    Counted { units: u32 },
}

impl HappenedV1 {
    fn upcast(self) -> Happened {
        match self {
            Self::Emptied => Happened::Emptied,
            Self::Counted { units } => Happened::Counted { units: units.into(), cause: None },
        }
    }
}

impl Versioned for Happened {
    const VERSION: u16 = 2;

    fn decode_version<C: Codec>(version: u16, bytes: &[u8]) -> Result<Self, C::Error> {
        match version {
            1 => C::decode(bytes).map(HappenedV1::upcast),
            2 => C::decode(bytes),
            _ => Err(C::unknown_version(version, Self::VERSION)),
        }
    }
}

/// A domain value as it lies in records and snapshots.
fn stored(version: u16, value: &impl Serialize) -> Vec<u8> {
    let (mut bytes, mut out) = (Vec::new(), Vec::new());
    Bincode::encode(value, &mut bytes);
    write(ValueV1 { version, bytes: &bytes }, &mut out);
    out
}

fn read_back(stored: &[u8]) -> Result<Happened, DecodeError> {
    let value: ValueV1<'_> = read(stored)?;
    Happened::decode_version::<Bincode>(value.version, value.bytes)
}

#[test]
fn bytes_of_the_first_version_are_read_as_what_they_meant() {
    let counted = HappenedV1::Counted { units: 7 };
    assert_eq!(read_back(&stored(1, &counted)), Ok(Happened::Counted { units: 7, cause: None }));
    assert_eq!(read_back(&stored(1, &HappenedV1::Emptied)), Ok(Happened::Emptied));
    let today = Happened::Counted { units: 7, cause: Some("broken".to_owned()) };
    assert_eq!(read_back(&stored(Happened::VERSION, &today)), Ok(today));
}

#[test]
fn a_version_nobody_knows_is_refused_by_number() {
    let refused = read_back(&stored(3, &Happened::Emptied)).unwrap_err();
    assert_eq!(refused, DecodeError::UnknownVersion { version: 3, newest: 2 });
    let said = "layout 3, and this version of Stockroom knows layouts up to 2; upgrade it before it opens this data";
    assert_eq!(refused.to_string(), said);
}

#[test]
fn every_kind_refuses_versions_it_does_not_know() {
    for kind in Kind::ALL {
        let unknown = |newest| DecodeError::UnknownVersion { version: 9, newest };
        assert_eq!(AnyEvent::decode::<Bincode>(*kind, 9, &[]).unwrap_err(), unknown(1), "{kind:?}");
        assert_eq!(AnyReply::decode::<Bincode>(*kind, 9, &[]).unwrap_err(), unknown(1), "{kind:?}");
        assert_eq!(AnyState::decode::<Bincode>(*kind, 9, &[]).unwrap_err(), unknown(1), "{kind:?}");
    }
}

/// The version is where the essay says it is: beside the bytes of an event in a record, of a state in a snapshot.
#[test]
fn a_record_or_snapshot_with_a_value_of_a_newer_version_is_refused() {
    let bytes = encode_records(&[record(3)]);
    let mut event = Vec::new();
    record(3).events[0].encode::<Bincode>(&mut event);
    let refused = decode_records(Kind::Stock, &with_version_two(&bytes, ValueKind::Records, &event));
    assert_eq!(refused, Err(DecodeError::UnknownVersion { version: 2, newest: 1 }));

    let (state, entity) = (AnyState::new(&stock("TEA")), stock("TEA"));
    let snapshot = crate::persistence::records::Snapshot {
        sequence: crate::domain::time::Sequence(3),
        at: crate::domain::time::Timestamp(3000),
        wake_at: None,
        window: Vec::new(),
        entity,
        state,
    };
    let mut state = Vec::new();
    snapshot.state.encode::<Bincode>(&mut state);
    let refused = decode_snapshot(&with_version_two(&encode_snapshot(&snapshot), ValueKind::Snapshot, &state));
    assert_eq!(refused.unwrap_err(), DecodeError::UnknownVersion { version: 2, newest: 1 });
}

/// The same envelope, sealed again with 2 for the version of this value.
fn with_version_two(sealed: &[u8], kind: ValueKind, value: &[u8]) -> Vec<u8> {
    let mut payload = sealed[HEADER_BYTES..].to_vec();
    let mut wanted = Vec::new();
    write(ValueV1 { version: 1, bytes: value }, &mut wanted);
    let at = payload.windows(wanted.len()).position(|window| window == wanted).expect("the value is in there");
    assert_eq!(std::mem::replace(&mut payload[at], 2), 1);
    crate::persistence::envelope::seal(kind, 1, &payload)
}
