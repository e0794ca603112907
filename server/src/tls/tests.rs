//! A renewal, what cannot be used, and handshakes that come to nothing.

use std::collections::VecDeque;

use futures_util::StreamExt as _;
use nimbus_services::Certificates;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::*;

const NAMES: [&str; 3] = ["ca.pem", "tls.crt", "tls.key"];

fn files(dir: &TempDir) -> TlsFiles {
    let [_, certificate, key] = NAMES.map(|name| dir.path().join(name));
    TlsFiles { certificate, key, reload: Duration::from_secs(60) }
}

/// New ones, in the files.
fn renew(dir: &TempDir) -> Certificates {
    let certificates = Certificates::make().unwrap();
    certificates.write(dir.path(), NAMES).unwrap();
    certificates
}

/// A client that trusts the authority of these.
fn trusting(certificates: &Certificates) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificates.authority.as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let mut config =
        builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![HTTP2.to_vec()];
    TlsConnector::from(Arc::new(config))
}

fn localhost() -> ServerName<'static> {
    ServerName::try_from("localhost").unwrap()
}

/// What a client says who comes with this trust.
async fn meets(tls: &Tls, client: TlsConnector) -> io::Result<()> {
    let (ours, theirs) = duplex(64 * 1024);
    let (shaken, met) = tokio::join!(tls.acceptor().accept(ours), client.connect(localhost(), theirs));
    met.map(drop).and(shaken.map(drop))
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_to_whoever_comes_then() {
    let dir = tempfile::tempdir().unwrap();
    let first = renew(&dir);
    let tls = Tls::load(files(&dir)).unwrap();
    meets(&tls, trusting(&first)).await.unwrap();
    assert!(!tls.reload().unwrap(), "nothing has changed");

    let second = renew(&dir);
    meets(&tls, trusting(&first)).await.unwrap();
    assert!(tls.reload().unwrap());
    meets(&tls, trusting(&second)).await.unwrap();
    meets(&tls, trusting(&first)).await.unwrap_err();
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_leaves_the_one_before_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let first = renew(&dir);
    let tls = Tls::load(files(&dir)).unwrap();
    // Half of a renewal.
    let second = Certificates::make().unwrap();
    fs::write(dir.path().join("tls.crt"), &second.certificate).unwrap();
    let told = tls.reload().unwrap_err().to_string();
    assert!(told.contains("tls.key") && told.contains("does not belong to") && told.contains("tls.crt"), "{told}");
    meets(&tls, trusting(&first)).await.unwrap();
    // The other half.
    fs::write(dir.path().join("tls.key"), &second.key).unwrap();
    assert!(tls.reload().unwrap());
    meets(&tls, trusting(&second)).await.unwrap();
}

#[test]
fn what_is_wrong_is_told_with_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let made = renew(&dir);
    let told = || Tls::load(files(&dir)).unwrap_err().to_string();
    for (file, text, says) in [
        ("tls.crt", "no certificate", "has no certificate in it"),
        ("tls.crt", made.key.as_str(), "has no certificate in it"),
        ("tls.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "is not valid"),
        ("tls.crt", "-----BEGIN CERTIFICATE-----\n", "is no PEM"),
        ("tls.key", "no key", "has no private key in it"),
        ("tls.key", made.certificate.as_str(), "has no private key in it"),
    ] {
        made.write(dir.path(), NAMES).unwrap();
        fs::write(dir.path().join(file), text).unwrap();
        let told = told();
        assert!(told.contains(file) && told.contains(says), "{says}: {told}");
    }
    made.write(dir.path(), NAMES).unwrap();
    fs::remove_file(dir.path().join("tls.key")).unwrap();
    assert!(told().contains("tls.key: cannot be read"));
}

type Connect = mpsc::UnboundedSender<DuplexStream>;

/// An edge with a certificate: whom it accepts, who has shaken hands there, and whom to trust.
fn edge(
    metrics: &Metrics,
) -> (Connect, Handshakes<impl Stream<Item = io::Result<DuplexStream>>, DuplexStream>, Certificates) {
    let dir = tempfile::tempdir().unwrap();
    let made = renew(&dir);
    let (connect, mut connections) = mpsc::unbounded_channel();
    let incoming = futures_util::stream::poll_fn(move |cx| connections.poll_recv(cx)).map(Ok);
    (connect, Tls::load(files(&dir)).unwrap().over(incoming, metrics.clone()), made)
}

/// A client that trusts these comes and shakes hands.
fn comes(connect: &Connect, trusts: Certificates) -> JoinHandle<TlsStream<DuplexStream>> {
    let (ours, theirs) = duplex(64 * 1024);
    connect.send(ours).unwrap();
    tokio::spawn(async move { trusting(&trusts).connect(localhost(), theirs).await.unwrap() })
}

#[tokio::test(start_paused = true)]
async fn whoever_says_nothing_or_something_else_keeps_nobody_waiting() {
    let metrics = Metrics::default();
    let (connect, mut shaken, made) = edge(&metrics);
    let began = Instant::now();

    let (ours, _silent) = duplex(1024);
    connect.send(ours).unwrap();
    let (ours, mut loud) = duplex(1024);
    connect.send(ours).unwrap();
    loud.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let client = comes(&connect, made);
    let mut stream = shaken.next().await.unwrap().unwrap();
    let mut client = client.await.unwrap();
    assert_eq!(client.get_ref().1.alpn_protocol(), Some(HTTP2));
    client.write_all(b"hello").await.unwrap();
    let mut heard = [0; 5];
    stream.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"hello");
    assert_eq!((metrics.tls_handshakes.get(), began.elapsed()), (1, Duration::ZERO));

    // The silent one is given up, and with it the last that is under way.
    drop(connect);
    assert!(shaken.next().await.is_none());
    assert_eq!((metrics.tls_handshakes_failed.get(), metrics.tls_handshakes_under_way.get()), (2, 0));
    assert!(began.elapsed() >= handshakes::TIMEOUT && began.elapsed() < handshakes::TIMEOUT * 2);
}

/// So many connections that say nothing.
fn silent(connect: &Connect, count: usize) -> VecDeque<DuplexStream> {
    let one = |_| {
        let (ours, theirs) = duplex(64);
        connect.send(ours).unwrap();
        theirs
    };
    (0..count).map(one).collect()
}

#[tokio::test(start_paused = true)]
async fn however_many_say_nothing_the_next_takes_the_place_of_the_oldest() {
    let metrics = Metrics::default();
    let (connect, mut shaken, made) = edge(&metrics);
    let began = Instant::now();
    let mut silent = silent(&connect, handshakes::MOST + 5);
    let client = comes(&connect, made);
    shaken.next().await.unwrap().unwrap();
    client.await.unwrap();
    // Those that had come had their time first.
    assert_eq!((metrics.tls_handshakes.get(), metrics.tls_handshakes_crowded_out.get()), (1, 6));
    assert!(began.elapsed() >= handshakes::CROWDED_TIMEOUT && began.elapsed() < handshakes::CROWDED_TIMEOUT * 2);
    // The oldest are gone, and the next ones are not.
    let mut one = [0; 1];
    for silent in silent.iter_mut().take(6) {
        assert_eq!(silent.read(&mut one).await.unwrap(), 0);
    }
    assert!(timeout(Duration::from_millis(1), silent[6].read(&mut one)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn nobody_is_cut_short_before_its_time_or_for_those_that_are_gone() {
    let metrics = Metrics::default();
    let (connect, mut shaken, made) = edge(&metrics);
    // Many more than fit come and go behind one that stays.
    let mut slow = silent(&connect, 1);
    for _ in 0..3 {
        drop(silent(&connect, handshakes::MOST - 1));
        assert!(timeout(Duration::from_millis(1), shaken.next()).await.is_err());
    }
    assert_eq!(metrics.tls_handshakes_under_way.get(), 1);
    // All places are taken, by those that have just come: the next waits for the first that is over.
    let began = Instant::now();
    slow.extend(silent(&connect, handshakes::MOST - 1));
    let client = comes(&connect, made);
    let half = handshakes::CROWDED_TIMEOUT / 2;
    assert!(timeout(half, shaken.next()).await.is_err());
    drop(slow.pop_front());
    shaken.next().await.unwrap().unwrap();
    client.await.unwrap();
    assert_eq!((metrics.tls_handshakes_crowded_out.get(), began.elapsed()), (0, half));
}
