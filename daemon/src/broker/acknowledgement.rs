//! The subjects on which messages of a consumer are acknowledged.

/// The right to acknowledge.
pub const RIGHT: &str = "$JS.ACK.>";

/// As the server's refusal names an acknowledgement.
pub const NAMED: &str = "\"$JS.ACK.";

/// Where one delivery of a message is acknowledged. `published`: ns since the epoch.
pub fn subject(stream: &str, consumer: &str, deliveries: i128, sequence: u64, published: i128) -> String {
    format!("$JS.ACK.{stream}.{consumer}.{deliveries}.{sequence}.{sequence}.{published}.0")
}
