//! What the operating system knows of this process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a node's process takes.
pub trait Process: Send + Sync + 'static {
    /// Resident memory, bytes; 0 where the system does not tell.
    fn resident_bytes(&self) -> u64;
    /// Open file descriptors; 0 where the system does not tell.
    fn open_files(&self) -> u64;
}

/// This process.
#[derive(Clone, Copy, Debug)]
pub struct SystemProcess;

impl Process for SystemProcess {
    fn resident_bytes(&self) -> u64 {
        // Fields are in pages; Linux on the machines we support has pages of 4 KiB.
        let pages = std::fs::read_to_string("/proc/self/statm").ok();
        pages.and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok()).map_or(0, |pages| pages * 4096)
    }

    fn open_files(&self) -> u64 {
        std::fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() as u64)
    }
}

/// Lets this process open as many files as the system allows it at most: the soft limit, which often is 1024, becomes the
/// hard one. Gives the limit that then holds; `None`: there is none.
pub fn raise_open_files_max() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files stays as it is");
            limit.current
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_open_files_is_raised_as_far_as_it_goes() {
        let before = getrlimit(Resource::Nofile);
        let raised = raise_open_files_max();
        assert_eq!(raised, before.maximum);
        assert_eq!(getrlimit(Resource::Nofile).current, raised);
    }
}
