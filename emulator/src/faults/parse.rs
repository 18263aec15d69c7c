//! A fault on the command line: `throttle,on=flash+submit,next=2,retry_after=0.5`.

use serde_json::{Map, Value};

use super::Fault;

/// Reads the kind, then `name=value` pairs with the names of [`Fault`]; `on` takes several kinds joined by `+`.
pub fn parse_fault(text: &str) -> Result<Fault, String> {
    let mut parts = text.split(',');
    let mut fields = Map::new();
    fields.insert("kind".to_owned(), Value::from(parts.next().unwrap_or_default()));
    for part in parts {
        let (name, value) = part.split_once('=').unwrap_or((part, "true"));
        let value = match name {
            "on" => Value::Array(value.split('+').map(Value::from).collect()),
            "code" => Value::from(value),
            _ => serde_json::from_str(value).unwrap_or_else(|_| Value::from(value)),
        };
        fields.insert(name.to_owned(), value);
    }
    serde_json::from_value(Value::Object(fields)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::FaultKind;
    use super::*;
    use crate::journal::Kind;

    #[test]
    fn a_fault_reads_as_it_is_written() {
        let fault = parse_fault("status,on=flash+query,next=2,status=503,html").unwrap();
        let expected = Fault {
            on: vec![Kind::Flash, Kind::Query],
            next: Some(2),
            status: Some(503),
            html: true,
            ..Fault::of_kind(FaultKind::Status)
        };
        assert_eq!(fault, expected);
        assert!(parse_fault("earthquake").unwrap_err().contains("earthquake"));
        assert!(parse_fault("reset,nxt=1").unwrap_err().contains("nxt"));
    }
}
