//! What the endpoints cost, so that nobody is surprised.

/// Dollars per endpoint and zone and hour, list price of us-east-1 in 2026; other
/// regions differ by a few cents a day.
const PER_ZONE_HOUR: f64 = 0.01;
/// Hours of an average month, as AWS counts them.
const HOURS: f64 = 730.0;

/// One line for `zones` endpoint zones in all.
pub(crate) fn line(zones: usize) -> String {
    let zones = u32::try_from(zones).unwrap_or(u32::MAX);
    let month = f64::from(zones) * PER_ZONE_HOUR * HOURS;
    format!(
        "{zones} endpoint zones: about ${month:.0} a month plus $0.01 per GB (list price, us-east-1, 2026)"
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn six_endpoints_in_three_zones() {
        assert!(
            super::line(18).starts_with("18 endpoint zones: about $131 a month"),
            "{}",
            super::line(18)
        );
    }
}
