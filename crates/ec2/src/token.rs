//! Client tokens for `CreateVpcEndpoint`. The SDK fills none in, and sends a create
//! again after a lost answer: without a token that makes a second endpoint.

use sha2::{Digest, Sha256};

/// A token that is the same for the same parameters, in whatever order they come, and
/// another for any other: 64 hexadecimal digits, the most that EC2 takes.
///
/// Each part is a name and its values.
#[must_use]
pub fn client_token(parts: &[(&str, Vec<String>)]) -> String {
    let mut hash = Sha256::new();
    let mut parts = parts.to_vec();
    parts.sort();
    for (name, mut values) in parts {
        values.sort();
        // Lengths keep ("ab", "c") and ("a", "bc") apart.
        for text in std::iter::once(name).chain(values.iter().map(String::as_str)) {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
        hash.update([0xff]);
    }
    hex::encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::client_token;

    fn token(parts: &[(&str, &[&str])]) -> String {
        let parts: Vec<_> = parts
            .iter()
            .map(|(name, values)| (*name, values.iter().map(|v| (*v).to_owned()).collect()))
            .collect();
        client_token(&parts)
    }

    #[test]
    fn order_does_not_matter_and_everything_else_does() {
        let one = token(&[("vpc", &["vpc-1"]), ("subnets", &["a", "b"])]);
        assert_eq!(one, token(&[("subnets", &["b", "a"]), ("vpc", &["vpc-1"])]));
        assert_eq!(one.len(), 64);
        assert!(one.bytes().all(|byte| byte.is_ascii_hexdigit()));
        for other in [
            token(&[("vpc", &["vpc-2"]), ("subnets", &["a", "b"])]),
            token(&[("vpc", &["vpc-1"]), ("subnets", &["ab"])]),
            token(&[("vpc", &["vpc-1"]), ("subnets", &["a"]), ("groups", &["b"])]),
        ] {
            assert_ne!(one, other);
        }
    }
}
