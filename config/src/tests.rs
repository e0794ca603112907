//! What a person gets to see: problems all at once, names, secrets, sources; and `.env.example` against the code.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs,
    num::NonZeroU32,
    os::unix::ffi::OsStringExt,
    path::Path,
    time::Duration,
};

use nimbus_core::ClientId;

use super::*;

fn pairs(pairs: &[(&str, &str)]) -> Environment {
    Environment::of_pairs(pairs.iter().copied())
}

fn problems(environment: &Environment) -> Vec<Problem> {
    load(environment).map(|loaded| loaded.config).unwrap_err().problems
}

fn names(problems: &[Problem]) -> Vec<&str> {
    problems.iter().map(|problem| problem.name.as_str()).collect()
}

#[test]
fn an_empty_environment_gives_the_defaults() {
    let loaded = load(&pairs(&[])).unwrap();
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.config.listen.address.to_string(), "127.0.0.1:50051");
    assert_eq!(loaded.config.shutdown.timeout, Duration::from_secs(20));
    assert_eq!(loaded.config.shutdown.drain_window, Duration::from_secs(5));
    assert_eq!(loaded.config.session.queue_bytes, 1024 * 1024);
    assert_eq!(loaded.config.session.rate_limit, None);
    assert_eq!(loaded.config.session.fair_rate, NonZeroU32::new(2_000));
    assert!(loaded.effective.iter().all(|entry| entry.source == Source::Default));
}

#[test]
fn every_setting_is_listed_once_shown_once_and_under_its_sections_prefix() {
    let listed: Vec<_> = settings().map(|setting| setting.name).collect();
    assert_eq!(listed.iter().collect::<BTreeSet<_>>().len(), listed.len());
    let loaded = load(&pairs(&[])).unwrap();
    let shown: Vec<_> = loaded.effective.iter().map(|entry| entry.setting.name).collect();
    assert_eq!(shown, listed);
    for (section, prefix) in sections::ALL.iter().zip(sections::PREFIXES) {
        assert!(section.iter().all(|setting| setting.name.starts_with(prefix)), "{prefix}");
    }
}

/// Proves the wiring of each one: a setting whose raw field nobody reads, or reads under another name, would not be named.
#[test]
fn a_bad_value_of_every_setting_is_reported_at_once_under_its_full_name_and_never_echoed_when_secret() {
    let bad = "\u{1}zzz-secret";
    let all = Environment::of_pairs(settings().map(|setting| (setting.name, bad)));
    let problems = problems(&all);
    let expected: Vec<_> = settings().map(|setting| setting.name).collect();
    assert_eq!(names(&problems), expected);
    for (problem, setting) in problems.iter().zip(settings()) {
        assert!(problem.remedy.contains(setting.example), "{problem}");
        assert_eq!(problem.wrong.contains("zzz-secret"), setting.display != Display::Secret, "{problem}");
    }
}

#[test]
fn a_value_that_is_not_utf8_is_a_problem_and_no_panic() {
    let bytes = OsString::from_vec(vec![b'5', 0xff]);
    let environment = Environment::of_pairs([(OsString::from("NIMBUS_PORT"), bytes)]);
    assert_eq!(
        problems(&environment)[0].to_string(),
        "NIMBUS_PORT: its value is not UTF-8; give for example NIMBUS_PORT=50051"
    );
    let name = OsString::from_vec(b"NIMBUS_\xff".to_vec());
    let loaded = load(&Environment::of_pairs([(name, OsString::from("x"))])).unwrap();
    assert_eq!(loaded.warnings.len(), 1);
}

#[test]
fn messages_name_the_variable_the_value_and_a_right_one() {
    let environment = pairs(&[
        ("NIMBUS_PORT", "70000"),
        ("NIMBUS_SESSION_PING_INTERVAL", "25"),
        ("NIMBUS_SESSION_QUEUE_BYTES", "1 parsec"),
        ("NIMBUS_INSECURE", "maybe"),
    ]);
    let text = load(&environment).unwrap_err().to_string();
    let expected = "4 configuration problems
  NIMBUS_PORT: \"70000\" is not between 0 and 65535; give for example NIMBUS_PORT=50051
  NIMBUS_INSECURE: \"maybe\" is neither true nor false; give for example NIMBUS_INSECURE=false
  NIMBUS_SESSION_PING_INTERVAL: \"25\" has no unit; write ms, s, m, h or d behind the number; give for example NIMBUS_SESSION_PING_INTERVAL=25s
  NIMBUS_SESSION_QUEUE_BYTES: \"1 parsec\" is not a size; write a number of bytes, or one with KiB, MiB, GiB or TiB; give for example NIMBUS_SESSION_QUEUE_BYTES=1MiB";
    assert_eq!(text, expected);
}

#[test]
fn settings_that_contradict_each_other_are_reported_unless_one_is_wrong_by_itself() {
    let environment = pairs(&[
        ("NIMBUS_SESSION_PONG_TIMEOUT", "26s"),
        ("NIMBUS_SHUTDOWN_DRAIN_WINDOW", "11s"),
        ("NIMBUS_DATA_RETENTION_BYTES", "128MiB"),
        ("NIMBUS_DATA_MAX_BYTES", "127MiB"),
        ("NIMBUS_EXECUTOR_BACKOFF_MIN", "1m"),
        ("NIMBUS_SESSION_QUEUE_BYTES", "64KiB"),
        ("NIMBUS_KAFKA_DLQ_TOPIC", "nimbus-events-v1"),
        ("NIMBUS_KAFKA_REPLICATION", "2"),
        ("NIMBUS_KAFKA_MIN_INSYNC_REPLICAS", "3"),
    ]);
    let expected = [
        "NIMBUS_SHUTDOWN_DRAIN_WINDOW",
        "NIMBUS_DATA_RETENTION_BYTES",
        "NIMBUS_SESSION_PONG_TIMEOUT",
        "NIMBUS_SESSION_QUEUE_BYTES",
        "NIMBUS_EXECUTOR_BACKOFF_MIN",
        "NIMBUS_KAFKA_DLQ_TOPIC",
        "NIMBUS_KAFKA_MIN_INSYNC_REPLICAS",
    ];
    assert_eq!(names(&problems(&environment)), expected);
    let environment = pairs(&[("NIMBUS_SESSION_PONG_TIMEOUT", "26s"), ("NIMBUS_SESSION_PING_INTERVAL", "?")]);
    assert_eq!(names(&problems(&environment)), ["NIMBUS_SESSION_PING_INTERVAL"]);
}

#[test]
fn without_tokens_only_loopback_is_allowed_unless_someone_says_insecure() {
    let open = ("NIMBUS_LISTEN_ADDR", "0.0.0.0");
    assert_eq!(names(&problems(&pairs(&[open]))), ["NIMBUS_LISTEN_ADDR"]);
    let loaded = load(&pairs(&[open, ("NIMBUS_INSECURE", "true")])).unwrap();
    assert_eq!(loaded.warnings[0].name, "NIMBUS_INSECURE");
    let token = ("NIMBUS_AUTH_TOKENS", "alice 0123456789abcdef phone-*");
    let loaded = load(&pairs(&[open, token])).unwrap();
    assert!(loaded.warnings[0].message.contains("unencrypted"));
    let tls = [("NIMBUS_TLS_CERT_FILE", "/tls.crt"), ("NIMBUS_TLS_KEY_FILE", "/tls.key")];
    assert!(load(&pairs(&[open, token, tls[0], tls[1]])).unwrap().warnings.is_empty());
    assert!(load(&pairs(&[("NIMBUS_LISTEN_ADDR", "::1")])).is_ok());
    assert_eq!(names(&problems(&pairs(&[("NIMBUS_ADMIN_ADDR", "0.0.0.0:9464")]))), ["NIMBUS_ADMIN_ADDR"]);
    assert!(load(&pairs(&[("NIMBUS_ADMIN_ADDR", "0.0.0.0:9464"), ("NIMBUS_ADMIN_PUBLIC", "true")])).is_ok());
}

#[test]
fn tokens_have_one_grammar_in_the_variable_and_in_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tokens");
    fs::write(&file, "# staff\nalice 0123456789abcdef phone-* a:b\n\nbob fedcba9876543210 *\n").unwrap();
    let from_file = load(&pairs(&[("NIMBUS_AUTH_TOKENS_FILE", file.to_str().unwrap())])).unwrap().config.auth;
    let text = "alice 0123456789abcdef phone-* a:b; bob fedcba9876543210 *";
    let from_variable = load(&pairs(&[("NIMBUS_AUTH_TOKENS", text)])).unwrap();
    assert_eq!(from_file, from_variable.config.auth);
    let patterns = &from_file.tokens[0].clients;
    let fits = |id: &str| patterns.iter().any(|pattern| pattern.matches(&ClientId::try_new(id).unwrap()));
    assert!(fits("phone-7") && fits("a:b") && !fits("a:b2") && !fits("tablet"));
    assert!(!format!("{from_variable:?}").contains("0123456789abcdef"), "a token shows in Debug");
}

#[test]
fn a_wrong_token_entry_is_named_by_its_number_and_never_quoted() {
    let cases = [
        ("alice", "entry 1 is not"),
        ("alice short-secret *", "fewer than 16"),
        ("alice 0123456789abcdef *; bob 0123456789abcdef *", "entry 2 repeats the token"),
        ("alice 0123456789abcdef", "names no client id"),
        ("alice 0123456789abcdef ph*ne", "pattern outside"),
        ("alice 0123456789abcdeé *", "character outside"),
        ("", "is set but empty"),
    ];
    for (text, expected) in cases {
        let problems = problems(&pairs(&[("NIMBUS_AUTH_TOKENS", text)]));
        assert_eq!(names(&problems), ["NIMBUS_AUTH_TOKENS"], "{text}");
        assert!(problems[0].wrong.contains(expected), "{text}: {}", problems[0]);
        assert!(text.split_whitespace().all(|word| word.len() < 6 || !problems[0].wrong.contains(word)));
    }
}

#[test]
fn a_mistyped_name_is_an_error_that_names_the_right_one_and_hides_the_value() {
    let cases = [
        ("NIMBUS_PROT", "NIMBUS_PORT"),
        ("NIMBUS_AUTH_TOKEN", "NIMBUS_AUTH_TOKENS"),
        ("NIMBUS_AUTH_KEYS", "NIMBUS_AUTH_TOKENS"),
        ("NIMBUS_HANDSHAKE_TIMEOUT", "NIMBUS_SESSION_HANDSHAKE_TIMEOUT"),
        ("NIMBUS_SESSION_MAX_INFLIGHT", "NIMBUS_SESSION_MAX_IN_FLIGHT"),
        ("NIMBUS_LOG_LEVEL", "NIMBUS_LOG"),
        ("NIMBUS_INSECUR", "NIMBUS_INSECURE"),
    ];
    for (name, right) in cases {
        let problems = problems(&pairs(&[(name, "hush-hush")]));
        assert_eq!(names(&problems), [name]);
        assert!(problems[0].remedy.contains(&format!("did you mean {right}?")), "{}", problems[0]);
        assert!(!problems[0].to_string().contains("hush-hush"));
    }
    let loaded = load(&pairs(&[("NIMBUS_HOME", "/opt")])).unwrap();
    assert_eq!(loaded.warnings.len(), 1, "a foreign name is only pointed out");
    assert!(loaded.warnings[0].message.contains("the nearest is NIMBUS_"));
}

#[test]
fn what_kubernetes_injects_for_a_service_named_nimbus_does_not_disturb() {
    let injected = [
        ("NIMBUS_SERVICE_HOST", "10.0.0.1"),
        ("NIMBUS_SERVICE_PORT", "50051"),
        ("NIMBUS_PORT", "tcp://10.0.0.1:50051"),
        ("NIMBUS_PORT_50051_TCP", "tcp://10.0.0.1:50051"),
        ("NIMBUS_PORT_50051_TCP_ADDR", "10.0.0.1"),
        ("NIMBUS_ADMIN_PORT", "tcp://10.0.0.2:9464"),
        ("NIMBUS_ADMIN_SERVICE_PORT_HTTP", "9464"),
    ];
    let loaded = load(&pairs(&injected)).unwrap();
    assert_eq!(loaded.config.listen.address.port(), 50051);
    let warned: Vec<_> = loaded.warnings.iter().map(|warning| warning.name.as_str()).collect();
    assert_eq!(warned, ["NIMBUS_PORT"]);
    assert!(loaded.warnings[0].message.contains("Kubernetes"));
}

#[test]
fn the_real_environment_wins_over_the_file_and_each_value_knows_where_it_came_from() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(".env");
    fs::write(
        &file,
        "\u{feff}NIMBUS_PORT=1\nexport NIMBUS_SERVER_ID=from-file # why\nNIMBUS_SESSION_PING_INTERVAL='1m 30s'\n",
    )
    .unwrap();
    let vars = [("NIMBUS_PORT", "tcp://10.0.0.1:1"), ("NIMBUS_SERVER_ID", "from-env"), ("PATH", "/bin")];
    let vars = vars.map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let loaded = load(&Environment::layered(vars, Some(&file))).unwrap();
    assert_eq!(loaded.config.listen.address.port(), 1, "nobody chose Kubernetes' value, so the file's stays");
    assert_eq!(loaded.config.session.ping_interval, Duration::from_secs(90));
    let of = |name: &str| {
        loaded
            .effective
            .iter()
            .find(|entry| entry.setting.name == name)
            .map(|entry| (entry.shown.as_str(), entry.source))
    };
    assert_eq!(of("NIMBUS_SERVER_ID"), Some(("from-env", Source::Environment)));
    assert_eq!(of("NIMBUS_PORT"), Some(("1", Source::File)));
    assert_eq!(of("NIMBUS_DATA_DIR"), Some(("./data", Source::Default)));
}

#[test]
fn a_broken_file_is_reported_by_line_and_never_quoted() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(".env");
    fs::write(&file, "NIMBUS_PORT=1\nNIMBUS_AUTH_TOKENS alice hush-hush\nNIMBUS_INSECURE=perhaps\n").unwrap();
    let error = load(&Environment::layered([], Some(&file))).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("line 2 is not NAME=value") && text.contains("NIMBUS_INSECURE"), "{text}");
    assert!(!text.contains("hush-hush"), "{text}");
    fs::write(&file, b"NIMBUS_PORT=\xff\n").unwrap();
    assert!(load(&Environment::layered([], Some(&file))).unwrap_err().to_string().contains("is not UTF-8"));
    assert!(load(&Environment::layered([], Some(&directory.path().join("none")))).is_ok());
}

#[test]
fn secrets_and_passwords_are_hidden_in_what_is_shown() {
    let loaded = load(&pairs(&[
        ("NIMBUS_AUTH_TOKENS", "alice 0123456789abcdef *"),
        ("NIMBUS_CLIENT_TOKEN", "0123456789abcdef"),
        ("NIMBUS_REDIS_ADDRESS", "redis://me:hush@hush@cache:6379/2"),
    ]));
    let loaded = loaded.unwrap();
    let shown = format!("{:?}{:?}", loaded.effective, loaded.config);
    assert!(!shown.contains("0123456789abcdef") && !shown.contains("hush"), "{shown}");
    assert!(shown.contains("redis://(hidden)@cache:6379/2"));
}

#[test]
fn an_authority_for_a_redis_without_tls_is_a_mistake() {
    let load_with =
        |address| load(&pairs(&[("NIMBUS_REDIS_ADDRESS", address), ("NIMBUS_REDIS_CA_FILE", "/etc/ca.pem")]));
    for address in ["rediss://cache:6379", "rediss-cluster://me:hush@cache:6379"] {
        let loaded = load_with(address).unwrap();
        assert_eq!(loaded.config.redis.ca_file.as_deref(), Some(std::path::Path::new("/etc/ca.pem")));
    }
    for address in ["cache:6379", "redis://cache:6379", "redis-cluster://cache:6379"] {
        let error = load_with(address).unwrap_err();
        assert_eq!(names(&error.problems), ["NIMBUS_REDIS_CA_FILE"]);
        assert!(error.to_string().contains("rediss://"), "{error}");
    }
}

#[test]
fn a_client_command_is_not_stopped_by_a_servers_mistake() {
    let environment = pairs(&[("NIMBUS_PORT", "x"), ("NIMBUS_CLIENT_ADDR", "gw:1")]);
    assert_eq!(load_client(&environment).unwrap().config.addr, "gw:1");
    let error = load_client(&pairs(&[("NIMBUS_CLIENT_ADDR", "http://gw")])).unwrap_err();
    assert_eq!(names(&error.problems), ["NIMBUS_CLIENT_ADDR"]);
}

/// The server refuses the first three; a command that runs once does what it says and points them out.
#[test]
fn a_mistyped_name_is_a_warning_for_commands_that_read_only_some_settings() {
    let environment = pairs(&[
        ("NIMBUS_CLIENT_ADR", "gw:1"),
        ("NIMBUS_DATA_DIRECTORY", "/var/lib/nimbus"),
        ("NIMBUS_AUTH_TOKEN", "hush-hush"),
        ("NIMBUS_SOMETHING_ELSE", "1"),
        ("NIMBUS_SERVICE_HOST", "10.0.0.1"),
        ("NIMBUS_PORT", "tcp://10.0.0.1:1"),
    ]);
    let client = load_client(&environment).unwrap();
    let storage = load_storage(&environment).unwrap();
    assert_eq!(client.warnings, storage.warnings);
    let shown: Vec<_> = client.warnings.iter().map(ToString::to_string).collect();
    let hints = [
        ("NIMBUS_AUTH_TOKEN", "did you mean NIMBUS_AUTH_TOKENS?"),
        ("NIMBUS_CLIENT_ADR", "did you mean NIMBUS_CLIENT_ADDR?"),
        ("NIMBUS_DATA_DIRECTORY", "did you mean NIMBUS_DATA_DIR?"),
        ("NIMBUS_SOMETHING_ELSE", "the nearest is NIMBUS_"),
    ];
    assert_eq!(shown.len(), hints.len(), "{shown:#?}");
    for (shown, (name, hint)) in shown.iter().zip(hints) {
        assert!(shown.starts_with(&format!("{name}: is not a setting and is ignored; {hint}")), "{shown}");
        assert!(!shown.contains("hush-hush"), "{shown}");
    }
}

/// `.env.example` against the code, in both directions: each variable of one stands in the other, with the default as its
/// value (or, without a default, commented out with a right example), under a comment that says all four things.
#[test]
fn the_example_file_and_the_code_agree() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.env.example");
    let text = fs::read_to_string(path).unwrap();
    let mut documented = BTreeMap::new();
    let mut order = Vec::new();
    let mut comment = String::new();
    for line in text.lines() {
        let (set, assignment) = match line.strip_prefix('#') {
            Some(rest) if rest.starts_with("NIMBUS_") => (false, rest),
            Some(rest) => {
                comment.push_str(rest);
                comment.push(' ');
                continue;
            }
            None => (true, line),
        };
        if let Some((name, value)) = assignment.split_once('=') {
            for part in ["Unit:", "Default:", "Change"] {
                assert!(comment.contains(part), "the comment of {name} does not say {part}");
            }
            let repeated = documented.insert(name, (set, value.trim_matches('\'')));
            assert!(repeated.is_none(), "{name} stands there twice");
            order.push(name);
        }
        comment.clear();
    }
    assert_eq!(order, settings().map(|setting| setting.name).collect::<Vec<_>>());
    for setting in settings() {
        let (set, value) = documented[setting.name];
        assert_eq!(set, !setting.default.is_empty(), "{} is set exactly if it has a default", setting.name);
        if set {
            assert_eq!(value, setting.default, "{}", setting.name);
        }
    }
    let copied = load(&Environment::layered([], Some(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../.env.example"))));
    assert_eq!(copied.unwrap().config, load(&pairs(&[])).unwrap().config, "a copy of the file changes nothing");
}

/// What an error message or the file offers as right must be right.
#[test]
fn every_example_is_a_right_value() {
    for setting in settings().filter(|setting| setting.name != "NIMBUS_AUTH_TOKENS_FILE") {
        let example = setting.example.trim_matches('\'');
        let tokens = ("NIMBUS_AUTH_TOKENS", "alice 0123456789abcdef *");
        let environment = match setting.name {
            "NIMBUS_AUTH_TOKENS" => pairs(&[(setting.name, example)]),
            // Only right together.
            "NIMBUS_REDIS_CA_FILE" => {
                pairs(&[(setting.name, example), ("NIMBUS_REDIS_ADDRESS", "rediss://cache:6379")])
            }
            "NIMBUS_TLS_CERT_FILE" => pairs(&[(setting.name, example), ("NIMBUS_TLS_KEY_FILE", "/tls.key")]),
            "NIMBUS_TLS_KEY_FILE" => pairs(&[(setting.name, example), ("NIMBUS_TLS_CERT_FILE", "/tls.crt")]),
            name => pairs(&[tokens, (name, example)]),
        };
        if let Err(error) = load(&environment) {
            panic!("{error}");
        }
    }
}
