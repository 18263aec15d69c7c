//! Plans for recordings that are listened to here before they are sent: their channels are split, or silence is left out.

use hark_sdk::event::Fault;

use super::{FORMAT, Facts, fault_of_misfits, fit, in_pieces, misfit, time};
use crate::config::{Channels, Route};
use crate::job::{MOST_CHANNELS, Plan, Split};
use crate::recognize::Profile;

/// How the channels are told apart; `None`: they are mixed, or there is one.
pub(super) fn split(facts: &Facts, route: &Route) -> Result<Option<Split>, Fault> {
    const ADVICE: &str = "use a route with channels = \"mix\"";
    match facts.channels {
        _ if route.channels != Channels::Split => Ok(None),
        Some(1) => Ok(None),
        // Files of several channels begin with another signature (RFC 4867, 5.1).
        None if facts.format.as_deref() == Some("amr") => Ok(None),
        Some(2..=MOST_CHANNELS) if facts.duration_ms.is_some() => {
            Ok(Some(Split { roles: route.roles.clone() }))
        }
        Some(count @ 2..) if facts.duration_ms.is_some() => {
            let message = format!(
                "the route asks for each channel by itself, of {MOST_CHANNELS} at most, and this has {count}; {ADVICE}"
            );
            Err(misfit("TooManyChannels", message))
        }
        _ => {
            let what = facts.format.as_deref().unwrap_or("it");
            let why = match &facts.undecodable {
                Some(why) => why.clone(),
                None => {
                    format!("Hark cannot decode {what} to tell them apart; convert it to wav, flac or mp3")
                }
            };
            let message = format!("the route asks for each channel by itself: {why}, or {ADVICE}");
            Err(misfit("UndecodableAudio", message))
        }
    }
}

/// The plan for a recording that is listened to here before it is sent: its channels are split, or silence is left out of it. `None`: it is
/// sent as any other one.
pub(super) fn listened(
    facts: &Facts,
    route: &Route,
    candidates: &[&Profile],
    split: Option<Split>,
) -> Option<Result<Plan, Fault>> {
    if split.is_none() && !route.skip_silence {
        return None;
    }
    let wish = match (&split, route.skip_silence) {
        (Some(_), true) => "the route splits the channels and leaves silence out",
        (Some(_), false) => "the route splits the channels",
        (None, _) => "the route leaves silence out",
    };
    let (mut misfits, mut in_many) = (Vec::new(), None);
    for offer in candidates {
        let Profile { engine, limits, .. } = offer;
        if let Some(plan) = in_pieces(facts, route, offer) {
            let plan = Plan { split: split.clone(), ..plan };
            let longest = limits.longest.map_or(u64::MAX, |longest| longest.as_millis() as u64);
            let is_short = facts.duration_ms.is_some_and(|length| length <= longest);
            // A recognizer that takes the file as it is would get the silence as well, so with `skip_silence` the recording is decoded here.
            if is_short || route.skip_silence || offer.only_by_name || route.engine.name().is_some() {
                let reason = format!("{wish}, and it is decoded here for {engine}");
                return Some(Ok(Plan { reason, ..plan }));
            }
            let message = format!("{engine} takes up to {} whole", time(longest));
            misfits.push(misfit("TooLong", message));
            in_many.get_or_insert(plan);
        } else if limits.selects_channels && split.is_some() {
            match fit(facts, offer, route.engine.name().is_some()) {
                Ok(plan) => {
                    let kept = if route.skip_silence {
                        "; it takes the file as it is, silence included"
                    } else {
                        ""
                    };
                    let reason = format!("{wish}, and {engine} is asked for each{kept}");
                    return Some(Ok(Plan { split, reason, ..plan }));
                }
                Err(misfit) => misfits.push(misfit),
            }
        } else if split.is_some() {
            misfits.push(match fit(facts, offer, route.engine.name().is_some()) {
                Err(misfit) => misfit,
                Ok(_) => misfit(FORMAT, format!("{engine} does not tell channels apart")),
            });
        }
    }
    match in_many {
        Some(plan) => {
            let reason =
                format!("{wish}, and it is sent in pieces: {}", fault_of_misfits(facts, &misfits).message);
            Some(Ok(Plan { reason, ..plan }))
        }
        None if split.is_some() => Some(Err(fault_of_misfits(facts, &misfits))),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan;
    use super::super::tests::{all, facts, no_upload, own, us};
    use super::*;
    use crate::config::Dashscope;
    use crate::recognize::dashscope::profiles;

    #[test]
    fn channels_are_split_and_silence_is_left_out_where_a_recognizer_lets_one() {
        let stereo = |facts: Facts| Facts { channels: Some(2), ..facts };
        let unknown = || Facts { duration_ms: None, channels: None, ..facts("wma", 0, 1000) };
        let url = || Facts { is_url: true, ..Facts::default() };
        let long = || facts("mp3", 3600, 1000);
        let short = || facts("wav", 60, 1000);
        let route = |engine: &str, split: bool, skip_silence: bool| Route {
            engine: engine.to_owned().into(),
            channels: if split { Channels::Split } else { Channels::Mix },
            roles: vec!["agent".into(), "customer".into()],
            skip_silence,
            ..Route::named("default")
        };
        let shown = |facts: Facts, route: &Route, config: &Dashscope| {
            let [flash, filetrans] = profiles(config, false);
            let own = own();
            match plan(&facts, route, vec![&flash, &filetrans, &own]) {
                Err(fault) => fault.code,
                Ok(plan) => {
                    assert!(!plan.reason.is_empty());
                    if let Some(split) = &plan.split {
                        assert_eq!(split.roles, route.roles);
                    }
                    assert!(plan.cut.is_none_or(|cut| cut.skip_silence == route.skip_silence));
                    let split = if plan.split.is_some() { " split" } else { "" };
                    let pieces = if plan.cut.is_some() { " in pieces" } else { "" };
                    format!("{}{pieces}{split}", plan.engine)
                }
            }
        };
        let (split, skip, both) = ((true, false), (false, true), (true, true));
        for (facts, engine, wish, config, expected) in [
            (stereo(short()), "auto", split, all(), "flash in pieces split"),
            (stereo(long()), "auto", split, all(), "filetrans split"),
            (stereo(long()), "auto", split, us(), "flash in pieces split"),
            (stereo(long()), "auto", split, no_upload(), "flash in pieces split"),
            (stereo(long()), "flash", split, all(), "flash in pieces split"),
            (stereo(short()), "filetrans", split, all(), "filetrans split"),
            (stereo(short()), "gpu", split, all(), "gpu in pieces split"),
            (stereo(facts("aiff", 60, 1000)), "filetrans", split, all(), "FormatNotSupported"),
            (stereo(short()), "filetrans", split, no_upload(), "UploadNotAllowed"),
            // One channel is as if it were mixed.
            (short(), "auto", split, all(), "flash"),
            (long(), "auto", split, all(), "filetrans"),
            (facts("wav", 20, 1000), "gpu", split, all(), "gpu"),
            // What cannot be decoded here has channels that are not known.
            (unknown(), "auto", split, all(), "UndecodableAudio"),
            (url(), "auto", split, all(), "UndecodableAudio"),
            (Facts { format: Some("amr".into()), ..unknown() }, "auto", split, all(), "filetrans"),
            (Facts { channels: Some(17), ..short() }, "auto", split, all(), "TooManyChannels"),
            (short(), "auto", skip, all(), "flash in pieces"),
            (stereo(short()), "auto", skip, all(), "flash in pieces"),
            (long(), "auto", skip, all(), "flash in pieces"),
            (long(), "filetrans", skip, all(), "filetrans"),
            (short(), "gpu", skip, all(), "gpu in pieces"),
            (unknown(), "auto", skip, all(), "filetrans"),
            (stereo(long()), "auto", both, all(), "flash in pieces split"),
            (stereo(long()), "filetrans", both, all(), "filetrans split"),
        ] {
            let route = route(engine, wish.0, wish.1);
            assert_eq!(shown(facts.clone(), &route, &config), expected, "{engine} {wish:?} {facts:?}");
        }
    }
}
