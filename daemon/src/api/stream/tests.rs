use super::*;

#[test]
fn a_listener_hears_what_it_asked_for() {
    let job = Uuid::from_u128(7);
    let wanted = |query: &str| Wanted::of(query, &HeaderMap::new()).unwrap();
    assert!(wanted("").wants("plugin.crm", "calls", job));
    assert!(wanted("kind=alert,transcript.final").wants("alert.raised", "calls", job));
    assert!(!wanted("kind=transcript.final").wants("transcript.finality", "calls", job));
    assert!(wanted("kind=plugin.*").wants("plugin.crm", "calls", job));
    assert!(!wanted("kind=alert&source=inbox").wants("alert.raised", "calls", job));
    assert!(wanted(&format!("job={job}&source=")).wants("job.failed", "calls", job));
    for bad in ["kind=song", "kind=alert.", "job=7", "last_event_id=x", "colour=red", "colour="] {
        assert!(Wanted::of(bad, &HeaderMap::new()).is_err(), "{bad}");
    }
    let last = |id: u64| Wanted::of(&format!("last_event_id={id}"), &HeaderMap::new());
    assert!(last(i64::MAX as u64).is_ok() && last(i64::MAX as u64 + 1).is_err());
}

#[test]
fn an_event_that_comes_twice_is_sent_once() {
    let mut sent = Sent::behind(3);
    let mut note = |job: u128, sequence, stream_seq| sent.note((Uuid::from_u128(job), sequence), stream_seq);
    assert!(note(1, 2, 7) && note(1, 1, 5) && !note(1, 2, 7));
    // The stream was made anew.
    assert!(note(2, 1, 5));
    assert_eq!(sent.last, 7);
    for sequence in 10..10 + REMEMBERED as u64 {
        assert!(sent.note((Uuid::nil(), sequence), sequence));
    }
    assert_eq!(sent.known.len(), REMEMBERED);
}

/// Writes stored events of one job with these sequences in the stream, acknowledged together.
async fn store(ledger: &Ledger, stream_seqs: impl IntoIterator<Item = u64>) {
    let insert = "INSERT INTO event (job, source, kind, sequence, time, body) \
                  VALUES (zeroblob(16), 'calls', 'job.accepted', ?1, '', '{}')";
    let stream_seqs: Vec<u64> = stream_seqs.into_iter().collect();
    let write = move |connection: &rusqlite::Connection| {
        let newest = outbox::newest_stored(connection)?;
        for stream_seq in stream_seqs.clone() {
            connection.execute(insert, [stream_seq])?;
            let (id, job) = (connection.last_insert_rowid(), Uuid::nil());
            let acknowledged = outbox::Acknowledged { id, job, stream_seq, last: false };
            outbox::acknowledge(connection, &acknowledged, newest)?;
        }
        Ok(())
    };
    ledger.write(write).await.unwrap();
}

fn partial() -> Published {
    Published {
        kind: "transcript.partial".into(),
        source: "calls".into(),
        job: Uuid::nil(),
        sequence: None,
        stream_seq: None,
        body: Some("{}".into()),
    }
}

/// The ids of the stored events that come before a partial, which the feed has last.
async fn ids(listener: &mut Listener, feed: &Feed) -> Vec<u64> {
    feed.send(partial());
    let mut ids = Vec::new();
    loop {
        let line = format!("{:?}", listener.next().await.unwrap());
        let Some((_, id)) = line.split_once("id: ") else { return ids };
        ids.push(id.split("\\n").next().unwrap().parse().unwrap());
    }
}

#[tokio::test]
async fn a_listener_that_comes_back_misses_no_event_that_was_acknowledged_late() {
    let state = tempfile::tempdir().unwrap();
    let (ledger, feed) = (Ledger::open(state.path()).unwrap(), Feed::default());
    let comes_back = |after: u64| {
        Listener::begin(Wanted { after: Some(after), ..Wanted::default() }, ledger.clone(), &feed)
    };
    store(&ledger, [1, 3]).await;
    let mut slow = comes_back(0).await.unwrap();
    assert_eq!(ids(&mut slow, &feed).await, [1, 3]);
    store(&ledger, [2]).await;
    store(&ledger, [4]).await;
    // More than the feed keeps.
    (0..2_000).for_each(|_| feed.send(partial()));
    assert_eq!(ids(&mut slow, &feed).await, [2, 4]);
    for (last, missed) in [(0, &[1, 2, 3, 4][..]), (1, &[2, 3, 4]), (2, &[3, 4]), (3, &[2, 4]), (4, &[])] {
        let mut listener = comes_back(last).await.unwrap();
        assert_eq!(ids(&mut listener, &feed).await, missed, "behind {last}");
    }
    // Longer than a page.
    store(&ledger, (5..1_005).step_by(2)).await;
    store(&ledger, (6..1_005).step_by(2)).await;
    let mut listener = comes_back(1_003).await.unwrap();
    assert_eq!(ids(&mut listener, &feed).await, (6..1_005).step_by(2).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_listener_that_lags_before_its_first_event_misses_no_stored_one() {
    let state = tempfile::tempdir().unwrap();
    let (ledger, feed) = (Ledger::open(state.path()).unwrap(), Feed::default());
    store(&ledger, 1..=5).await;
    let mut listener = Listener::begin(Wanted::default(), ledger.clone(), &feed).await.unwrap();
    store(&ledger, 6..=7).await;
    // More than the feed keeps.
    (0..2_000).for_each(|_| feed.send(partial()));
    for _ in 6..=7 {
        let line = format!("{:?}", listener.next().await.unwrap());
        assert!(line.contains("job.accepted"), "{line}");
    }
    assert!(format!("{:?}", listener.next().await.unwrap()).contains("partial"), "only what is newer");
}
