//! A full disk, on a server of its own that has everything in one process: events are refused, what was accepted is answered, and
//! when there is room again everything goes on.
//!
//! The disk is a small tmpfs where one may be mounted (root); elsewhere the log's own limit stands for it, which is raised by
//! a restart.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write as _,
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use nimbus_harness::Tmpfs;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    Step,
    load::{Load, Outcomes, Shape},
    plan::last,
    process::{Nimbus, PATIENCE},
    recovery::{self, Course},
    way::Way,
};

const DISK_BYTES: u64 = 32 << 20;
/// Segments as small as the disk.
const SEGMENT: &str = "1MiB";
/// The log's limit where there is no small disk.
const LIMIT: &str = "8MiB";
const ROOMY: &str = "1GiB";
/// Large events, so that a limit is soon reached.
const PAYLOAD_BYTES: usize = 8 * 1024;
const CLIENTS: usize = 8;
const RATE: f64 = 200.0;
/// How long its steady load is measured.
const STEADY: Duration = Duration::from_secs(2);
const REFUSED: &str = r#"nimbus_events_rejected_total{reason="STORAGE_FULL"}"#;

pub(crate) struct Found {
    pub(crate) course: Course,
    pub(crate) outcomes: Outcomes,
}

/// Where its log is.
enum Disk {
    Small(Tmpfs),
    Limited,
}

/// The whole of it: a server, its clients, no room, room again, and the books.
pub(crate) async fn strike(binary: &Path, directory: &Path, step: &Step) -> anyhow::Result<Found> {
    let log = directory.join(format!("standalone-{}.log", step.number));
    // What a mount needs, root and the program, is not there everywhere.
    let disk = Tmpfs::mount(DISK_BYTES).map_or(Disk::Limited, Disk::Small);
    let data = match &disk {
        Disk::Small(tmpfs) => tmpfs.path().join("data"),
        Disk::Limited => directory.join(format!("standalone-{}", step.number)),
    };
    let mut settings = BTreeMap::from([
        ("NIMBUS_DATA_DIR", data.display().to_string()),
        ("NIMBUS_DATA_SEGMENT_BYTES", SEGMENT.to_owned()),
        ("NIMBUS_DATA_RESERVE_BYTES", "1MiB".to_owned()),
    ]);
    if matches!(disk, Disk::Limited) {
        settings.insert("NIMBUS_DATA_RETENTION_BYTES", LIMIT.to_owned());
        settings.insert("NIMBUS_DATA_MAX_BYTES", LIMIT.to_owned());
    }
    let mut server = start(binary, &settings, &log).await?;
    let way = Way::open(server.grpc.into_iter().collect()).await?;
    let shape =
        Shape { run: format!("disk-{}", step.number), clients: CLIENTS, rate: RATE, payload_bytes: PAYLOAD_BYTES };
    let load = Load::start(&format!("http://{}", way.address()), &shape).await?;
    timeout(PATIENCE, load.until(|now| now.answered >= CLIENTS as u64)).await.context("nothing was answered")??;
    load.mark();
    last(STEADY).await;
    let steady = load.mark().context("nothing is answered any more")?;

    let (began, outstanding) = (Instant::now(), load.now().outstanding);
    if let Disk::Small(tmpfs) = &disk {
        fill(&tmpfs.path().join("filler"))?;
    }
    refused(&server).await?;
    last(step.hold).await;
    match &disk {
        Disk::Small(tmpfs) => fs::remove_file(tmpfs.path().join("filler")).context("no room could be made")?,
        Disk::Limited => {
            settings.insert("NIMBUS_DATA_RETENTION_BYTES", ROOMY.to_owned());
            settings.insert("NIMBUS_DATA_MAX_BYTES", ROOMY.to_owned());
            server.stop().await?;
            server = start(binary, &settings, &log).await?;
            way.lead_to(server.grpc.into_iter().collect());
        }
    }
    let course = recovery::recover(&load, began, Instant::now(), outstanding, recovery::good_ms(steady)).await?;
    let outcomes = load.finish(PATIENCE, false).await;
    server.stop().await?;
    Ok(Found { course, outcomes })
}

async fn start(binary: &Path, settings: &BTreeMap<&str, String>, log: &Path) -> anyhow::Result<Nimbus> {
    let settings = settings.iter().map(|(name, value)| (*name, value.as_str()));
    Nimbus::start(binary, "standalone", settings, log).await
}

/// Waits until an event was refused for want of room.
async fn refused(server: &Nimbus) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while server.metric(REFUSED).await? < 1.0 {
        ensure!(Instant::now() < deadline, "nothing was refused with STORAGE_FULL within {PATIENCE:?}");
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Takes all the room there is.
fn fill(path: &Path) -> anyhow::Result<()> {
    let mut file = File::create(path).context("the disk could not be filled")?;
    let mut piece = 1 << 20;
    while piece > 0 {
        if file.write_all(&vec![0; piece]).is_err() {
            piece /= 2;
        }
    }
    Ok(())
}
