//! Vectors that never change: what version 1 wrote, every later version reads and writes again.
//!
//! Beginnings and digests of encoded structures. A change that makes one of these fail is a new
//! format version, not a new vector.

use longshore_format::{Control, Digest, Flags, Footer, Kind, Lsn, SegmentDigest, SegmentHeader, Step};

use crate::support::{Image, LOG, NOON, SIZE};

fn image() -> Image {
    let mut image = Image::new();
    image.put(Kind::USER, Flags::SINGLE, NOON, b"hello");
    image.durable = Lsn::new(4096);
    image.put(Kind::new(300), Flags::FIRST, NOON + 1, b"part of a run");
    image.incarnate(0x22);
    image.put(Kind::MARK, Flags::SINGLE, NOON + 2, b"a-mark");
    image.begin_epoch(2, 0xb2);
    (0..4).for_each(|_| _ = image.single(&[0x5a; 16_000]));
    image
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn records_of_version_1() {
    let image = image();
    let expected = [
        "250000001736b7bffb6676e000000000000103000010000000401e18240a060068656c6c6f000000",
        "\
            2d000000054abe33a8d45a461736b7bf2c0101002800000001401e18240a060070617274206f6620\
            612072756e000000",
        "28000000bc641a62677a1708054abe33040000005800000001401e18240a06002200000000000000",
        "26000000cd59978ce72f2fd1bc641a62050003008000000002401e18240a0600612d6d61726b0000",
        "990000007b49ab84ad14bcebcd59978c03000000a800000002401e18240a06000300100000000000",
    ];
    for (chain, expected) in image.chains.iter().zip(expected) {
        let bytes = image.body_from(chain.position);
        assert_eq!(hex(&bytes[..expected.len() / 2]), expected, "at {}", chain.position);
    }
    assert_eq!(image.read().1, Step::End);
}

#[test]
fn segments_of_version_1() {
    let image = image();
    let header = &image.segments[1][..SegmentHeader::LEN];
    assert_eq!(
        hex(&header[..232]),
        "\
            4c4f4e4753484f520100010300000100746865206c6f6720756e6465722074650000010000000000\
            001001000000000002401e18240a0600a8100000000000000200000000000000b2b2b2b2b2b2b2b2\
            b2b2b2b2b2b2b2b202000000000000000000000000000000c9dabd17000000000010000000000000\
            0100000000000000a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a111000000000000005810000000000000\
            0100000000000000a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a12200000000000000a810000000000000\
            0200000000000000b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b20200000000000000"
    );
    assert_eq!(hex(&header[4092..]), "23925646");
    let footer = image.footer(0, Digest::NONE);
    assert_eq!(footer.digest.to_string(), "974da5b1a76cb44585a0e9d84071c5dffd1557c199855326ecaa46e26a3d90fc");
    let bytes = footer.encode(SIZE).unwrap();
    assert_eq!(
        hex(&bytes[bytes.len() - Footer::TRAILER_LEN..]),
        "\
            4c4f4e475345414c0000000000000000090000000000000028cd000000000000974da5b1a76cb445\
            85a0e9d84071c5dffd1557c199855326ecaa46e26a3d90fc00000000000000000000000000000000\
            00000000000000000000000000000000000000000000000000000000000000000000000000000000\
            00000000f9462621"
    );
}

#[test]
fn control_of_version_1() {
    let image = image();
    let control = Control {
        log: LOG,
        content: longshore_format::Content::Sql,
        size: SIZE,
        writers: vec![image.history.current().epoch.writer],
        history: image.history.clone(),
        highest: image.history.current().epoch,
        before: None,
        durable: Lsn::new(4136),
        clean: Some(Lsn::new(4136)),
        lost: None,
        slots: vec![longshore_format::Slot {
            name: longshore_format::Name::new("eu-west").unwrap(),
            durable: Lsn::new(4136),
            applied: Lsn::new(4096),
            seen: NOON,
            lost: false,
        }],
        policies: Vec::new(),
        shown: None,
        intent: None,
    };
    let bytes = control.encode_slot(3).unwrap();
    assert_eq!(bytes.len(), 266);
    assert_eq!(
        SegmentDigest::of(&bytes).to_string(),
        "58f560dc5cce7446230a3a113e10ad824d81c7c5e307f4f8603b0ad06561aad4"
    );
}
