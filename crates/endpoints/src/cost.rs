//! What the endpoints cost, so that nobody is surprised.

use castlink_core::prices::Prices;

/// One line for `zones` endpoint zones in all.
pub(crate) fn line(zones: usize, region: &str) -> String {
    let prices = Prices::built_in();
    let cost = prices.cost(zones, region);
    let elsewhere = if cost.region == region {
        ""
    } else {
        "; this region's may differ"
    };
    format!(
        "{zones} endpoint zones: about ${:.0} a month plus ${} per GB (list price, {}, {}{elsewhere})",
        cost.month, prices.per_gb, cost.region, prices.date
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn six_endpoints_in_three_zones() {
        for (region, want) in [
            ("us-east-1", "(list price, us-east-1, 2026-10)"),
            (
                "eu-west-9",
                "(list price, us-east-1, 2026-10; this region's may differ)",
            ),
        ] {
            let line = super::line(18, region);
            assert!(
                line.starts_with("18 endpoint zones: about $131 a month plus $0.01 per GB"),
                "{line}"
            );
            assert!(line.ends_with(want), "{line}");
        }
    }
}
