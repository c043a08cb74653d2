//! Names to addresses, without threads.
//!
//! The system's resolver blocks, so an asynchronous caller needs a thread for it, and a worker of
//! Postgres must not have threads. Names are resolved here by asking the name servers of
//! `/etc/resolv.conf` from the worker's own event loop, after `/etc/hosts`. `localhost` and
//! literal addresses need neither. Other sources of `nsswitch.conf` (mDNS, LDAP) are not asked.

use crate::ssrf::{is_public, AllowList};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::TokioResolver;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

/// Why a name has no usable address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    #[error("the name \"{name}\" cannot be resolved: {reason}")]
    NotFound { name: String, reason: String },
    #[error("the name \"{name}\" resolves to {address}, which is not on the public internet; cdp.http_allow_hosts can open it")]
    Blocked { name: String, address: IpAddr },
}

/// Resolves names; cheap to clone.
#[derive(Clone)]
pub struct Resolver {
    system: Option<Arc<TokioResolver>>,
}

impl Resolver {
    /// From `/etc/resolv.conf` and `/etc/hosts`, read once. Without a usable `resolv.conf` only
    /// `localhost` and literal addresses resolve.
    pub fn from_system() -> Resolver {
        let system = TokioResolver::builder(TokioRuntimeProvider::default())
            .and_then(|builder| builder.build())
            .ok()
            .map(Arc::new);
        Resolver { system }
    }

    /// Every address of a name.
    pub async fn lookup(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let bare = name
            .trim_start_matches('[')
            .trim_end_matches(']')
            .trim_end_matches('.');
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(vec![address]);
        }
        let lower = bare.to_ascii_lowercase();
        if lower == "localhost" || lower.ends_with(".localhost") {
            return Ok(vec![
                IpAddr::V4(Ipv4Addr::LOCALHOST),
                IpAddr::V6(Ipv6Addr::LOCALHOST),
            ]);
        }
        let not_found = |reason: String| ResolveError::NotFound {
            name: name.to_string(),
            reason,
        };
        let system = self
            .system
            .as_ref()
            .ok_or_else(|| not_found("this machine has no usable resolv.conf".to_string()))?;
        let found: Vec<IpAddr> = system
            .lookup_ip(name)
            .await
            .map_err(|error| not_found(error.to_string()))?
            .iter()
            .collect();
        if found.is_empty() {
            return Err(not_found("it has no address".to_string()));
        }
        Ok(found)
    }

    /// The addresses of a name that may be connected to. A name with one forbidden address is
    /// refused as a whole: that is how rebinding looks.
    pub async fn lookup_public(
        &self,
        name: &str,
        allow: &AllowList,
    ) -> Result<Vec<IpAddr>, ResolveError> {
        // Search domains are for private names; a public one is asked for as it is.
        let absolute = if name.contains('.') && !name.ends_with('.') {
            format!("{name}.")
        } else {
            name.to_string()
        };
        let found = self.lookup(&absolute).await?;
        permitted(name, found, allow)
    }
}

fn permitted(
    name: &str,
    found: Vec<IpAddr>,
    allow: &AllowList,
) -> Result<Vec<IpAddr>, ResolveError> {
    match found
        .iter()
        .find(|address| !is_public(**address) && !allow.opens_address(**address))
    {
        Some(address) => Err(ResolveError::Blocked {
            name: name.to_string(),
            address: *address,
        }),
        None => Ok(found),
    }
}

/// A [`Resolver`] as reqwest wants it.
pub(crate) struct HttpResolver {
    pub resolver: Resolver,
    pub allow: Arc<AllowList>,
    /// Answers with any address: only for hosts of the allow list.
    pub opened: bool,
}

impl reqwest::dns::Resolve for HttpResolver {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let resolver = self.resolver.clone();
        let allow = Arc::clone(&self.allow);
        let opened = self.opened;
        Box::pin(async move {
            let found = if opened {
                resolver.lookup(name.as_str()).await
            } else {
                resolver.lookup_public(name.as_str(), &allow).await
            }?;
            let addresses: reqwest::dns::Addrs =
                Box::new(found.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(addresses: &[&str], allowed: &[&str]) -> Result<Vec<IpAddr>, ResolveError> {
        let found = addresses.iter().map(|text| text.parse().unwrap()).collect();
        permitted("x.example", found, &AllowList::parse(allowed).unwrap())
    }

    #[test]
    fn one_forbidden_address_refuses_the_name() {
        assert!(check(&["8.8.8.8", "2606:4700:4700::1111"], &[]).is_ok());
        let error = check(&["8.8.8.8", "169.254.169.254"], &[]).unwrap_err();
        assert!(error.to_string().contains("169.254.169.254"), "{error}");
        assert!(check(&["8.8.8.8", "::ffff:10.0.0.1"], &[]).is_err());
        assert!(check(&["10.1.2.3"], &["10.0.0.0/8"]).is_ok());
        assert!(check(&["10.1.2.3"], &["10.0.0.0/16"]).is_err());
        assert!(check(&["10.1.2.3"], &["10.1.2.3:443"]).is_err());
    }

    #[test]
    fn literals_and_localhost_need_no_server() {
        let resolver = Resolver { system: None };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let lookup = |name: &str| runtime.block_on(resolver.lookup(name));
        assert_eq!(lookup("[::1]").unwrap(), ["::1".parse::<IpAddr>().unwrap()]);
        assert_eq!(
            lookup("10.0.0.1.").unwrap(),
            ["10.0.0.1".parse::<IpAddr>().unwrap()]
        );
        for name in ["localhost", "LOCALHOST.", "a.localhost"] {
            assert_eq!(lookup(name).unwrap().len(), 2, "{name}");
        }
        assert!(matches!(
            lookup("x.example"),
            Err(ResolveError::NotFound { .. })
        ));
        let public = runtime.block_on(resolver.lookup_public("localhost", &AllowList::default()));
        assert!(matches!(public, Err(ResolveError::Blocked { .. })));
    }
}
