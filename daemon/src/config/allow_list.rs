//! The hosts and networks that the operator allows.

use std::net::IpAddr;

use url::Host;

/// Hosts and networks that an audio URL may point to besides public https (`security.allow_urls`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowList {
    hosts: Vec<String>,
    networks: Vec<(IpAddr, u8)>,
}

impl AllowList {
    /// Reads the entries of the config: host names, addresses, and networks such as `10.0.0.0/8`.
    ///
    /// # Errors
    /// A sentence that names the entry that is neither.
    pub fn parse(entries: &[String]) -> Result<AllowList, String> {
        let mut list = AllowList::default();
        for entry in entries {
            let bare = entry.trim().trim_start_matches('[').trim_end_matches(']');
            if let Ok(address) = bare.parse::<IpAddr>() {
                list.networks.push((address, width(address)));
            } else if let Some((address, bits)) = bare.split_once('/') {
                let network = address.parse::<IpAddr>().ok().zip(bits.parse::<u8>().ok());
                match network.filter(|(address, bits)| *bits <= width(*address)) {
                    Some(network) => list.networks.push(network),
                    None => return Err(not_an_entry(entry)),
                }
            } else {
                match Host::parse(bare) {
                    Ok(Host::Domain(name)) if !name.is_empty() && !name.contains('*') => {
                        list.hosts.push(plain(&name));
                    }
                    _ => return Err(not_an_entry(entry)),
                }
            }
        }
        Ok(list)
    }

    /// Whether this host name, in lower case and without a final dot, is listed.
    pub fn names(&self, host: &str) -> bool {
        self.hosts.iter().any(|allowed| allowed == host)
    }

    /// Whether this address is listed or lies in a listed network.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|(network, bits)| is_in(address, *network, *bits))
    }
}

fn not_an_entry(entry: &str) -> String {
    format!(
        "{entry:?} is neither a host name, an address nor a network; write \"files.example.com\", \"10.1.2.3\" or \"10.0.0.0/8\", without scheme, port or wildcard"
    )
}

/// Whether an address lies in a network of the same family. An IPv4-mapped IPv6 address is in no IPv4 network.
pub fn is_in(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let shift = width(network) - bits;
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            (address.to_bits() ^ network.to_bits()).checked_shr(shift.into()).unwrap_or(0) == 0
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            (address.to_bits() ^ network.to_bits()).checked_shr(shift.into()).unwrap_or(0) == 0
        }
        _ => false,
    }
}

/// The number of bits of an address of this family.
pub fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The name without the dot that ends a fully qualified name.
pub fn plain(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}
