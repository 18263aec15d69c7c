//! A resolver for clients that may use plain http: it accepts only names of loopback and private networks, for each connection.

use std::net::{IpAddr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::is_loopback_or_private;

/// A resolver that refuses a name of which any address is neither of loopback nor of a private network.
#[derive(Debug)]
pub struct PrivateOnly;

/// The name has another address.
#[derive(Debug, thiserror::Error)]
#[error("{0} has the address {1}, and plain http is for loopback and private networks only; use https")]
struct Elsewhere(String, IpAddr);

impl Resolve for PrivateOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            match vetted(name.as_str(), found) {
                Ok(found) => Ok(Box::new(found.into_iter()) as Addrs),
                Err(elsewhere) => Err(elsewhere.into()),
            }
        })
    }
}

fn vetted(name: &str, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Elsewhere> {
    match found.iter().find(|address| !is_loopback_or_private(address.ip())) {
        Some(elsewhere) => Err(Elsewhere(name.to_owned(), elsewhere.ip())),
        None => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_other_address_is_enough_to_refuse_a_name() {
        let of = |addresses: &[&str]| {
            let found = addresses.iter().map(|address| address.parse().unwrap()).collect();
            vetted("store", found).map_err(|elsewhere| elsewhere.to_string())
        };
        assert_eq!(of(&["10.0.0.7:0", "[::1]:0"]).unwrap().len(), 2);
        assert!(of(&["10.0.0.7:0", "8.8.8.8:0"]).unwrap_err().contains("8.8.8.8"));
        assert!(of(&["[::ffff:8.8.8.8]:0"]).is_err());
        assert!(of(&["169.254.169.254:0"]).is_err());
    }
}
