//! What the operating system knows of this process.

/// Resident memory, bytes; 0 where the system does not tell.
#[must_use]
pub fn resident_bytes() -> u64 {
    // Fields are in pages; Linux on the machines we support has pages of 4 KiB.
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    pages.and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok()).map_or(0, |pages| pages * 4096)
}

/// Open file descriptors; 0 where the system does not tell.
#[must_use]
pub fn open_files() -> u64 {
    std::fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() as u64)
}
