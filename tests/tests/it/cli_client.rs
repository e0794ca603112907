//! `nimbus client` and `nimbus load` when something comes in between: another process, an older outbox, a reader that has
//! gone, ctrl-c.

use anyhow::Context as _;
use nimbus_harness::{PATIENCE, RawSession, TestNimbus, hello};
use nimbus_proto::v1;
use tokio::time::timeout;

use super::cli::{Running, command, interrupt, nimbus, stderr, stdout};

/// How long an event that nobody handles is held, and with it what its client sent after it: long enough to start a client.
const HELD_SEC: u64 = 10;

/// Events that are accepted and not answered yet when their client goes: one that nobody handles, and two numbers.
async fn owe(server: &TestNimbus, client_id: &str) -> anyhow::Result<()> {
    let (mut session, _) = RawSession::welcome(server.connect().await?, hello(client_id)).await?;
    session.event(1, "nobody", "").await?;
    session.square(2, 3).await?;
    session.square(3, 4).await?;
    session.accepted(3).await
}

#[tokio::test]
async fn a_client_that_stands_by_says_so_on_standard_error_and_ends_with_78_when_another_takes_over()
-> anyhow::Result<()> {
    let server = TestNimbus::builder().start().await?;
    let addr = server.addr().to_string();
    let mut standing = Running::start(&["client", "--addr", &addr, "--client_id", "phone-1"])?;
    let said = timeout(PATIENCE, standing.stderr.next_line()).await??.context("it says nothing")?;
    assert_eq!(said, format!("nimbus: connected to {addr} as phone-1; waits for what comes, ctrl-c ends it"));

    let other = v1::Hello { outbox_id: nimbus_harness::outbox(2), ..hello("phone-1") };
    let (_other, _) = RawSession::welcome(server.connect().await?, other).await?;
    let (code, out, errors) = standing.end().await?;
    assert_eq!((code, out.len()), (Some(78), 0), "{out:?}");
    assert!(errors.iter().any(|line| line.contains("superseded") && line.contains("--client_id")), "{errors:?}");
    Ok(())
}

#[tokio::test]
async fn what_comes_for_an_earlier_outbox_is_one_line_when_sending_and_shown_when_asked_for() -> anyhow::Result<()> {
    let server = TestNimbus::builder().env("NIMBUS_EXECUTOR_UNKNOWN_GRACE", format!("{HELD_SEC}s")).start().await?;
    let addr = server.addr().to_string();
    for client_id in ["a", "b", "c", "d"] {
        owe(&server, client_id).await?;
    }
    let send = |id, flag| nimbus(["client", flag, "--addr", &addr, "--client_id", id, "send", "echo", "x"], &[]);
    let (counted, shown, json, standing) = tokio::join!(
        nimbus(["client", "--addr", &addr, "--client_id", "a", "send", "echo", "x"], &[]),
        send("b", "--extras"),
        send("c", "--json"),
        // Standing by is for seeing what comes.
        async {
            let mut standing = Running::start(&["client", "--addr", &addr, "--client_id", "d"])?;
            let mut lines = Vec::new();
            while lines.len() < 3 {
                lines.push(timeout(PATIENCE, standing.stdout.next_line()).await??.context("it has ended")?);
            }
            anyhow::Ok(lines)
        },
    );
    let (counted, shown, json, standing) = (counted?, shown?, json?, standing?);

    assert_eq!((counted.status.code(), stdout(&counted).as_str()), (Some(0), "#1 echo: x\n"), "{}", stderr(&counted));
    let told = stderr(&counted);
    let told: Vec<_> = told.lines().filter(|line| line.contains("earlier outbox")).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("3 more") && told[0].contains("--extras") && told[0].contains("--json"), "{told:?}");

    let squares = ["extra (of an earlier outbox) #2 sq: 9", "extra (of an earlier outbox) #3 sq: 16"];
    let shown = stdout(&shown);
    let shown: Vec<_> = shown.lines().collect();
    assert!(shown.len() == 4 && shown[0].contains("#1 nobody: ERROR UNKNOWN_EVENT"), "{shown:?}");
    assert_eq!(shown[1..], [squares[0], squares[1], "#1 echo: x"]);
    assert_eq!(standing[1..], squares);

    let json: Vec<serde_json::Value> = stdout(&json).lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let extras: Vec<_> = json.iter().filter(|entry| entry["kind"] == "extra").collect();
    assert_eq!((extras.len(), &extras[0]["error"]["reason"]), (3, &"UNKNOWN_EVENT".into()), "{json:?}");
    assert_eq!((&extras[1]["result"], &json[4]["extras"]), (&9.into(), &3.into()), "{json:?}");
    Ok(())
}

#[tokio::test]
async fn a_reader_that_goes_ends_it_quietly_with_141() -> anyhow::Result<()> {
    let server = TestNimbus::builder().start().await?;
    let addr = server.addr().to_string();
    // More than a pipe holds: it cannot have ended before the reader goes.
    let mut sending = Running::start(&["client", "--addr", &addr, "--start", "1", "--end", "20000"])?;
    let first = timeout(PATIENCE, sending.stdout.next_line()).await??.context("no answer")?;
    assert_eq!(first, "sq(1) = 1");
    let Running { mut child, stdout, mut stderr, _directory } = sending;
    drop(stdout);
    let said = timeout(PATIENCE, stderr.next_line()).await??;
    assert_eq!(said, None, "no message: who closes a pipe knows it");
    assert_eq!(timeout(PATIENCE, child.wait()).await??.code(), Some(141));
    Ok(())
}

#[tokio::test]
async fn an_outbox_of_another_client_is_refused_before_anything_is_sent() -> anyhow::Result<()> {
    let server = TestNimbus::builder().start().await?;
    let addr = server.addr().to_string();
    let directory = tempfile::tempdir()?;
    let run = async |client_id: &str| {
        let args = ["client", "--addr", &addr, "--outbox", "o", "--client_id", client_id, "send", "echo", "x"];
        anyhow::Ok(command(directory.path(), args)?.output().await?)
    };
    let output = run("phone-1").await?;
    assert!(output.status.success(), "{}", stderr(&output));
    let output = run("phone-2").await?;
    assert_eq!(output.status.code(), Some(64), "{}", stderr(&output));
    assert!(stderr(&output).contains("belongs to client id `phone-1`, not to `phone-2`"), "{}", stderr(&output));
    assert!(run("phone-1").await?.status.success(), "it stays as it was");
    Ok(())
}

#[tokio::test]
async fn ctrl_c_ends_a_load_with_its_report_and_130() -> anyhow::Result<()> {
    let server = TestNimbus::builder().start().await?;
    let addr = server.addr().to_string();
    let args = ["load", "--addr", &addr, "--streams", "2", "--duration", "1h", "--warmup", "0s", "--json"];
    let loading = Running::start(&args)?;
    server.wait_for_metric("nimbus_deliveries_total", |count| count >= 100.0).await?;
    interrupt(&loading.child)?;
    let (code, out, errors) = loading.end().await?;
    assert_eq!((code, out.len()), (Some(130), 1), "{out:?} {errors:?}");
    let report: serde_json::Value = serde_json::from_str(&out[0])?;
    assert_eq!((&report["interrupted"], &report["lost"]), (&true.into(), &0.into()), "{report}");
    assert!(report["answered"].as_u64() >= Some(100) && report["answered"] == report["sent"], "{report}");
    Ok(())
}

#[tokio::test]
async fn client_and_data_commands_point_out_mistyped_names() -> anyhow::Result<()> {
    let server = TestNimbus::builder().start().await?;
    let addr = server.addr().to_string();
    let data = server.data_dir().to_string_lossy().into_owned();
    let wrong = [("NIMBUS_CLIENT_ADR", "gw:1"), ("NIMBUS_DATA_DIRECTORY", "/nowhere")];
    let commands = [
        vec!["client", "--addr", &addr, "send", "echo", "x"],
        vec!["load", "--addr", &addr, "--streams", "1", "--events", "1", "--json"],
        vec!["data", "--data-dir", &data, "check"],
    ];
    for args in commands {
        let output = nimbus(&args, &wrong).await?;
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        for (name, meant) in [(wrong[0].0, "NIMBUS_CLIENT_ADDR"), (wrong[1].0, "NIMBUS_DATA_DIR")] {
            let line = format!("nimbus: warning: {name}: is not a setting and is ignored; did you mean {meant}?");
            assert!(stderr(&output).lines().any(|said| said == line), "{args:?}: {}", stderr(&output));
        }
    }
    Ok(())
}

/// What help, banner and README say about a client without an outbox file is what the tests above see.
#[tokio::test]
async fn help_says_what_happens_without_an_outbox_file() -> anyhow::Result<()> {
    let help = stdout(&nimbus(["client", "--help"], &[]).await?);
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        help.contains("Without --outbox each run is a new outbox") && help.contains("comes as `extra` lines"),
        "{help}"
    );
    Ok(())
}
