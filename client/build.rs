//! Generates the public contract from `proto/`, without `protoc` on the host.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files =
        ["types", "lease", "capacity", "host", "watch", "quota", "cluster"].map(|name| format!("leasehold/v1/{name}.proto"));
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-env-changed=CARGO_FEATURE_SERVER");
    let server = std::env::var_os("CARGO_FEATURE_SERVER").is_some();
    tonic_prost_build::configure()
        .build_server(server)
        // Ordered, so that equal messages are equal bytes.
        .btree_map(".")
        .compile_fds(protox::compile(files, ["proto"])?)?;
    Ok(())
}
