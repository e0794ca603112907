//! The data directory runs out of room, and is used by two.

use nimbus_harness::{RawSession, TestNimbus, Tmpfs, hello, run_nimbus};
use nimbus_proto::v1::server_frame::Kind as Down;

#[tokio::test]
async fn a_full_disk_is_a_typed_refusal_and_work_goes_on_when_there_is_room() -> anyhow::Result<()> {
    let tmpfs = match Tmpfs::mount(24 << 20) {
        Ok(tmpfs) => tmpfs,
        Err(error) if std::env::var_os("CI").is_none() => {
            println!("SKIPPED: a small file system needs root: {error:#}");
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let data = tmpfs.path().join("data");
    let nimbus = TestNimbus::builder()
        .data_dir(&data)
        .env("NIMBUS_DATA_SEGMENT_BYTES", "1MiB")
        .env("NIMBUS_DATA_RESERVE_BYTES", "1MiB")
        .start()
        .await?;
    let filler = tmpfs.path().join("filler");
    let (mut session, _) = RawSession::welcome(nimbus.connect().await?, hello("phone")).await?;
    session.square(1, 5).await?;
    assert_eq!(session.delivery().await?.payload, "25");

    fill(&filler)?;
    let mut seq = 2;
    let rejected = 'refused: loop {
        session.event(seq, "echo", vec![b'x'; 60_000]).await?;
        loop {
            match session.next().await? {
                Down::Rejected(rejected) => break 'refused rejected,
                Down::Accepted(accepted) if accepted.up_to_seq == seq => break,
                _ => {}
            }
        }
        seq += 1;
    };
    assert_eq!((rejected.seq, rejected.reason.as_str()), (seq, "STORAGE_FULL"));
    assert_eq!(rejected.code, tonic::Code::ResourceExhausted as i32);
    assert_eq!(nimbus.admin_get("/live").await?.0, 200);

    std::fs::remove_file(&filler)?;
    session.square(seq, 6).await?;
    loop {
        match session.next().await? {
            Down::Delivery(delivery) if delivery.payload == "36" => break,
            // Room comes back with the next attempt; until then the answer stays the same.
            Down::Rejected(again) if again.seq == seq => session.square(seq, 6).await?,
            _ => {}
        }
    }
    Ok(())
}

/// Takes all the room there is.
fn fill(path: &std::path::Path) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut file = std::fs::File::create(path)?;
    let mut piece = 1 << 20;
    while piece > 0 {
        if file.write_all(&vec![0; piece]).is_err() {
            piece /= 2;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_second_process_on_the_same_directory_says_what_is_wrong() -> anyhow::Result<()> {
    let nimbus = TestNimbus::builder().start().await?;
    let second = TestNimbus::builder().data_dir(nimbus.data_dir()).start().await;
    let error = second.map(drop).expect_err("the directory is in use").to_string();
    assert!(error.contains("in use") && error.contains(&nimbus.data_dir().display().to_string()), "{error}");
    let (mut session, _) = RawSession::welcome(nimbus.connect().await?, hello("phone")).await?;
    session.square(1, 5).await?;
    assert_eq!(session.delivery().await?.payload, "25");
    Ok(())
}

#[tokio::test]
async fn backup_while_serving_restore_elsewhere_and_the_client_is_told_of_the_gap() -> anyhow::Result<()> {
    use nimbus_proto::v1;

    let nimbus = TestNimbus::builder().start().await?;
    let (mut session, welcome) = RawSession::welcome(nimbus.connect().await?, hello("phone")).await?;
    session.square(1, 5).await?;
    let first = session.delivery().await?;
    let dir = tempfile::tempdir()?;
    let (backup, restored) = (dir.path().join("backup"), dir.path().join("restored"));
    let data = nimbus.data_dir().to_path_buf();
    let output =
        run_nimbus(["data".as_ref(), "backup".as_ref(), "--data-dir".as_ref(), data.as_os_str(), backup.as_os_str()])?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let args = ["data".as_ref(), "restore".as_ref(), "--data-dir".as_ref(), restored.as_os_str(), backup.as_os_str()];
    let output = run_nimbus(args)?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    drop(nimbus);

    let nimbus = TestNimbus::builder().data_dir(&restored).start().await?;
    let resume =
        v1::Resume { token: welcome.resume_token, position: first.position, answered: 1, ..Default::default() };
    let again = v1::Hello { session_no: 2, first_unaccepted: 2, resume: Some(resume), ..hello("phone") };
    let (mut session, welcome) = RawSession::welcome(nimbus.connect().await?, again).await?;
    assert_eq!(welcome.resume_outcome(), v1::ResumeOutcome::Gap);
    session.square(2, 6).await?;
    assert_eq!(session.delivery().await?.payload, "36");
    Ok(())
}
