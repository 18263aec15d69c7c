//! What recognition costs, in integers: prices are billionths of a dollar for a second and trillionths for a token, bills millionths of a
//! dollar.

use std::collections::BTreeMap;
use std::sync::Arc;

use globset::{GlobBuilder, GlobMatcher};
use hark_sdk::event::Usage;

use crate::config::{Config, ModelPrice, Region};

/// Tokens that a second of audio takes in a request, times two (measured: 12.5).
const HALF_TOKENS_A_SECOND: u64 = 25;

/// Tokens of a request besides its audio (measured).
const TOKENS_A_REQUEST: u64 = 57;

/// Tokens that a second of audio takes in an answer (measured: an hour's words cost about 10,600).
const WORDS_A_SECOND: u64 = 3;

/// The same where it is known how much is said. An hour of talk has some 45 minutes of speech.
const WORDS_A_SECOND_OF_SPEECH: u64 = 4;

/// Prices of the service's models by region (the provider's price list): a glob over the model's name, and dollars for a
/// second, for a million tokens of input, and for a million tokens of output. The first that matches counts.
const BUILT_IN: [(Region, &str, [f64; 3]); 5] = [
    (Region::Singapore, "qwen-audio-3.1-*", [0.0, 0.15, 0.47]),
    (Region::Beijing, "qwen-audio-3.1-*", [0.0, 0.113, 0.382]),
    (Region::Singapore, "*", [0.000_035, 0.0, 0.0]),
    (Region::Us, "*", [0.000_032, 0.0, 0.0]),
    (Region::Beijing, "*", [0.000_032, 0.0, 0.0]),
];

/// The price of one model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Price {
    /// Billionths of a dollar for a second of audio.
    pub nano_per_second: u64,
    /// Trillionths of a dollar for a token of a request.
    pub pico_per_input_token: u64,
    /// Trillionths of a dollar for a token of an answer.
    pub pico_per_output_token: u64,
}

impl Price {
    /// From dollars for a second, and for a million tokens of input and of output.
    fn of_usd([second, input, output]: [f64; 3]) -> Price {
        // A dollar for a million tokens is a millionth of a dollar for one.
        Price {
            nano_per_second: (second * 1e9).round() as u64,
            pico_per_input_token: (input * 1e6).round() as u64,
            pico_per_output_token: (output * 1e6).round() as u64,
        }
    }

    /// The price of what was billed in millionths of a dollar, rounded to the nearest. Tokens that the answer does not tell are estimated:
    /// whether 3.1's tasks tell them is not documented, and a bill of nothing would let a budget be overrun.
    pub fn cost_micro(&self, billed: Usage) -> u64 {
        let tells_tokens = billed.input_tokens.is_some() || billed.output_tokens.is_some();
        let billed = if tells_tokens || billed.seconds == 0 { billed } else { self.estimate(billed.seconds) };
        let seconds = billed.seconds.saturating_mul(self.nano_per_second).saturating_mul(1_000);
        let input = billed.input_tokens.unwrap_or(0).saturating_mul(self.pico_per_input_token);
        let output = billed.output_tokens.unwrap_or(0).saturating_mul(self.pico_per_output_token);
        seconds.saturating_add(input).saturating_add(output).saturating_add(500_000) / 1_000_000
    }

    /// What is reserved in a budget for a request of this many seconds: where tokens are billed, a quarter more than the estimate.
    pub fn reservation_micro(&self, seconds: u64) -> u64 {
        let estimate = self.estimate(seconds);
        let cost = self.cost_micro(estimate);
        if estimate.input_tokens.is_some() { cost.saturating_mul(5).div_ceil(4) } else { cost }
    }

    /// What a request of this many seconds will presumably be billed. Tokens are an estimate: how much is said decides them.
    pub fn estimate(&self, seconds: u64) -> Usage {
        let has_tokens = self.pico_per_input_token > 0 || self.pico_per_output_token > 0;
        Usage {
            seconds,
            input_tokens: has_tokens
                .then(|| seconds.saturating_mul(HALF_TOKENS_A_SECOND) / 2 + TOKENS_A_REQUEST),
            output_tokens: has_tokens.then(|| seconds.saturating_mul(WORDS_A_SECOND)),
        }
    }

    /// As [`Self::estimate`], where so much speech was found in it.
    pub fn estimate_of_speech(&self, seconds: u64, speech_ms: u64) -> Usage {
        let estimate = self.estimate(seconds);
        let words = speech_ms.saturating_mul(WORDS_A_SECOND_OF_SPEECH) / 1_000;
        Usage { output_tokens: estimate.output_tokens.map(|_| words), ..estimate }
    }
}

/// Prices by recognizer and model. Clones share the table.
#[derive(Debug, Clone, Default)]
pub struct Prices(Arc<Table>);

#[derive(Debug, Default)]
struct Table {
    /// Of the operator's own servers, by recognizer.
    own: BTreeMap<String, Price>,
    /// Of the service's models; the first that matches counts.
    models: Vec<(GlobMatcher, Price)>,
}

impl Prices {
    /// The prices of a config: `usd_per_second` of a `[[recognizer]]`; for the service's models `[[price]]`, then the built-in table.
    pub fn of_config(config: &Config) -> Prices {
        let region = config.dashscope.region;
        let own = config
            .recognizer
            .iter()
            .map(|own| (own.name.clone(), Price::of_usd([own.usd_per_second, 0.0, 0.0])))
            .collect();
        let of_the_region = |price: &&ModelPrice| price.region.is_none_or(|of| of == region);
        let set = config.price.iter().filter(of_the_region).map(|price| {
            let usd = [
                price.usd_per_second,
                price.usd_per_million_input_tokens,
                price.usd_per_million_output_tokens,
            ];
            (price.model.as_str(), usd)
        });
        let built_in = BUILT_IN.iter().filter(|(of, ..)| *of == region).map(|(_, model, usd)| (*model, *usd));
        // `check` has refused a glob that cannot be compiled.
        let models = set
            .chain(built_in)
            .filter_map(|(glob, usd)| {
                let glob = GlobBuilder::new(glob).build().ok()?;
                Some((glob.compile_matcher(), Price::of_usd(usd)))
            })
            .collect();
        Prices(Arc::new(Table { own, models }))
    }

    /// Whether a second costs nothing, because the operator owns the server: then a request that was lost may be sent again as often as it
    /// takes.
    pub fn is_free(&self, recognizer: &str) -> bool {
        self.0.own.get(recognizer) == Some(&Price::default())
    }

    /// The price of a model with this recognizer; nothing where no price is known.
    pub fn of(&self, recognizer: &str, model: &str) -> Price {
        let own = self.0.own.get(recognizer);
        let of_model = || self.0.models.iter().find(|(glob, _)| glob.is_match(model)).map(|(_, price)| price);
        own.or_else(of_model).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Prices {
        /// Of a config with these tables.
        pub(crate) fn from_toml(tables: &str) -> Prices {
            let inspection = crate::config::inspect_text("harkd.toml", tables, &BTreeMap::new());
            assert!(inspection.mistakes.is_empty(), "{:?}", inspection.mistakes);
            Prices::of_config(&inspection.config)
        }
    }

    #[test]
    fn a_bill_is_rounded_to_a_millionth() {
        let price = Price::of_usd([0.000_012_3, 0.0, 0.0]);
        assert_eq!(price.cost_micro(Usage::seconds(1)), 12);
        assert_eq!(price.cost_micro(Usage::seconds(5)), 62, "61.5 is rounded up");
        let price = Price::of_usd([0.0, 0.15, 0.47]);
        let billed = Usage { seconds: 3_600, input_tokens: Some(45_057), output_tokens: Some(10_800) };
        // 45,057 x 0.15 + 10,800 x 0.47 millionths of a dollar.
        assert_eq!(price.cost_micro(billed), 11_835);
        assert_eq!(price.cost_micro(price.estimate(3_600)), 11_835);
        assert_eq!(price.cost_micro(Usage::seconds(3_600)), 11_835, "tokens that are not told are estimated");
        assert_eq!(price.cost_micro(Usage::default()), 0);
        // Two channels that speak in turn: 757 x 0.15 + 76 x 0.47.
        assert_eq!(price.cost_micro(price.estimate_of_speech(56, 19_000)), 149);
    }

    #[test]
    fn a_price_of_the_config_comes_before_the_built_in_one_and_the_first_that_matches_counts() {
        let built_in = Prices::from_toml("");
        assert_eq!(built_in.of("flash", "qwen3-asr-flash").nano_per_second, 35_000);
        assert_eq!(built_in.of("flash", "qwen-audio-3.1-asr-flash").pico_per_input_token, 150_000);
        let set = Prices::from_toml(
            "[[price]]\nmodel = \"qwen3-asr-*\"\nregion = \"beijing\"\nusd_per_second = 1.0\n\
             [[price]]\nmodel = \"qwen3-asr-flash*\"\nusd_per_second = 0.00002\n\
             [[price]]\nmodel = \"qwen3-*\"\nregion = \"singapore\"\nusd_per_second = 0.00003",
        );
        assert_eq!(set.of("flash", "qwen3-asr-flash-2026-02-10").nano_per_second, 20_000);
        assert_eq!(set.of("filetrans", "qwen3-asr-filetrans").nano_per_second, 30_000);
        assert_eq!(set.of("filetrans", "fun-asr").nano_per_second, 35_000);
    }

    #[test]
    fn a_server_of_ones_own_has_its_own_price_and_only_such_a_server_is_free() {
        let own = |usd: &str| {
            format!(
                "[[price]]\nmodel = \"*\"\nusd_per_second = 0.0\n[[recognizer]]\nname = \"gpu\"\nkind = \"openai\"\n\
                 base_url = \"http://127.0.0.1:1/v1\"\nmodel = \"whisper\"\nusd_per_second = {usd}"
            )
        };
        assert!(Prices::from_toml(&own("0.0")).is_free("gpu"));
        let dear = Prices::from_toml(&own("0.001"));
        assert!(!dear.is_free("gpu") && !dear.is_free("flash"));
        assert_eq!(dear.of("gpu", "whisper").nano_per_second, 1_000_000);
        assert_eq!(dear.of("flash", "qwen3-asr-flash"), Price::default());
    }
}
