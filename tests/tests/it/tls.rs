//! TLS at the edge: clients of both protocols get in who trust its authority, and nobody else; a renewed certificate needs no
//! restart; what is wrong is told at the start, or by the client, with what to change.

use std::path::Path;

use anyhow::ensure;
use nimbus_client::{Client, Event};
use nimbus_harness::TestNimbus;
use nimbus_services::Certificates;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::cli::{nimbus, stderr};

const NAMES: [&str; 3] = ["ca.crt", "tls.crt", "tls.key"];

/// A server with a certificate, and the directory that the certificate is in.
async fn encrypted() -> anyhow::Result<(TestNimbus, TempDir, Certificates)> {
    let dir = tempfile::tempdir()?;
    let certificates = Certificates::make()?;
    certificates.write(dir.path(), NAMES)?;
    let [_, certificate, key] = paths(dir.path());
    let builder = TestNimbus::builder().env("NIMBUS_TLS_CERT_FILE", certificate).env("NIMBUS_TLS_KEY_FILE", key);
    let server = builder.env("NIMBUS_TLS_RELOAD_INTERVAL", "100ms").start().await?;
    Ok((server, dir, certificates))
}

fn paths(dir: &Path) -> [String; 3] {
    NAMES.map(|name| dir.join(name).display().to_string())
}

/// A client that trusts these, connected.
async fn connected(server: &TestNimbus, client_id: &str, trusts: &Certificates) -> anyhow::Result<Client> {
    let builder = Client::builder(server.addr().to_string()).client_id(client_id);
    Ok(builder.authority(trusts.authority.clone()).connect().await?)
}

async fn answers(client: &Client) -> anyhow::Result<()> {
    let answer = client.call(Event::new("sq", "12").content_type("application/json")).await?;
    ensure!(format!("{answer:?}").contains("144"), "{answer:?}");
    Ok(())
}

#[tokio::test]
async fn whoever_trusts_its_authority_is_served_in_both_protocols() -> anyhow::Result<()> {
    let (server, dir, _) = encrypted().await?;
    let [authority, ..] = paths(dir.path());
    let addr = format!("https://{}", server.addr());
    for protocol in ["v1", "original"] {
        let load = ["load", "--addr", &addr, "--protocol", protocol, "--streams", "4", "--events", "1000"];
        let output = nimbus(load.into_iter().chain(["--ca-file", &authority]), &[]).await?;
        ensure!(output.status.success(), "{protocol}: {}", stderr(&output));
    }
    // With an authority, an address without a scheme means TLS.
    let (bare, range) = (server.addr().to_string(), ["client", "--start", "1", "--end", "20"]);
    let settings = [("NIMBUS_CLIENT_ADDR", bare.as_str()), ("NIMBUS_CLIENT_CA_FILE", &authority)];
    let output = nimbus(range, &settings).await?;
    ensure!(output.status.success(), "{}", stderr(&output));
    ensure!(server.metrics().await?.get("nimbus_tls_handshakes_total")? >= 9.0);
    Ok(())
}

#[tokio::test]
async fn whoever_does_not_trust_it_or_speaks_no_tls_is_told_why() -> anyhow::Result<()> {
    let (server, dir, _) = encrypted().await?;
    let [authority, ..] = paths(dir.path());
    let stranger = dir.path().join("stranger.crt");
    std::fs::write(&stranger, Certificates::make()?.authority)?;
    let broken = dir.path().join("broken.crt");
    std::fs::write(&broken, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")?;
    let (stranger, broken) = (stranger.display().to_string(), broken.display().to_string());
    let addr = server.addr().to_string();
    let (secure, plain) = (format!("https://{addr}"), format!("http://{addr}"));
    let (load, client) = (["load", "--events", "1"].as_slice(), ["client", "--start", "1", "--end", "1"].as_slice());
    let unknown = "BadSignature; is a server running there that speaks TLS, and is its authority the one";
    // Whom the machine trusts, if nobody is named.
    let machine = [("SSL_CERT_FILE", stranger.as_str())];
    for (command, args, code, says) in [
        (client, vec!["--addr", &secure], 69, unknown),
        (load, vec!["--addr", &secure], 69, unknown),
        (load, vec!["--addr", &secure, "--ca-file", &stranger], 69, "invalid peer certificate: BadSignature"),
        (client, vec!["--addr", &addr, "--ca-file", &stranger], 69, unknown),
        (load, vec!["--addr", &addr, "--ca-file", &stranger], 69, unknown),
        (client, vec!["--addr", &addr, "--ca-file", &broken], 64, "has no certificate in it that can be read"),
        (load, vec!["--addr", &addr, "--ca-file", &broken], 64, "has no certificate in it that can be read"),
        (load, vec!["--addr", &plain], 69, "begin the address with https:// if it speaks TLS"),
        (client, vec!["--addr", &plain, "--ca-file", &authority], 64, "does not ask for TLS"),
        (load, vec!["--addr", &plain, "--ca-file", &authority], 64, "does not ask for TLS"),
        (
            load,
            vec!["--addr", &secure, "--ca-file", "/nowhere/ca.crt"],
            64,
            "--ca-file: /nowhere/ca.crt cannot be read",
        ),
    ] {
        let output = nimbus(command.iter().chain(&args), &machine).await?;
        let told = stderr(&output);
        ensure!(output.status.code() == Some(code) && told.contains(says), "{args:?}: {}: {told}", output.status);
    }
    let before = server.metrics().await?.get("nimbus_tls_handshakes_failed_total")?;
    let mut plain = TcpStream::connect(server.addr()).await?;
    plain.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
    let mut heard = Vec::new();
    // An alert, or nothing, and then the end: never a frame of HTTP/2.
    plain.read_to_end(&mut heard).await?;
    ensure!(heard.first().is_none_or(|first| *first == 0x15), "{heard:?}");
    server.wait_for_metric("nimbus_tls_handshakes_failed_total", |failed| failed > before).await?;
    Ok(())
}

#[tokio::test]
async fn a_renewed_certificate_is_in_force_without_a_restart_and_open_streams_stay() -> anyhow::Result<()> {
    let (server, dir, before) = encrypted().await?;
    let old = connected(&server, "tls-old", &before).await?;
    answers(&old).await?;

    let after = Certificates::make()?;
    after.write(dir.path(), NAMES)?;
    server.wait_for_metric("nimbus_tls_reloads_total", |reloads| reloads >= 1.0).await?;
    let new = connected(&server, "tls-new", &after).await?;
    answers(&new).await?;
    answers(&old).await?;

    // Half of a renewal is told, and changes nothing. (Half of the first may have been seen as well.)
    let failed = server.metrics().await?.get("nimbus_tls_reload_failures_total")?;
    std::fs::write(dir.path().join("tls.crt"), before.certificate)?;
    server.wait_for_metric("nimbus_tls_reload_failures_total", |failures| failures > failed).await?;
    let another = connected(&server, "tls-another", &after).await?;
    answers(&another).await
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_ends_the_start_with_the_setting() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    Certificates::make()?.write(dir.path(), ["ca.crt", "tls.crt", "other.key"])?;
    Certificates::make()?.write(dir.path(), ["other.crt", "other.crt", "tls.key"])?;
    let [_, certificate, key] = paths(dir.path());
    let (cert_file, key_file) = ("NIMBUS_TLS_CERT_FILE", "NIMBUS_TLS_KEY_FILE");
    for (settings, says) in [
        (vec![(cert_file, certificate.as_str())], ["NIMBUS_TLS_KEY_FILE: is missing", "NIMBUS_TLS_CERT_FILE"]),
        (vec![(key_file, key.as_str())], ["NIMBUS_TLS_CERT_FILE: is missing", "NIMBUS_TLS_KEY_FILE"]),
        (vec![(cert_file, ""), (key_file, &key)], ["NIMBUS_TLS_CERT_FILE: is set but empty", "give for example"]),
        (vec![(cert_file, "/nowhere/tls.crt"), (key_file, &key)], ["/nowhere/tls.crt: cannot be read", cert_file]),
        (vec![(cert_file, &key), (key_file, &key)], ["has no certificate in it", cert_file]),
        (vec![(cert_file, &certificate), (key_file, &key)], ["does not belong to", key_file]),
    ] {
        let data = dir.path().join("data").display().to_string();
        let mut all = vec![("NIMBUS_PORT", "0"), ("NIMBUS_ADMIN_ADDR", "off"), ("NIMBUS_DATA_DIR", data.as_str())];
        all.extend(settings.iter().copied());
        let output = nimbus(["standalone"], &all).await?;
        let told = stderr(&output);
        ensure!(output.status.code() == Some(64), "{settings:?}: {}: {told}", output.status);
        ensure!(says.iter().all(|says| told.contains(says)), "{settings:?}: {told}");
    }
    Ok(())
}
