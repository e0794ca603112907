//! Reads `/metrics` of a process.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

const LIMIT: Duration = Duration::from_secs(5);

/// The text of one scrape.
pub(super) async fn scrape(admin: SocketAddr) -> anyhow::Result<String> {
    let answer = timeout(LIMIT, async {
        let mut stream = TcpStream::connect(admin).await?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: nimbus\r\nConnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.map(|_| answer)
    });
    let answer = answer.await.with_context(|| format!("no metrics from {admin} within {LIMIT:?}"))??;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP head")?;
    anyhow::ensure!(head.split_whitespace().nth(1) == Some("200"), "metrics from {admin}: {head}");
    Ok(body.to_owned())
}

/// A counter by the name it is registered with, summed over its labels.
pub(super) fn counter(text: &str, name: &str) -> anyhow::Result<f64> {
    let values: Vec<f64> = text
        .lines()
        .filter_map(|line| {
            let (sample, value) = line.rsplit_once(' ')?;
            let sample = sample.split('{').next()?;
            (sample.strip_suffix("_total")? == name).then(|| value.parse().ok())?
        })
        .collect();
    anyhow::ensure!(!values.is_empty(), "the metrics have no counter {name}");
    Ok(values.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_summed_over_its_labels() {
        let text = "# TYPE nimbus_router_records counter\nnimbus_router_records_total{lane=\"a b\"} 3\n\
                    nimbus_router_records_total{lane=\"jobs\"} 4\nnimbus_router_records_created_total 9\n# EOF\n";
        assert_eq!(counter(text, "nimbus_router_records").unwrap(), 7.0);
        assert!(counter(text, "nimbus_router_batches").is_err());
    }
}
