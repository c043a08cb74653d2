//! Which addresses a request may reach.
//!
//! A destination is somewhere on the public internet, over https. Everything else (the machine
//! itself, the private network, the cloud's metadata service) has to be opened by name in
//! `cdp.http_allow_hosts`. Names are checked at connect time, on the very addresses that are
//! connected to, so a name that changes its mind in between gains nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use url::{Host, Url};

/// True when an address is one of the public internet: a globally routed unicast address that
/// is not a translation of another one (mapped, 6to4, Teredo, NAT64).
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

/// Special-purpose blocks of the IANA IPv4 registry: base address and prefix length.
const SPECIAL_V4: [(Ipv4Addr, u32); 15] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

fn is_public_v4(address: Ipv4Addr) -> bool {
    !SPECIAL_V4
        .iter()
        .any(|(base, length)| within_v4(address, *base, *length))
}

/// Blocks inside 2000::/3 that are not ordinary addresses: IETF protocols with Teredo and
/// ORCHID, documentation (two blocks), 6to4.
const SPECIAL_V6: [(Ipv6Addr, u32); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0x0db8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

fn is_public_v6(address: Ipv6Addr) -> bool {
    // Only 2000::/3 is routed. Loopback, unique local, link-local, multicast, mapped addresses
    // and 64:ff9b::/96 are all outside of it.
    within_v6(address, Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3)
        && !SPECIAL_V6
            .iter()
            .any(|(base, length)| within_v6(address, *base, *length))
}

fn within_v4(address: Ipv4Addr, base: Ipv4Addr, length: u32) -> bool {
    let mask = u32::MAX.checked_shl(32 - length.min(32)).unwrap_or(0);
    u32::from(address) & mask == u32::from(base) & mask
}

fn within_v6(address: Ipv6Addr, base: Ipv6Addr, length: u32) -> bool {
    let mask = u128::MAX.checked_shl(128 - length.min(128)).unwrap_or(0);
    u128::from(address) & mask == u128::from(base) & mask
}

/// An entry of `cdp.http_allow_hosts` that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{entry}\" is not host, host:port, *.domain, *.domain:port, *, an address or a block of addresses such as 10.0.0.0/8")]
pub struct AllowListError {
    pub entry: String,
}

/// Hosts that may be reached over plain http and on private addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowList {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    pattern: Pattern,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Any,
    Name(String),
    /// The part of `*.domain` from the dot on.
    Suffix(String),
    Block(IpAddr, u32),
}

impl AllowList {
    /// Parses entries: `host`, `host:port`, `*.domain`, `*`, an address (`[::1]:8080`), or a
    /// block of addresses. Empty entries are skipped.
    pub fn parse<S: AsRef<str>>(entries: &[S]) -> Result<AllowList, AllowListError> {
        let mut list = AllowList::default();
        for text in entries {
            let text = text.as_ref().trim();
            if text.is_empty() {
                continue;
            }
            match Entry::parse(text) {
                Some(entry) => list.entries.push(entry),
                None => {
                    return Err(AllowListError {
                        entry: text.to_string(),
                    })
                }
            }
        }
        Ok(list)
    }

    /// True when the host of a URL is opened, as a name or as a literal address.
    pub fn opens_host(&self, host: &str, port: u16) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let literal = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>()
            .ok();
        self.entries
            .iter()
            .filter(|entry| entry.port.is_none_or(|open| open == port))
            .any(|entry| match &entry.pattern {
                Pattern::Any => true,
                Pattern::Name(name) => *name == host,
                Pattern::Suffix(suffix) => host.ends_with(suffix.as_str()),
                Pattern::Block(base, length) => {
                    literal.is_some_and(|address| in_block(address, *base, *length))
                }
            })
    }

    /// True when an address that a name resolved to is opened, whatever the port.
    pub fn opens_address(&self, address: IpAddr) -> bool {
        self.entries.iter().any(|entry| match entry.pattern {
            Pattern::Block(base, length) => entry.port.is_none() && in_block(address, base, length),
            _ => false,
        })
    }
}

fn in_block(address: IpAddr, base: IpAddr, length: u32) -> bool {
    match (address, base) {
        (IpAddr::V4(address), IpAddr::V4(base)) => within_v4(address, base, length),
        (IpAddr::V6(address), IpAddr::V6(base)) => within_v6(address, base, length),
        _ => false,
    }
}

impl Entry {
    fn parse(text: &str) -> Option<Entry> {
        let text = text.to_ascii_lowercase();
        if let Some((base, length)) = text.split_once('/') {
            let base: IpAddr = base.parse().ok()?;
            let length: u32 = length.parse().ok()?;
            let longest = if base.is_ipv4() { 32 } else { 128 };
            return (length <= longest).then_some(Entry {
                pattern: Pattern::Block(base, length),
                port: None,
            });
        }
        let whole: Option<IpAddr> = text.parse().ok();
        let (host, port) = match whole {
            Some(_) => (text.as_str(), None),
            None => match text.rsplit_once(':') {
                Some((host, port)) => (host, Some(port.parse().ok()?)),
                None => (text.as_str(), None),
            },
        };
        let bare = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(host);
        let pattern = if let Ok(address) = bare.parse::<IpAddr>() {
            Pattern::Block(address, if address.is_ipv4() { 32 } else { 128 })
        } else if host == "*" {
            Pattern::Any
        } else if let Some(rest) = host.strip_prefix('*') {
            (rest.starts_with('.') && is_name(&rest[1..]))
                .then(|| Pattern::Suffix(rest.to_string()))?
        } else {
            is_name(host).then(|| Pattern::Name(host.trim_end_matches('.').to_string()))?
        };
        Some(Entry { pattern, port })
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
}

/// Why a URL may not be requested.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error("not a URL: {0}")]
    Malformed(String),
    #[error(
        "the scheme is \"{0}\", only https is allowed (http for hosts in cdp.http_allow_hosts)"
    )]
    Scheme(String),
    #[error("a URL must not carry a user name or password")]
    Credentials,
    #[error("the address {0} is not on the public internet; cdp.http_allow_hosts can open it")]
    Address(String),
    #[error(
        "the name \"{0}\" is not one of the public internet; cdp.http_allow_hosts can open it"
    )]
    Name(String),
}

/// A URL that passed the check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedUrl {
    pub url: Url,
    /// The host is in the allow list: plain http and private addresses are fine.
    pub opened: bool,
}

/// Checks scheme, credentials and literal addresses of a URL. The other ways to write an IPv4
/// address (decimal, hexadecimal, octal, fewer parts) have become dotted by parsing.
pub fn check_url(text: &str, allow: &AllowList) -> Result<CheckedUrl, UrlError> {
    let url = Url::parse(text).map_err(|error| UrlError::Malformed(error.to_string()))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlError::Credentials);
    }
    if !matches!(url.scheme(), "http" | "https") {
        return Err(UrlError::Scheme(url.scheme().to_string()));
    }
    let port = url.port_or_known_default().unwrap_or(443);
    let host = match url.host() {
        Some(host) => host.to_owned(),
        None => return Err(UrlError::Malformed("there is no host".to_string())),
    };
    if allow.opens_host(&host.to_string(), port) {
        return Ok(CheckedUrl { url, opened: true });
    }
    if url.scheme() != "https" {
        return Err(UrlError::Scheme(url.scheme().to_string()));
    }
    let literal = match &host {
        Host::Ipv4(address) => Some(IpAddr::V4(*address)),
        Host::Ipv6(address) => Some(IpAddr::V6(*address)),
        Host::Domain(name) if is_local_name(name) => return Err(UrlError::Name(name.clone())),
        Host::Domain(_) => None,
    };
    match literal {
        Some(address) if !is_public(address) => Err(UrlError::Address(address.to_string())),
        _ => Ok(CheckedUrl { url, opened: false }),
    }
}

/// Names that never leave the machine or the network: `localhost`, `*.localhost`, `*.local`,
/// `*.internal`, `*.home.arpa` and names of one label.
fn is_local_name(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    !name.contains('.')
        || [".localhost", ".local", ".internal", ".home.arpa"]
            .iter()
            .any(|suffix| name.ends_with(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_addresses_are_not_public() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.9",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:8.8.8.8",
            "::ffff:127.0.0.1",
            "::8.8.8.8",
            "64:ff9b::808:808",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:808:808::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn ordinary_addresses_are_public() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2a00:1450:4001:81b::200e",
            "2001:4860:4860::8888",
        ] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }

    fn refused(url: &str) -> UrlError {
        check_url(url, &AllowList::default()).unwrap_err()
    }

    #[test]
    fn every_spelling_of_a_private_address_is_refused() {
        for url in [
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://0x7f000001/",
            "https://0x7f.1/",
            "https://0177.0.0.1/",
            "https://127.1/",
            "https://017700000001/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[::ffff:7f00:1]/",
            "https://[0:0:0:0:0:ffff:a9fe:a9fe]/",
            "https://[64:ff9b::a9fe:a9fe]/",
            "https://169.254.169.254/latest/meta-data/",
            "https://①②⑦.0.0.1/",
            "https://127.0.0.1./",
            "https://%31%32%37.0.0.1/",
            "https://127。0。0。1/",
            "https:\\\\127.0.0.1/",
            "https://[::ffff:0:127.0.0.1]/",
            "https://0/",
        ] {
            assert!(matches!(refused(url), UrlError::Address(_)), "{url}");
        }
    }

    #[test]
    fn schemes_names_and_credentials() {
        assert!(matches!(
            refused("http://example.com/"),
            UrlError::Scheme(_)
        ));
        assert!(matches!(refused("ftp://example.com/"), UrlError::Scheme(_)));
        assert!(matches!(refused("file:///etc/passwd"), UrlError::Scheme(_)));
        assert!(matches!(
            refused("gopher://example.com"),
            UrlError::Scheme(_)
        ));
        assert_eq!(refused("https://a:b@example.com/"), UrlError::Credentials);
        assert_eq!(refused("https://a@example.com/"), UrlError::Credentials);
        assert!(matches!(refused("example.com/x"), UrlError::Malformed(_)));
        assert!(matches!(refused(""), UrlError::Malformed(_)));
        for url in [
            "https://localhost/",
            "https://LOCALHOST./",
            "https://x.localhost/",
            "https://metadata.google.internal/",
            "https://printer.local/",
            "https://intranet/",
        ] {
            assert!(matches!(refused(url), UrlError::Name(_)), "{url}");
        }
        let fine = check_url("https://Example.com:8443/a?b", &AllowList::default()).unwrap();
        assert!(!fine.opened);
    }

    #[test]
    fn the_allow_list_opens_exactly_what_it_says() {
        let allow = AllowList::parse(&[
            "localhost:8080",
            "*.corp.example",
            "[::1]:99",
            "10.0.0.0/8",
            "192.168.1.7:80",
            " ",
        ])
        .unwrap();
        for (url, opened) in [
            ("http://localhost:8080/", true),
            ("http://localhost.:8080/", true),
            ("http://localhost:8081/", false),
            ("http://a.corp.example/", true),
            ("http://a.b.corp.example:7000/", true),
            ("http://corp.example/", false),
            ("http://evilcorp.example/", false),
            ("http://[::1]:99/", true),
            ("http://[::1]/", false),
            ("http://10.1.2.3:5000/", true),
            ("http://0x0a010203/", true),
            ("http://11.1.2.3/", false),
            ("http://192.168.1.7/", true),
            ("http://192.168.1.7:81/", false),
        ] {
            assert_eq!(check_url(url, &allow).is_ok(), opened, "{url}");
        }
        assert!(allow.opens_address("10.9.9.9".parse().unwrap()));
        assert!(!allow.opens_address("192.168.1.7".parse().unwrap()));
        assert!(AllowList::parse(&["*"]).unwrap().opens_host("anything", 1));
    }

    #[test]
    fn bad_entries_are_refused() {
        for entry in [
            "10.0.0.0/33",
            "a b",
            "http://x",
            "host:99999",
            "*x",
            "*.",
            "[::1",
            "x/8",
        ] {
            assert!(AllowList::parse(&[entry]).is_err(), "{entry}");
        }
    }
}
