//! URLs that name sentinels: `redis-sentinel://user:password@host:port,host:port/master/db`. Connects to nothing.
//!
//! The library's own parser accepts one host only.

use percent_encoding::percent_decode_str;
use redis::{ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo};

use super::setup_error::UrlError;

const SCHEMES: [(&str, &str); 2] = [("redis-sentinel://", "redis"), ("rediss-sentinel://", "rediss")];

/// Where sentinels listen unless the URL names a port.
const PORT: u16 = 26379;

/// A URL that names sentinels.
#[derive(Clone)]
pub(super) struct SentinelUrl {
    /// `redis` or `rediss`: for sentinels and servers.
    scheme: &'static str,
    /// Host and port of each, as the URL names them.
    pub(super) sentinels: Vec<String>,
    /// The name under which the sentinels watch the primary.
    pub(super) master: String,
    /// What connections to servers begin with.
    pub(super) login: RedisConnectionInfo,
}

/// Whether a URL names sentinels.
pub(super) fn names_sentinels(url: &str) -> bool {
    SCHEMES.iter().any(|(prefix, _)| url.starts_with(prefix))
}

impl SentinelUrl {
    /// # Errors
    /// When it names no sentinels, or no primary.
    pub(super) fn parse(url: &str) -> Result<Self, UrlError> {
        let scheme = SCHEMES.iter().find_map(|(prefix, scheme)| Some((*scheme, url.strip_prefix(prefix)?)));
        let (scheme, rest) = scheme.ok_or(UrlError::NoSentinel)?;
        if rest.contains(['?', '#']) {
            return Err(UrlError::UnknownQuery);
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let sentinels = hosts.split(',').map(check_host).collect::<Result<_, _>>()?;
        let (master, database) = path.split_once('/').unwrap_or((path, ""));
        // What a sentinel accepts as a name.
        if master.is_empty() || !master.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)) {
            return Err(UrlError::NoMaster);
        }
        let database = match database.trim_end_matches('/') {
            "" => 0,
            number => number.parse().map_err(|_| UrlError::NoDatabase)?,
        };
        if database < 0 {
            return Err(UrlError::NegativeDatabase);
        }
        let login = login(user)?.set_db(database);
        Ok(Self { scheme, sentinels, master: master.to_owned(), login })
    }

    /// The same URL without the password.
    pub(super) fn redacted(&self) -> String {
        let Self { scheme, sentinels, master, login } = self;
        let encode = |text| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC);
        let user = login.username().map(|user| encode(user).to_string()).unwrap_or_default();
        let user = match login.password() {
            Some(_) => format!("{user}:***@"),
            None if user.is_empty() => user,
            None => format!("{user}@"),
        };
        let database = if login.db() == 0 { String::new() } else { format!("/{}", login.db()) };
        format!("{scheme}-sentinel://{user}{}/{master}{database}", sentinels.join(","))
    }

    /// How to connect to one of the sentinels, without credentials.
    pub(super) fn connection_info(&self, sentinel: &str) -> Result<ConnectionInfo, UrlError> {
        Ok(format!("{}://{sentinel}", self.scheme).into_connection_info()?)
    }
}

/// A host, with its port.
fn check_host(text: &str) -> Result<String, UrlError> {
    // Not a scheme that has a port of its own, which would be left out.
    let url = url::Url::parse(&format!("redis://{text}")).map_err(UrlError::from)?;
    let is_host = url.username().is_empty() && url.password().is_none() && url.path().is_empty();
    let host = url.host_str().filter(|host| is_host && !host.is_empty()).ok_or(UrlError::NoSentinel)?;
    Ok(format!("{host}:{}", url.port().unwrap_or(PORT)))
}

fn login(user: &str) -> Result<RedisConnectionInfo, UrlError> {
    let decode = |text| percent_decode_str(text).decode_utf8().map_err(|_| UrlError::NoText);
    let (user, password) = match user.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (user, None),
    };
    let mut login = RedisConnectionInfo::default();
    if !user.is_empty() {
        login = login.set_username(decode(user)?);
    }
    if let Some(password) = password.filter(|password| !password.is_empty()) {
        login = login.set_password(decode(password)?);
    }
    Ok(login)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_the_url() {
        let url = SentinelUrl::parse("rediss-sentinel://pipe%40cast:s%2Fc@a,b:1,[::1]:2/my.master/3").unwrap();
        assert_eq!(url.sentinels, ["a:26379", "b:1", "[::1]:2"]);
        assert_eq!((&*url.master, url.login.db(), url.scheme), ("my.master", 3, "rediss"));
        assert_eq!((url.login.username(), url.login.password()), (Some("pipe@cast"), Some("s/c")));
        assert_eq!(url.redacted(), "rediss-sentinel://pipe%40cast:***@a:26379,b:1,[::1]:2/my.master/3");
        let plain = SentinelUrl::parse("redis-sentinel://a/m").unwrap();
        assert_eq!((plain.login.username(), plain.login.password(), plain.scheme), (None, None, "redis"));
        assert_eq!(plain.redacted(), "redis-sentinel://a:26379/m");
    }

    #[test]
    fn other_urls_are_refused_without_being_repeated() {
        for url in [
            "redis://a/m",
            "redis-sentinel://a",
            "redis-sentinel:///m",
            "redis-sentinel://a,,b/m",
            "redis-sentinel://a:s3cret/m",
            "redis-sentinel://a/s3cret/x",
            "redis-sentinel://a/m/-1",
            "redis-sentinel://a/m?db=s3cret",
            "redis-sentinel://u:12/s3cret@a:1/m",
            "redis-sentinel://u:12/s3cret@a",
            "redis-sentinel://u:%ff@a/m",
        ] {
            let error = SentinelUrl::parse(url).map(|url| url.redacted()).unwrap_err();
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }
}
