//! The networks between a tool and the registries.

use std::time::Duration;

use serde::Serialize;

/// What lies between a tool and each of the two registries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// Nothing: straight to the registries.
    Loopback,
    /// A near region: 20 ms, 40 MB/s per connection.
    Rtt20,
    /// A far one: 80 ms, 15 MB/s per connection.
    Rtt80,
}

impl Network {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Loopback, Self::Rtt20, Self::Rtt80];

    /// What people call it.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::Rtt20 => "RTT 20 ms, 40 MB/s per connection",
            Self::Rtt80 => "RTT 80 ms, 15 MB/s per connection",
        }
    }

    /// The way there and back.
    #[must_use]
    pub fn rtt(self) -> Duration {
        match self {
            Self::Loopback => Duration::ZERO,
            Self::Rtt20 => Duration::from_millis(20),
            Self::Rtt80 => Duration::from_millis(80),
        }
    }

    /// Bytes per second of one connection, in each direction.
    #[must_use]
    pub fn rate(self) -> Option<u64> {
        match self {
            Self::Loopback => None,
            Self::Rtt20 => Some(40_000_000),
            Self::Rtt80 => Some(15_000_000),
        }
    }
}
