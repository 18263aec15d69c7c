//! What a claim tells the daemon that takes a job over.

use hark_sdk::event::Engine;
use proptest::prelude::*;
use serde_json::Map;

use super::*;
use crate::job::{Cut, Delivery, Origin, PieceFormat, persisted};

const PLACE: &str = "HARK_AUDIO.7@1790000000000000000";

fn job(stage: Stage) -> Job {
    let recording = Recording {
        uri: "nats:HARK_AUDIO/7".into(),
        name: Some("secret-name.wav".into()),
        duration_ms: Some(7),
        ..Recording::default()
    };
    let metadata = Map::from_iter([("agent".to_owned(), "secret-agent".into())]);
    let job = Job::new(Uuid::now_v7(), "inbox", "default", Origin::Nothing, recording, metadata);
    let plan = Plan {
        engine: Engine::FILETRANS,
        model: "model".into(),
        delivery: Delivery::Upload,
        cut: None,
        split: None,
        reason: "test".into(),
    };
    Job { stage, plan: Some(plan), ..job }
}

fn stages() -> impl Strategy<Value = Stage> {
    prop_oneof![
        Just(Stage::Accepted),
        Just(Stage::Recognizing),
        Just(Stage::Heard),
        Just(Stage::Ended { failed: false, bad_input: false }),
        Just(Stage::Stored { failed: false, bad_input: false }),
        Just(Stage::Settled { failed: true }),
    ]
}

fn attempts() -> impl Strategy<Value = Vec<Attempt>> {
    let fates = prop::sample::select(vec![
        Fate::Open,
        Fate::NotSent,
        Fate::Refused,
        Fate::MaybeForwarded,
        Fate::Absent,
        Fate::Taken,
        Fate::Unknown,
    ]);
    let one = (fates, any::<bool>(), any::<bool>()).prop_map(|(fate, marker, handle)| Attempt {
        fate,
        handle: (fate == Fate::Taken && handle).then(|| "task-1".to_owned()),
        ..Attempt::open(1, Uuid::nil(), Timestamp::UNIX_EPOCH, marker.then(|| "object-1".to_owned()))
    });
    prop::collection::vec(one, 0..4)
}

proptest! {
    #[test]
    fn a_job_is_taken_from_another_only_when_its_own_message_was_delivered_anew(
        stage in stages(), mine: bool, same_place: bool, held in 1_i64..4, delivery in 1_i64..4,
    ) {
        let (me, other) = (Uuid::now_v7(), Uuid::now_v7());
        let job = job(stage);
        let mut claim = Claim::new(job.id, if mine { me } else { other }, PLACE, held);
        claim.copy_state(&job, &[]);
        let place = if same_place { PLACE } else { "HARK_AUDIO.9" };
        let verdict = judge(Some(&claim), me, place, delivery);
        let over = matches!(job.stage, Stage::Stored { .. } | Stage::Settled { .. });
        prop_assert_eq!(verdict == ClaimState::Over, over);
        prop_assert_eq!(verdict == ClaimState::Mine, !over && mine);
        prop_assert_eq!(verdict == ClaimState::TakeOver, !over && !mine && same_place && delivery > held);
        prop_assert_eq!(judge(None, me, place, delivery), ClaimState::New);
    }

    #[test]
    fn a_daemon_that_takes_over_a_job_of_pieces_knows_the_fates_of_each(
        attempts in prop::collection::vec(attempts(), 1..8),
    ) {
        let (me, ticket) = (Uuid::now_v7(), Ticket { key: PLACE.into(), place: PLACE.into() });
        let mut job = job(Stage::Recognizing);
        let (skip_silence, misleading_header) = (false, false);
        let cut = Cut { longest_ms: 30_000, format: PieceFormat::Flac, skip_silence, misleading_header };
        job.plan = job.plan.map(|plan| Plan { cut: Some(cut), ..plan });
        let piece = |(number, attempts): (u32, &Vec<Attempt>)| {
            Piece { attempts: attempts.clone(), ..Piece::new(number, Span::part(0, 1), "flash", "model") }
        };
        let pieces: Vec<Piece> = (1..).zip(&attempts).map(piece).collect();
        let claim = Claim::of(&job, &pieces, &ticket, me);
        let (resumed, made) = claim.resume(Job { id: job.id, plan: None, ..self::job(Stage::Accepted) });
        let may_have_cost = pieces.iter().any(Piece::may_have_cost);
        let stage = if may_have_cost { Stage::Cutting { to_ms: 0, pieces: 0 } } else { Stage::Accepted };
        prop_assert_eq!((&resumed.stage, made.len()), (&stage, 0), "each is made when it is cut");
        for piece in &pieces {
            let fates = |attempts: &[Attempt]| {
                attempts.iter().map(|attempt| attempt.fate).filter(|fate| fate.may_have_cost()).collect::<Vec<_>>()
            };
            let known = paid::attempts(&resumed.paid, piece.number, Timestamp::UNIX_EPOCH);
            prop_assert_eq!(fates(&known), fates(&piece.attempts));
        }
        prop_assert_eq!(&Claim::of(&resumed, &[], &ticket, me).paid, &claim.paid, "nothing is lost at the next takeover");
    }

    #[test]
    fn a_daemon_that_takes_over_knows_every_attempt_that_may_have_cost(attempts in attempts()) {
        let (me, ticket) = (Uuid::now_v7(), Ticket { key: PLACE.into(), place: PLACE.into() });
        let job = job(Stage::Recognizing);
        let mut piece = Piece::new(1, Span::whole(Some(7)), "filetrans", "model");
        piece.attempts = attempts;
        let claim = Claim::of(&job, std::slice::from_ref(&piece), &ticket, me);
        let text = persisted::to_json(&claim).unwrap();
        prop_assert!(!text.contains("secret"), "no names and no metadata: {}", text);
        let read: Claim = persisted::from_json(text.as_bytes()).unwrap();
        prop_assert_eq!(&read, &claim);

        let (resumed, pieces) = read.resume(Job { id: job.id, plan: None, ..self::job(Stage::Accepted) });
        if !piece.may_have_cost() {
            prop_assert_eq!((resumed.stage, pieces.len()), (Stage::Accepted, 0));
            return Ok(());
        }
        prop_assert_eq!(resumed.stage, Stage::Recognizing);
        prop_assert_eq!(&pieces[0].attempts, &piece.attempts);
        let last = piece.last_attempt().unwrap();
        let is_with_the_service = last.fate == Fate::Taken && last.handle.is_some();
        prop_assert_eq!(matches!(pieces[0].state, PieceState::Awaiting { .. }), is_with_the_service);
        let may_be_under_way = matches!(last.fate, Fate::Open | Fate::Taken) && !is_with_the_service;
        prop_assert_eq!(pieces[0].state == PieceState::Sending, may_be_under_way, "found by `Restarted`");
    }
}

/// A job whose recording is cut into 1,440 pieces. Thirty-two are under way at a time, and each is heard before or after its neighbours.
#[test]
fn the_claim_of_a_job_of_many_pieces_stays_small() {
    let (me, ticket) = (Uuid::now_v7(), Ticket { key: PLACE.into(), place: PLACE.into() });
    let mut job = job(Stage::Recognizing);
    let (skip_silence, misleading_header) = (false, false);
    let cut = Cut { longest_ms: 30_000, format: PieceFormat::Flac, skip_silence, misleading_header };
    job.plan = job.plan.map(|plan| Plan { cut: Some(cut), ..plan });
    let mut pieces: Vec<Piece> =
        (1..=1_440).map(|number| Piece::new(number, Span::part(0, 1), "flash", "model")).collect();
    for sent in 0..pieces.len() {
        pieces[sent].attempts.push(Attempt::open(1, me, Timestamp::now(), None));
        // Of those under way, the third is the next to be heard, and one in a hundred is lost first.
        if let Some(piece) = sent.checked_sub(32).map(|first| first + 3 * (first % 5)) {
            let attempts = &mut pieces[piece].attempts;
            attempts.iter_mut().for_each(|attempt| attempt.fate = Fate::Taken);
            if piece % 100 == 0 {
                attempts.push(Attempt { fate: Fate::Taken, ..Attempt::open(2, me, Timestamp::now(), None) });
            }
        }
        if sent % 10 == 0 {
            let size = persisted::to_json(&Claim::of(&job, &pieces, &ticket, me)).unwrap().len();
            assert!(size < 4_096, "{size} bytes after {sent} pieces");
        }
    }
}

#[test]
fn a_claim_is_as_its_golden_file_has_it() {
    let id = |number: u128| Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 | number);
    let time = Timestamp::from_second(1_790_000_000).unwrap();
    let mut piece = Piece::new(1, Span::whole(Some(7)), "filetrans", "model");
    piece.attempts.push(Attempt::open(1, id(2), time, Some("object-1".into())));
    let job = Job { id: id(1), accepted_at: time, revision: 3, maybe_paid: true, ..job(Stage::Recognizing) };
    let ticket = Ticket { key: PLACE.into(), place: PLACE.into() };
    let paid = vec![Paid { first: 1, last: 1_440, fates: vec![Fate::Unknown, Fate::Taken] }];
    let claim = Claim { delivery: 2, paid, ..Claim::of(&job, &[piece], &ticket, id(2)) };
    persisted::tests::assert_golden(&claim, "share/golden/claim.json");
}

#[test]
fn a_key_is_of_the_message_id_or_of_the_place() {
    assert_eq!(key(None, PLACE), "HARK_AUDIO.7");
    let odd = key(None, "calls:in.7@5");
    assert!(odd.len() == 64 && odd != key(None, "calls:in.8@5"), "no key may have a colon: {odd}");
    assert_eq!(key(Some("a"), PLACE), "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb");
    assert_ne!(second_key(Some("a"), "ONE.1@5"), second_key(Some("a"), "TWO.1@5"));
    assert_eq!(second_key(Some("a"), "ONE.1@5"), second_key(Some("a"), "ONE.2@6"));
    assert_ne!(second_key(None, "ONE.1@5"), second_key(None, "ONE.1@6"));

    let claim = Claim::new(Uuid::now_v7(), Uuid::now_v7(), "ONE.1@5", 1);
    assert!(!claim.is_foreign(None, "ONE.1@5") && !claim.is_foreign(Some("a"), "ONE.2@6"));
    assert!(claim.is_foreign(None, "ONE.1@6"), "the stream was made anew");
    assert!(claim.is_foreign(Some("a"), "TWO.1@5"));
    assert_eq!(claim.sequence(), Some(1));
}
