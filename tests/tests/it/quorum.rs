//! Without a majority nothing is written, and the error says so.

use std::time::Duration;

use leasehold_client::wire::v1;
use leasehold_tests::cloud::http_client;
use leasehold_tests::settings::Timing;
use leasehold_tests::wait::wait_for;
use tonic::Code;

use crate::rig::{PATIENCE, bare, empty};

#[tokio::test]
async fn without_a_majority_writes_are_refused_with_a_clear_text_and_resume_with_it() {
    let (mut cluster, client) = bare(Timing::default()).await;
    client.create_lease(client.new_key(), empty("before")).await.unwrap();
    cluster.kill9(1);
    cluster.kill9(2);
    wait_for("a refusal that names the quorum", PATIENCE, || async {
        let mut request = tonic::Request::new(v1::ProbeRequest { payload: vec![1] });
        // A node that follows looks for a leader for 8 s first.
        request.set_timeout(Duration::from_secs(12));
        match cluster.cluster_service(0).probe(request).await {
            Ok(_) => panic!("a write without a majority was acknowledged"),
            Err(status) if status.code() == Code::Unavailable && status.message().contains("quorum") => Ok(()),
            Err(status) => Err(format!("{}: {}", status.code(), status.message())),
        }
    })
    .await
    .unwrap();
    let http = http_client().unwrap();
    let answer = http.get(format!("{}/leases", cluster.nodes()[0].rest_url())).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 503, "a linearizable read needs a majority too");
    let ready = http.get(format!("{}/readyz", cluster.nodes()[0].metrics_url())).send().await.unwrap();
    assert_eq!(ready.status().as_u16(), 503);
    cluster.restart(1).unwrap();
    client.create_lease(client.new_key(), empty("after")).await.unwrap();
    assert_eq!(client.list_leases(Default::default()).await.unwrap().value.len(), 2);
}
