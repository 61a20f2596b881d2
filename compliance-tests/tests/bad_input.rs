//! Bad input gets the specification's answer, changes nothing and ends nothing.

#![allow(clippy::disallowed_methods)]

use compliance_tests::check;
use compliance_tests::rig::{Kind, Network, Server, ServerOptions};

#[test]
fn bad_input_is_answered_and_changes_nothing() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let network = Network::new().unwrap();
    let kind = Kind::from_env("RIG_A", Kind::Causeway).unwrap();
    let options = ServerOptions { federates: false, ..ServerOptions::default() };
    let mut server = Server::new(&network, "a", kind, options).unwrap();
    let report = runtime.block_on(async {
        server.start().await?;
        let report = check::check(&server.url()).await?;
        server.check_alive()?;
        anyhow::Ok(report)
    });
    let report = report.unwrap_or_else(|error| panic!("{error:#}\n{}", server.tail()));
    eprintln!("{} requests, {} answered wrongly", report.requests, report.failures.len());
    assert!(report.failures.is_empty(), "\n{}\n{}", report.failures.join("\n"), server.tail());
}
