//! The dated list prices of interface endpoints.

use std::collections::BTreeMap;

use serde::Deserialize;

const BUILT_IN: &str = include_str!("../data/prices.toml");
/// The region whose price stands for those that are not listed.
const FALLBACK: &str = "us-east-1";
/// Hours of an average month, as AWS counts them.
const HOURS: f64 = 730.0;

/// List prices in US dollars.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// When they were true.
    pub date: String,
    /// Dollars per gigabyte.
    pub per_gb: f64,
    per_zone_hour: BTreeMap<String, f64>,
}

/// What some endpoints cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Cost {
    /// Dollars a month, without data.
    pub month: f64,
    /// The region whose price was used: another than asked for when that is not listed.
    pub region: String,
}

impl Prices {
    /// The prices that ship with castlink.
    #[must_use]
    pub fn built_in() -> Self {
        toml::from_str(BUILT_IN).expect("the built-in prices are checked by a test")
    }

    /// What `zones` endpoint zones cost in `region`.
    #[must_use]
    pub fn cost(&self, zones: usize, region: &str) -> Cost {
        let listed = self.per_zone_hour.get_key_value(region);
        let (region, price) = listed
            .or_else(|| self.per_zone_hour.get_key_value(FALLBACK))
            .map_or((region, 0.0), |(region, price)| (region.as_str(), *price));
        let zones = f64::from(u32::try_from(zones).unwrap_or(u32::MAX));
        Cost {
            month: zones * price * HOURS,
            region: region.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_region_has_its_price_and_another_that_of_the_first() {
        let prices = Prices::built_in();
        for (region, month, priced) in [
            ("us-east-1", 131.4, "us-east-1"),
            ("ap-south-1", 170.82, "ap-south-1"),
            ("ap-south-2", 131.4, "us-east-1"),
        ] {
            let cost = prices.cost(18, region);
            assert!((cost.month - month).abs() < 0.001, "{region} {cost:?}");
            assert_eq!(cost.region, priced);
        }
    }
}
