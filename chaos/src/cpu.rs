//! Processor time of this process.

/// So far, user and system, in seconds.
pub fn used_s() -> f64 {
    // Fields 14 and 15, in hundredths of a second on Linux; the name in field 2 ends with the last parenthesis.
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let field = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (field(11) + field(12)) / 100.0
}
