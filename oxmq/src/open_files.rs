//! How many files and connections this process may have open.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the soft limit to the hard one: each connection takes a file. The soft one often is 1024, for the sake of
/// programs that could not count further; a Java broker raises it, too.
pub(crate) fn allow_many() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where it is not allowed, what there is has to do.
    let _ = setrlimit(Resource::Nofile, limit);
}
