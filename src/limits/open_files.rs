//! How many files this process may open: sockets are files, and the usual limit is for desktops.

/// Raises the soft limit to the hard limit. Returns how many files may be open.
#[cfg(target_os = "linux")]
pub fn raise() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum.unwrap_or(u64::MAX),
        Err(_) => current.unwrap_or(u64::MAX),
    }
}

/// What nearly every other system allows. Pipecast is built for Linux; other systems are for trying it out.
#[cfg(not(target_os = "linux"))]
pub fn raise() -> u64 {
    1024
}
