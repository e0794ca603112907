//! Reads `/metrics` of a server.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use anyhow::{Context as _, bail, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::PATIENCE;

/// How often a test looks again while it waits for a number or a line.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The samples of one scrape, by name and labels as they stand in the text.
#[derive(Debug)]
pub struct Metrics {
    samples: BTreeMap<String, f64>,
}

impl Metrics {
    /// Asks an admin endpoint.
    ///
    /// # Errors
    /// It cannot be reached, or does not speak HTTP.
    pub async fn fetch(admin: SocketAddr) -> anyhow::Result<Self> {
        let text = get(admin, "/metrics").await?.1;
        let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Ok(Self { samples: samples.collect() })
    }

    /// One sample, by its full name: `nimbus_streams_open{protocol="v1"}`.
    ///
    /// # Errors
    /// There is none; the message lists what there is.
    pub fn get(&self, sample: &str) -> anyhow::Result<f64> {
        self.samples.get(sample).copied().with_context(|| {
            let names: Vec<_> = self.samples.keys().map(String::as_str).collect();
            format!("no sample {sample}; there are:\n{}", names.join("\n"))
        })
    }
}

/// One GET over plain HTTP/1.1: status and body.
///
/// # Errors
/// The endpoint cannot be reached or does not speak HTTP.
pub(crate) async fn get(admin: SocketAddr, path: &str) -> anyhow::Result<(u16, String)> {
    let mut stream = TcpStream::connect(admin).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: nimbus\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP head")?;
    let status = head.split_whitespace().nth(1).context("no HTTP status")?.parse()?;
    ensure!(!head.to_ascii_lowercase().contains("transfer-encoding: chunked"), "a chunked body is not read here");
    Ok((status, body.to_owned()))
}

impl crate::TestNimbus {
    /// Waits until a sample reaches what the test waits for.
    ///
    /// # Errors
    /// It did not in time.
    pub async fn wait_for_metric(&self, sample: &str, reached: impl Fn(f64) -> bool) -> anyhow::Result<f64> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let value = self.metrics().await?.get(sample)?;
            if reached(value) {
                return Ok(value);
            }
            if tokio::time::Instant::now() > deadline {
                bail!("{sample} is still {value} after {PATIENCE:?}");
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// One GET at the admin endpoint: status and body.
    ///
    /// # Errors
    /// The endpoint cannot be reached.
    pub async fn admin_get(&self, path: &str) -> anyhow::Result<(u16, String)> {
        get(self.admin(), path).await
    }
}
