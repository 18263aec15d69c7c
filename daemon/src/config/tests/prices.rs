//! `[[price]]`.

use super::{mistake, valid};
use crate::config::Region;

#[test]
fn a_price_names_a_model_and_perhaps_a_region() {
    let config = valid(
        "[[price]]\nmodel = \"qwen3-*\"\nregion = \"us\"\nusd_per_second = 0.00003\n[[price]]\nmodel = \"*\"\n",
    );
    let regions: Vec<_> = config.price.iter().map(|price| price.region).collect();
    assert_eq!(regions, [Some(Region::Us), None]);
    assert_eq!(config.price[1].usd_per_second, 0.0);
}

#[test]
fn what_is_no_price_is_a_mistake() {
    for (keys, expected) in [
        ("model = \"\"", "harkd.toml:2:9: model of a [[price]] is empty"),
        ("model = \"qwen3-[\"", "harkd.toml:2:9: model has \"qwen3-[\", which is not a glob"),
        (
            "model = \"*\"\nusd_per_second = -1.0",
            "harkd.toml:3:18: usd_per_second = -1 of [[price]] \"*\" is no price",
        ),
        ("model = \"*\"\nregion = \"mars\"", "harkd.toml:3:10: region = \"mars\""),
        ("model = \"*\"\nusd = 1.0", "harkd.toml:3:1: unknown key \"usd\" in [[price]]"),
    ] {
        let text = mistake(&format!("[[price]]\n{keys}\n"));
        assert!(text.starts_with(expected), "{text}");
    }
}

#[test]
fn a_budget_is_an_amount_of_dollars_of_the_daemon_and_of_each_source() {
    let source =
        "[[source]]\nname = \"calls\"\nkind = \"directory\"\npath = \"/srv/calls\"\ndaily_usd = 0.5\n";
    let config = valid(&format!("[budget]\ndaily_usd = 5\n{source}"));
    assert_eq!((config.budget.daily_usd, config.source[0].daily_usd()), (5.0, 0.5));
    let text = mistake(&format!("[budget]\ndaily_usd = -5.0\n{source}"));
    assert!(text.starts_with("harkd.toml:2:13: daily_usd = -5 is no budget"), "{text}");
}
