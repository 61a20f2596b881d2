//! Causeway and Synapse, measured one after the other in the same run.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Amounts, Target, measure};
use crate::rig::{Kind, Network, Postgres, Server, ServerOptions, build_causeway};

/// What is compared.
#[derive(Clone, Debug, Default)]
pub struct CompareOptions {
    /// The `causeway` to measure; without it, the workspace's is built with optimisation.
    pub causeway: Option<PathBuf>,
    /// Measures only this kind.
    pub only: Option<Kind>,
}

/// Starts each server on fresh data, measures it, stops it; answers all figures as JSON.
pub async fn compare(options: &CompareOptions, amounts: &Amounts) -> Result<Value> {
    let mut network = Network::new()?;
    let result = both(&network, options, amounts).await;
    if result.is_err() {
        eprintln!("the servers' logs are kept in {}", network.keep().display());
    }
    result
}

async fn both(network: &Network, options: &CompareOptions, amounts: &Amounts) -> Result<Value> {
    let wanted = |kind| options.only.is_none_or(|only| only == kind);
    let mut figures = json!({"cores": std::thread::available_parallelism()?.get()});
    if wanted(Kind::Causeway) {
        let program = match &options.causeway {
            Some(program) => program.clone(),
            None => build_causeway(true)?,
        };
        let options = ServerOptions { program: Some(program), ..ServerOptions::default() };
        eprintln!("measuring Causeway");
        figures["causeway"] =
            one(network, Kind::Causeway, options, &[], amounts).await.context("measuring Causeway")?;
    }
    if wanted(Kind::Synapse) {
        let postgres = Postgres::start(network).await.context("starting PostgreSQL for Synapse")?;
        let options = ServerOptions { postgres: Some(postgres.port()), ..ServerOptions::default() };
        eprintln!("measuring Synapse on PostgreSQL");
        figures["synapse"] =
            one(network, Kind::Synapse, options, &[postgres.pid()], amounts).await.context("measuring Synapse")?;
        postgres.stop().await?;
    }
    Ok(figures)
}

async fn one(
    network: &Network,
    kind: Kind,
    options: ServerOptions,
    others: &[u32],
    amounts: &Amounts,
) -> Result<Value> {
    let label = format!("{kind:?}").to_lowercase();
    let mut server = Server::new(network, &label, kind, options)?;
    server.start().await?;
    let mut pids = vec![server.pid().context("the server has no process")?];
    pids.extend(others);
    let target = Target { url: server.url(), pids, registration_secret: None };
    let figures = measure(&target, amounts).await.with_context(|| server.tail())?;
    server.check_alive()?;
    server.stop().await?;
    Ok(figures)
}
