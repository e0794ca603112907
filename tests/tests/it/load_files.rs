//! What `nimbus load` writes: two of them at once on one server, made one result, looked at, compared.

use std::{fs, path::Path};

use anyhow::Context as _;
use nimbus_harness::{PATIENCE, TestNimbus};
use serde_json::Value;
use tokio::time::timeout;

use super::cli::{Running, interrupt, nimbus, stderr, stdout};

/// A load that has told its progress: it measures, and goes on until it is interrupted.
async fn loading(server: &TestNimbus, out: &str) -> anyhow::Result<Running> {
    let (addr, pid) = (server.addr().to_string(), server.pid()?.to_string());
    let endless = ["load", "--addr", &addr, "--streams", "2", "--warmup", "0s", "--duration", "1h"];
    let mut load = Running::start(&[&endless[..], &["--out", out, "--server-pid", &pid]].concat())?;
    timeout(PATIENCE, load.stderr.next_line()).await??.context("it has ended")?;
    Ok(load)
}

fn number(value: &Value, name: &str) -> anyhow::Result<u64> {
    value[name].as_u64().with_context(|| format!("no {name} in {value}"))
}

fn report(path: &Path) -> anyhow::Result<Value> {
    Ok(serde_json::from_str::<Value>(&fs::read_to_string(path)?)?["report"].take())
}

#[tokio::test]
async fn results_of_two_loads_at_once_are_merged_shown_and_compared() -> anyhow::Result<()> {
    let (server, directory) = (TestNimbus::builder().start().await?, tempfile::tempdir()?);
    let path = |name: &str| directory.path().join(name);
    let [a, b, both, page] =
        ["a.json", "b.json", "both.json", "both.html"].map(|name| path(name).display().to_string());
    for load in [loading(&server, &a).await?, loading(&server, &b).await?] {
        interrupt(&load.child)?;
        assert_eq!(load.end().await?.0, Some(130), "what there is by then is kept");
    }

    let merging = nimbus(["load", "merge", &a, &b, "--out", &both, "--html", &page, "--json"], &[]).await?;
    assert!(merging.status.success(), "{}", stderr(&merging));
    let merged: Value = serde_json::from_str(&stdout(&merging))?;
    assert_eq!(merged, report(&path("both.json"))?, "what is shown is what is written");
    let parts = [report(&path("a.json"))?, report(&path("b.json"))?];
    for name in ["streams", "sent", "answered", "lost", "duplicates"] {
        let sum = number(&parts[0], name)? + number(&parts[1], name)?;
        assert_eq!(number(&merged, name)?, sum, "{name}");
    }
    assert!(number(&parts[0], "answered")? > 0 && number(&parts[1], "answered")? > 0 && number(&merged, "lost")? == 0);
    let servers = merged["cost"]["servers"].as_array().context("servers")?;
    assert_eq!((servers.len(), number(&servers[0], "pid")?), (1, server.pid()?.into()), "one server is counted once");
    let html = fs::read_to_string(path("both.html"))?;
    assert!(
        html.contains("<svg") && !html.contains("<script") && !html.contains("http"),
        "a page that needs nothing else"
    );

    let comparing = nimbus(["load", "compare", &a, &both, "--json"], &[]).await?;
    assert!(comparing.status.success(), "{}", stderr(&comparing));
    let lines = stdout(&comparing).lines().map(serde_json::from_str::<Value>).collect::<Result<Vec<_>, _>>()?;
    let throughput = lines.iter().find(|line| line["what"] == "throughput").context("throughput is compared")?;
    assert_eq!(throughput["a"], parts[0]["events_per_second"], "{throughput}");
    assert_eq!(throughput["b"], merged["events_per_second"], "{throughput}");
    Ok(())
}
