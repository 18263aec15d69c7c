//! The explanations, for a person and for a program.

use std::io::{self, Write};

use serde_json::json;

use super::estimate::Explained;
use crate::cli::{write_json, write_line};
use crate::counted::counted;

/// Sums over all recordings whose length is known.
fn total(files: &[Explained]) -> (u64, f64) {
    let seconds = files.iter().filter_map(|file| file.seconds).sum();
    // The sum of no numbers is -0.0.
    let usd = files.iter().filter_map(|file| file.cost_usd).fold(0.0, |sum, usd| sum + usd);
    (seconds, (usd * 1e6).round() / 1e6)
}

pub(super) fn json(out: &mut impl Write, files: &[Explained]) -> io::Result<()> {
    let (seconds, cost_usd) = total(files);
    write_json(out, &json!({ "files": files, "total": { "seconds": seconds, "cost_usd": cost_usd } }))
}

pub(super) fn for_people(out: &mut impl Write, files: &[Explained]) -> io::Result<()> {
    for file in files {
        write_line(out, &file.path)?;
        if let Some(error) = &file.error {
            write_line(out, &format!("  cannot be recognized: {error}"))?;
            continue;
        }
        let (engine, model) =
            (file.engine.as_ref().map_or("", |engine| engine.as_str()), file.model.as_deref());
        let reason = file.reason.as_deref().unwrap_or_default();
        write_line(out, &format!("  {engine}, model {}: {reason}", model.unwrap_or_default()))?;
        for rejected in &file.rejected {
            write_line(out, &format!("  not {}: {}", rejected.engine, rejected.why))?;
        }
        write_line(out, &format!("  {}", amount(file)))?;
    }
    if files.len() > 1 {
        let (seconds, usd) = total(files);
        write_line(out, &format!("{}: {seconds} s, ${usd:.6}", counted(files.len(), "recording")))?;
    }
    Ok(())
}

fn amount(file: &Explained) -> String {
    let (Some(pieces), Some(channels), Some(seconds), Some(usd)) =
        (file.pieces, file.channels, file.seconds, file.cost_usd)
    else {
        return "its length, and its price, are known when the service has fetched it".into();
    };
    if pieces == 0 {
        return "nothing is sent: it is silent".into();
    }
    let requests = if pieces == 1 { "one request".into() } else { format!("{pieces} requests") };
    let channels = if channels == 1 { String::new() } else { format!(" of {channels} channels") };
    format!("{requests}{channels}, {seconds} s, ${usd:.6}")
}
