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
