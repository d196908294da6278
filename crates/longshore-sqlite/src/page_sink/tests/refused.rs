//! What a sink does not take.

use super::*;

#[test]
fn a_difference_of_another_page_is_refused_with_the_place_and_never_written() {
    let (mut place, mut sink) = Place::counting(4096);
    place.apply(&mut sink, &count(1));
    let lost = place.primary.run(&count(2));
    let next = place.primary.run(&count(3));
    let before = dump(&Connection::open(place.replica()).unwrap());
    let mut log = place.log.clone();
    let error = log.give(&mut sink, &next).unwrap_err();
    assert_eq!(error.failure(), Failure::Diverged);
    let message = error.to_string();
    for part in ["replica.db", "page ", &format!("position {}", log.at), "delete it"] {
        assert!(message.contains(part), "{part} in {message}");
    }
    sink.sync().unwrap();
    assert!(dump(&Connection::open(place.replica()).unwrap()) == before);
    // The runs in their order are still taken, also twice.
    for run in [&lost, &lost, &next, &next] {
        place.give(&mut sink, run);
    }
    sink.finish().unwrap();
    place.check_equal();
}

#[test]
fn what_a_sink_cannot_take_is_refused_with_what_to_do() {
    let (mut place, mut sink) = Place::counting(4096);
    sink.finish().unwrap();
    drop(sink);
    let other = LogFacts { id: LogId::from_bytes([8; 16]), ..FACTS };
    let error = PageSink::new(place.replica()).open(&other).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Diverged, "{error}");
    for content in [Content::Sql, Content::Bytes] {
        let error = PageSink::new(place.replica()).open(&LogFacts { content, ..FACTS }).unwrap_err();
        assert_eq!(error.failure(), Failure::Content);
        assert!(error.to_string().contains("SqliteSink"), "{error}");
    }
    let image = place.primary.image();
    let mut sink = place.sink();
    let wrong: [(Payloads, ErrorKind, &str); 5] = [
        (run_between(None, &image, PageSize::new(2048).unwrap()), ErrorKind::Diverged, "delete it"),
        (
            vec![RunWriter::changes(PageSize::new(4096).unwrap(), MAX_PAYLOAD).finish(commit(0))],
            ErrorKind::Invalid,
            "no page",
        ),
        (vec![b"".to_vec()], ErrorKind::Invalid, "shorter"),
        (vec![beyond()], ErrorKind::Invalid, "page 9"),
        (vec![beyond(), beyond()], ErrorKind::Invalid, "after the last"),
    ];
    for (run, kind, part) in wrong {
        let error = place.log.clone().give(&mut sink, &run).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(part), "{part} in {error}");
    }
    let error = Log::new().give(&mut sink_at(&place.dir.path().join("none.db")), &[beyond()]).unwrap_err();
    assert!(error.to_string().contains("does not begin with all of it"), "{error}");
    place.apply(&mut sink, &count(1));
    place.check_equal();
}

/// A run that changes a page beyond its own end.
fn beyond() -> Vec<u8> {
    let mut writer = RunWriter::changes(PageSize::new(4096).unwrap(), MAX_PAYLOAD);
    writer.add(9, Form::Whole, &patch_between(&[0; 4096], &[1; 4096]));
    writer.finish(commit(2))
}
