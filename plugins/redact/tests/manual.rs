//! The manual, docs/plugins/redact.md, says what happens.
#![allow(clippy::unwrap_used, reason = "an unwrap here is an assertion of the test")]

#[path = "kit/mod.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test uses its part; `pub` means: for the test")]
mod kit;

#[test]
fn the_example_of_the_manual_does_what_its_table_says() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/plugins/redact.md");
    let page = std::fs::read_to_string(page).unwrap();
    let example = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let example: toml::Table = example.parse().unwrap();
    let config = serde_json::to_string(&example["plugin"][0]["config"]).unwrap();
    let table = page.split("|---|---|\n").nth(1).unwrap();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.split('|').collect())
        .collect();
    assert_eq!(rows.len(), 6);
    for row in rows {
        assert_eq!(kit::redacted(&config, row[1].trim()), row[2].trim());
    }
    assert_eq!(
        kit::redacted(&config, "Project Falcon, 极光计划, employee B12345"),
        "[WORD_1], [WORD_2], [PATTERN_1]"
    );
}
