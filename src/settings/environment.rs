//! Tells settings in the environment from variables of others, and from misspelt ones.

use std::net::{IpAddr, SocketAddr};

use super::report::Row;

/// Settings in the environment begin with this: `PIPECAST_STREAM__KEEPALIVE` is `stream.keepalive`.
const PREFIX: &str = "PIPECAST_";

/// A misspelt name is at most this many edits from the one that is suggested, and fewer if it is short.
const MAX_EDITS: usize = 3;

/// What a variable of the environment is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Variable {
    /// A setting's key, which may be unknown.
    Setting(String),
    /// Not a setting, and not meant to be one.
    Foreign,
    /// Begins like a setting, and is neither that nor anything known.
    Unknown,
}

/// Decides what a variable is. `command_variables` are those that commands read for their own flags.
pub(super) fn classify(name: &str, value: &str, command_variables: &[String]) -> Variable {
    let Some(rest) = name.strip_prefix(PREFIX) else { return Variable::Foreign };
    if command_variables.iter().any(|own| own == name) || is_service_link(rest, value) {
        return Variable::Foreign;
    }
    match rest.split_once("__") {
        Some((section, key)) => Variable::Setting(format!("{}.{}", section.to_lowercase(), key.to_lowercase())),
        None => Variable::Unknown,
    }
}

/// Whether Kubernetes has set this variable for a Service that is named `pipecast` or `pipecast-...`.
///
/// It gives all containers of a namespace such variables for each Service, in the form of Docker's old links, unless the pod
/// has `enableServiceLinks: false`. Releases of a chart are often named so, and a node must not fail to start because of
/// its own Service, or of a Redis named `pipecast-redis`. The value decides too: `PIPECAST_ADMIN_PORT=8081` is a mistake,
/// `PIPECAST_ADMIN_PORT=tcp://10.0.0.1:8081` is not.
fn is_service_link(rest: &str, value: &str) -> bool {
    let is_address = || value.parse::<IpAddr>().is_ok();
    let is_port = || value.parse::<u16>().is_ok();
    let is_url = || {
        let parts = value.split_once("://");
        parts.is_some_and(|(protocol, at)| is_protocol(protocol) && at.parse::<SocketAddr>().is_ok())
    };
    let is_numbered = |port: &str, protocol: &str| port.parse::<u16>().is_ok() && is_protocol(protocol);
    let words: Vec<_> = rest.split('_').collect();
    // The Service's name may have more words before these.
    (0..words.len()).any(|at| match words[at..] {
        ["SERVICE", "HOST"] => is_address(),
        // Also one for each port that has a name.
        ["SERVICE", "PORT", ..] => is_port(),
        ["PORT"] => is_url(),
        ["PORT", port, protocol] if is_numbered(port, protocol) => is_url(),
        ["PORT", port, protocol, "PROTO"] if is_numbered(port, protocol) => value.eq_ignore_ascii_case(protocol),
        ["PORT", port, protocol, "PORT"] if is_numbered(port, protocol) => value == port,
        ["PORT", port, protocol, "ADDR"] if is_numbered(port, protocol) => is_address(),
        _ => false,
    })
}

fn is_protocol(text: &str) -> bool {
    ["tcp", "udp", "sctp"].iter().any(|protocol| protocol.eq_ignore_ascii_case(text))
}

/// The variable that was probably meant, if one is similar. One underscore in place of two makes no difference.
pub(super) fn nearest_variable(name: &str, rows: &[Row], command_variables: &[String]) -> Option<String> {
    let settings = rows.iter().map(|row| format!("{PREFIX}{}", row.key.to_uppercase().replace('.', "__")));
    let simplified = |name: &str| name.to_uppercase().replace("__", "_");
    let given = simplified(name);
    let edits = |known: &str| strsim::damerau_levenshtein(&given, &simplified(known));
    let known = settings.chain(command_variables.iter().cloned());
    let (edits, nearest) = known.map(|known| (edits(&known), known)).min()?;
    is_near(edits, name.trim_start_matches(PREFIX)).then_some(nearest)
}

/// The key that was probably meant, if one is similar.
pub(super) fn nearest_key(key: &str, rows: &[Row]) -> Option<&'static str> {
    let (edits, nearest) = rows.iter().map(|row| (strsim::damerau_levenshtein(key, row.key), row.key)).min()?;
    is_near(edits, key).then_some(nearest)
}

fn is_near(edits: usize, name: &str) -> bool {
    edits <= MAX_EDITS.min(name.len() / 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, value: &str, expected: &Variable) {
        assert_eq!(&classify(name, value, &["PIPECAST_URL".to_owned()]), expected, "{name}={value}");
    }

    #[test]
    fn double_underscores_make_a_setting() {
        for (name, key) in [
            ("PIPECAST_STREAM__KEEPALIVE", "stream.keepalive"),
            ("PIPECAST_LIMITS__STREAM", "limits.stream"),
            ("PIPECAST_AUTH__JWT_SECRET", "auth.jwt_secret"),
        ] {
            check(name, "x", &Variable::Setting(key.to_owned()));
        }
        for name in ["PATH", "pipecast_stream__keepalive", "PIPECAST", "PIPECAST_URL"] {
            check(name, "x", &Variable::Foreign);
        }
        for name in ["PIPECAST_", "PIPECAST_STREAM_KEEPALIVE", "PIPECAST_URLS"] {
            check(name, "x", &Variable::Unknown);
        }
    }

    #[test]
    fn service_links_are_known_by_name_and_value() {
        for (name, value) in [
            ("PIPECAST_PORT", "tcp://10.96.0.7:80"),
            ("PIPECAST_PORT", "tcp://[fd00::7]:80"),
            ("PIPECAST_SERVICE_HOST", "10.96.0.7"),
            ("PIPECAST_SERVICE_HOST", "fd00::7"),
            ("PIPECAST_SERVICE_PORT", "80"),
            ("PIPECAST_SERVICE_PORT_HTTP", "80"),
            ("PIPECAST_PORT_8080_TCP", "tcp://10.96.0.7:8080"),
            ("PIPECAST_PORT_8080_TCP_PROTO", "tcp"),
            ("PIPECAST_PORT_8080_TCP_PORT", "8080"),
            ("PIPECAST_PORT_8080_TCP_ADDR", "10.96.0.7"),
            ("PIPECAST_REDIS_MASTER_SERVICE_HOST", "10.96.0.8"),
            ("PIPECAST_REDIS_MASTER_PORT", "tcp://10.96.0.8:6379"),
            ("PIPECAST_DNS_PORT_53_UDP", "udp://10.96.0.9:53"),
        ] {
            check(name, value, &Variable::Foreign);
        }
        for (name, value) in [
            ("PIPECAST_PORT", "8080"),
            ("PIPECAST_ADMIN_PORT", "8081"),
            ("PIPECAST_SERVICE_HOST", "redis.internal"),
            ("PIPECAST_SERVICE_PORT", "http"),
            ("PIPECAST_PORT_8080_TCP_PROTO", "udp"),
            ("PIPECAST_PORT_8080_TCP_PORT", "8081"),
            ("PIPECAST_PORT_X_TCP", "tcp://10.96.0.7:8080"),
            ("PIPECAST_REDIS_URL", "redis://10.96.0.8:6379"),
        ] {
            check(name, value, &Variable::Unknown);
        }
    }
}
