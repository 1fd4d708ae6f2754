//! Generates the messages between nodes from `proto/peer.proto`, without `protoc` on the host.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/peer.proto");
    let files = protox::compile(["proto/peer.proto"], ["proto"])?;
    // `Bytes` end to end: a payload is not copied between the frame, the log entry and the disk.
    tonic_prost_build::configure().bytes(".").compile_fds(files)?;
    Ok(())
}
