//! `metadata_from_name`: what the names of recordings tell about their calls.

use regex::Regex;
use serde_json::{Map, Value};

use super::nearest::nearest;

/// The presets, by name. A preset has parts, each a list of alternatives: of every part the first alternative that matches counts.
const PRESETS: [(&str, &[&[&str]]); 3] = [("freepbx", FREEPBX), ("pca", PCA), ("miarec", MIAREC)];

/// FreePBX and its kin (Issabel) name a recording `<direction>-<called>-<calling>-<time>-<uniqueid>`. The external number of an outgoing
/// call is the called one. Of other calls it is the longer one (7 characters and more, where the extension has 6 at most), else the calling
/// one.
const FREEPBX: &[&[&str]] = &[&[
    r"^(?<direction>out)-(?<external>[^-]*)-(?<extension>[^-]*)-(?<datetime>\d{8}-\d{6})-(?<uniqueid>(?:[\w-]+-)?\d+\.\d+)",
    r"^(?<direction>[a-z]+)-(?<external>\+?[0-9Xx*]{7,})-(?<extension>\d{1,6})-(?<datetime>\d{8}-\d{6})-(?<uniqueid>(?:[\w-]+-)?\d+\.\d+)",
    r"^(?<direction>[a-z]+)-(?<extension>[^-]*)-(?<external>[^-]*)-(?<datetime>\d{8}-\d{6})-(?<uniqueid>(?:[\w-]+-)?\d+\.\d+)",
]];

/// Amazon's post-call analytics: `_CUST_…_GUID_…_AGENT_…_DATETIME_…`, each part as far as it is there, in any order.
const PCA: &[&[&str]] = &[
    &[r"(?:^|_)CUST_(?<customer>[^_]+?)(?:_|\.[^.]*$|$)"],
    &[r"(?:^|_)GUID_(?<guid>[^_]+?)(?:_|\.[^.]*$|$)"],
    &[r"(?:^|_)AGENT_(?<agent>[^_]+?)(?:_|\.[^.]*$|$)"],
    &[
        r"(?<datetime>\d{4}-\d{2}-\d{2}T\d{2}-\d{2}-\d{2})",
        r"(?<datetime>\d{2}\.\d{2}\.\d{2}\.\d{3}-\d{2}-\d{2}-\d{4})",
    ],
];

/// MiaRec's names are set up by its operator; its parameters are the call's id, the numbers, and the time in a form of strftime. The parts
/// stand with `-` or `_` between them, the time last or first.
const MIAREC: &[&[&str]] = &[&[
    r"^(?<call_id>[0-9A-Za-z-]+)[-_](?<from>[^-_]+)[-_](?<to>[^-_]+)[-_](?<datetime>\d{4}-?\d{2}-?\d{2}[-_T ]?\d{2}[-:]?\d{2}[-:]?\d{2})(?:[._]|$)",
    r"^(?<datetime>\d{4}-?\d{2}-?\d{2}[-_T ]?\d{2}[-:]?\d{2}[-:]?\d{2})[-_](?<from>[^-_]+)[-_](?<to>[^-_]+)[-_](?<call_id>[0-9A-Za-z-]+)",
]];

/// A preset, or an expression of the operator's own.
#[derive(Debug, Clone)]
pub struct NamePattern(Vec<Vec<Regex>>);

impl NamePattern {
    /// Parses `metadata_from_name`; `None` for an empty one.
    ///
    /// # Errors
    /// A sentence about what is neither a preset nor an expression with named groups.
    pub fn parse(written: &str) -> Result<Option<NamePattern>, String> {
        if written.is_empty() {
            return Ok(None);
        }
        let expression = |text: &&str| {
            Regex::new(text).map_err(|error| {
                format!("metadata_from_name = {written:?} is no regular expression that harkd reads: {error}")
            })
        };
        let preset = PRESETS.iter().find(|(name, _)| *name == written);
        let parts =
            preset.map_or(vec![vec![written]], |(_, parts)| parts.iter().map(|part| part.to_vec()).collect());
        let parts: Vec<Vec<Regex>> =
            parts.iter().map(|part| part.iter().map(expression).collect()).collect::<Result<_, _>>()?;
        if parts.iter().flatten().all(|regex| regex.capture_names().flatten().next().is_none()) {
            let names = PRESETS.map(|(name, _)| name);
            let hint =
                nearest(written, names).map_or(String::new(), |name| format!("; did you mean {name:?}?"));
            return Err(format!(
                "metadata_from_name = {written:?} is neither a preset ({}) nor an expression with a named group, such as \
                 (?<agent>[a-z]+){hint}",
                names.join(", ")
            ));
        }
        Ok(Some(NamePattern(parts)))
    }

    /// What a file's name tells: the named groups that are not empty. Nothing, if the name has another form.
    pub fn fields(&self, name: &str) -> Map<String, Value> {
        let captures = self
            .0
            .iter()
            .filter_map(|part| part.iter().find_map(|regex| Some((regex, regex.captures(name)?))));
        let mut fields = Map::new();
        for (regex, captures) in captures {
            for group in regex.capture_names().flatten() {
                let text = captures.name(group).map_or("", |found| found.as_str());
                if !text.is_empty() {
                    fields.insert(group.to_owned(), text.into());
                }
            }
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(pattern: &str, name: &str) -> Value {
        NamePattern::parse(pattern).unwrap().unwrap().fields(name).into()
    }

    #[test]
    fn names_of_freepbx() {
        let call = |direction: &str, external: &str, extension: &str, datetime: &str, uniqueid: &str| json!({"direction": direction, "external": external, "extension": extension, "datetime": datetime, "uniqueid": uniqueid});
        for (name, expected) in [
            (
                "out-71222-002-20241105-091730-1730780250.107.wav",
                call("out", "71222", "002", "20241105-091730", "1730780250.107"),
            ),
            (
                "out-+493012345678-101-20260115-101500-1768471700.12.WAV",
                call("out", "+493012345678", "101", "20260115-101500", "1768471700.12"),
            ),
            (
                "force-0821XXXX8663-3201-20250327-092517-1743042317.12206.wav",
                call("force", "0821XXXX8663", "3201", "20250327-092517", "1743042317.12206"),
            ),
            (
                "external-1001-2125551234-20150309-100455-1425909895.3.mp3",
                call("external", "2125551234", "1001", "20150309-100455", "1425909895.3"),
            ),
            (
                "in-15551234567-101-20260115-101500-1768471700.12.wav",
                call("in", "15551234567", "101", "20260115-101500", "1768471700.12"),
            ),
            (
                "q-400-15551234567-20260115-101500-1768471700.12.wav",
                call("q", "15551234567", "400", "20260115-101500", "1768471700.12"),
            ),
            (
                "rg-600-anonymous-20260115-101500-pbx1-1768471700.12.wav",
                call("rg", "anonymous", "600", "20260115-101500", "pbx1-1768471700.12"),
            ),
            (
                "exten-102-101-20260115-101500-1768471700.12-in.wav",
                call("exten", "101", "102", "20260115-101500", "1768471700.12"),
            ),
        ] {
            assert_eq!(fields("freepbx", name), expected, "{name}");
        }
        let without = fields("freepbx", "external-101--20260115-101500-1768471700.12.wav");
        assert_eq!(without.get("external"), None, "a call without a number: {without}");
        assert_eq!(fields("freepbx", "out-of-office.wav"), json!({}));
    }

    #[test]
    fn names_of_post_call_analytics() {
        for (name, expected) in [
            (
                "AutoRepairs1_CUST_12345_GUID_2a602c1a-4ca3-4d37-a933-444d575c0222_AGENT_BobS_DATETIME_07.55.51.067-09-16-2021.wav",
                json!({"customer": "12345", "guid": "2a602c1a-4ca3-4d37-a933-444d575c0222", "agent": "BobS",
                       "datetime": "07.55.51.067-09-16-2021"}),
            ),
            (
                "Auto1_GUID_000_AGENT_ChrisL_DT_2022-03-19T06-01-22_Mono.wav",
                json!({"guid": "000", "agent": "ChrisL", "datetime": "2022-03-19T06-01-22"}),
            ),
            ("CUST_7_AGENT_Li.wav", json!({"customer": "7", "agent": "Li"})),
            ("AGENT_J.Doe_call.mp3", json!({"agent": "J.Doe"})),
            ("CUSTOMER_7.wav", json!({})),
        ] {
            assert_eq!(fields("pca", name), expected, "{name}");
        }
    }

    #[test]
    fn names_of_miarec() {
        let id = "0d5ba81c-4b2f-11ef-9c3e-0242ac120002";
        let call = |id: &str, datetime: &str| json!({"call_id": id, "from": "101", "to": "+15551234567", "datetime": datetime});
        for (name, expected) in [
            ("4711-101-+15551234567-20110203104522.mp3".to_owned(), call("4711", "20110203104522")),
            ("4711_101_+15551234567_2011-02-03_10-45-22.mp3".to_owned(), call("4711", "2011-02-03_10-45-22")),
            (format!("{id}_101_+15551234567_2011-02-03-104522.mp3"), call(id, "2011-02-03-104522")),
            (format!("20110203104522-101-+15551234567-{id}.mp3"), call(id, "20110203104522")),
            ("20110203-104522_101_+15551234567_4711_2.mp3".to_owned(), call("4711", "20110203-104522")),
            ("20110203104522.mp3".to_owned(), json!({})),
        ] {
            assert_eq!(fields("miarec", &name), expected, "{name}");
        }
    }

    #[test]
    fn an_expression_of_ones_own_names_its_groups() {
        assert_eq!(fields(r"^(?P<team>[a-z]+)_(?<agent>\w*)", "sales_.wav"), json!({"team": "sales"}));
        assert!(NamePattern::parse("").unwrap().is_none());
        for (written, expected) in [
            ("freepbxx", "did you mean \"freepbx\"?"),
            (r"^(\d+)-", "neither a preset (freepbx, pca, miarec) nor an expression with a named group"),
            ("(?<agent>", "is no regular expression"),
        ] {
            let error = NamePattern::parse(written).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
