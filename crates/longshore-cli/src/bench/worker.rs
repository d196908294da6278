//! The processes of the raw transfer.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use tokio::net::{TcpListener, TcpStream};

use super::{measure, raw_tls};
use crate::failure::Failure;
use crate::{output, runtime};

/// One end of the raw transfer of `bench ship`
#[derive(Debug, Args)]
#[command(hide = true)]
pub(crate) struct BenchWorker {
    #[command(subcommand)]
    end: End,
}

#[derive(Debug, Subcommand)]
enum End {
    Send { tls: PathBuf, file: PathBuf },
    Receive { tls: PathBuf, from: SocketAddr, file: PathBuf },
}

impl BenchWorker {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let failed = |error: std::io::Error| Failure::internal(format!("raw transfer: {error}"));
        runtime::for_commands()?.block_on(async {
            match self.end {
                End::Send { tls, file } => {
                    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
                    output::print(&format!("listening {}\n", listener.local_addr().map_err(failed)?))?;
                    raw_tls::send(listener, &tls, "primary", &file).await.map_err(failed)
                }
                End::Receive { tls, from, file } => {
                    let stream = TcpStream::connect(from).await.map_err(failed)?;
                    raw_tls::receive(stream, &tls, "replica", &file).await.map(drop).map_err(failed)
                }
            }
        })?;
        let cpu = measure::cpu_seconds(std::process::id()).unwrap_or_default();
        output::print(&format!("cpu {cpu}\n"))
    }
}
