//! May we open as many sockets as the limits promise?
//!
//! Each connection takes a file descriptor, and each call or stream one more towards its server.
//! Most systems begin a process with 1024 and let it ask for many more.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Limits;

/// For files, the runtime, the operators' listener and the export of spans.
const OTHERS: u64 = 128;

/// Takes as many descriptors as the system grants, and tells the operator where the limits ask
/// for more.
pub fn secure(limits: &Limits) {
    let available = raise();
    let wanted = wanted(limits);
    if available < wanted {
        tracing::warn!(
            available,
            wanted,
            "fewer file descriptors than `limits.connections`, `limits.calls` and \
             `limits.streams` may need together: raise the hard limit (`ulimit -Hn`, \
             `LimitNOFILE=`), or lower these"
        );
    }
}

/// Raises the soft limit to the hard one; how many descriptors there may be from now on.
fn raise() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // `None` is no limit. Where raising fails, what was allowed before still is.
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum.unwrap_or(u64::MAX),
        Err(error) => {
            tracing::debug!(%error, "the limit of file descriptors could not be raised");
            current.unwrap_or(u64::MAX)
        }
    }
}

fn wanted(limits: &Limits) -> u64 {
    [limits.connections, limits.calls, limits.streams]
        .into_iter()
        .map(|count| u64::try_from(count).unwrap_or(u64::MAX))
        .fold(OTHERS, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_call_and_stream_wants_one() {
        let limits = Limits { connections: 10, calls: 200, streams: 3000, ..Limits::default() };
        assert_eq!(wanted(&limits), OTHERS + 3210);
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let hard = getrlimit(Resource::Nofile).maximum;
        assert_eq!(raise(), hard.unwrap_or(u64::MAX));
        assert_eq!(getrlimit(Resource::Nofile).current, hard);
    }
}
