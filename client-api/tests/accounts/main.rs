//! Accounts, devices and the frame of the client-server API, through HTTP requests to the router. The server lives in
//! simulated time, so that hours pass in no time.
#![allow(clippy::unwrap_used, clippy::panic)]

mod account_data;
mod deactivation;
mod devices;
mod discovery;
mod following;
mod frame;
mod login;
mod openid;
mod passwords;
mod profiles;
mod refresh;
mod registration;
mod server;
mod shared_secret;
mod whois;
